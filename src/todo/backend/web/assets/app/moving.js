/** Taking tasks along and bringing them: a file is first looked at, and what would be lost is said before it is imported. */
import { Refused, upload } from "./api.js";
import { html, useState } from "./html.js";
import { sayError } from "./toasts.js";
import { t } from "./words.js";

const OUT = /** @type {const} */ (["json", "csv", "ics"]);
/** By the end of a file's name; CSV and JSON of other programs are chosen by hand. */
const FORMATS = /** @type {const} */ ({ json: "todo (JSON)", csv: "todo (CSV)", ics: "iCalendar", todoist: "Todoist (CSV)", vikunja: "Vikunja (ZIP)" });

/** @typedef {{line: number, field?: string, problem: string, instead?: string}} Loss */
/** @typedef {{tasks: number, imported: number, already_there: number, broken: number, losses: number, result: string}} Done */
/** @typedef {{losses: Loss[], done: Done | null, failed: string, share: number}} Report */

const SHOWN = 50; // lines of what would be lost
const NOTHING = /** @type {Report} */ ({ losses: [], done: null, failed: "", share: 0 });

export function Moving() {
  const [file, setFile] = useState(/** @type {File | null} */ (null));
  const [format, setFormat] = useState("json");
  const [report, setReport] = useState(NOTHING);
  const [busy, setBusy] = useState(false);

  /** @param {File} chosen @param {string} as @param {boolean} dry */
  const send = async (chosen, as, dry) => {
    setBusy(true);
    let so = NOTHING;
    const query = new URLSearchParams({ format: as, dry_run: String(dry), partial: "true" });
    try {
      for await (const line of upload(`/imports?${query}`, chosen)) setReport((so = told(so, line)));
    } catch (error) {
      if (error instanceof Refused) setReport({ ...NOTHING, failed: error.message });
      else sayError(error);
    }
    setBusy(false);
  };
  /** @param {File | undefined} chosen @param {string} as */
  const look = (chosen, as) => {
    setFile(chosen ?? null);
    setFormat(as);
    if (chosen) send(chosen, as, true);
  };
  return html`<section>
      <h2>${t("move.out")}</h2>
      <p class="actions">${OUT.map((one) => html`<a class="button quiet" download href=${`/exports?format=${one}`}>${FORMATS[one]}</a>`)}</p>
    </section>
    <section>
      <h2>${t("move.in")}</h2>
      <div class="actions">
        <label>${t("move.file")} <input type="file" accept=".json,.csv,.ics,.zip" disabled=${busy} onChange=${(/** @type {any} */ event) => look(event.target.files[0], guess(event.target.files[0]))} /></label>
        <label>${t("move.format")}
          <select disabled=${busy} onChange=${(/** @type {any} */ event) => look(file ?? undefined, event.target.value)}>
            ${Object.entries(FORMATS).map(([value, name]) => html`<option value=${value} selected=${value === format}>${name}</option>`)}
          </select>
        </label>
      </div>
      ${busy && html`<progress aria-label=${t("move.in")} value=${report.share} max="1"></progress>`}
      <div role="status">
        ${report.failed && html`<p class="problem">${report.failed}</p>`}
        ${report.done && html`<p>${t("move.counts", { n: report.done.tasks, imported: report.done.imported, there: report.done.already_there, broken: report.done.broken })}</p>`}
      </div>
      ${report.losses.length > 0 && html`<ul class="losses">${report.losses.slice(0, SHOWN).map((loss) => html`<li>${sayLoss(loss)}</li>`)}</ul>`}
      ${file && report.done && !report.done.imported && report.done.tasks > report.done.already_there &&
      html`<button type="button" class="primary" disabled=${busy} onClick=${() => send(file, format, false)}>${t("move.go")}</button>`}
    </section>`;
}

/** @param {Report} report @param {Record<string, any>} line @returns {Report} */
function told(report, line) {
  const loss = line.loss ?? line.broken;
  if (loss) return { ...report, losses: [...report.losses, loss].slice(0, SHOWN) };
  if (line.progress) return { ...report, share: line.progress.share };
  return { ...report, done: line.done ?? report.done, failed: line.failed?.reason ?? report.failed };
}

/** @param {Loss} loss */
function sayLoss({ line, field, problem, instead }) {
  const what = [field, problem].filter(Boolean).join(": ");
  return `${t("move.line", { n: line })} ${what}${instead ? ` → ${instead}` : ""}`;
}

/** @param {File | undefined} file */
function guess(file) {
  const end = file?.name.toLowerCase().split(".").at(-1) ?? "";
  return { csv: "csv", ics: "ics", zip: "vikunja" }[end] ?? "json";
}
