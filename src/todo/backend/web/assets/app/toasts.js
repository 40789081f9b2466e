/** Short notes at the foot of the page; those about a change can be taken back for ten seconds, and by Ctrl-Z after. */
import { Away, Refused, call } from "./api.js";
import { signal } from "./html.js";
import { withdraw } from "./queue.js";
import { t } from "./words.js";

/** @typedef {import("./queue.js").Done} Done */
/** @typedef {{keys: string[], done: Promise<Done>[]}} Step what one act of the person did */
/** @typedef {{id: number, text: string, step?: Step, href?: string}} Toast */

const STAYS = 10_000; // ms
const REMEMBERED = 50;

export const toasts = signal(/** @type {Toast[]} */ ([]));
/** @type {Step[]} */
const steps = [];
let count = 0;

/** @param {string} text @param {Step} [step] @param {string} [href] @returns {(text: string) => void} to say it better later */
export function say(text, step, href) {
  const toast = { id: (count += 1), text, step, href };
  toasts.value = [...toasts.value.slice(-2), toast];
  setTimeout(() => drop(toast.id), STAYS);
  if (step) {
    steps.push(step);
    steps.splice(0, steps.length - REMEMBERED);
  }
  return (better) => {
    toasts.value = toasts.value.map((one) => (one.id === toast.id ? { ...one, text: better } : one));
  };
}

/** @param {unknown} error */
export function sayError(error) {
  say(t("error.unknown", { text: error instanceof Error ? error.message : String(error) }));
}

/** @param {number} id */
export function drop(id) {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}

/** Take a step back, the last one if none is named. @param {Step} [step] */
export async function undo(step = steps.at(-1)) {
  if (!step) return void say(t("undo.none"));
  steps.splice(steps.indexOf(step), 1);
  toasts.value = toasts.value.filter((one) => one.step !== step);
  try {
    for (const index of step.keys.keys()) await takeBack(step.keys[index], step.done[index]);
    say(t("undo.done"));
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Away)) throw error;
    sayError(error);
  }
}

/** @param {string} key @param {Promise<Done>} done */
async function takeBack(key, done) {
  if (await withdraw(key)) return;
  const { undo: id } = await done;
  if (id) await call("POST", "/undo", { body: { id } });
}
