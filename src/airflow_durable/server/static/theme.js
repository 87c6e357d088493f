// Puts on Airflow's colours before anything is painted: the page stands in a frame of Airflow's, on the same origin.
(() => {
  const root = document.documentElement;
  // Airflow's own tokens (Chakra UI), so that a theme of the deployment's ([api] theme) is this page's too.
  const tokens = {
    bg: "bg", subtle: "bg-subtle", muted: "bg-muted", emphasized: "bg-emphasized",
    fg: "fg", "fg-muted": "fg-muted", border: "border", "border-emphasized": "border-emphasized",
    accent: "brand-solid", link: "fg-info", success: "success-solid", failed: "failed-solid", running: "running-solid",
    queued: "queued-solid", scheduled: "scheduled-solid", deferred: "deferred-solid", retry: "up_for_retry-solid",
    reschedule: "up_for_reschedule-solid", restarting: "restarting-solid", skipped: "skipped-solid",
    upstream: "upstream_failed-solid", removed: "removed-solid",
  };
  const frame = () => {
    try { return window.parent !== window ? window.parent.document.documentElement : null; } catch { return null; }
  };
  const wear = () => {
    const outer = frame();
    let dark = matchMedia("(prefers-color-scheme: dark)").matches;
    if (outer) dark = outer.classList.contains("dark");
    root.classList.toggle("dark", dark);
    const style = outer && getComputedStyle(outer);
    for (const [ours, theirs] of Object.entries(tokens)) {
      const value = style && style.getPropertyValue(`--chakra-colors-${theirs}`).trim();
      if (value) root.style.setProperty(`--${ours}`, value); else root.style.removeProperty(`--${ours}`);
    }
    const font = outer && getComputedStyle(outer.querySelector("body") ?? outer).fontFamily;
    if (font) root.style.setProperty("--font", font);
  };
  wear();
  const outer = frame();
  if (outer) new MutationObserver(wear).observe(outer, { attributes: true, attributeFilter: ["class"] });
  else matchMedia("(prefers-color-scheme: dark)").addEventListener("change", wear);
})();
