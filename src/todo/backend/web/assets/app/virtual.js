/** A long list of which only what is in sight exists: five thousand rows cost what thirty do. */
import { html, useLayoutEffect, useMemo, useRef, useState } from "./html.js";

/** @typedef {{key: string, height: number, draw: (index: number) => unknown}} Line */

const MORE = 400; // px above and below what is in sight

/**
 * @param {{lines: Line[], label: string, reveal?: string | null}} props `reveal` is the key of a line to scroll to
 */
export function Virtual({ lines, label, reveal }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const [view, setView] = useState({ top: 0, height: 900 });
  const offsets = useMemo(() => sums(lines), [lines]);
  const total = offsets[lines.length];

  useLayoutEffect(() => {
    const scroller = element.current?.closest(".scroll");
    if (!scroller) return undefined;
    const look = () => {
      const top = scroller.scrollTop - /** @type {HTMLElement} */ (element.current).offsetTop;
      setView({ top, height: scroller.clientHeight });
    };
    look();
    scroller.addEventListener("scroll", look, { passive: true });
    const sized = new ResizeObserver(look);
    sized.observe(scroller);
    return () => {
      scroller.removeEventListener("scroll", look);
      sized.disconnect();
    };
  }, []);

  useLayoutEffect(() => {
    const index = reveal ? lines.findIndex((line) => line.key === reveal) : -1;
    const scroller = element.current?.closest(".scroll");
    if (index < 0 || !scroller || !element.current) return;
    const top = offsets[index] + element.current.offsetTop;
    const bottom = top + lines[index].height;
    if (top < scroller.scrollTop) scroller.scrollTop = top - 8;
    else if (bottom > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = bottom - scroller.clientHeight + 8;
  }, [reveal]);

  const first = Math.max(0, above(offsets, view.top - MORE) - 1);
  const last = Math.min(lines.length, above(offsets, view.top + view.height + MORE) + 1);
  const shown = lines.slice(first, last);
  return html`<div class="virtual" ref=${element} role="list" aria-label=${label} style=${{ height: `${total}px` }}>
    ${shown.map(
      (line, index) => html`<div key=${line.key} class="line" role="presentation" style=${{ top: `${offsets[first + index]}px`, height: `${line.height}px` }}>
        ${line.draw(first + index)}
      </div>`,
    )}
  </div>`;
}

/** @param {Line[]} lines */
function sums(lines) {
  const offsets = new Float64Array(lines.length + 1);
  for (let index = 0; index < lines.length; index += 1) offsets[index + 1] = offsets[index] + lines[index].height;
  return offsets;
}

/** The first line that begins at or below this. @param {Float64Array} offsets @param {number} top */
function above(offsets, top) {
  let low = 0;
  let high = offsets.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (offsets[middle] < top) low = middle + 1;
    else high = middle;
  }
  return low;
}
