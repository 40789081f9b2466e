/** What a person can do to tasks: each is one command in the queue, one note, and one step that can be taken back. */
import { signal } from "./html.js";
import { sayDate, sayInstant, wall, zone } from "./dates.js";
import { enqueue, known, seenVersion } from "./queue.js";
import { revision, tasks } from "./store.js";
import { call } from "./api.js";
import { say, sayError } from "./toasts.js";
import { t } from "./words.js";

/** @typedef {import("./types.js").Task} Task */
/** @typedef {import("./types.js").Command} Command */

/** A repeating task that is to be deleted: this one, or all of them? */
export const asking = signal(/** @type {Task | null} */ (null));

/** @param {Omit<Command, "key" | "at">} command @param {string} text */
function act(command, text) {
  const key = crypto.randomUUID();
  const done = enqueue({ ...command, key });
  return { done, better: say(text, { keys: [key], done: [done] }) };
}

/** @param {Task} task */
export function complete(task) {
  const { better } = act({ what: "complete", id: task.id, body: {} }, t("done.plain", { title: task.title }));
  if (task.recurrence && !task.recurrence.ended) awaitSuccessor(task, better);
}

const PATIENCE = 8000; // ms: the next date comes as an event of its own

/** Say when the next one is, once it is there. @param {Task} task @param {(text: string) => void} better */
function awaitSuccessor(task, better) {
  const { series_id, seq } = /** @type {import("./types.js").Recurrence} */ (task.recurrence);
  const stop = revision.subscribe(() => {
    for (const one of tasks.values()) {
      if (one.recurrence?.series_id !== series_id || one.recurrence.seq !== seq + 1 || one.status !== "open") continue;
      better(t("done.next", { title: task.title, date: sayDate(one.due_date ?? one.due_at ?? "") }));
      setTimeout(() => stop(), 0);
    }
  });
  setTimeout(() => stop(), PATIENCE);
}

/** @param {Task} task */
export function reopen(task) {
  act({ what: "reopen", id: task.id, body: {} }, t("reopened", { title: task.title }));
}

/** @param {Task} task */
export function toggle(task) {
  if (task.status === "open") complete(task);
  else reopen(task);
}

/** Change fields: `body` as PATCH takes it. @param {Task} task @param {Record<string, any>} body */
export function edit(task, body) {
  act({ what: "edit", id: task.id, body, seen: seenVersion(task.id) }, t("changed", { title: body.title ?? task.title }));
}

/** @param {Task} task */
export function remove(task) {
  if (task.recurrence && !task.recurrence.ended && task.status === "open") asking.value = task;
  else removeOne(task);
}

/** @param {Task} task @param {"occurrence" | "series"} [scope] */
export function removeOne(task, scope) {
  asking.value = null;
  const query = scope ? `?scope=${scope}` : "";
  act({ what: "delete", id: task.id, body: {}, query }, t("deleted", { title: task.title }));
}

/** @param {Task} task */
export function restore(task) {
  return act({ what: "restore", id: task.id, body: {} }, t("restored", { title: task.title })).done;
}

/** Add a line as it was written; the server reads it. @param {string} text @param {Record<string, any>} also @param {Partial<Task>} shown */
export function addLine(text, also, shown) {
  const id = `new-${crypto.randomUUID()}`;
  act({ what: "quick", id, body: { text, also, shown } }, t("added", { title: shown.title ?? text }));
  return id;
}

/** @param {Record<string, any>} body as POST /tasks takes it */
export function add(body) {
  const id = `new-${crypto.randomUUID()}`;
  act({ what: "create", id, body }, t("added", { title: body.title }));
  return id;
}

/** Put it on a day; a time of day stays. @param {Task} task @param {string | null} day */
export function putOn(task, day) {
  edit(task, whenBody(task, day, task.due_at ? wall(task.due_at)[1] : null));
}

/** A due date as PATCH takes it. @param {Task | null} task @param {string | null} day @param {string | null} time HH:MM */
export function whenBody(task, day, time) {
  if (!day) return { due_at: null, due_date: null };
  const where = task?.zone ? {} : { zone: zone.value };
  return time ? { due_at: `${day}T${time}:00`, ...where } : { due_date: day, ...where };
}

/* ---- many at once ---- */

/** @param {string[]} ids @param {"complete" | "reopen" | "delete" | "edit"} action @param {Record<string, any> | null} change */
export function bulk(ids, action, change) {
  const words = /** @type {const} */ ({ complete: "done.many", delete: "deleted.many", edit: "changed.many", reopen: "changed.many" });
  const body = { ids, action, ...(change ? { change } : {}), ...(action === "delete" ? { scope: "occurrence" } : {}) };
  act({ what: "bulk", id: "", body }, t(words[action], { n: ids.length }));
}

/* ---- what needs the server at once ---- */

/** @param {Task} task @param {string} until an instant @param {string} [reminder] */
export async function snooze(task, until, reminder) {
  await attempt(async () => {
    const { undo } = await call("POST", `/tasks/${known(task.id)}/snooze`, { body: { until, reminder } });
    say(t("snoozed", { at: sayInstant(until) }), { keys: [""], done: [Promise.resolve({ undo, task: null })] });
  });
}

/** @param {Task} task @param {string} reminder */
export async function dismiss(task, reminder) {
  await attempt(async () => {
    const { undo } = await call("POST", `/tasks/${known(task.id)}/dismiss`, { body: { reminder } });
    say(t("changed", { title: task.title }), { keys: [""], done: [Promise.resolve({ undo, task: null })] });
  });
}

/** @param {() => Promise<void>} work */
export async function attempt(work) {
  try {
    await work();
  } catch (error) {
    sayError(error);
  }
}

/** Put a task behind another in the person's own order, or first. @param {Task} task @param {string | null} after */
export function moveBehind(task, after) {
  const before = after ? tasks.get(after)?.position ?? "" : "";
  const body = { after, shown: { position: `${before}~` } }; // right behind it until the server says where
  if (!after) body.shown.position = " ";
  act({ what: "move", id: task.id, body }, t("moved", { title: task.title }));
}
