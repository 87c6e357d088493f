// The ways out of the frame: into Airflow's own pages, into files, and onto the clipboard.
const isFramed = () => {
  try { return window.parent !== window && Boolean(window.parent.document); } catch { return false; }
};

// The frame may neither open a window nor keep a file; a link in the page around it may.
const clickOutside = (link, attributes) => {
  const twin = window.parent.document.createElement("a");
  Object.assign(twin, { href: link.href, rel: "noopener", ...attributes });
  window.parent.document.body.append(twin);
  twin.click();
  twin.remove();
};

const lead = (event) => {
  const link = event.target.closest?.("a[data-airflow], a[data-download]");
  if (!link || !isFramed()) return;
  event.preventDefault();
  if ("download" in link.dataset) clickOutside(link, { download: "" });
  else if (event.ctrlKey || event.metaKey || event.shiftKey || event.button === 1) clickOutside(link, { target: "_blank" });
  else {
    const outer = window.parent;
    outer.history.pushState(null, "", link.href);
    outer.dispatchEvent(new PopStateEvent("popstate", { state: null }));
  }
};

const copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https there is no clipboard for pages.
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "hidden";
    document.body.append(field);
    const before = document.activeElement;
    field.select();
    document.execCommand("copy");
    field.remove();
    before?.focus({ preventScroll: true });
  }
};

export const leadIntoAirflow = () => {
  document.addEventListener("click", lead);
  document.addEventListener("auxclick", (event) => { if (event.button === 1) lead(event); });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button.copy");
    if (!button) return;
    await copy(button.dataset.copy);
    button.classList.add("is-done");
    button.setAttribute("aria-label", "Copied");
    setTimeout(() => {
      button.classList.remove("is-done");
      button.setAttribute("aria-label", `${button.title} ${button.dataset.copy}`);
    }, 1500);
  });
};
