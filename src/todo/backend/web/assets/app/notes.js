/**
 * Notes in Markdown. A library takes the text apart; what is drawn is made from its parts and never from HTML, so that
 * nothing in a note can become a script.
 */
import { html, useEffect, useState } from "./html.js";

/** @typedef {import("../vendor/marked.js").Token} Token */

/** @type {typeof import("../vendor/marked.js") | undefined} */
let library;

/** @param {{text: string}} props */
export function Notes({ text }) {
  const [ready, setReady] = useState(library !== undefined);
  useEffect(() => {
    if (ready) return;
    import("../vendor/marked.js").then((loaded) => {
      library = loaded;
      setReady(true);
    });
  }, [ready]);
  if (!library) return html`<div class="markdown"><p class="plain">${text}</p></div>`;
  return html`<div class="markdown">${draw(library.lexer(text, { gfm: true, breaks: true }))}</div>`;
}

/** @param {Token[] | undefined} tokens @returns {unknown[]} */
function draw(tokens) {
  return (tokens ?? []).map(one);
}

/** @param {any} token @returns {unknown} */
function one(token) {
  const inner = () => (token.tokens ? draw(token.tokens) : plain(token.text ?? ""));
  switch (token.type) {
    case "space":
    case "def":
      return "";
    case "heading":
      return html`<p class=${`heading h${token.depth}`} role="heading" aria-level=${Math.min(token.depth + 1, 6)}>${inner()}</p>`;
    case "paragraph":
      return html`<p>${inner()}</p>`;
    case "blockquote":
      return html`<blockquote>${inner()}</blockquote>`;
    case "list":
      return html`<${token.ordered ? "ol" : "ul"} start=${token.start || undefined}>${token.items.map(one)}<//>`;
    case "list_item":
      return html`<li class=${token.task ? "task" : ""}>${token.task ? (token.checked ? "☑ " : "☐ ") : ""}${inner()}</li>`;
    case "code":
      return html`<pre tabindex="0"><code>${token.text}</code></pre>`;
    case "codespan":
      return html`<code>${plain(token.text)}</code>`;
    case "strong":
      return html`<strong>${inner()}</strong>`;
    case "em":
      return html`<em>${inner()}</em>`;
    case "del":
      return html`<del>${inner()}</del>`;
    case "br":
      return html`<br />`;
    case "hr":
      return html`<hr />`;
    case "link":
      return link(token.href, inner());
    case "image": // nothing is fetched from elsewhere: an image is a link to it
      return link(token.href, plain(token.text || token.href));
    case "table":
      return table(token);
    case "checkbox":
      return "";
    case "text":
    case "escape":
      return inner();
    default: // HTML among it: shown as it was written
      return token.raw;
  }
}

const SAFE = new Set(["http:", "https:", "mailto:", "tel:"]);

/** @param {string} href @param {unknown} inner */
function link(href, inner) {
  const url = URL.canParse(href) ? new URL(href) : null;
  if (!url || !SAFE.has(url.protocol)) return html`<span>${inner}</span>`;
  return html`<a href=${url.href} target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`;
}

/** @param {any} token */
function table(token) {
  /** @param {any} cell */
  const cells = (cell) => draw(cell.tokens);
  return html`<table>
    <thead><tr>${token.header.map((/** @type {any} */ cell) => html`<th>${cells(cell)}</th>`)}</tr></thead>
    <tbody>${token.rows.map((/** @type {any[]} */ row) => html`<tr>${row.map((cell) => html`<td>${cells(cell)}</td>`)}</tr>`)}</tbody>
  </table>`;
}

/** The library escapes for HTML, which this is not. @param {string} text */
function plain(text) {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&amp;", "&");
}
