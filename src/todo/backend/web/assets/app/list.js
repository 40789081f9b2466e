/** A page of tasks: groups of rows, a selection, and what the keys do to the task in focus. */
import { edit, putOn, remove, toggle } from "./commands.js";
import { daysBetween, dueDay, sayDay, sayTime, today } from "./dates.js";
import { computed, html, signal, useEffect, useMemo } from "./html.js";
import { childrenOf, isOpen } from "./pages.js";
import { isPending } from "./queue.js";
import { openTask, route, show } from "./router.js";
import { lists, revision, tasks } from "./store.js";
import { Icon } from "./ui.js";
import { Virtual } from "./virtual.js";
import { t } from "./words.js";

/** @typedef {import("./types.js").Task} Task */
/** @typedef {import("./pages.js").Group} Group */

/** The task that the keys act on. */
export const current = signal(/** @type {string | null} */ (null));
export const selected = signal(/** @type {ReadonlySet<string>} */ (new Set()));
/** The ids on the page, in their order. */
export const onPage = signal(/** @type {string[]} */ ([]));
/** The task whose date is to be chosen. */
export const dating = signal(/** @type {string[] | null} */ (null));

const children = computed(() => (revision.value, childrenOf(tasks.values())));
const narrow = signal(matchMedia("(max-width: 700px)").matches);
matchMedia("(max-width: 700px)").addEventListener("change", (event) => (narrow.value = event.matches));

/** @param {string} id */
export function select(id) {
  const next = new Set(selected.value);
  if (!next.delete(id)) next.add(id);
  selected.value = next;
}

/** All from the one in focus to this one. @param {string} id */
function selectTo(id) {
  const ids = onPage.value;
  const [from, to] = [ids.indexOf(current.value ?? id), ids.indexOf(id)].sort((a, b) => a - b);
  selected.value = new Set([...selected.value, ...ids.slice(Math.max(from, 0), to + 1)]);
}

/**
 * @param {{groups: Group[], label: string, head?: boolean, drag?: "order" | "day"}} props
 *   `head`: groups have a heading; `drag`: what dropping a task between others means
 */
export function TaskList({ groups, label, head = false, drag }) {
  const shown = useMemo(() => groups.flatMap((group) => group.tasks.map((task) => task.id)), [groups]);
  useEffect(() => {
    onPage.value = shown;
    if (!current.value || !shown.includes(current.value)) current.value = shown[0] ?? null;
  }, [shown]);
  const height = narrow.value ? 60 : 44;
  const lines = groups.flatMap((group, at) => [
    ...(head ? [{ key: `head ${group.day ?? group.key}`, height: 44, draw: () => html`<${GroupHead} group=${group} />` }] : []),
    ...group.tasks.map((task) => ({
      key: task.id,
      height,
      draw: () => html`<${Row} task=${task} at=${at} drag=${drag} total=${shown.length} place=${shown.indexOf(task.id) + 1} />`,
    })),
  ]);
  return html`<${Virtual} lines=${lines} label=${label} reveal=${current.value} />`;
}

/** @param {{group: Group}} props */
function GroupHead({ group }) {
  const text = group.day ? sayRelative(group.day) : group.key ? t(/** @type {any} */ (group.key)) : "";
  const drop = group.day ? dropOn(group.day) : {};
  return html`<div class="group" role="listitem" ...${drop}>
    <h2>${text}</h2>
    ${group.day && text !== sayDay(group.day) ? html`<small>${sayDay(group.day)}</small>` : ""}
  </div>`;
}

/** "Today", "Tomorrow", or the day. @param {string} day */
export function sayRelative(day) {
  const words = /** @type {const} */ ({ "-1": "due.yesterday", 0: "due.today", 1: "due.tomorrow" });
  const word = /** @type {Record<string, "due.yesterday" | "due.today" | "due.tomorrow">} */ (words)[daysBetween(today.value, day)];
  return word ? t(word) : sayDay(day);
}

/** @param {{task: Task, drag?: "order" | "day", total: number, place: number}} props */
function Row({ task, drag, total, place }) {
  const isCurrent = current.value === task.id;
  const isSelected = selected.value.has(task.id);
  const kinds = ["row", isOpen(task) ? "" : "closed", isCurrent ? "current" : "", isSelected ? "selected" : ""];
  if (openTask.value === task.id) kinds.push("opened");
  /** @param {MouseEvent} event */
  const onClick = (event) => {
    if (/** @type {Element} */ (event.target).closest(".check")) return;
    if (event.shiftKey) selectTo(task.id);
    else if (event.ctrlKey || event.metaKey) select(task.id);
    else show(task.id);
    current.value = task.id;
  };
  return html`<div
    class=${kinds.join(" ")}
    role="listitem"
    aria-setsize=${total}
    aria-posinset=${place}
    data-id=${task.id}
    onClick=${onClick}
    ...${drag ? dragging(task, drag) : {}}
  >
    <${Check} task=${task} />
    <button type="button" class="title" id=${`t-${task.id}`} tabindex=${isCurrent ? 0 : -1} aria-label=${spoken(task)} onFocus=${() => (current.value = task.id)}>
      ${task.title || t("task.untitled")}
    </button>
    <${Marks} task=${task} />
  </div>`;
}

/** What a screen reader says of a row. @param {Task} task */
function spoken(task) {
  const day = dueDay(task);
  const parts = [task.title, day && sayRelative(day), task.due_at && sayTime(task.due_at)];
  if (task.priority < 4) parts.push(t("task.priority", { n: task.priority }));
  if (task.recurrence) parts.push(t("task.repeats"));
  return parts.filter(Boolean).join(", ");
}

/** @param {{task: Task}} props */
export function Check({ task }) {
  const open = isOpen(task);
  return html`<button
    type="button"
    class="check p${task.priority}"
    role="checkbox"
    aria-checked=${!open}
    aria-label=${t(open ? "task.complete" : "task.reopen", { title: task.title })}
    onClick=${() => toggle(task)}
  >
    <span class="ring">${open ? "" : html`<${Icon} name="done" />`}</span>
  </button>`;
}

/** @param {{task: Task}} props */
function Marks({ task }) {
  const subtasks = children.value.get(task.id) ?? [];
  const done = subtasks.filter((one) => !isOpen(one)).length;
  const list = task.list_id && route.value.page !== "list" ? lists.get(task.list_id) : undefined;
  return html`<span class="marks">
    ${isPending(task.id) && html`<span class="mark saving" title=${t("task.saving")}>…</span>`}
    ${subtasks.length > 0 && html`<span class="mark" title=${t("task.subtasks", { done, n: subtasks.length })}>${done}/${subtasks.length}</span>`}
    ${task.notes && html`<span class="mark" title=${t("task.notes")}><${Icon} name="note" /></span>`}
    ${task.reminders.length > 0 && html`<span class="mark" title=${t("task.reminds")}><${Icon} name="bell" /></span>`}
    ${task.recurrence && html`<span class="mark" title=${t("task.repeats")}><${Icon} name="repeat" /></span>`}
    ${task.labels.map((label) => html`<span class="mark label">#${label}</span>`)}
    ${list && html`<span class="mark">@${list.name}</span>`}
    <${DueMark} task=${task} />
  </span>`;
}

/** @param {{task: Task}} props */
export function DueMark({ task }) {
  const day = dueDay(task);
  if (!day) return null;
  const late = isOpen(task) && day < today.value;
  const soon = isOpen(task) && day === today.value;
  const time = task.due_at ? ` ${sayTime(task.due_at)}` : "";
  return html`<time class=${`mark due ${late ? "late" : soon ? "soon" : ""}`} datetime=${task.due_at ?? day}>${sayRelative(day)}${time}</time>`;
}

/* ---- dragging: to another place, or to another day ---- */

/** @type {string | null} */
let dragged = null;

/** @param {Task} task @param {"order" | "day"} drag */
function dragging(task, drag) {
  return {
    draggable: true,
    /** @param {DragEvent} event */
    onDragStart: (event) => {
      dragged = task.id;
      event.dataTransfer?.setData("text/plain", task.title);
    },
    onDragEnd: () => (dragged = null),
    ...(drag === "order" ? dropBefore(task) : dropOn(dueDay(task) ?? today.value)),
  };
}

/** Put what is dragged on a day. @param {string} day */
export function dropOn(day) {
  return droppable((task) => putOn(task, day));
}

/** @type {(task: Task, after: string | null) => void} */
let moveAfter = () => {};
/** @param {typeof moveAfter} move */
export function moveWith(move) {
  moveAfter = move;
}

/** @param {Task} before */
function dropBefore(before) {
  return droppable((task) => {
    const ids = onPage.value.filter((id) => id !== task.id);
    moveAfter(task, ids[ids.indexOf(before.id) - 1] ?? null);
  });
}

/** @param {(task: Task) => void} land */
function droppable(land) {
  /** @param {DragEvent} event @param {boolean} over */
  const mark = (event, over) => /** @type {Element} */ (event.currentTarget).classList.toggle("target", over);
  return {
    /** @param {DragEvent} event */
    onDragOver: (event) => {
      if (!dragged) return;
      event.preventDefault();
      mark(event, true);
    },
    /** @param {DragEvent} event */
    onDragLeave: (event) => mark(event, false),
    /** @param {DragEvent} event */
    onDrop: (event) => {
      event.preventDefault();
      mark(event, false);
      const task = dragged ? tasks.get(dragged) : undefined;
      if (task) land(task);
    },
  };
}

/* ---- what keys do to the task in focus, or to the selection ---- */

/** @returns {Task[]} */
export function targets() {
  const ids = selected.value.size ? [...selected.value] : current.value ? [current.value] : [];
  return ids.map((id) => tasks.get(id)).filter((task) => task !== undefined);
}

/** @param {number} step */
export function step(step) {
  const ids = onPage.value;
  const at = ids.indexOf(current.value ?? "");
  const next = ids[Math.min(Math.max(at + step, 0), ids.length - 1)];
  if (!next) return;
  current.value = next;
  requestAnimationFrame(() => document.getElementById(`t-${next}`)?.focus({ preventScroll: true }));
}

/** One place down or up. @param {number} by */
export function reorder(by) {
  const task = current.value ? tasks.get(current.value) : undefined;
  if (!task) return;
  const ids = onPage.value;
  const at = ids.indexOf(task.id);
  const rest = ids.filter((id) => id !== task.id);
  const place = at + by;
  if (place >= 0 && place <= rest.length) moveAfter(task, rest[place - 1] ?? null);
}

/** @param {number} priority */
export function prioritise(priority) {
  for (const task of targets()) edit(task, { priority });
}

export function removeTargets() {
  for (const task of targets()) remove(task);
}
