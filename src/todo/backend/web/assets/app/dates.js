/** Days and times in the user's zone and format. A day is text, YYYY-MM-DD: it sorts, and belongs to no zone. */
import { computed, signal } from "./html.js";
import { language } from "./words.js";

/** @typedef {import("./types.js").Task} Task */

export const zone = signal(Intl.DateTimeFormat().resolvedOptions().timeZone);

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** @param {string} key @param {Intl.DateTimeFormatOptions} options */
function format(key, options) {
  const name = `${key} ${options.timeZone} ${language.value}`;
  let found = formats.get(name);
  if (!found) formats.set(name, (found = new Intl.DateTimeFormat(locale(), options)));
  return found;
}

/** The browser's own variant of the language, so that en-GB reads 09:00 and en-US 9:00 AM. */
function locale() {
  return navigator.languages.find((one) => one.startsWith(language.value)) ?? language.value;
}

const days = computed(
  () => new Intl.DateTimeFormat("en-CA", { timeZone: zone.value, year: "numeric", month: "2-digit", day: "2-digit" }),
);

/** @param {Date} at @returns {string} */
export function dayOf(at) {
  return days.value.format(at);
}

/** The day a task is due on, or nothing. @param {Task} task */
export function dueDay(task) {
  return task.due_date ?? (task.due_at ? dayOf(new Date(task.due_at)) : null);
}

/** @param {string} day @param {number} count */
export function addDays(day, count) {
  const date = new Date(`${day}T12:00:00Z`);
  date.setUTCDate(date.getUTCDate() + count);
  return date.toISOString().slice(0, 10);
}

/** Days from one to the other. @param {string} from @param {string} to */
export function daysBetween(from, to) {
  return Math.round((Date.parse(`${to}T12:00:00Z`) - Date.parse(`${from}T12:00:00Z`)) / 86_400_000);
}

/** 0 for Monday. @param {string} day */
export function weekday(day) {
  return (new Date(`${day}T12:00:00Z`).getUTCDay() + 6) % 7;
}

export const now = signal(Date.now());
export const today = computed(() => dayOf(new Date(now.value)));
setInterval(() => (now.value = Date.now()), 15_000);

/** "Fri 7 Nov", with the year if it is another one. @param {string} day */
export function sayDay(day) {
  const year = day.slice(0, 4) === today.value.slice(0, 4) ? undefined : "numeric";
  /** @type {Intl.DateTimeFormatOptions} */
  const options = { weekday: "short", day: "numeric", month: "short", year, timeZone: "UTC" };
  return format(`day ${year}`, options).format(new Date(`${day}T12:00:00Z`));
}

/** "Mon". @param {string} day */
export function sayWeekday(day) {
  return format("weekday", { weekday: "short", timeZone: "UTC" }).format(new Date(`${day}T12:00:00Z`));
}

/** @param {string} day */
export function sayMonth(day) {
  return format("month", { month: "long", year: "numeric", timeZone: "UTC" }).format(new Date(`${day}T12:00:00Z`));
}

/** "09:00". @param {string | Date} at */
export function sayTime(at) {
  return format("time", { hour: "2-digit", minute: "2-digit", timeZone: zone.value }).format(new Date(at));
}

/** "08:59:58". @param {string} at */
export function saySecond(at) {
  const options = /** @type {Intl.DateTimeFormatOptions} */ ({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
  return format("second", { ...options, timeZone: zone.value }).format(new Date(at));
}

/** "Fri 7 Nov, 09:00". @param {string} at */
export function sayInstant(at) {
  return `${sayDay(dayOf(new Date(at)))}, ${sayTime(at)}`;
}

/** An occurrence as the API gives it: an instant or a day. @param {string} value */
export function sayDate(value) {
  return value.length === 10 ? sayDay(value) : sayInstant(value);
}

/** Wall time in the user's zone as form fields take it: [YYYY-MM-DD, HH:MM]. @param {string} at */
export function wall(at) {
  const parts = new Intl.DateTimeFormat("en-GB", { timeZone: zone.value, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return [dayOf(new Date(at)), parts.format(new Date(at))];
}
