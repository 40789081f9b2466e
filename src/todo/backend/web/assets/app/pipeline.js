/** What an operator opens at night: where events are, what is stuck, and what may be done about it. */
import { Refused, call, get } from "./api.js";
import { attempt } from "./commands.js";
import { sayInstant, saySecond } from "./dates.js";
import { html, useEffect, useState } from "./html.js";
import { known } from "./queue.js";
import { Icon, saySpan } from "./ui.js";
import { t } from "./words.js";

/** @typedef {{now: string, states: Record<string, number>, next_fire: string | null, oldest_overdue: string | null,
 *   outbox_depth: number, relay_paused: unknown}} Schedule */
/** @typedef {{outbox: {depth: number, oldest_seconds: number, paused: unknown}, dead_letters: Record<string, number>,
 *   schedule: Schedule | null, sidecar_ready: boolean}} Depths */
/** @typedef {{id: number, app: string, topic: string, event_type: string, error: string, attempts: number, parked_at: string,
 *   status: string, body?: string}} Letter */

const EVERY = 2000; // ms
const REMEMBERED = 60; // looks

export function Pipeline() {
  const [depths, setDepths] = useState(/** @type {Depths | null} */ (null));
  const [outbox, setOutbox] = useState(/** @type {number[]} */ ([]));
  const [refused, setRefused] = useState(false);
  useEffect(() => {
    const look = () =>
      get("/pipeline").then(
        (/** @type {Depths} */ found) => {
          setDepths(found);
          setOutbox((before) => [...before.slice(1 - REMEMBERED), found.outbox.depth]);
        },
        (error) => setRefused(error instanceof Refused && error.status === 403),
      );
    look();
    const timer = setInterval(look, EVERY);
    return () => clearInterval(timer);
  }, []);
  if (refused) return html`<p class="empty">${t("pipe.forbidden")}</p>`;
  if (!depths) return null;
  return html`<ol class="pipeline">${stages(depths, outbox).map((stage) => html`<${Stage} key=${stage.name} ...${stage} />`)}</ol>
    <${Letters} count=${depths.dead_letters.open} />`;
}

/** @typedef {{name: string, says: string, notes?: string[], bad?: boolean, values?: number[]}} StageProps */

/** The way of an event, stage by stage. @param {Depths} depths @param {number[]} values @returns {StageProps[]} */
function stages({ outbox, schedule, dead_letters: letters, sidecar_ready: ready }, values) {
  return [
    {
      name: t("pipe.outbox"),
      says: t("pipe.depth", { n: outbox.depth }),
      notes: [...oldest(outbox.depth ? outbox.oldest_seconds : 0), ...(outbox.paused ? [t("pipe.paused")] : [])],
      bad: outbox.depth > 1000 || outbox.oldest_seconds > 60,
      values,
    },
    { name: t("pipe.broker"), says: t(ready ? "pipe.ready" : "pipe.away"), bad: !ready },
    scheduleStage(schedule),
    mailStage(schedule),
    { name: t("pipe.dead"), says: String(letters.open), bad: letters.open > 0 },
  ];
}

/** @param {Schedule | null} schedule @returns {StageProps} */
function scheduleStage(schedule) {
  if (!schedule) return { name: t("pipe.schedule"), says: t("pipe.away"), bad: true };
  const { states, next_fire: next, oldest_overdue: overdue, outbox_depth: depth, now } = schedule;
  const late = overdue ? (Date.parse(now) - Date.parse(overdue)) / 1000 : 0;
  const notes = [
    ...(next ? [t("pipe.next", { at: sayInstant(next) })] : []),
    ...(late > 0 ? [t("pipe.late", { span: saySpan(late) })] : []),
    ...(depth ? [`${t("pipe.outbox")}: ${t("pipe.depth", { n: depth })}`] : []),
    ...(schedule.relay_paused ? [t("pipe.paused")] : []),
  ];
  return { name: t("pipe.schedule"), says: t("pipe.depth", { n: states.waiting ?? 0 }), notes, bad: late > 60 };
}

/** @param {Schedule | null} schedule @returns {StageProps} */
function mailStage(schedule) {
  const { delivered = 0, dispatched = 0, failed = 0, suppressed = 0, skipped = 0 } = schedule?.states ?? {};
  const notes = [
    t("pipe.dispatched", { n: dispatched }),
    t("pipe.failed", { n: failed }),
    t("pipe.unsent", { n: suppressed + skipped }),
  ];
  return { name: t("pipe.mail"), says: t("pipe.delivered", { n: delivered }), notes, bad: failed > 0 };
}

/** @param {number} seconds */
function oldest(seconds) {
  return seconds > 0 ? [t("pipe.oldest", { span: saySpan(seconds) })] : [];
}

/** @param {unknown} value */
function sayValue(value) {
  return typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value) ? sayInstant(value) : String(value ?? t("none"));
}

/** @param {StageProps} props */
function Stage({ name, says, notes = [], bad = false, values }) {
  return html`<li class=${bad ? "stage bad" : "stage"}>
    <h2>${name}</h2>
    <strong>${says}</strong>
    ${notes.map((note) => html`<span>${note}</span>`)} ${values && html`<${Plot} values=${values} name=${name} />`}
  </li>`;
}

/** The last two minutes. @param {{values: number[], name: string}} props */
function Plot({ values, name }) {
  const most = Math.max(1, ...values);
  const points = values.map((value, at) => `${((at + REMEMBERED - values.length) / (REMEMBERED - 1)) * 100},${29 - (value / most) * 28}`);
  return html`<svg class="plot" viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label=${`${name}: ${values.at(-1)}, max ${most}`}>
    <polyline points=${points.join(" ")} />
  </svg>`;
}

/** @param {{count: number}} props */
function Letters({ count }) {
  const [letters, setLetters] = useState(/** @type {Letter[]} */ ([]));
  const look = () => attempt(async () => setLetters((await get("/dead-letters?status=open")).dead_letters));
  useEffect(() => void look(), [count]);
  return html`<section class="letters" aria-label=${t("pipe.dead")}>
    <h2>${t("pipe.dead")}</h2>
    ${letters.length ? letters.map((letter) => html`<${DeadLetter} key=${letter.id} letter=${letter} look=${look} />`) : html`<p class="empty">${t("pipe.dead.none")}</p>`}
  </section>`;
}

/** @param {{letter: Letter, look: () => void}} props */
function DeadLetter({ letter, look }) {
  const [body, setBody] = useState(/** @type {string | null} */ (null));
  /** @param {"replay" | "discard"} what */
  const act = (what) => attempt(async () => {
    await call("POST", `/dead-letters/${letter.id}/${what}`);
    look();
  });
  const open = () => attempt(async () => setBody(pretty((await get(`/dead-letters/${letter.id}`)).body)));
  return html`<article class="letter">
    <h3>${letter.event_type || letter.topic}</h3>
    <p>${letter.app} · ${letter.topic} · ${sayInstant(letter.parked_at)} · ${letter.attempts}×</p>
    <p class="problem">${letter.error}</p>
    ${body !== null && html`<pre tabindex="0">${body}</pre>`}
    <div class="actions">
      <button type="button" onClick=${() => (body === null ? open() : setBody(null))}>${t(body === null ? "pipe.show" : "close")}</button>
      <button type="button" class="primary" onClick=${() => act("replay")}>${t("pipe.replay")}</button>
      <button type="button" onClick=${() => act("discard")}>${t("pipe.discard")}</button>
    </div>
  </article>`;
}

/** @param {string} text */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** @typedef {{at: string, where: string, what: string} & Record<string, unknown>} Step */

/** One task's timeline: `todo why` as a picture. @param {{id: string}} props */
export function Why({ id }) {
  const [found, setFound] = useState(/** @type {{task: {title: string}, timeline: Step[], did_not_answer: string[]} | null} */ (null));
  useEffect(() => void attempt(async () => setFound(await get(`/tasks/${known(id)}/why`))), [id]);
  if (!found) return null;
  return html`<section class="why">
    <h2>${t("why.title", { title: found.task.title })}</h2>
    ${found.did_not_answer.length > 0 && html`<p class="problem">${t("why.silent", { who: found.did_not_answer.join(", ") })}</p>`}
    <ol class="timeline">
      ${found.timeline.map(
        ({ at, where, what, ...details }) => html`<li class=${`step ${where.split(" ")[0]}`}>
          <time datetime=${at}>${sayInstant(at).replace(/, .*/, "")} ${saySecond(at)}</time>
          <strong>${where}</strong>
          <span>${what}</span>
          <small>${sayDetails(details)}</small>
        </li>`,
      )}
    </ol>
    <a href=${`#/all?task=${id}`}><${Icon} name="left" /> ${t("why.back")}</a>
  </section>`;
}

/** @param {Record<string, unknown>} details */
function sayDetails(details) {
  return Object.entries(details)
    .filter(([name, value]) => value !== null && value !== "" && name !== "trace")
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${sayValue(value)}`)
    .join(" · ");
}
