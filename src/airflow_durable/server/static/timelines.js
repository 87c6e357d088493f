// Rows that open: a wait shows its timeline, mapped task instances are folded together.
import { showTimes } from "./times.js";

export const opened = new Set();
const folded = new Map();
const MANY = 5;

export const get = async (address) => {
  const answer = await fetch(address, { credentials: "same-origin", headers: { Accept: "text/html" } });
  if (!answer.ok) throw Object.assign(new Error(`the server answers ${answer.status}`), { status: answer.status });
  return answer.text();
};

export const timelineOf = (row) => (row.nextElementSibling?.classList.contains("opened") ? row.nextElementSibling : null);

const cellBelow = (row) => {
  let below = timelineOf(row);
  if (!below) {
    below = document.createElement("tr");
    below.className = "opened";
    below.dataset.key = `timeline-${row.dataset.wait}`;
    below.setAttribute("role", "row");
    below.append(document.createElement("td"));
    below.firstChild.colSpan = 7;
    below.firstChild.setAttribute("role", "cell");
    row.after(below);
  }
  below.hidden = row.hidden;
  return below.firstChild;
};

const fail = (row, error) => {
  const note = document.createElement("p");
  note.className = "empty";
  note.setAttribute("role", "alert");
  note.append(error.status === 404 ? "This wait no longer exists. " : `The timeline could not be loaded: ${error.message}. `);
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Try again";
  again.addEventListener("click", () => showTimeline(row).catch(() => {}));
  note.append(again);
  cellBelow(row).replaceChildren(note);
};

// What is in the place of the old one, if it is another one.
export const showTimeline = async (row, place = (cell, html) => { cell.replaceChildren(...html.childNodes); }) => {
  const link = row.querySelector("a.expand");
  let html;
  try {
    html = await get(`${link.href}?part=true`);
  } catch (error) {
    if (opened.has(row.dataset.wait) && !timelineOf(row)?.querySelector("figure")) fail(row, error);
    throw error;
  }
  if (!opened.has(row.dataset.wait)) return;
  const fresh = document.createElement("td");
  fresh.innerHTML = html;
  showTimes(fresh);
  place(cellBelow(row), fresh);
  link.setAttribute("aria-expanded", "true");
};

const hide = (row) => {
  row.querySelector("a.expand").setAttribute("aria-expanded", "false");
  timelineOf(row)?.remove();
};

const toggle = (event) => {
  const link = event.target.closest?.("a.expand");
  if (!link || link.closest(".single") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const row = link.closest("tr");
  if (opened.delete(row.dataset.wait)) hide(row);
  else {
    opened.add(row.dataset.wait);
    link.setAttribute("aria-expanded", "true");
    showTimeline(row).catch(() => {});
  }
};

// Mapped task instances: many are folded until somebody asks for them.
export const markFolded = (root) => {
  for (const head of root.querySelectorAll("tr.group")) {
    const key = head.dataset.key;
    const isFolded = folded.get(key) ?? Number(head.dataset.size) > MANY;
    head.querySelector(".fold").setAttribute("aria-expanded", String(!isFolded));
    for (const row of root.querySelectorAll(`tr[data-group="${key}"]`)) {
      row.hidden = isFolded;
      const below = timelineOf(row);
      if (below) below.hidden = isFolded;
    }
  }
};

const fold = (event) => {
  const button = event.target.closest?.("button.fold");
  if (!button) return;
  folded.set(button.dataset.fold, button.getAttribute("aria-expanded") === "true");
  markFolded(button.closest("tbody"));
};

export const openTimelines = () => {
  document.addEventListener("click", toggle);
  document.addEventListener("click", fold);
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && event.target.matches?.("a.expand")) { event.preventDefault(); event.target.click(); }
  });
};
