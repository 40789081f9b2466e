/** Quick add: one line, read by the server while it is written, and shown back before it is saved. */
import { Away, call } from "./api.js";
import { addLine } from "./commands.js";
import { sayDate, today, zone } from "./dates.js";
import { html, signal, useEffect, useRef, useState } from "./html.js";
import { route } from "./router.js";
import { Dialog } from "./ui.js";
import { language, t } from "./words.js";

/** @typedef {import("./types.js").Reading} Reading */

export const adding = signal(false);
const PAUSE = 60; // ms without a key before the line is read
const DRAFT = "quick-add"; // what was written is still there after a reload

export function QuickAdd() {
  const [text, setText] = useState(sessionStorage.getItem(DRAFT) ?? "");
  const [reading, away] = useReading(text);
  const close = () => (adding.value = false);
  /** @param {string} written */
  const write = (written) => {
    sessionStorage.setItem(DRAFT, written);
    setText(written);
  };
  /** @param {Event} event */
  const onSubmit = (event) => {
    event.preventDefault();
    if (!text.trim()) return;
    addLine(text.trim(), belongs(), preview(reading));
    write("");
    close();
  };
  return html`<${Dialog} title=${t("quick.title")} class="quick" onClose=${close}>
    <form onSubmit=${onSubmit}>
      <${Line} text=${text} tokens=${reading?.tokens ?? []} onInput=${write} />
      <${Said} reading=${reading} away=${away} />
      <div class="actions"><small>${t("quick.help")}</small><button class="primary" disabled=${!text.trim()}>${t("quick.save")}</button></div>
    </form>
  <//>`;
}

/** The input with what was understood marked behind it. @param {{text: string, tokens: Reading["tokens"], onInput: (text: string) => void}} props */
function Line({ text, tokens, onInput }) {
  const marks = useRef(/** @type {HTMLElement | null} */ (null));
  /** @param {Event} event */
  const follow = (event) => {
    if (marks.current) marks.current.scrollLeft = /** @type {HTMLInputElement} */ (event.target).scrollLeft;
  };
  return html`<div class="line-in">
    <div class="marks-behind" aria-hidden="true" ref=${marks}>${parts(text, tokens)}</div>
    <input
      aria-label=${t("quick.label")}
      aria-describedby="quick-reading"
      placeholder=${t("quick.placeholder")}
      value=${text}
      maxlength="500"
      autofocus
      autocomplete="off"
      onScroll=${follow}
      onInput=${(/** @type {InputEvent} */ event) => onInput(/** @type {HTMLInputElement} */ (event.target).value)}
    />
  </div>`;
}

/** @param {string} text @param {Reading["tokens"]} tokens */
function parts(text, tokens) {
  const out = [];
  let at = 0;
  for (const { start, end, kind } of [...tokens].sort((a, b) => a.start - b.start)) {
    if (start < at || end > text.length) continue;
    out.push(text.slice(at, start), html`<mark class=${`token ${kind}`}>${text.slice(start, end)}</mark>`);
    at = end;
  }
  return [...out, text.slice(at)];
}

/** @param {{reading: Reading | null, away: boolean}} props */
function Said({ reading, away }) {
  const next = reading?.occurrences.map(sayDate).join(", ");
  return html`<div id="quick-reading" class="reading" aria-live="polite">
    ${away
      ? html`<p>${t("quick.offline")}</p>`
      : reading &&
        html`<p class="said">${reading.reading || t("quick.plain")}</p>
          ${next && html`<p class="next">${t("detail.repeat.next", { dates: next })}</p>`}
          ${reading.remarks.map((remark) => html`<p class="remark">${remark}</p>`)}`}
  </div>`;
}

/** Read a line while it is written. @param {string} text @returns {[Reading | null, boolean]} and whether nobody answers */
function useReading(text) {
  const [reading, setReading] = useState(/** @type {Reading | null} */ (null));
  const [away, setAway] = useState(false);
  useEffect(() => {
    if (!text.trim()) {
      setReading(null);
      return undefined;
    }
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const body = { text, zone: zone.value, language: language.value };
        const { value } = await call("POST", "/quick-add", { body, signal: stop.signal });
        setReading(value);
        setAway(false);
      } catch (error) {
        if (error instanceof DOMException) return;
        setReading(null);
        setAway(error instanceof Away);
      }
    }, PAUSE);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);
  return [reading, away];
}

/** What the page adds: a task written on a list is of that list, one written on today's page is due today. */
function belongs() {
  const { page, argument } = route.value;
  /** @type {Record<string, any>} */
  const also = {};
  if (page === "list") also.list_id = argument;
  if (page === "label") also.labels = [argument];
  if (page === "today") Object.assign(also, { due_date: today.value, zone: zone.value });
  return also;
}

/** What is shown until the server has it. @param {Reading | null} reading @returns {Record<string, any>} */
function preview(reading) {
  if (!reading) return {};
  const { recurrence: _, ...draft } = reading.draft;
  return draft;
}
