/** One task: all that can be said of it, and what became of its reminders. */
import { Away, Refused, call, get } from "./api.js";
import { add, dismiss, edit, remove, snooze, whenBody } from "./commands.js";
import { addDays, dueDay, sayDate, sayInstant, saySecond, today, wall, zone } from "./dates.js";
import { html, useEffect, useState } from "./html.js";
import { Check, DueMark, sayRelative } from "./list.js";
import { Notes } from "./notes.js";
import { byPosition, isOpen } from "./pages.js";
import { known } from "./queue.js";
import { show } from "./router.js";
import { lists, revision, tasks } from "./store.js";
import { Icon, IconButton, Menu, saySpan } from "./ui.js";
import { language, t } from "./words.js";

/** @typedef {import("./types.js").Task} Task */
/** @typedef {import("./types.js").ReminderFiring} ReminderFiring */

/** @param {{id: string}} props */
export function Detail({ id }) {
  revision.value; // drawn anew with every change
  const task = tasks.get(known(id));
  useEffect(() => {
    if (known(id) !== id) show(known(id)); // the server has given it its id
  });
  const close = () => show(null);
  if (!task) {
    return html`<aside class="detail" aria-label=${t("detail.title")}>
      <div class="detail-head"><${IconButton} icon="close" name=${t("close")} onClick=${close} /></div>
      <p class="empty">${t("detail.missing")}</p>
    </aside>`;
  }
  return html`<aside class="detail scroll" aria-label=${task.title} key=${task.id}>
    <div class="detail-head">
      <${Check} task=${task} />
      <${Title} task=${task} />
      <${IconButton} icon="trash" name=${t("delete")} onClick=${() => remove(task)} />
      <${IconButton} icon="close" name=${t("close")} onClick=${close} />
    </div>
    <${NotesField} task=${task} />
    <dl class="fields">
      <${WhenField} task=${task} />
      <${StartField} task=${task} />
      <${PriorityField} task=${task} />
      <${ListField} task=${task} />
      <${LabelsField} task=${task} />
      <${RepeatField} task=${task} />
    </dl>
    <${Reminders} task=${task} />
    ${!task.parent_id && html`<${Subtasks} task=${task} />`}
    <footer class="detail-foot">
      <small>${t("detail.created", { at: sayInstant(task.created_at) })}</small>
      ${task.closed_at && html`<small>${t("detail.closed", { at: sayInstant(task.closed_at) })}</small>`}
      <a href=${`#/why/${task.id}`}>${t("detail.why")}</a>
    </footer>
  </aside>`;
}

/** @param {{task: Task}} props */
function Title({ task }) {
  return html`<${Field} class="title-in" tall label=${t("detail.title")} value=${task.title} onSave=${(/** @type {string} */ title) => title && edit(task, { title })} />`;
}

/**
 * An input that saves when it is left or Enter is pressed, and follows what others do while nobody is in it.
 * @param {{label: string, value: string, onSave: (text: string) => void, class?: string, placeholder?: string, clears?: boolean, tall?: boolean}} props
 *   `tall`: it grows with a long text
 */
function Field({ label, value, onSave, class: kind = "", placeholder = "", clears = false, tall = false }) {
  const [text, setText] = useState(value);
  const [inside, setInside] = useState(false);
  useEffect(() => {
    if (!inside) setText(value);
  }, [value, inside]);
  const save = () => {
    const written = text.trim();
    if (written !== value) onSave(written);
    if (clears) setText("");
  };
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      save();
    } else if (event.key === "Escape" && text !== value) {
      event.stopPropagation();
      setText(value);
    }
  };
  return html`<${tall ? "textarea" : "input"}
    class=${kind}
    aria-label=${label}
    rows=${tall ? 1 : undefined}
    placeholder=${placeholder}
    value=${text}
    maxlength="500"
    onFocus=${() => setInside(true)}
    onBlur=${() => (setInside(false), save())}
    onKeyDown=${onKeyDown}
    onInput=${(/** @type {InputEvent} */ event) => setText(/** @type {HTMLInputElement} */ (event.target).value)}
  />`;
}

/** @param {{task: Task}} props */
function NotesField({ task }) {
  const [text, setText] = useState(/** @type {string | null} */ (null)); // while it is edited
  const save = () => {
    if (text !== null && text !== task.notes) edit(task, { notes: text });
    setText(null);
  };
  if (text !== null) {
    return html`<textarea
      class="notes-in"
      aria-label=${t("detail.notes")}
      maxlength="20000"
      autofocus
      ref=${(/** @type {HTMLElement | null} */ element) => element && document.activeElement !== element && element.focus()}
      onBlur=${save}
      onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Escape" && (event.stopPropagation(), save())}
      onInput=${(/** @type {InputEvent} */ event) => setText(/** @type {HTMLTextAreaElement} */ (event.target).value)}
      value=${text}
    ></textarea>`;
  }
  return html`<section class="notes" aria-label=${t("detail.notes")}>
    ${task.notes && html`<${Notes} text=${task.notes} />`}
    <button type="button" class="quiet" onClick=${() => setText(task.notes)}>${task.notes ? t("edit") : t("detail.notes.empty")}</button>
  </section>`;
}

/** @param {{task: Task}} props */
function WhenField({ task }) {
  const day = dueDay(task) ?? "";
  const time = task.due_at ? wall(task.due_at)[1] : "";
  /** @param {string} newDay @param {string} newTime */
  const put = (newDay, newTime) => edit(task, whenBody(task, newDay || null, newTime || null));
  return html`<div class="field">
    <dt>${t("detail.due")}</dt>
    <dd>
      <input type="date" aria-label=${t("detail.due")} value=${day} onChange=${(/** @type {any} */ event) => put(event.target.value, time)} />
      <input type="time" aria-label=${t("detail.time")} value=${time} disabled=${!day} onChange=${(/** @type {any} */ event) => put(day, event.target.value)} />
      ${day && html`<${DueMark} task=${task} />`}
    </dd>
  </div>`;
}

/** The day it begins; a time that it begins at is kept while the day stays. @param {{task: Task}} props */
function StartField({ task }) {
  const day = task.start_date ?? (task.start_at ? wall(task.start_at)[0] : "");
  /** @param {string} chosen */
  const put = (chosen) => edit(task, chosen ? { start_date: chosen, ...(task.zone ? {} : { zone: zone.value }) } : { start_at: null, start_date: null });
  return html`<div class="field">
    <dt>${t("detail.start")}</dt>
    <dd><input type="date" aria-label=${t("detail.start")} value=${day} onChange=${(/** @type {any} */ event) => put(event.target.value)} /></dd>
  </div>`;
}

/** @param {{task: Task}} props */
function PriorityField({ task }) {
  return html`<div class="field">
    <dt>${t("detail.priority")}</dt>
    <dd>
      <select aria-label=${t("detail.priority")} onChange=${(/** @type {any} */ event) => edit(task, { priority: Number(event.target.value) })}>
        ${/** @type {const} */ ([1, 2, 3, 4]).map((n) => html`<option value=${n} selected=${task.priority === n}>${t(`priority.${n}`)}</option>`)}
      </select>
    </dd>
  </div>`;
}

/** @param {{task: Task}} props */
function ListField({ task }) {
  if (!lists.size) return null;
  const all = [...lists.values()].sort((a, b) => (a.position < b.position ? -1 : 1));
  return html`<div class="field">
    <dt>${t("detail.list")}</dt>
    <dd>
      <select aria-label=${t("detail.list")} onChange=${(/** @type {any} */ event) => edit(task, { list_id: event.target.value || null })}>
        <option value="" selected=${!task.list_id}>${t("nav.inbox")}</option>
        ${all.map((list) => html`<option value=${list.id} selected=${task.list_id === list.id}>${list.name}</option>`)}
      </select>
    </dd>
  </div>`;
}

/** @param {{task: Task}} props */
function LabelsField({ task }) {
  /** @param {string[]} labels */
  const put = (labels) => edit(task, { labels });
  return html`<div class="field">
    <dt>${t("detail.labels")}</dt>
    <dd class="chips">
      ${task.labels.map(
        (label) => html`<span class="chip">
          <a href=${`#/label/${encodeURIComponent(label)}`}>#${label}</a>
          <${IconButton} icon="close" name=${`${t("delete")} #${label}`} onClick=${() => put(task.labels.filter((one) => one !== label))} />
        </span>`,
      )}
      <${Field} label=${t("detail.labels.add")} placeholder="#" value="" clears onSave=${(/** @type {string} */ text) => put([...new Set([...task.labels, text.replace(/^#/, "")])])} />
    </dd>
  </div>`;
}

/* ---- recurrence ---- */

/** @typedef {{rule: string, mode: string, policy: string, sentence: string, occurrences: string[], remarks: string[]}} Sentence */

/** @param {{task: Task}} props */
function RepeatField({ task }) {
  const [said, setSaid] = useState(/** @type {Sentence | null} */ (null));
  const [text, setText] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useState("");
  const rule = task.recurrence?.rule ?? null;
  const due = { due_at: task.due_at ?? undefined, due_date: task.due_date ?? undefined, zone: task.zone ?? zone.value };

  useEffect(() => {
    if (!rule || text !== null) return;
    const recurrence = { rule, mode: task.recurrence?.mode, policy: task.recurrence?.policy };
    const body = { recurrence, ...due, language: language.value };
    call("POST", "/occurrences/preview", { body }).then(({ value }) => setSaid(value), () => setSaid(null));
  }, [rule, task.version, text === null]);

  useEffect(() => {
    if (!text?.trim()) return undefined;
    const timer = setTimeout(async () => {
      try {
        setSaid((await call("POST", "/sentences", { body: { text, ...due, language: language.value } })).value);
        setProblem("");
      } catch (error) {
        setSaid(null);
        setProblem(error instanceof Refused ? sayFault(error) : t("quick.offline"));
      }
    }, 150);
    return () => clearTimeout(timer);
  }, [text]);

  const stop = () => edit(task, { recurrence: null });
  const save = () => {
    if (said && text?.trim()) edit(task, { recurrence: { rule: said.rule, mode: said.mode, policy: said.policy } });
    setText(null);
  };
  const begins = Boolean(dueDay(task));
  return html`<div class="field">
    <dt>${t("detail.repeat")}</dt>
    <dd class="repeat">
      ${text === null
        ? html`<button type="button" class="quiet" disabled=${!begins || !isOpen(task)} title=${begins ? "" : t("detail.repeat.needsdue")} onClick=${() => setText("")}>
            ${rule ? said?.sentence || rule : t("detail.repeat.none")}
          </button>`
        : html`<input
            aria-label=${t("detail.repeat")}
            placeholder=${t("detail.repeat.hint")}
            value=${text}
            autofocus
            maxlength="500"
            ref=${(/** @type {HTMLElement | null} */ element) => element && document.activeElement === document.body && element.focus()}
            onInput=${(/** @type {any} */ event) => setText(event.target.value)}
            onKeyDown=${(/** @type {KeyboardEvent} */ event) => (event.key === "Enter" ? save() : event.key === "Escape" && (event.stopPropagation(), setText(null)))}
          />`}
      ${text !== null && said && html`<p class="said">${said.sentence}</p>`}
      ${problem && text !== null && html`<p class="problem" role="alert">${problem}</p>`}
      ${(rule || text !== null) && said?.occurrences.length ? html`<p class="next">${t("detail.repeat.next", { dates: said.occurrences.map(sayDate).join(", ") })}</p>` : ""}
      ${(rule || text !== null) && said?.remarks?.map((remark) => html`<p class="remark">${remark}</p>`)}
      ${text !== null
        ? html`<div class="actions"><button type="button" class="primary" disabled=${!said} onClick=${save}>${t("save")}</button><button type="button" onClick=${() => setText(null)}>${t("cancel")}</button></div>`
        : rule && html`<button type="button" class="quiet" onClick=${stop}>${t("detail.repeat.stop")}</button>`}
    </dd>
  </div>`;
}

/** @param {Refused} refused */
function sayFault({ problem }) {
  const [fault] = problem.errors ?? [];
  return fault ? `${fault.problem}; ${fault.fix}` : problem.detail;
}

/* ---- reminders ---- */

const PRESETS = ["PT0S", "-PT10M", "-PT1H", "-P1D"];

/** @param {{task: Task}} props */
function Reminders({ task }) {
  const history = useHistory(task);
  const begins = Boolean(dueDay(task));
  const choices = PRESETS.filter((one) => !task.reminders.includes(one)).map((one) => ({
    text: sayReminder(one),
    run: () => edit(task, { reminders: [...task.reminders, one] }),
  }));
  return html`<section class="reminders" aria-label=${t("detail.reminders")}>
    <h3>${t("detail.reminders")}</h3>
    <ul>
      ${task.reminders.map((one) => html`<${Reminder} key=${one} task=${task} text=${one} firings=${history.filter((firing) => firing.reminder === one)} />`)}
      ${history
        .filter((firing) => !task.reminders.includes(firing.reminder) && firing.attempts.length)
        .map((firing) => html`<${Reminder} key=${firing.reminder + firing.fire_at} task=${task} text=${firing.reminder} firings=${[firing]} past />`)}
    </ul>
    ${isOpen(task) && (begins ? html`<${Menu} class="text" name=${t("detail.reminders.add")} label=${t("detail.reminders.add")} choices=${choices} />` : html`<small>${t("detail.reminders.needsdue")}</small>`)}
    ${isOpen(task) && html` <${Menu} class="text" name=${t("remind.snooze")} label=${t("remind.snooze")} choices=${snoozes(task)} />`}
  </section>`;
}

/** @param {{task: Task, text: string, firings: ReminderFiring[], past?: boolean}} props */
function Reminder({ task, text, firings, past = false }) {
  const removeIt = () => edit(task, { reminders: task.reminders.filter((one) => one !== text) });
  const coming = firings.find((one) => one.state === "scheduled");
  return html`<li>
    <${Icon} name="bell" />
    <span class="what">${sayReminder(text)}</span>
    ${!past && coming && html`<button type="button" class="quiet" onClick=${() => dismiss(task, text)}>${t("remind.dismiss")}</button>`}
    ${!past && isOpen(task) && html`<${IconButton} icon="close" name=${t("remind.remove", { text: sayReminder(text) })} onClick=${removeIt} />`}
    ${firings.map((firing) => html`<span class=${`state ${firing.state}`}>${sayState(firing)}</span>`)}
  </li>`;
}

/** @param {ReminderFiring} firing */
function sayState(firing) {
  const last = firing.attempts.at(-1);
  const at = firing.state === "delivered" && last ? `${sayRelative(wall(last.at)[0])} ${saySecond(last.at)}` : sayInstant(firing.fire_at);
  const said = t(/** @type {any} */ (`state.${firing.state}`), { at, whom: last?.recipient ?? "", reason: last?.reason ?? "" });
  return last?.possibly_sent ? `${said} (${t("state.possibly")})` : said;
}

/** "1 hour before". @param {string} text canonical */
export function sayReminder(text) {
  const match = /^([-+]?)P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$/.exec(text);
  if (!match) return sayInstant(text);
  const [, sign, weeks, days, hours, minutes, seconds] = match.map((part) => part ?? "0");
  const span = Number(weeks) * 604_800 + Number(days) * 86_400 + Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
  if (!span) return t("remind.at");
  return t(sign === "-" ? "remind.before" : "remind.after", { span: saySpan(span) });
}

/** What became of the reminders, read anew with every version, and while one is on its way. @param {Task} task */
function useHistory(task) {
  const [history, setHistory] = useState(/** @type {ReminderFiring[]} */ ([]));
  const [tick, setTick] = useState(0);
  useEffect(() => {
    if (!task.version) return undefined;
    let wanted = true;
    get(`/tasks/${task.id}`).then(
      (read) => wanted && setHistory(read.reminder_history),
      (error) => {
        if (!(error instanceof Away || error instanceof Refused)) throw error;
      },
    );
    return () => {
      wanted = false;
    };
  }, [task.id, task.version, tick]);
  const next = Math.min(...history.filter((one) => one.state === "scheduled").map((one) => Date.parse(one.fire_at)));
  const moving = history.some((one) => one.state === "due" || one.state === "deferred");
  useEffect(() => {
    const wait = moving ? 2000 : Number.isFinite(next) ? Math.min(Math.max(next - Date.now() + 1500, 1500), 60_000) : 0;
    const timer = wait ? setTimeout(() => setTick(tick + 1), wait) : undefined;
    return () => clearTimeout(timer);
  }, [tick, moving, next]);
  return history;
}

/** @param {Task} task */
function snoozes(task) {
  /** @param {number} minutes */
  const later = (minutes) => new Date(Date.now() + minutes * 60_000).toISOString();
  return [
    { text: t("snooze.10m"), run: () => snooze(task, later(10)) },
    { text: t("snooze.1h"), run: () => snooze(task, later(60)) },
    { text: t("snooze.tomorrow"), run: () => snooze(task, instantOf(addDays(today.value, 1), "09:00")) },
  ];
}

/** The instant of a wall time in the user's zone: found by asking what the wall shows. @param {string} day @param {string} time */
function instantOf(day, time) {
  const wanted = Date.parse(`${day}T${time}:00Z`);
  let at = wanted;
  for (let turn = 0; turn < 3; turn += 1) {
    const [shownDay, shownTime] = wall(new Date(at).toISOString());
    at += wanted - Date.parse(`${shownDay}T${shownTime}:00Z`);
  }
  return new Date(at).toISOString();
}

/* ---- subtasks ---- */

/** @param {{task: Task}} props */
function Subtasks({ task }) {
  const subtasks = [...tasks.values()].filter((one) => one.parent_id === task.id).sort(byPosition);
  /** @param {string} title */
  const addOne = (title) => title && add({ title, parent_id: task.id, ...(task.list_id ? { list_id: task.list_id } : {}) });
  return html`<section class="subtasks" aria-label=${t("detail.subtasks")}>
    <h3>${t("detail.subtasks")}</h3>
    <ul>
      ${subtasks.map(
        (one) => html`<li key=${one.id} class=${isOpen(one) ? "" : "closed"}>
          <${Check} task=${one} />
          <button type="button" class="quiet title" onClick=${() => show(one.id)}>${one.title}</button>
          <${DueMark} task=${one} />
        </li>`,
      )}
    </ul>
    ${task.version > 0 && html`<${Field} label=${t("detail.subtasks.add")} placeholder=${t("detail.subtasks.add")} value="" clears onSave=${addOne} />`}
  </section>`;
}

