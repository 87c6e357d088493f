// What the page does without being loaded anew: it follows the waits, opens timelines, and leads back into Airflow.
(() => {
  const ROWS_EVERY_MS = 5000;
  const TOTALS_EVERY_MS = 30000;
  const main = document.querySelector("main[data-page]");

  // Times, in the time zone that was chosen in Airflow.
  const zone = () => {
    try { return localStorage.getItem("timezone") || undefined; } catch { return undefined; }
  };
  const formats = {};
  const format = (iso, options) => {
    const key = `${zone()} ${JSON.stringify(options)}`;
    try {
      formats[key] ??= new Intl.DateTimeFormat("sv-SE", { timeZone: zone(), ...options });
    } catch {
      formats[key] = new Intl.DateTimeFormat("sv-SE", options);
    }
    return formats[key].format(new Date(iso));
  };
  const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const day = { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" };
  const date = { year: "numeric", month: "2-digit", day: "2-digit", ...clock };
  const ago = (iso) => {
    const seconds = Math.max(0, (Date.now() - new Date(iso)) / 1000);
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
    }
    return "just now";
  };
  const tellTimes = (root) => {
    for (const element of root.querySelectorAll("time")) {
      element.textContent = format(element.dateTime, date);
      if (element.closest(".since")) {
        const note = document.createElement("div");
        note.className = "run";
        note.textContent = ago(element.dateTime);
        if (element.nextElementSibling) element.nextElementSibling.remove();
        element.after(note);
      }
    }
    for (const element of root.querySelectorAll("text[data-time]")) {
      element.textContent = format(element.dataset.time, "long" in element.dataset ? day : clock);
    }
  };

  // Links into Airflow. The frame may neither move nor open a window itself; the page around it may.
  const lead = (event) => {
    const link = event.target.closest?.("a[data-airflow]");
    if (!link || window.parent === window) return;
    const outer = window.parent;
    const isElsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.button === 1;
    event.preventDefault();
    if (isElsewhere) {
      const twin = outer.document.createElement("a");
      twin.href = link.href;
      twin.target = "_blank";
      twin.rel = "noopener";
      twin.click();
      return;
    }
    outer.history.pushState(null, "", link.href);
    outer.dispatchEvent(new PopStateEvent("popstate", { state: null }));
  };
  document.addEventListener("click", lead);
  document.addEventListener("auxclick", (event) => { if (event.button === 1) lead(event); });

  // Timelines.
  const opened = new Set();
  const get = async (address) => {
    const answer = await fetch(address, { credentials: "same-origin", headers: { Accept: "text/html" } });
    if (!answer.ok) throw Object.assign(new Error(answer.statusText), { status: answer.status });
    return answer.text();
  };
  const timelineOf = (row) => (row.nextElementSibling?.classList.contains("opened") ? row.nextElementSibling : null);
  const show = async (row) => {
    const link = row.querySelector("a.expand");
    const html = await get(`${link.href}?part=true`);
    if (!opened.has(row.dataset.wait)) return;
    let below = timelineOf(row);
    if (!below) {
      below = document.createElement("tr");
      below.className = "opened";
      below.append(document.createElement("td"));
      below.firstChild.colSpan = row.closest("table").querySelectorAll("thead th").length;
      row.after(below);
    }
    below.firstChild.innerHTML = html;
    link.setAttribute("aria-expanded", "true");
    tellTimes(below);
  };
  const hide = (row) => {
    row.querySelector("a.expand").setAttribute("aria-expanded", "false");
    timelineOf(row)?.remove();
  };
  const toggle = (event) => {
    const link = event.target.closest?.("a.expand");
    if (!link || link.closest(".single")) return;
    event.preventDefault();
    const row = link.closest("tr");
    if (opened.delete(row.dataset.wait)) hide(row);
    else {
      opened.add(row.dataset.wait);
      show(row).catch(() => { opened.delete(row.dataset.wait); });
    }
  };
  document.addEventListener("click", toggle);
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && event.target.matches?.("a.expand")) { event.preventDefault(); event.target.click(); }
  });

  tellTimes(document);
  if (!main) return;

  // Following.
  const live = document.getElementById("live");
  const tell = (text, isWell) => { live.textContent = text; live.classList.toggle("is-broken", !isWell); };
  const follow = (address, milliseconds, place) => {
    const once = async () => {
      if (document.visibilityState !== "hidden") {
        try {
          await place(await get(address));
          tell("live", true);
        } catch (error) {
          if (error.status === 401 || error.status === 403) {
            tell("signed out: load Airflow again", false);
            return;
          }
          tell("not reachable, trying again", false);
        }
      }
      setTimeout(once, milliseconds);
    };
    return once;
  };
  const rows = document.getElementById("rows");
  const totals = document.getElementById("totals");
  const placeRows = async (html) => {
    const focused = document.activeElement?.closest?.("tr")?.dataset.wait;
    const fresh = document.createElement("div");
    fresh.innerHTML = html;
    tellTimes(fresh);
    // Opened timelines are carried over, and brought up to date in their place.
    for (const row of fresh.querySelectorAll("tr[data-wait]")) {
      if (!opened.has(row.dataset.wait)) continue;
      const before = rows.querySelector(`tr[data-wait="${row.dataset.wait}"]`);
      const below = before && timelineOf(before);
      if (below) { row.after(below); row.querySelector("a.expand").setAttribute("aria-expanded", "true"); }
    }
    rows.replaceChildren(...fresh.childNodes);
    if (focused) rows.querySelector(`tr[data-wait="${focused}"] a.expand`)?.focus({ preventScroll: true });
    await Promise.all([...rows.querySelectorAll("tr[data-wait]")].filter((row) => opened.has(row.dataset.wait)).map(show));
  };
  const placeTotals = (html) => {
    totals.innerHTML = html;
    totals.removeAttribute("aria-busy");
    const options = totals.querySelector("template");
    document.getElementById("dags").replaceChildren(options.content);
    options.remove();
  };
  setTimeout(follow(main.dataset.rows, ROWS_EVERY_MS, placeRows), ROWS_EVERY_MS);
  follow(main.dataset.totals, TOTALS_EVERY_MS, placeTotals)();
  const form = document.querySelector("form.filters");
  form.addEventListener("submit", () => {
    // Empty fields stay out of the address.
    for (const field of form.querySelectorAll("input, select")) if (!field.value) field.disabled = true;
  });
  form.addEventListener("change", (event) => { if (event.target.matches("select, [type=checkbox]")) form.requestSubmit(); });
})();
