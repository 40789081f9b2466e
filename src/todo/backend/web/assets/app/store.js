/**
 * The replica: everything alive of one user, fed by /changes, kept in IndexedDB so that the next visit begins with it.
 *
 * `server` is what the server has said; `tasks` is that with what the person did since on top (queue.js).
 */
import { batch, signal } from "./html.js";

/** @typedef {import("./types.js").Task} Task */
/** @typedef {import("./types.js").List} List */
/** @typedef {import("./types.js").View} View */
/** @typedef {import("./types.js").Change} Change */
/** @typedef {import("./types.js").Kind} Kind */

/** @type {Map<string, Task>} */
export const server = new Map();
/** @type {Map<string, Task>} */
export const tasks = new Map();
/** @type {Map<string, List>} */
export const lists = new Map();
/** @type {Map<string, View>} */
export const views = new Map();
/** Grows with every change of any of them: what is computed from them reads it. */
export const revision = signal(0);
/** Whether the replica is complete: before that an empty page only means that it is still coming. */
export const loaded = signal(false);

/** Puts what a person did on top of what the server said. queue.js sets it. @type {(id: string, task: Task | undefined) => Task | undefined} */
let overlay = (_, task) => task;

/** @param {typeof overlay} put */
export function overlayWith(put) {
  overlay = put;
}

/** Show a task anew, after what lies on top of it has changed. @param {Iterable<string>} ids */
export function reshow(ids) {
  for (const id of ids) {
    const task = overlay(id, server.get(id));
    if (task) tasks.set(id, task);
    else tasks.delete(id);
  }
  revision.value += 1;
}

/**
 * Take what the server says; older versions than known ones are left.
 * @param {Change[]} changes
 * @param {string} [cursor] how far that is: kept together with them, so that neither is there without the other
 */
export function take(changes, cursor) {
  const changed = changes.filter(isNews);
  for (const change of changed) {
    const map = /** @type {Map<string, any>} */ (mapOf(change.kind));
    if (change.deleted || !change.value) map.delete(change.id);
    else map.set(change.id, change.value);
    gone.set(change.id, change.deleted ? change.version : 0);
  }
  if (changed.length) batch(() => reshow(changed.filter((change) => change.kind === "task").map((change) => change.id)));
  keep(changed, cursor);
}

/** Versions at which things were deleted: a slow answer must not bring one back. @type {Map<string, number>} */
const gone = new Map();

/** @param {Change} change */
function isNews(change) {
  const known = mapOf(change.kind).get(change.id);
  return change.version > Math.max(known?.version ?? 0, gone.get(change.id) ?? 0);
}

/** @param {Kind} kind */
function mapOf(kind) {
  return kind === "task" ? server : kind === "list" ? lists : views;
}

/* ---- IndexedDB ---- */

/** @type {IDBDatabase | undefined} */
let database;

/** Open this user's replica and show what it has. @param {number} user @returns {Promise<string | null>} the cursor */
export async function open(user) {
  database?.close();
  for (const map of [server, tasks, lists, views]) map.clear();
  database = await new Promise((resolve, reject) => {
    const opening = indexedDB.open(`todo-${user}`, 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("things", { keyPath: ["kind", "id"] });
      opening.result.createObjectStore("queue", { keyPath: "order", autoIncrement: true });
      opening.result.createObjectStore("conflicts", { keyPath: "command.key" });
      opening.result.createObjectStore("meta");
    };
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  /** @type {IDBDatabase} */ (database).onversionchange = () => location.reload(); // signed out in another tab
  const kept = transaction(["things", "meta"], "readonly"); // both as of one moment: other tabs write them
  const [things, cursor] = await Promise.all([
    asked(kept.objectStore("things").getAll()),
    asked(kept.objectStore("meta").get("cursor")),
  ]);
  for (const { kind, id, value } of /** @type {Change[]} */ (things)) /** @type {Map<string, any>} */ (mapOf(kind)).set(id, value);
  reshow(server.keys());
  return cursor ?? null;
}

/** @param {string[]} names @param {IDBTransactionMode} mode */
export function transaction(names, mode) {
  if (!database) throw new Error("the replica is not open");
  return database.transaction(names, mode);
}

/** @param {string} name @param {IDBTransactionMode} [mode] */
export function stores(name, mode = "readonly") {
  return transaction([name], mode).objectStore(name);
}

/** @param {IDBRequest} request @returns {Promise<any>} */
export function asked(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {string} name @returns {Promise<any[]>} */
export function all(name) {
  return asked(stores(name).getAll());
}

/** @param {Change[]} changes @param {string} [cursor] */
function keep(changes, cursor) {
  if (!database || !(changes.length || cursor)) return;
  const kept = transaction(["things", "meta"], "readwrite");
  for (const change of changes) {
    if (change.deleted || !change.value) kept.objectStore("things").delete([change.kind, change.id]);
    else kept.objectStore("things").put(change);
  }
  if (cursor) kept.objectStore("meta").put(cursor, "cursor");
}

/**
 * Begin anew with exactly this: the first load, or another database behind the same address.
 * @param {Change[]} changes @param {string} cursor
 */
export async function replace(changes, cursor) {
  for (const map of [server, lists, views]) map.clear();
  gone.clear();
  for (const { kind, id, value } of changes) /** @type {Map<string, any>} */ (mapOf(kind)).set(id, value);
  reshow(new Set([...tasks.keys(), ...server.keys()]));
  const kept = transaction(["things", "meta"], "readwrite");
  kept.objectStore("things").clear();
  for (const change of changes) kept.objectStore("things").put(change);
  kept.objectStore("meta").put(cursor, "cursor");
  await finished(kept);
}

/** @param {IDBTransaction} work @returns {Promise<unknown>} */
export function finished(work) {
  return new Promise((resolve, reject) => {
    work.oncomplete = resolve;
    work.onabort = () => reject(work.error);
  });
}

/** Nothing of this user stays in this browser; other tabs let go of it and load anew. */
export async function erase() {
  const name = database?.name;
  database?.close();
  database = undefined;
  if (name) await asked(indexedDB.deleteDatabase(name));
}
