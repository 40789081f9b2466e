/** What an operator opens at night: where events are, what is stuck, and what may be done about it. */
import { Refused, call, get } from "./api.js";
import { attempt } from "./commands.js";
import { sayInstant, saySecond } from "./dates.js";
import { html, useEffect, useState } from "./html.js";
import { known } from "./queue.js";
import { Icon, saySpan } from "./ui.js";
import { t } from "./words.js";

/** @typedef {{outbox: {depth: number, oldest_seconds: number, paused: boolean}, dead_letters: Record<string, number>,
 *   schedule: Record<string, any> | null, sidecar_ready: boolean}} Depths */
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
  const { schedule } = depths;
  return html`<ol class="pipeline">
      <${Stage} name=${t("pipe.outbox")} bad=${depths.outbox.depth > 1000 || depths.outbox.oldest_seconds > 60}>
        <strong>${t("pipe.depth", { n: depths.outbox.depth })}</strong>
        ${depths.outbox.depth > 0 && html`<span>${t("pipe.oldest", { span: saySpan(depths.outbox.oldest_seconds) })}</span>`}
        ${depths.outbox.paused && html`<span class="problem">${t("pipe.paused")}</span>`}
        <${Plot} values=${outbox} name=${t("pipe.outbox")} />
      <//>
      <${Stage} name=${t("pipe.broker")} bad=${!depths.sidecar_ready}>
        <strong>${t(depths.sidecar_ready ? "pipe.ready" : "pipe.away")}</strong>
      <//>
      <${Stage} name=${t("pipe.schedule")} bad=${!schedule}>
        ${schedule
          ? Object.entries(schedule).map(([name, value]) => html`<span>${name.replaceAll("_", " ")}: ${sayValue(value)}</span>`)
          : html`<strong>${t("pipe.away")}</strong>`}
      <//>
      <${Stage} name=${t("pipe.dead")} bad=${depths.dead_letters.open > 0}>
        <strong>${depths.dead_letters.open}</strong>
      <//>
    </ol>
    <${Letters} count=${depths.dead_letters.open} />`;
}

/** @param {unknown} value */
function sayValue(value) {
  return typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value) ? sayInstant(value) : String(value ?? t("none"));
}

/** @param {{name: string, bad: boolean, children?: unknown}} props */
function Stage({ name, bad, children }) {
  return html`<li class=${bad ? "stage bad" : "stage"}>
    <h3>${name}</h3>
    ${children}
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
    <a href=${`#/all?task=${id}`}><${Icon} name="left" /> ${t("detail.title")}</a>
  </section>`;
}

/** @param {Record<string, unknown>} details */
function sayDetails(details) {
  return Object.entries(details)
    .filter(([name, value]) => value !== null && value !== "" && name !== "trace")
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${sayValue(value)}`)
    .join(" · ");
}
