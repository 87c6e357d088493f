// Following what happens: what has changed is changed in its place, so that scroll, selection and focus stay.
import { isActing } from "./actions.js";
import { get, markFolded, opened, showTimeline, timelineOf } from "./timelines.js";
import { showTimes } from "./times.js";

const ROWS_EVERY_MS = 5000;
const TOTALS_EVERY_MS = 10000;
const QUIET_MS = 1500;
// What a reader has opened or folded, and what a script has written: no change of the server's.
const OWN_ATTRIBUTES = new Set(["open", "hidden", "aria-expanded"]);

const isBlank = (node) => node?.nodeType === Node.TEXT_NODE && !node.data.trim();
const keyOf = (node) => node.dataset?.wait ?? node.dataset?.key;

const changeAttributes = (now, next) => {
  for (const { name, value } of next.attributes) {
    if (!OWN_ATTRIBUTES.has(name) && now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  for (const { name } of [...now.attributes]) if (!OWN_ATTRIBUTES.has(name) && !next.hasAttribute(name)) now.removeAttribute(name);
};

export const change = (now, next) => {
  if (now.isEqualNode(next)) return now;
  if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName) { now.replaceWith(next); return next; }
  if (now.nodeType !== Node.ELEMENT_NODE) { now.data = next.data; return now; }
  changeAttributes(now, next);
  changeChildren(now, next);
  return now;
};

const changeChildren = (now, next) => {
  const known = new Map([...now.children].filter(keyOf).map((child) => [keyOf(child), child]));
  let at = now.firstChild;
  for (const wanted of [...next.childNodes]) {
    // White space between elements is not always the same: it must not stand in for one of them.
    if (isBlank(wanted) && !isBlank(at)) { now.insertBefore(wanted, at); continue; }
    while (!isBlank(wanted) && isBlank(at)) { const gone = at; at = at.nextSibling; gone.remove(); }
    const key = keyOf(wanted);
    let kept = key ? known.get(key) : at;
    if (!key && kept && keyOf(kept)) kept = null;
    if (!kept) { now.insertBefore(wanted, at); continue; }
    // A row is moved only if the order has changed: moving one takes its focus.
    if (kept !== at) now.insertBefore(kept, at);
    at = change(kept, wanted).nextSibling;
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
};

const isSelecting = () => {
  const selection = document.getSelection();
  return Boolean(selection && !selection.isCollapsed);
};

export const follow = (main) => {
  const rows = document.getElementById("rows");
  const totals = document.getElementById("totals");
  const age = document.getElementById("age");
  const pause = document.getElementById("pause");
  const trouble = document.getElementById("trouble");
  let updatedAt = Date.now(), touchedAt = 0, isPressed = false, isPaused = false, isOver = false;

  const why = () => {
    if (isPaused) return "paused";
    if (isActing()) return "paused while a dialog is open";
    if (isSelecting()) return "paused while text is selected";
    if (isPressed || Date.now() - touchedAt < QUIET_MS) return "paused while you use the table";
    return "";
  };
  const shown = (seconds) => (seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`);
  const tell = () => {
    const seconds = Math.round((Date.now() - updatedAt) / 1000);
    age.textContent = `updated ${seconds < 1 ? "just now" : `${shown(seconds)} ago`}${why() && `, ${why()}`}`;
    main.classList.toggle("is-paused", Boolean(why()));
  };
  const report = (error) => {
    const isStale = Boolean(error);
    main.classList.toggle("is-stale", isStale);
    let text = "";
    if (error?.status === 401 || error?.status === 403) text = "You are signed out: load Airflow again.";
    else if (error) text = `Not up to date: ${error.status ? error.message : "the server cannot be reached"}. Trying again.`;
    if (trouble.textContent !== text) trouble.textContent = text;
  };

  const placeRows = async (html) => {
    const fresh = document.createElement("div");
    fresh.innerHTML = html;
    showTimes(fresh);
    // Opened timelines stay below their rows.
    for (const row of fresh.querySelectorAll("tr[data-wait]")) {
      const before = opened.has(row.dataset.wait) && rows.querySelector(`tr[data-wait="${row.dataset.wait}"]`);
      const below = before && timelineOf(before);
      if (below) row.after(below.cloneNode(true));
    }
    for (const place of fresh.querySelectorAll("[data-count]")) {
      place.textContent = rows.querySelector(`[data-count="${CSS.escape(place.dataset.count)}"]`)?.textContent ?? "";
    }
    changeChildren(rows, fresh);
    markFolded(rows);
    const open = [...rows.querySelectorAll("tr[data-wait]")].filter((row) => opened.has(row.dataset.wait));
    await Promise.all(open.map((row) => showTimeline(row, changeChildren)));
  };
  const placeTotals = (html) => {
    const fresh = document.createElement("div");
    fresh.innerHTML = html;
    showTimes(fresh);
    const [dags, children] = fresh.querySelectorAll("template");
    document.getElementById("dags").replaceChildren(dags.content);
    document.getElementById("child-dags").replaceChildren(children.content);
    dags.remove();
    children.remove();
    changeChildren(totals, fresh);
    totals.removeAttribute("aria-busy");
  };
  const every = (address, milliseconds, place, isFirst) => {
    const once = async () => {
      if (isOver || !(isFirst || (document.visibilityState !== "hidden" && !why()))) return;
      try {
        const html = await get(address);
        if (isFirst || !why()) {
          await place(html);
          if (address === main.dataset.rows) updatedAt = Date.now();
        }
        isFirst = false;
        report(null);
      } catch (error) {
        report(error);
        isOver = error.status === 401 || error.status === 403;
      }
      tell();
    };
    const again = async () => {
      await once();
      if (!isOver) setTimeout(again, milliseconds);
    };
    // What a person did is shown at once.
    document.addEventListener("waits-changed", once);
    return again;
  };

  const count = async () => {
    const place = rows.querySelector("[data-count]");
    if (!place) return;
    try {
      const { count: number, is_capped: isCapped } = JSON.parse(await get(place.dataset.count));
      place.textContent = number === null ? "" : ` of ${isCapped ? "more than " : ""}${number.toLocaleString("en-US")}`;
    } catch { /* The number is left out. */ }
  };

  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Resume updates" : "Pause updates";
    tell();
  });
  for (const name of ["pointermove", "wheel", "keydown", "touchmove"]) {
    rows.addEventListener(name, () => { touchedAt = Date.now(); }, { passive: true });
  }
  document.addEventListener("pointerdown", () => { isPressed = true; });
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, () => { isPressed = false; });
  setInterval(tell, 1000);
  setTimeout(every(main.dataset.rows, ROWS_EVERY_MS, placeRows, false), ROWS_EVERY_MS);
  every(main.dataset.totals, TOTALS_EVERY_MS, placeTotals, true)();
  count();
};
