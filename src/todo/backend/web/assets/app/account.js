/** Who is here: signing in under TODO_AUTH=required, and what a person may set for this browser. */
import { Refused, call, carry, get } from "./api.js";
import { attempt } from "./commands.js";
import { sayInstant, zone } from "./dates.js";
import { html, signal, useEffect, useState } from "./html.js";
import { Moving } from "./moving.js";
import { signedOut, waiting } from "./queue.js";
import { erase } from "./store.js";
import { LANGUAGES, language, speak, t } from "./words.js";

/** @typedef {import("./types.js").User} User */
/** @typedef {{user: User | null, csrf: string | null, methods: string[]}} Session */
/** @typedef {{id: string, created_at: string, seen_at: string, user_agent: string, current: boolean}} Known */

export const user = signal(/** @type {User | null} */ (null));
export const methods = signal(/** @type {string[]} */ ([]));

/** Find out who this is; without the server, who it was the last time. @returns {Promise<User | null>} */
export async function identify() {
  try {
    take(await get("/session"));
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      methods.value = /** @type {any} */ (error.problem).methods ?? ["password"];
      signedOut.value = true;
      localStorage.removeItem("user"); // whoever comes next is shown nothing of theirs
      user.value = null;
      return null;
    }
    const kept = localStorage.getItem("user");
    if (kept) user.value = JSON.parse(kept);
  }
  if (user.value) zone.value = user.value.zone;
  return user.value;
}

/** @param {Session} session */
function take(session) {
  carry(session.csrf);
  user.value = session.user;
  signedOut.value = false;
  localStorage.setItem("user", JSON.stringify(session.user));
}

export function SignIn() {
  const [wrong, setWrong] = useState("");
  const failed = new URLSearchParams(location.search).get("sign-in"); // how the provider's way back ended
  /** @param {SubmitEvent} event */
  const onSubmit = async (event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    try {
      await call("POST", "/session", { body: { email: form.get("email"), password: form.get("password") } });
      location.reload();
    } catch (error) {
      setWrong(error instanceof Refused && error.status === 401 ? t("signin.wrong") : String(/** @type {Error} */ (error).message));
    }
  };
  return html`<main class="sign-in">
    <h1>${t("app.name")}</h1>
    <h2>${t("signin.title")}</h2>
    ${failed && html`<p class="problem" role="alert">${t("signin.failed", { why: failed })}</p>`}
    ${methods.value.includes("password") &&
    html`<form onSubmit=${onSubmit}>
      <label>${t("signin.email")}<input name="email" type="email" autocomplete="username" required autofocus /></label>
      <label>${t("signin.password")}<input name="password" type="password" autocomplete="current-password" required /></label>
      ${wrong && html`<p class="problem" role="alert">${wrong}</p>`}
      <button class="primary">${t("signin.go")}</button>
    </form>`}
    ${methods.value.includes("oidc") && html`<a class="button" href="/session/oidc">${t("signin.oidc")}</a>`}
  </main>`;
}

const THEMES = /** @type {const} */ (["auto", "light", "dark"]);
export const theme = signal(localStorage.getItem("theme") ?? "auto");
document.documentElement.dataset.theme = theme.value;

/** @param {string} chosen */
function paint(chosen) {
  localStorage.setItem("theme", chosen);
  document.documentElement.dataset.theme = chosen;
  theme.value = chosen;
}

export function Settings() {
  return html`<div class="settings">
    <section>
      <h2>${t("settings.theme")}</h2>
      <fieldset>
        <legend class="hidden">${t("settings.theme")}</legend>
        ${THEMES.map(
          (one) => html`<label><input type="radio" name="theme" checked=${theme.value === one} onChange=${() => paint(one)} />${t(`settings.theme.${one}`)}</label>`,
        )}
      </fieldset>
    </section>
    <section>
      <h2>${t("settings.language")}</h2>
      <fieldset>
        <legend class="hidden">${t("settings.language")}</legend>
        ${Object.entries(LANGUAGES).map(
          ([code, name]) => html`<label lang=${code}><input type="radio" name="language" checked=${language.value === code} onChange=${() => speak(/** @type {any} */ (code))} />${name}</label>`,
        )}
      </fieldset>
    </section>
    <section>
      <h2>${t("settings.account")}</h2>
      <p>${user.value?.name} ${user.value?.email ? `<${user.value.email}>` : ""}</p>
      <p>${t("settings.zone", { zone: zone.value })}</p>
      <${Sessions} />
    </section>
    <${Moving} />
  </div>`;
}

function Sessions() {
  const [sessions, setSessions] = useState(/** @type {Known[]} */ ([]));
  const look = () => get("/sessions").then((found) => setSessions(found.sessions), () => setSessions([]));
  useEffect(() => void look(), []);
  if (!sessions.length) return null;
  /** @param {Known} session */
  const end = (session) => attempt(async () => {
    await call("DELETE", session.current ? "/session" : `/sessions/${session.id}`);
    if (!session.current) return void look();
    localStorage.removeItem("user");
    if (!waiting.value) await erase(); // what waits for the server is sent when they are back
    location.reload();
  });
  return html`<h3>${t("settings.sessions")}</h3>
    <ul class="sessions">
      ${sessions.map(
        (one) => html`<li>
          <span>${one.user_agent} ${one.current ? `(${t("settings.session.this")})` : ""}</span>
          <small>${sayInstant(one.seen_at)}</small>
          <button type="button" onClick=${() => end(one)}>${t(one.current ? "settings.signout" : "settings.end")}</button>
        </li>`,
      )}
    </ul>`;
}
