/** Which tasks a page shows, in which groups and order. Pure functions of the replica. */
import { addDays, dueDay } from "./dates.js";

/** @typedef {import("./types.js").Task} Task */
/** @typedef {{key: string, day?: string, tasks: Task[]}} Group `key` is a word of the catalogue, or text to show as it is */

/** @param {Task} task */
export const isOpen = (task) => task.status === "open";
/** Subtasks are shown in their task, unless they have a date of their own. @param {Task} task */
const isTop = (task) => !task.parent_id;

/** @param {Task} a @param {Task} b */
function soonest(a, b) {
  return (
    compare(dueDay(a) ?? "9", dueDay(b) ?? "9") ||
    compare(a.due_at ?? "", b.due_at ?? "") ||
    a.priority - b.priority ||
    compare(a.position, b.position) ||
    compare(a.created_at, b.created_at)
  );
}

/** @param {Task} a @param {Task} b */
export function byPosition(a, b) {
  return compare(a.position, b.position) || compare(a.created_at, b.created_at) || compare(a.id, b.id);
}

/** @param {string} a @param {string} b */
function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @param {Iterable<Task>} all @param {string} today @returns {Group[]} */
export function todayGroups(all, today) {
  const due = [...all].filter((task) => isOpen(task) && (dueDay(task) ?? "9") <= today).sort(soonest);
  return groups([
    { key: "due.overdue", tasks: due.filter((task) => (dueDay(task) ?? "") < today) },
    { key: "due.today", day: today, tasks: due.filter((task) => dueDay(task) === today) },
  ]);
}

/** @param {Iterable<Task>} all @param {string} today @returns {Group[]} */
export function overdueGroups(all, today) {
  return groups([{ key: "", tasks: [...all].filter((task) => isOpen(task) && (dueDay(task) ?? "9") < today).sort(soonest) }]);
}

/** Seven days from `from` on, empty ones too, then what comes later. @param {Iterable<Task>} all @param {string} from @returns {Group[]} */
export function upcomingGroups(all, from) {
  const open = [...all].filter((task) => isOpen(task) && (dueDay(task) ?? "") >= from).sort(soonest);
  const days = Array.from({ length: 7 }, (_, index) => addDays(from, index));
  const later = addDays(from, 7);
  return [
    ...days.map((day) => ({ key: "", day, tasks: open.filter((task) => dueDay(task) === day) })),
    ...groups([{ key: "due.later", tasks: open.filter((task) => (dueDay(task) ?? "") >= later) }]),
  ];
}

/** In the order the person gave. @param {Iterable<Task>} all @param {(task: Task) => boolean} belongs @returns {Group[]} */
export function orderedGroups(all, belongs) {
  return groups([{ key: "", tasks: [...all].filter((task) => isOpen(task) && isTop(task) && belongs(task)).sort(byPosition) }]);
}

/** Closed ones, the latest first. @param {Iterable<Task>} all @returns {Group[]} */
export function doneGroups(all) {
  const closed = [...all].filter((task) => !isOpen(task));
  return groups([{ key: "", tasks: closed.sort((a, b) => compare(b.closed_at ?? "", a.closed_at ?? "")) }]);
}

/** Every word must be in title, notes or labels. @param {Iterable<Task>} all @param {string} text @returns {Group[]} */
export function foundGroups(all, text) {
  const words = text.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const found = [...all].filter((task) => {
    const where = `${task.title}\n${task.notes}\n${task.labels.join("\n")}`.toLocaleLowerCase();
    return words.every((word) => where.includes(word));
  });
  return groups([{ key: "", tasks: found.sort((a, b) => Number(isOpen(b)) - Number(isOpen(a)) || soonest(a, b)) }]);
}

/** @param {Iterable<Task>} all @returns {Map<string, Task[]>} subtasks by the id of their task */
export function childrenOf(all) {
  /** @type {Map<string, Task[]>} */
  const children = new Map();
  for (const task of all) {
    if (!task.parent_id) continue;
    const siblings = children.get(task.parent_id);
    if (siblings) siblings.push(task);
    else children.set(task.parent_id, [task]);
  }
  return children;
}

/** @param {Iterable<Task>} all @returns {[string, number][]} labels of open tasks with their counts, by name */
export function labelCounts(all) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const task of all) if (isOpen(task)) for (const label of task.labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => a.localeCompare(b));
}

/** @param {Group[]} all */
function groups(all) {
  return all.filter((group) => group.tasks.length);
}
