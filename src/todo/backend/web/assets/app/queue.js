/**
 * What the person did and the server has not answered yet: kept in IndexedDB, sent in order by one tab at a time, each
 * under its Idempotency-Key. Until then it lies on top of what the server said; what the server refuses is shown as a
 * conflict, never dropped and never written over what others did.
 */
import { Away, Refused, call, get } from "./api.js";
import { zone } from "./dates.js";
import { signal } from "./html.js";
import { all, asked, finished, overlayWith, reshow, server, stores, take, transaction } from "./store.js";
import { language } from "./words.js";

/** @typedef {import("./types.js").Command} Command */
/** @typedef {import("./types.js").Conflict} Conflict */
/** @typedef {import("./types.js").Task} Task */
/** @typedef {{undo: string | null, task: Task | null}} Done */

/** @type {Command[]} */
let pending = [];
/** How many are still to be sent. */
export const waiting = signal(0);
export const conflicts = signal(/** @type {Conflict[]} */ ([]));
/** Set when the server wants to know who this is. */
export const signedOut = signal(false);

/** @type {Map<string, {resolve: (done: Done) => void, reject: (error: Error) => void}>} */
const callers = new Map();
/** Other tabs of the same user. @type {BroadcastChannel | undefined} */
let others;
/** @type {(value?: unknown) => void} */
let opened = () => {};
const ready = new Promise((resolve) => (opened = resolve));
const RETRY = 3000; // ms
const FAILS = 5; // times that the server fails on a change itself, until the others go on without it
/** @type {Map<string, number>} */
const failures = new Map();

/** Ids that tasks had here before the server gave them theirs. @type {Map<string, string>} */
const aliases = new Map();

/** The id a task has by now. @param {string} id */
export function known(id) {
  return aliases.get(id) ?? id;
}

/** @param {Command} command @param {string} id */
function isAbout(command, id) {
  return command.id === id || command.what === "bulk" && command.body.ids.includes(id);
}

overlayWith((id, task) => pending.filter((one) => one.id === id).reduce(effect, task));

/** Take over what the last visit left, and what other tabs do. @param {number} user */
export async function openQueue(user) {
  others = new BroadcastChannel(`todo-${user}`);
  others.onmessage = (event) => heard(event.data);
  opened();
  await reread();
  conflicts.value = await all("conflicts");
  addEventListener("online", send);
  send();
}

/**
 * Do something: at once for the person, later for the server. Resolves when the server has taken it.
 * @param {Omit<Command, "key" | "at"> & {key?: string, at?: string}} given
 * @returns {Promise<Done>}
 */
export function enqueue(given) {
  const fresh = { key: crypto.randomUUID(), at: new Date().toISOString() };
  const command = /** @type {Command} */ ({ ...fresh, ...given, id: known(given.id) });
  /** @type {Promise<Done>} */
  const answered = new Promise((resolve, reject) => callers.set(command.key, { resolve, reject }));
  answered.catch(() => {}); // whoever does not wait is told by the list of conflicts
  pending.push(command);
  reshow(touched(command));
  waiting.value = pending.length;
  store(command);
  return answered;
}

/** @param {Command} command */
async function store(command) {
  await ready;
  command.order = await asked(stores("queue", "readwrite").add(command));
  tell({ queued: true });
  send();
}

/** @param {{queued?: boolean, changed?: import("./types.js").Change, known?: [string, string], conflict?: boolean}} message */
function tell(message) {
  others?.postMessage(message);
}

/** @param {Command} command @returns {string[]} */
function touched(command) {
  return command.what === "bulk" ? command.body.ids : [command.id];
}

/** Take back what was not sent yet. @param {string} key @returns {Promise<boolean>} whether it was still here */
export async function withdraw(key) {
  const command = pending.find((one) => one.key === key);
  if (!command?.order || sending === key) return false;
  await asked(stores("queue", "readwrite").delete(command.order));
  await reread(touched(command));
  tell({ queued: true });
  return true;
}

/** @param {Conflict} conflict @param {boolean} again whether to do it once more, on what is there now */
export async function settle(conflict, again) {
  await asked(stores("conflicts", "readwrite").delete(conflict.command.key));
  conflicts.value = conflicts.value.filter((/** @type {Conflict} */ one) => one !== conflict);
  if (!again) return;
  const { order: _, key: __, ...command } = conflict.command;
  enqueue({ ...command, seen: conflict.theirs?.version ?? command.seen });
}

/** @param {string[]} [more] */
async function reread(more = []) {
  const before = pending.flatMap(touched);
  pending = await all("queue");
  waiting.value = pending.length;
  reshow(new Set([...before, ...more, ...pending.flatMap(touched)]));
}

/** @param {Parameters<typeof tell>[0]} message */
async function heard(message) {
  if (message.known) aliases.set(...message.known);
  if (message.changed) take([message.changed]);
  if (message.conflict) conflicts.value = await all("conflicts");
  await reread();
}

/* ---- sending ---- */

/** @type {string | null} */
let sending = null;
let running = false;

/** Send what waits, oldest first, in the one tab that holds the lock. */
export async function send() {
  if (running) return;
  running = true;
  try {
    await navigator.locks.request("todo-queue", { ifAvailable: true }, async (lock) => {
      if (lock) await drain();
    });
  } finally {
    running = false;
  }
  if (pending.length) setTimeout(send, RETRY);
}

/** Resolves when no task is on its way that the feed might bring first, under the id that it has not got here yet. */
export let created = Promise.resolve();

function beginCreating() {
  let finish = () => {};
  created = new Promise((resolve) => (finish = resolve));
  return finish;
}

async function drain() {
  await reread();
  while (pending.length && !signedOut.value) {
    const command = pending[0];
    sending = command.key;
    const finish = command.what === "create" || command.what === "quick" ? beginCreating() : () => {};
    try {
      const base = baseOf(command);
      await settled(command, await perform(command, base), base);
    } catch (error) {
      if (error instanceof Away && !isHopeless(command, error)) return;
      if (error instanceof Refused && isSignedOut(error)) {
        signedOut.value = true;
        return;
      }
      await refused(command, problemOf(error));
    } finally {
      sending = null;
      finish();
    }
  }
}

/** The cookie is another session's by now, or none: whose change this is must be asked first. @param {Refused} error */
function isSignedOut(error) {
  return error.status === 401 || error.status === 403 && /csrf|cross-origin/.test(error.problem.type);
}

/** A change that the server fails on again and again must not hold up the others. @param {Command} command @param {Away} error */
function isHopeless(command, error) {
  if (error.status !== 500) return false;
  const count = (failures.get(command.key) ?? 0) + 1;
  failures.set(command.key, count);
  return count >= FAILS;
}

/** @param {unknown} error @returns {import("./types.js").Problem} */
function problemOf(error) {
  if (error instanceof Refused) return error.problem;
  return { type: "about:blank", title: String(error), status: 500, detail: error instanceof Error ? error.message : String(error) };
}

/** What our own changes made of a version: a change begun before one was answered is based on what came of it. @type {Map<string, number>} */
const ours = new Map();

/** The version that a change is made to, as far as it is known here. @param {Command} command */
function baseOf({ id: given, seen }) {
  const id = known(given);
  let base = seen ?? server.get(id)?.version;
  for (let next = base; next !== undefined; next = ours.get(`${id} ${next}`)) base = next;
  return base;
}

/** @param {Command} command @param {Done} done @param {number | undefined} base */
async function settled(command, done, base) {
  if (done.task && base !== undefined && done.task.version === base + 1) ours.set(`${done.task.id} ${base}`, base + 1);
  await leave(command, done.task);
  pending = pending.filter((one) => one.key !== command.key); // at once: nothing is shown twice
  reshow(touched(command));
  if (done.task) {
    const { task } = done;
    const changed = /** @type {import("./types.js").Change} */ ({ kind: "task", id: task.id, version: task.version, deleted: false, value: task });
    take([changed]);
    tell({ changed });
  } else if (command.what === "delete") take([removal(command.id)]);
  await reread(touched(command));
  callers.get(command.key)?.resolve(done);
  callers.delete(command.key);
  tell({ queued: true });
}

/** @param {string} id @returns {import("./types.js").Change} */
function removal(id) {
  return { kind: "task", id, version: (server.get(id)?.version ?? 0) + 1, deleted: true, value: null };
}

/**
 * Out of the queue, and what comes after it about the same task is about the task as it is now: in one transaction, so
 * that none is left behind under a name that nobody knows.
 * @param {Command} command @param {Task | null} task
 */
async function leave(command, task) {
  const queue = stores("queue", "readwrite");
  queue.delete(/** @type {number} */ (command.order));
  if (task) {
    for (const later of await asked(queue.getAll())) {
      if (later.id === command.id) queue.put({ ...later, id: task.id, seen: task.version });
    }
  }
  await finished(queue.transaction);
  if (task && command.id !== task.id) {
    aliases.set(command.id, task.id);
    tell({ known: [command.id, task.id] });
  }
}

/** @param {Command} command @param {import("./types.js").Problem} problem */
async function refused(command, problem) {
  const theirs = await current(command.id);
  const moved = transaction(["queue", "conflicts"], "readwrite");
  moved.objectStore("conflicts").put({ command, problem, theirs });
  moved.objectStore("queue").delete(/** @type {number} */ (command.order));
  await finished(moved);
  conflicts.value = await all("conflicts");
  await reread(touched(command));
  callers.get(command.key)?.reject(new Refused(problem));
  callers.delete(command.key);
  tell({ conflict: true });
}

/** The task as the server has it. @param {string} id @returns {Promise<Task | null>} */
async function current(id) {
  if (id.startsWith("new-")) return null;
  try {
    return await get(`/tasks/${id}`);
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

/** @param {Command} given @param {number | undefined} base @returns {Promise<Done>} */
async function perform(given, base) {
  const id = known(given.id);
  const seen = given.what === "edit" ? base : undefined;
  const command = { ...given, id, seen };
  const { what, body, key } = command;
  switch (what) {
    case "quick":
      return quick(command);
    case "create":
      return done(await call("POST", "/tasks", { body, key }));
    case "edit":
      return edit(command);
    case "bulk":
      return bulk(command);
    case "delete":
      return done(await call("DELETE", `/tasks/${id}${command.query ?? ""}`, { seen }).catch(goneAlready));
    case "complete":
      return done(await call("POST", `/tasks/${id}/complete`, { key }));
    case "move":
      return done(await call("POST", `/tasks/${id}/move`, { body: { after: body.after && known(body.after) } }));
    default:
      return done(await call("POST", `/tasks/${id}/${what}`));
  }
}

/** @param {Refused | Error} error */
function goneAlready(error) {
  if (error instanceof Refused && error.status === 404) return { value: null, undo: null, version: null };
  throw error;
}

/** @param {import("./api.js").Answer<any>} answer @returns {Done} */
function done({ value, undo }) {
  return { undo, task: value?.version ? value : null };
}

/** What was refused of many becomes a conflict of its own. @param {Command} command @returns {Promise<Done>} */
async function bulk({ body, key, at }) {
  const { value, undo } = await call("POST", "/tasks/bulk", { body: { ...body, ids: body.ids.map(known) }, key });
  const failed = value.results.filter((/** @type {any} */ one) => !one.ok);
  for (const { id, problem } of failed) {
    const single = { key: `${key}/${id}`, what: body.action, id, body: body.change ?? {}, at };
    await asked(stores("conflicts", "readwrite").put({ command: single, problem, theirs: await current(id) }));
  }
  if (failed.length) conflicts.value = await all("conflicts");
  return { undo, task: null };
}

/** A change whose answer was lost has happened: then the task already is as it was wanted. @param {Command} command */
async function edit({ id, body, seen }) {
  try {
    return done(await call("PATCH", `/tasks/${id}`, { body, seen }));
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 412) throw error;
    const theirs = await current(id);
    if (theirs && seen !== undefined && theirs.version === seen + 1 && isAs(theirs, body)) return { undo: null, task: theirs };
    throw error;
  }
}

/** @param {Task} task @param {Record<string, any>} body */
function isAs(task, body) {
  return Object.entries(body).every(
    ([field, value]) => JSON.stringify(/** @type {any} */ (task)[field]) === JSON.stringify(value),
  );
}

/** A line added while nobody could read it: read it as of when it was written. @param {Command} command */
async function quick({ body, key, at }) {
  const { value: reading } = await call("POST", "/quick-add", { body: { text: body.text, at, zone: zone.value, language: language.value } });
  return done(await call("POST", "/tasks", { body: together(reading.draft, body.also), key }));
}

/** What the line says counts; where it was written adds what it does not say. @param {Record<string, any>} draft @param {Record<string, any>} also */
function together(draft, also) {
  const { due_date, zone: _, labels = [], ...rest } = also;
  const due = due_date && !draft.due_at && !draft.due_date ? { due_date, zone: also.zone } : {};
  const both = [...new Set([...(draft.labels ?? []), ...labels])];
  return { ...rest, ...draft, ...due, ...(both.length ? { labels: both } : {}) };
}

/* ---- what a command does to a task before the server says so ---- */

/** @param {Task | undefined} task @param {Command} command @returns {Task | undefined} */
function effect(task, command) {
  const { what, body, at } = command;
  if (what === "bulk") return effect(task, { ...command, what: body.action, body: body.change ?? {} });
  if (what === "create") return { ...blank(command), ...body };
  if (what === "quick") return { ...blank(command), title: body.text, ...together(body.shown, body.also) };
  if (!task) return undefined;
  switch (what) {
    case "edit":
      return { ...task, ...body, recurrence: "recurrence" in body && !body.recurrence ? null : task.recurrence };
    case "complete":
      return { ...task, status: "done", closed_at: at };
    case "reopen":
      return { ...task, status: "open", closed_at: null };
    case "delete":
      return undefined;
    case "move":
      return { ...task, ...body.shown };
    default:
      return task;
  }
}

/** @param {Command} command @returns {Task} */
function blank({ id, at }) {
  return {
    id, user_id: 0, version: 0, title: "", notes: "", status: "open", due_at: null, due_date: null, start_at: null,
    start_date: null, zone: null, priority: 4, labels: [], reminders: [], recurrence: null, list_id: null, parent_id: null,
    position: "", created_at: at, updated_at: at, closed_at: null, deleted_at: null,
  };
}

/** Whether the server has not taken all of it yet. @param {string} id */
export function isPending(id) {
  return pending.some((one) => isAbout(one, id));
}

/** The version that a change of this task is based on. @param {string} id */
export function seenVersion(id) {
  return server.get(id)?.version;
}
