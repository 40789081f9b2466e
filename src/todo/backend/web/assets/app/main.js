/** Where it begins: who is here, the replica, the feed, and the page. */
import { Settings, SignIn, identify } from "./account.js";
import { asking, attempt, moveBehind, restore } from "./commands.js";
import { addDays, sayMonth, sayWeekday, today } from "./dates.js";
import { Detail } from "./detail.js";
import { follow, live } from "./feed.js";
import { FilterPage, ViewPage } from "./filters.js";
import { computed, effect, html, render, useEffect, useState } from "./html.js";
import { helping, onKey } from "./keys.js";
import { TaskList, dating, dropOn, moveWith, selected } from "./list.js";
import { doneGroups, foundGroups, orderedGroups, overdueGroups, todayGroups, upcomingGroups } from "./pages.js";
import { Pipeline, Why } from "./pipeline.js";
import { openQueue, send, signedOut, waiting } from "./queue.js";
import { QuickAdd, adding } from "./quick.js";
import { go, openTask, route } from "./router.js";
import { AskSeries, Bulk, Connection, Help, Sidebar, Toasts, TopBar, Welcome, When } from "./shell.js";
import { lists, loaded, open, revision, tasks, views } from "./store.js";
import { call, get } from "./api.js";
import { Ask, IconButton } from "./ui.js";
import { language, t } from "./words.js";

/** @typedef {import("./types.js").Task} Task */
/** @typedef {import("./pages.js").Group} Group */

const TITLES = /** @type {Record<string, import("./words.js").Word>} */ ({
  today: "nav.today", upcoming: "nav.upcoming", overdue: "nav.overdue", inbox: "nav.inbox", all: "nav.all", done: "nav.done",
  trash: "nav.trash", search: "nav.search", filter: "nav.filter", pipeline: "pipe.title", settings: "nav.settings", why: "detail.why",
});

const title = computed(() => {
  revision.value;
  const { page, argument } = route.value;
  if (page === "list") return lists.get(argument)?.name ?? t("nav.lists");
  if (page === "view") return views.get(argument)?.name ?? t("nav.views");
  if (page === "label") return `#${argument}`;
  return t(TITLES[page] ?? "nav.today");
});

function App() {
  if (signedOut.value) return html`<${SignIn} />`;
  return html`<a class="skip" href="#main" onClick=${toMain}>${t("app.skip")}</a>
    <${TopBar} />
    <div class=${openTask.value ? "house with-detail" : "house"}>
      <${Sidebar} />
      <main id="main" class="scroll" tabindex="-1">
        <${Connection} />
        <h1>${title.value}</h1>
        <${Page} />
      </main>
      ${openTask.value && html`<${Detail} key=${openTask.value} id=${openTask.value} />`}
    </div>
    ${selected.value.size > 0 && html`<${Bulk} />`}
    <${Toasts} />
    ${adding.value && html`<${QuickAdd} />`} ${helping.value && html`<${Help} />`} ${dating.value && html`<${When} />`}
    ${asking.value && html`<${AskSeries} />`}`;
}

/** @param {Event} event */
function toMain(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function Page() {
  const { page, argument } = route.value;
  switch (page) {
    case "upcoming":
      return html`<${Upcoming} />`;
    case "search":
      return html`<${Search} text=${argument} />`;
    case "filter":
      return html`<${FilterPage} key="filter" text=${argument} />`;
    case "view":
      return html`<${ViewPage} key=${argument} id=${argument} />`;
    case "trash":
      return html`<${Trash} />`;
    case "pipeline":
      return html`<${Pipeline} />`;
    case "why":
      return html`<${Why} key=${argument} id=${argument} />`;
    case "settings":
      return html`<${Settings} />`;
    case "list":
      return html`<${ListActions} key=${argument} id=${argument} /><${Tasks} key=${`list ${argument}`} page=${page} argument=${argument} />`;
    default:
      return html`<${Tasks} key=${`${page} ${argument}`} page=${page} argument=${argument} />`;
  }
}

/** @param {string} page @param {string} argument @returns {Group[]} */
function groupsOf(page, argument) {
  const all = tasks.values();
  switch (page) {
    case "overdue":
      return overdueGroups(all, today.value);
    case "inbox":
      return orderedGroups(all, (task) => !task.list_id || !lists.has(task.list_id));
    case "list":
      return orderedGroups(all, (task) => task.list_id === argument);
    case "label":
      return orderedGroups(all, (task) => task.labels.includes(argument));
    case "all":
      return orderedGroups(all, () => true);
    case "done":
      return doneGroups(all);
    default:
      return todayGroups(all, today.value);
  }
}

const ORDERED = new Set(["inbox", "list", "label", "all"]);

/** @param {{page: string, argument: string}} props */
function Tasks({ page, argument }) {
  revision.value;
  const groups = groupsOf(page, argument);
  if (!groups.length) return html`<${Empty} page=${page} />`;
  const drag = ORDERED.has(page) ? "order" : page === "done" ? undefined : "day";
  return html`<${TaskList} groups=${groups} label=${title.value} head=${page === "today"} drag=${drag} />`;
}

/** @param {{page: string}} props */
function Empty({ page }) {
  if (!loaded.value) return html`<p class="empty" aria-busy="true"></p>`;
  if (!tasks.size) return html`<${Welcome} />`;
  const words = /** @type {Record<string, import("./words.js").Word>} */ ({ today: "empty.today", overdue: "empty.overdue", search: "empty.search" });
  return html`<p class="empty">${t(words[page] ?? "empty.list")}</p>`;
}

/** Seven days as a strip, each a place to drop a task on, and what is due on them below. */
function Upcoming() {
  const [week, setWeek] = useState(0);
  revision.value;
  const from = addDays(today.value, week * 7);
  const groups = upcomingGroups(tasks.values(), from);
  const days = groups.filter((group) => group.day);
  /** @param {string} day */
  const jump = (day) => {
    const heads = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".group"));
    heads[days.findIndex((group) => group.day === day)]?.scrollIntoView({ block: "start" });
  };
  return html`<div class="week">
      <${IconButton} icon="left" name=${t("week.previous")} onClick=${() => setWeek(Math.max(0, week - 1))} />
      <span class="month">${sayMonth(from)}</span>
      <${IconButton} icon="right" name=${t("week.next")} onClick=${() => setWeek(week + 1)} />
      <ol>
        ${days.map(
          ({ day = "", tasks: due }) => html`<li key=${day}>
            <button type="button" class=${day === today.value ? "now" : ""} ...${dropOn(day)} onClick=${() => jump(day)}>
              <span>${sayWeekday(day)}</span><strong>${Number(day.slice(8))}</strong>
              <small aria-label=${t("week.count", { n: due.length })}>${due.length ? "•".repeat(Math.min(due.length, 4)) : " "}</small>
            </button>
          </li>`,
        )}
      </ol>
    </div>
    <${TaskList} groups=${groups} label=${title.value} head drag="day" />`;
}

/** @param {{text: string}} props */
function Search({ text }) {
  revision.value;
  const groups = foundGroups(tasks.values(), text);
  return html`<input
      type="search"
      class="search"
      aria-label=${t("search.label")}
      placeholder=${t("search.label")}
      value=${text}
      maxlength="200"
      ref=${(/** @type {HTMLElement | null} */ element) => element && document.activeElement === document.body && element.focus()}
      onInput=${(/** @type {any} */ event) => history.replaceState(null, "", `#/search/${encodeURIComponent(event.target.value)}`) ?? dispatchEvent(new HashChangeEvent("hashchange"))}
    />
    ${groups.length ? html`<${TaskList} groups=${groups} label=${title.value} />` : text && html`<p class="empty">${t("empty.search")}</p>`}`;
}

function Trash() {
  const [found, setFound] = useState(/** @type {Task[]} */ ([]));
  const changes = revision.value;
  const look = () => attempt(async () => setFound((await get("/tasks?status=trash&limit=500")).tasks));
  useEffect(() => void look(), [changes]);
  /** @param {Task} task */
  const bring = (task) => restore(task).then(look, look);
  if (!found.length) return html`<p class="empty">${t("empty.trash")}</p>`;
  return html`<ul class="trash">
    ${found.map(
      (task) => html`<li key=${task.id} class="row">
        <span class="title">${task.title}</span>
        <button type="button" onClick=${() => bring(task)}>${t("restore")}</button>
      </li>`,
    )}
  </ul>`;
}

/** @param {{id: string}} props */
function ListActions({ id }) {
  const [naming, setNaming] = useState(false);
  revision.value;
  const list = lists.get(id);
  if (!list) return null;
  const remove = () => attempt(async () => {
    await call("DELETE", `/lists/${id}`, { seen: list.version });
    go("/inbox");
  });
  /** @param {string} name */
  const rename = (name) => attempt(async () => void (await call("PATCH", `/lists/${id}`, { body: { name }, seen: list.version })));
  return html`<div class="page-actions">
    <button type="button" class="quiet" onClick=${() => setNaming(true)}>${t("list.rename")}</button>
    <button type="button" class="quiet" onClick=${remove} title=${t("list.delete")}>${t("delete")}</button>
    ${naming && html`<${Ask} title=${t("list.rename")} label=${t("list.name")} value=${list.name} onSave=${rename} onClose=${() => setNaming(false)} />`}
  </div>`;
}

/** What is said outside the page's own element. */
effect(() => {
  const root = document.documentElement;
  document.title = `${title.value} · ${t("app.name")}`;
  root.lang = language.value;
  root.dataset.live = live.value ? "yes" : "no"; // for whoever wants to know from outside, such as a test
  root.dataset.waiting = String(waiting.value);
});

async function begin() {
  document.addEventListener("keydown", onKey);
  moveWith(moveBehind);
  const known = localStorage.getItem("user");
  let cursor = null;
  if (known) cursor = await open(JSON.parse(known).id); // what the last visit left is shown before anybody is asked
  render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
  const found = await identify();
  if (!found) return;
  if (!known || JSON.parse(known).id !== found.id) cursor = await open(found.id);
  await openQueue(found.id);
  await follow(cursor, send);
  navigator.serviceWorker?.register("/sw.js");
}

begin();

