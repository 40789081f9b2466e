/** Addresses: everything after #, so that a page opens without the server. */
import { computed, signal } from "./html.js";

const address = signal(location.hash.slice(1) || "/today");
addEventListener("hashchange", () => (address.value = location.hash.slice(1) || "/today"));

/** The page and its argument: "/list/3f" is ["list", "3f"]; `?task=` opens a task beside it. */
export const route = computed(() => {
  const [path, query = ""] = address.value.split("?");
  const [page = "today", argument = ""] = path.split("/").filter(Boolean).map(decodeURIComponent);
  return { page, argument, query: new URLSearchParams(query) };
});

export const openTask = computed(() => route.value.query.get("task"));

/** @param {string} path */
export function go(path) {
  location.hash = path;
}

/** Show a task beside the page, or nothing. @param {string | null} id */
export function show(id) {
  const { page, argument, query } = route.value;
  const next = new URLSearchParams(query);
  if (id) next.set("task", id);
  else next.delete("task");
  const tail = next.toString();
  go(`/${page}${argument ? `/${encodeURIComponent(argument)}` : ""}${tail ? `?${tail}` : ""}`);
}

/** The address of a page. @param {string} page @param {string} [argument] */
export function href(page, argument) {
  return `#/${page}${argument ? `/${encodeURIComponent(argument)}` : ""}`;
}
