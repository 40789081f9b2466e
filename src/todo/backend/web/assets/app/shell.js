/** The house around the pages: the way to each of them, and what lies over all. */
import { user } from "./account.js";
import { addLine, asking, attempt, bulk, edit, putOn, removeOne, whenBody } from "./commands.js";
import { addDays, dueDay, today, wall, weekday } from "./dates.js";
import { computed, html, signal, useState } from "./html.js";
import { SHOWN, helping } from "./keys.js";
import { dating, selected } from "./list.js";
import { call } from "./api.js";
import { labelCounts, overdueGroups, todayGroups } from "./pages.js";
import { conflicts, settle, waiting } from "./queue.js";
import { adding } from "./quick.js";
import { live } from "./feed.js";
import { go, href, route } from "./router.js";
import { lists, loaded, revision, tasks, views } from "./store.js";
import { drop, toasts, undo } from "./toasts.js";
import { Ask, Dialog, Icon, IconButton, Menu } from "./ui.js";
import { t } from "./words.js";

/** @typedef {import("./types.js").Conflict} Conflict */

const opened = signal(false); // the way to the pages, on a narrow screen
const counts = computed(() => {
  revision.value;
  const size = (/** @type {import("./pages.js").Group[]} */ groups) => groups.reduce((sum, group) => sum + group.tasks.length, 0);
  return {
    today: size(todayGroups(tasks.values(), today.value)),
    overdue: size(overdueGroups(tasks.values(), today.value)),
    labels: labelCounts(tasks.values()),
  };
});

const PLACES = /** @type {const} */ ([
  ["today", "nav.today", "today"],
  ["upcoming", "nav.upcoming", "upcoming"],
  ["overdue", "nav.overdue", "overdue"],
  ["inbox", "nav.inbox", "inbox"],
  ["all", "nav.all", "all"],
  ["search", "nav.search", "search"],
  ["filter", "nav.filter", "filter"],
  ["done", "nav.done", "done"],
  ["trash", "nav.trash", "trash"],
]);

export function Sidebar() {
  const { page } = route.value;
  const [naming, setNaming] = useState(false);
  const close = () => (opened.value = false);
  return html`<nav class=${opened.value ? "side open" : "side"} aria-label=${t("nav.menu")} onClick=${close}>
    <button type="button" class="primary add" onClick=${() => (adding.value = true)}><${Icon} name="plus" />${t("nav.add")}<kbd>q</kbd></button>
    <ul>
      ${PLACES.map(
        ([name, word, icon]) => html`<li><${Way} to=${href(name)} current=${page === name} icon=${icon} text=${t(word)} count=${name === "today" || name === "overdue" ? counts.value[name] : 0} late=${name === "overdue"} /></li>`,
      )}
    </ul>
    <h2>${t("nav.lists")} <${IconButton} icon="plus" name=${t("list.new")} onClick=${(/** @type {Event} */ event) => (event.stopPropagation(), setNaming(true))} /></h2>
    <ul>
      ${ordered(lists).map((list) => html`<li key=${list.id}><${Way} to=${href("list", list.id)} current=${page === "list" && route.value.argument === list.id} icon="list" text=${list.name} /></li>`)}
    </ul>
    ${views.size > 0 &&
    html`<h2>${t("nav.views")}</h2>
      <ul>
        ${ordered(views).map((view) => html`<li key=${view.id}><${Way} to=${href("view", view.id)} current=${page === "view" && route.value.argument === view.id} icon="filter" text=${view.name} /></li>`)}
      </ul>`}
    ${counts.value.labels.length > 0 &&
    html`<h2>${t("nav.labels")}</h2>
      <ul>
        ${counts.value.labels.map(([label, count]) => html`<li key=${label}><${Way} to=${href("label", label)} current=${page === "label" && route.value.argument === label} icon="label" text=${label} count=${count} /></li>`)}
      </ul>`}
    <ul class="last">
      <li><${Way} to=${href("pipeline")} current=${page === "pipeline"} icon="pipeline" text=${t("nav.pipeline")} /></li>
      <li><${Way} to=${href("settings")} current=${page === "settings"} icon="settings" text=${t("nav.settings")} /></li>
    </ul>
    ${naming && html`<${Ask} title=${t("list.new")} label=${t("list.name")} onSave=${makeList} onClose=${() => setNaming(false)} />`}
  </nav>`;
}

/** @template {{position: string, name: string}} T @param {Map<string, T>} map */
function ordered(map) {
  return [...map.values()].sort((a, b) => (a.position < b.position ? -1 : a.position > b.position ? 1 : a.name.localeCompare(b.name)));
}

/** @param {string} name */
const makeList = (name) => attempt(async () => {
  const { value } = await call("POST", "/lists", { body: { name }, key: crypto.randomUUID() });
  go(`/list/${value.id}`);
});

/** @param {{to: string, current: boolean, icon: import("./ui.js").IconName, text: string, count?: number, late?: boolean}} props */
function Way({ to, current, icon, text, count = 0, late = false }) {
  return html`<a href=${to} aria-current=${current ? "page" : undefined}>
    <${Icon} name=${icon} /><span>${text}</span>${count > 0 && html`<span class=${late ? "count late" : "count"}>${count}</span>`}
  </a>`;
}

export function TopBar() {
  return html`<header class="top">
    <${IconButton} icon="menu" name=${t("nav.menu")} onClick=${() => (opened.value = !opened.value)} />
    <a href="#/today" class="brand">${t("app.name")}</a>
    <${IconButton} icon="search" name=${t("nav.search")} onClick=${() => go("/search")} />
    <${IconButton} icon="plus" class="primary" name=${t("nav.add")} onClick=${() => (adding.value = true)} />
  </header>`;
}

/** That there is no connection, and what waits for one. */
export function Connection() {
  const n = waiting.value;
  if (conflicts.value.length) return html`<${Conflicts} />`;
  if (live.value || !loaded.value) return null;
  return html`<p class="banner" role="status">${n ? t("offline", { n }) : t("offline.nothing")}</p>`;
}

function Conflicts() {
  const [open, setOpen] = useState(false);
  const n = conflicts.value.length;
  return html`<div class="banner conflict" role="alert">
    <span>${t("conflict.count", { n })}</span>
    <button type="button" onClick=${() => setOpen(true)}>${t("more")}</button>
    ${open &&
    html`<${Dialog} title=${t("conflict.title")} onClose=${() => setOpen(false)}>
      <ul class="conflicts">${conflicts.value.map((/** @type {Conflict} */ one) => html`<${OneConflict} key=${one.command.key} conflict=${one} />`)}</ul>
    <//>`}
  </div>`;
}

/** @param {{conflict: Conflict}} props */
function OneConflict({ conflict }) {
  const { command, problem, theirs } = conflict;
  const mine = command.body.text ?? (Object.keys(command.body).length ? JSON.stringify(command.body) : command.what);
  return html`<li>
    <p class="problem">${problem.detail || problem.title}</p>
    <p>${theirs ? t("conflict.theirs", { title: theirs.title }) : t("conflict.gone")}</p>
    <p>${t("conflict.mine", { what: mine })}</p>
    <div class="actions">
      ${(theirs || command.id.startsWith("new-")) && html`<button type="button" class="primary" onClick=${() => settle(conflict, true)}>${t("conflict.again")}</button>`}
      <button type="button" onClick=${() => settle(conflict, false)}>${t("conflict.drop")}</button>
    </div>
  </li>`;
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map(
      (toast) => html`<div class="toast" key=${toast.id}>
        <span>${toast.text}</span>
        ${toast.step && html`<button type="button" onClick=${() => undo(toast.step)}>${t("undo")}</button>`}
        <${IconButton} icon="close" name=${t("close")} onClick=${() => drop(toast.id)} />
      </div>`,
    )}
  </div>`;
}

export function Help() {
  return html`<${Dialog} title=${t("keys.title")} onClose=${() => (helping.value = false)}>
    <dl class="keys">
      ${SHOWN.map(([keys, word]) => html`<div><dt>${keys.split(", ").map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${t(word)}</dd></div>`)}
    </dl>
  <//>`;
}

/** Choose a day, by a word or by date. */
export function When() {
  const ids = /** @type {string[]} */ (dating.value);
  const chosen = ids.map((id) => tasks.get(id)).filter((task) => task !== undefined);
  const first = chosen[0];
  const close = () => (dating.value = null);
  /** @param {string | null} day */
  const put = (day) => {
    for (const task of chosen) putOn(task, day);
    close();
  };
  const base = today.value;
  const days = /** @type {const} */ ([
    ["due.today", base],
    ["due.tomorrow", addDays(base, 1)],
    ["due.weekend", addDays(base, (12 - weekday(base)) % 7 || 7)],
    ["due.nextweek", addDays(base, 7 - weekday(base))],
    ["due.none", null],
  ]);
  /** @param {SubmitEvent} event */
  const onSubmit = (event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    for (const task of chosen) edit(task, whenBody(task, String(form.get("day")) || null, String(form.get("time")) || null));
    close();
  };
  return html`<${Dialog} title=${t("when.title")} onClose=${close}>
    <div class="choices">${days.map(([word, day]) => html`<button type="button" onClick=${() => put(day)}>${t(word)}</button>`)}</div>
    <form class="when" onSubmit=${onSubmit}>
      <label>${t("when.date")}<input type="date" name="day" value=${(first && dueDay(first)) ?? base} /></label>
      <label>${t("when.time")}<input type="time" name="time" value=${first?.due_at ? wall(first.due_at)[1] : ""} /></label>
      <button class="primary">${t("save")}</button>
    </form>
  <//>`;
}

/** Of a repeating task: this one, or all of them? */
export function AskSeries() {
  const task = /** @type {import("./types.js").Task} */ (asking.value);
  return html`<${Dialog} title=${t("series.title", { title: task.title })} onClose=${() => (asking.value = null)}>
    <div class="choices column">
      <button type="button" onClick=${() => removeOne(task, "occurrence")}>${t("series.occurrence")}</button>
      <button type="button" onClick=${() => removeOne(task, "series")}>${t("series.all")}</button>
    </div>
  <//>`;
}

/** What can be done to all that are selected. */
export function Bulk() {
  const [naming, setNaming] = useState(false);
  const ids = [...selected.value];
  const clear = () => (selected.value = new Set());
  /** @param {"complete" | "delete" | "edit"} action @param {Record<string, any> | null} [change] */
  const act = (action, change = null) => {
    bulk(ids, action, change);
    clear();
  };
  /** @param {string} label */
  const label = (label) => {
    for (const id of ids) {
      const task = tasks.get(id);
      if (task) edit(task, { labels: [...new Set([...task.labels, label.replace(/^#/, "")])] });
    }
    clear();
  };
  const inLists = [{ text: t("nav.inbox"), run: () => act("edit", { list_id: null }) }, ...ordered(lists).map((list) => ({ text: list.name, run: () => act("edit", { list_id: list.id }) }))];
  return html`<div class="bulk" role="toolbar" aria-label=${t("bulk.selected", { n: ids.length })}>
    <strong>${t("bulk.selected", { n: ids.length })}</strong>
    <button type="button" onClick=${() => act("complete")}>${t("bulk.complete")}</button>
    <button type="button" onClick=${() => (dating.value = ids)}>${t("bulk.when")}</button>
    <${Menu} name=${t("bulk.list")} label=${t("bulk.list")} choices=${inLists} />
    <button type="button" onClick=${() => setNaming(true)}>${t("bulk.label")}</button>
    <${Menu} name=${t("bulk.priority")} label=${t("bulk.priority")} choices=${/** @type {const} */ ([1, 2, 3, 4]).map((n) => ({ text: t(`priority.${n}`), run: () => act("edit", { priority: n }) }))} />
    <button type="button" onClick=${() => act("delete")}>${t("delete")}</button>
    <${IconButton} icon="close" name=${t("bulk.clear")} onClick=${clear} />
    ${naming && html`<${Ask} title=${t("bulk.label")} label="#" onSave=${label} onClose=${() => setNaming(false)} />`}
  </div>`;
}

/** The first visit: not an empty page, but three examples to take. */
export function Welcome() {
  const examples = /** @type {const} */ (["first.example.1", "first.example.2", "first.example.3"]);
  const takeThem = () => examples.forEach((word) => addLine(t(word), {}, {}));
  const local = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
  return html`<section class="welcome">
    <h2>${t("first.title")}</h2>
    <p>${t("first.text")}</p>
    <ul>${examples.map((word) => html`<li><code>${t(word)}</code></li>`)}</ul>
    <div class="actions">
      <button type="button" class="primary" onClick=${takeThem}>${t("first.take")}</button>
      <button type="button" onClick=${() => (adding.value = true)}>${t("first.own")}</button>
    </div>
    ${local && user.value && html`<p>${t("first.mailbox")} <a href=${`http://${location.hostname}:8025`}>${location.hostname}:8025</a></p>`}
  </section>`;
}

