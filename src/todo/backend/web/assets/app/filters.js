/** Filters: written with completion, worked out by the server, saved as views. */
import { Away, Refused, call, get } from "./api.js";
import { attempt } from "./commands.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { TaskList } from "./list.js";
import { go } from "./router.js";
import { revision, tasks, views } from "./store.js";
import { Ask } from "./ui.js";
import { t } from "./words.js";

/** @typedef {import("./types.js").Task} Task */
/** @typedef {{start: number, end: number, problem: string, fix: string}} Fault */
/** @typedef {{insert: string, label: string, kind: string, start: number, end: number}} Completion */

/** @param {{text: string}} props */
export function FilterPage({ text: given }) {
  const [text, setText] = useState(given);
  const [naming, setNaming] = useState(false);
  const { faults, completions } = useCheck(text);
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  /** @param {Completion} one */
  const complete = (one) => {
    setText(text.slice(0, one.start) + one.insert + text.slice(one.end));
    input.current?.focus();
  };
  /** @param {string} name */
  const save = (name) => attempt(async () => {
    const { value } = await call("POST", "/views", { body: { name, filter: text } });
    go(`/view/${value.id}`);
  });
  return html`<div class="filter">
    <div class="line-in">
      <div class="marks-behind" aria-hidden="true">${faults.length ? underline(text, faults[0]) : text}</div>
      <input
        ref=${input}
        aria-label=${t("filter.label")}
        aria-invalid=${faults.length > 0}
        aria-describedby="filter-says"
        placeholder=${t("filter.hint")}
        value=${text}
        maxlength="500"
        autocomplete="off"
        spellcheck=${false}
        onInput=${(/** @type {any} */ event) => setText(event.target.value)}
      />
      <button type="button" disabled=${!text.trim() || faults.length > 0} onClick=${() => setNaming(true)}>${t("filter.save")}</button>
    </div>
    <p id="filter-says" class=${faults.length ? "problem" : ""} role="status">${faults[0] ? `${faults[0].problem}; ${faults[0].fix}` : ""}</p>
    <div class="chips">${completions.slice(0, 12).map((one) => html`<button type="button" class="chip" onClick=${() => complete(one)}>${one.label}</button>`)}</div>
    ${!faults.length && text.trim() && html`<${Filtered} filter=${text} sort="due" />`}
    ${naming && html`<${Ask} title=${t("filter.save")} label=${t("filter.name")} onSave=${save} onClose=${() => setNaming(false)} />`}
  </div>`;
}

/** @param {string} text @param {Fault} fault */
function underline(text, { start, end }) {
  const to = Math.max(end, start + 1);
  return [text.slice(0, start), html`<mark class="fault">${text.slice(start, to) || " "}</mark>`, text.slice(to)];
}

/** @param {string} text @returns {{faults: Fault[], completions: Completion[]}} */
function useCheck(text) {
  const [found, setFound] = useState({ faults: /** @type {Fault[]} */ ([]), completions: /** @type {Completion[]} */ ([]) });
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const { value } = await call("POST", "/filters/check", { body: { filter: text, at: text.length }, signal: stop.signal });
        setFound({ faults: value.problems, completions: value.completions });
      } catch (error) {
        if (!(error instanceof DOMException || error instanceof Away || error instanceof Refused)) throw error;
      }
    }, 80);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);
  return found;
}

/** What a filter finds, as of the last change. @param {{filter: string, sort: string}} props */
export function Filtered({ filter, sort }) {
  const [ids, setIds] = useState(/** @type {string[]} */ ([]));
  const [says, setSays] = useState("");
  const changes = revision.value;
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const query = new URLSearchParams({ filter, sort, limit: "500" });
        const { tasks: found } = await get(`/tasks?${query}`, stop.signal);
        setIds(found.map((/** @type {Task} */ task) => task.id));
        setSays("");
      } catch (error) {
        if (error instanceof Away) setSays(t("filter.offline"));
        else if (error instanceof Refused) setSays(error.message);
      }
    }, 100);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [filter, sort, changes]);
  const found = ids.map((id) => tasks.get(id)).filter((task) => task !== undefined);
  if (says) return html`<p class="empty">${says}</p>`;
  if (!found.length) return html`<p class="empty">${t("empty.search")}</p>`;
  return html`<${TaskList} groups=${[{ key: "", tasks: found }]} label=${filter} />`;
}

/** @param {{id: string}} props */
export function ViewPage({ id }) {
  revision.value; // drawn anew with every change
  const view = views.get(id);
  if (!view) return html`<p class="empty">${t("empty.list")}</p>`;
  const remove = () => attempt(async () => {
    await call("DELETE", `/views/${id}`, { seen: view.version });
    go("/today");
  });
  return html`<div class="page-actions">
      <a href=${`#/filter/${encodeURIComponent(view.filter)}`}><code>${view.filter}</code></a>
      <button type="button" class="quiet" onClick=${remove}>${t("delete")}</button>
    </div>
    <${Filtered} filter=${view.filter} sort=${view.sort} />`;
}
