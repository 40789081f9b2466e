/** The keyboard: everything has a key, and `?` shows them. */
import { toggle } from "./commands.js";
import { signal } from "./html.js";
import { current, dating, prioritise, removeTargets, reorder, select, selected, step, targets } from "./list.js";
import { adding } from "./quick.js";
import { go, openTask, show } from "./router.js";
import { undo } from "./toasts.js";

export const helping = signal(false);

/** What `?` shows: keys, and the word for what they do. */
export const SHOWN = /** @type {const} */ ([
  ["q", "keys.add"],
  ["/", "keys.search"],
  ["g t, g u, g o, g i, g a, g p", "keys.go"],
  ["j, k, ↓, ↑", "keys.move"],
  ["Enter", "keys.open"],
  ["e", "keys.complete"],
  ["x", "keys.select"],
  ["s", "keys.when"],
  ["1, 2, 3, 4", "keys.priority"],
  ["Delete", "keys.delete"],
  ["Alt ↓, Alt ↑", "keys.order"],
  ["Ctrl Z", "keys.undo"],
  ["?", "keys.help"],
  ["Esc", "keys.escape"],
]);

const PLACES = /** @type {Record<string, string>} */ ({
  t: "/today", u: "/upcoming", o: "/overdue", i: "/inbox", a: "/all", p: "/pipeline",
});

/** @type {Record<string, () => void>} */
const ACTS = {
  q: () => (adding.value = true),
  "/": () => go("/search"),
  "?": () => (helping.value = true),
  j: () => step(1),
  k: () => step(-1),
  ArrowDown: () => step(1),
  ArrowUp: () => step(-1),
  Enter: () => current.value && show(current.value),
  o: () => current.value && show(current.value),
  e: () => targets().forEach(toggle),
  x: () => current.value && select(current.value),
  s: () => (dating.value = targets().map((task) => task.id)),
  Delete: removeTargets,
  Backspace: removeTargets,
  1: () => prioritise(1),
  2: () => prioritise(2),
  3: () => prioritise(3),
  4: () => prioritise(4),
  Escape: leave,
};

let going = 0; // when `g` was pressed

/** @param {KeyboardEvent} event */
export function onKey(event) {
  if (document.querySelector("dialog[open]")) return;
  if (isText(event.target)) {
    if (event.key === "Escape") /** @type {HTMLElement} */ (event.target).blur();
    return;
  }
  const act = chosen(event);
  if (!act) return;
  event.preventDefault();
  act();
}

/** @param {KeyboardEvent} event @returns {(() => void) | undefined} */
function chosen(event) {
  const { key } = event;
  if (event.ctrlKey || event.metaKey) return key.toLowerCase() === "z" && !event.shiftKey ? () => void undo() : undefined;
  if (event.altKey) return { ArrowDown: () => reorder(1), ArrowUp: () => reorder(-1) }[key];
  if (event.timeStamp - going < 1000 && PLACES[key]) return () => ((going = 0), go(PLACES[key]));
  if (key === "g") return () => (going = event.timeStamp);
  if (key === "Enter" && /** @type {Element} */ (event.target).closest("button:not(.title), a, summary")) return undefined;
  return ACTS[key];
}

function leave() {
  if (selected.value.size) selected.value = new Set();
  else if (openTask.value) show(null);
}

/** @param {EventTarget | null} target */
function isText(target) {
  return target instanceof HTMLElement && target.matches("input:not([type=radio]), textarea, select, [contenteditable]");
}
