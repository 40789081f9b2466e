/** Small parts that several pages use. */
import { html, useEffect, useRef, useState } from "./html.js";
import { t } from "./words.js";

const PATHS = /** @type {const} */ ({
  plus: "M12 5v14M5 12h14",
  today: "M5 5h14v15H5zM5 9h14M9 3v4M15 3v4M12 13v3",
  upcoming: "M5 5h14v15H5zM5 9h14M9 3v4M15 3v4M8 13h2M14 13h2M8 16h2",
  overdue: "M12 7v5l3 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  inbox: "M4 13l3-8h10l3 8v6H4zM4 13h5l1 2h4l1-2h5",
  all: "M4 6h16M4 12h16M4 18h16",
  done: "M5 12l5 5L20 7",
  trash: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4 4",
  filter: "M4 5h16l-6 7v6l-4 2v-8z",
  pipeline: "M3 12h4M10 12h4M17 12h4M7 9h3v6H7zM14 9h3v6h-3z",
  settings: "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.6l2.1 2.1M16.3 16.3l2.1 2.1M5.6 18.4l2.1-2.1M16.3 7.7l2.1-2.1",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  label: "M4 4h8l8 8-8 8-8-8zM8 8h.01",
  close: "M6 6l12 12M18 6L6 18",
  repeat: "M5 11a7 7 0 0 1 12-4l2 2M19 13a7 7 0 0 1-12 4l-2-2M19 4v5h-5M5 20v-5h5",
  bell: "M6 17V11a6 6 0 0 1 12 0v6l1 1H5zM10 20h4",
  note: "M6 4h12v16H6zM9 9h6M9 13h6",
  menu: "M4 7h16M4 12h16M4 17h16",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
});
/** @typedef {keyof typeof PATHS} IconName */

/** Never alone: a name stands beside it, or it has one. @param {{name: IconName}} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}

/** @param {{icon: IconName, name: string, onClick: (event: MouseEvent) => void, class?: string, pressed?: boolean}} props */
export function IconButton({ icon, name, onClick, class: kind = "", pressed }) {
  return html`<button type="button" class="icon-button ${kind}" aria-label=${name} title=${name} aria-pressed=${pressed} onClick=${onClick}>
    <${Icon} name=${icon} />
  </button>`;
}

/**
 * A dialog of the browser's own: it keeps the focus, and Escape closes it.
 * @param {{title: string, onClose: () => void, children?: unknown, class?: string}} props
 */
export function Dialog({ title, onClose, children, class: kind = "" }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const before = document.activeElement;
    element.current?.showModal();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  /** @param {MouseEvent} event */
  const onOutside = (event) => event.target === element.current && onClose();
  return html`<dialog ref=${element} class=${kind} aria-label=${title} onClose=${onClose} onMouseDown=${onOutside}>
    <header class="dialog-head">
      <h2>${title}</h2>
      <${IconButton} icon="close" name=${t("close")} onClick=${onClose} />
    </header>
    ${children}
  </dialog>`;
}

/**
 * A button that opens a list of choices.
 * @param {{name: string, label?: unknown, choices: {text: string, run: () => void, current?: boolean}[], class?: string}} props
 */
export function Menu({ name, label, choices, class: kind = "" }) {
  const [open, setOpen] = useState(false);
  const root = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (!open) return undefined;
    /** @type {HTMLElement | null | undefined} */ (root.current?.querySelector("[role=menuitem]"))?.focus();
    /** @param {Event} event */
    const away = (event) => root.current?.contains(/** @type {Node} */ (event.target)) || setOpen(false);
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [open]);
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (!open) return;
    const items = [.../** @type {HTMLElement} */ (root.current).querySelectorAll("[role=menuitem]")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      const at = items.indexOf(/** @type {Element} */ (document.activeElement));
      /** @type {HTMLElement} */ (items[(at + step + items.length) % items.length]).focus();
    } else if (event.key === "Escape") {
      setOpen(false);
      root.current?.querySelector("button")?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  /** @param {() => void} run */
  const choose = (run) => () => {
    setOpen(false);
    root.current?.querySelector("button")?.focus();
    run();
  };
  return html`<span class="menu ${kind}" ref=${root} onKeyDown=${onKeyDown}>
    <button type="button" aria-haspopup="menu" aria-expanded=${open} aria-label=${label ? undefined : name} title=${name} onClick=${() => setOpen(!open)}>
      ${label ?? html`<${Icon} name="more" />`}
    </button>
    ${open &&
    html`<div role="menu" aria-label=${name}>
      ${choices.map(
        ({ text, run, current }) =>
          html`<button type="button" role="menuitem" class=${current ? "current" : ""} onClick=${choose(run)}>${text}</button>`,
      )}
    </div>`}
  </span>`;
}

/**
 * Ask for a short text in a dialog.
 * @param {{title: string, label: string, value?: string, onSave: (text: string) => void, onClose: () => void}} props
 */
export function Ask({ title, label, value = "", onSave, onClose }) {
  /** @param {SubmitEvent} event */
  const onSubmit = (event) => {
    event.preventDefault();
    const text = String(new FormData(/** @type {HTMLFormElement} */ (event.target)).get("text")).trim();
    if (text) onSave(text);
    onClose();
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form class="ask" onSubmit=${onSubmit}>
      <label>${label}<input name="text" value=${value} maxlength="200" required autofocus /></label>
      <div class="actions"><button class="primary">${t("save")}</button></div>
    </form>
  <//>`;
}

/** "3 days", "1 hour 30 minutes". @param {number} seconds */
export function saySpan(seconds) {
  const parts = /** @type {const} */ ([
    ["span.days", 86_400],
    ["span.hours", 3600],
    ["span.minutes", 60],
    ["span.seconds", 1],
  ]);
  let left = Math.round(seconds);
  const said = [];
  for (const [word, size] of parts) {
    const n = Math.floor(left / size);
    left -= n * size;
    if (n && said.length < 2) said.push(t(word, { n }));
  }
  return said.join(" ") || t("span.seconds", { n: 0 });
}
