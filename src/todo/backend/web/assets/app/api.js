/** Calls of the public API. Whatever these pages do goes through here, and any script can do the same. */

/** @typedef {import("./types.js").Problem} Problem */

/** The server said no, and why (RFC 9457). */
export class Refused extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail || problem.title);
    this.problem = problem;
  }
  get status() {
    return this.problem.status;
  }
}

/** Nobody answered, or not the server itself: the same call may succeed later. */
export class Away extends Error {
  /** @param {string} reason @param {number} [status] of the answer, if there was one */
  constructor(reason, status = 0) {
    super(reason);
    this.status = status;
  }
}

const LATER = new Set([408, 425, 429, 500, 502, 503, 504]);
let csrf = "";

/** What calls that change something carry while a session is signed in. @param {string | null | undefined} token */
export function carry(token) {
  csrf = token ?? "";
}

/**
 * @template T
 * @typedef {{value: T, undo: string | null, version: number | null}} Answer
 */

/**
 * @param {string} method
 * @param {string} path
 * @param {{body?: unknown, key?: string, seen?: number | null, signal?: AbortSignal}} [options]
 *   `key` makes it repeatable, `seen` is the version that the person saw
 * @returns {Promise<Answer<any>>}
 */
export async function call(method, path, { body, key, seen, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (key) headers["idempotency-key"] = key;
  if (seen != null) headers["if-match"] = `"${seen}"`;
  if (csrf && method !== "GET") headers["x-csrf-token"] = csrf;
  const response = await reach(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  const text = await response.text().catch((error) => {
    throw new Away(String(error));
  });
  if (!response.ok) throw refusal(response, text);
  const etag = response.headers.get("etag");
  return {
    value: text ? JSON.parse(text) : null,
    undo: response.headers.get("undo"),
    version: etag ? Number(etag.replaceAll(/\D/g, "")) : null,
  };
}

/** @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function get(path, signal) {
  return (await call("GET", path, { signal })).value;
}

/** @param {string} path @param {RequestInit} init */
async function reach(path, init) {
  try {
    return await fetch(path, { ...init, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Away(String(error));
  }
}

/** @param {Response} response @param {string} text */
function refusal(response, text) {
  if (LATER.has(response.status)) return new Away(`the server answered ${response.status}`, response.status);
  const isProblem = response.headers.get("content-type")?.startsWith("application/problem+json");
  const plain = { type: "about:blank", title: response.statusText, status: response.status, detail: text.slice(0, 200) };
  return new Refused(isProblem ? JSON.parse(text) : plain);
}

/**
 * Send a file, and give the lines of the answer as they come.
 * @param {string} path @param {Blob} file
 * @returns {AsyncGenerator<Record<string, any>>}
 */
export async function* upload(path, file) {
  /** @type {Record<string, string>} */
  const headers = { "content-type": "application/octet-stream" };
  if (csrf) headers["x-csrf-token"] = csrf;
  const response = await reach(path, { method: "POST", headers, body: file });
  if (!response.ok || !response.body) throw refusal(response, await response.text());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value = "" } = await reader.read();
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line) yield JSON.parse(line);
    if (done) break;
  }
  if (rest) yield JSON.parse(rest);
}
