/** The live feed: the replica follows /changes from its cursor, whatever was missed meanwhile. */
import { Refused, get } from "./api.js";
import { signal } from "./html.js";
import { created, signedOut } from "./queue.js";
import { loaded, replace, take } from "./store.js";

/** @typedef {import("./types.js").Change} Change */

/** Whether changes of others arrive at the moment. */
export const live = signal(false);

const PAGE = 500;
const BUSY = 150; // ms between two looks while much arrives: a change alone is shown at once
const PATIENCE = 2000; // ms that changes of others wait for an answer to one of ours
const AGAIN = 2000; // ms until the next try after the stream was refused; the browser itself retries a lost one
/** @type {EventSource | undefined} */
let source;
/** @type {string | null} */
let cursor = null;
/** @type {() => void} */
let connected = () => {};

/** Follow for as long as the page lives. @param {string | null} from the cursor of the last visit @param {() => void} onConnect */
export async function follow(from, onConnect) {
  cursor = from;
  loaded.value = cursor !== null;
  connected = onConnect;
  await listen();
}

async function listen() {
  try {
    if (cursor === null) await begin();
    attach();
  } catch {
    setTimeout(listen, AGAIN);
  }
}

/** Read everything that is alive, page by page, then follow from where that began. */
async function begin() {
  /** @type {Change[]} */
  const everything = [];
  /** @type {string | null} */
  let next = null;
  do {
    const query = new URLSearchParams({ limit: String(PAGE), ...(next ? { cursor: next } : {}) });
    /** @type {{changes: Change[], cursor: string, more: boolean}} */
    const page = await get(`/changes?${query}`);
    everything.push(...page.changes.filter((change) => !change.deleted));
    next = page.cursor;
    cursor = page.more ? null : next;
  } while (cursor === null);
  await replace(everything, cursor);
  loaded.value = true;
}

/** A stream that was refused says not why: another call does. */
async function again() {
  try {
    await get(`/changes?${new URLSearchParams({ cursor: cursor ?? "now", limit: "1" })}`);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      signedOut.value = true;
      return;
    }
  }
  await listen();
}

function attach() {
  source?.close();
  source = new EventSource(`/changes/stream?${new URLSearchParams({ cursor: cursor ?? "" })}`);
  source.onopen = () => {
    live.value = true;
    connected();
  };
  source.onerror = () => {
    live.value = false;
    if (source?.readyState === EventSource.CLOSED) setTimeout(again, AGAIN);
  };
  source.addEventListener("change", (event) => gather(JSON.parse(event.data), event.lastEventId));
  source.addEventListener("reset", () => {
    source?.close();
    live.value = false;
    cursor = null;
    listen();
  });
}

/** @type {Change[]} */
let gathered = [];
let flushed = 0; // when something was shown last

/** What arrives in one go is shown in one go. @param {Change} change @param {string} at */
function gather(change, at) {
  gathered.push(change);
  cursor = at || cursor;
  if (gathered.length === 1) setTimeout(flush, Date.now() - flushed < BUSY ? BUSY : 0);
}

async function flush() {
  await Promise.race([created, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  const changes = gathered;
  gathered = [];
  flushed = Date.now();
  take(changes, cursor ?? undefined);
}
