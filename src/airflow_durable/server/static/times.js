// Times, in the time zone that was chosen in Airflow, which is the browser's until one is.
const chosen = () => {
  try {
    const stored = localStorage.getItem("timezone");
    const name = stored?.startsWith('"') ? JSON.parse(stored) : stored;
    new Intl.DateTimeFormat("sv-SE", { timeZone: name || undefined });
    return name || undefined;
  } catch {
    return undefined;
  }
};
export const zone = chosen() ?? Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";

const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const day = { year: "numeric", month: "2-digit", day: "2-digit" };
const minute = { ...day, hour: "2-digit", minute: "2-digit" };
const formats = new Map();
const format = (iso, options) => {
  if (!formats.has(options)) formats.set(options, new Intl.DateTimeFormat("sv-SE", { timeZone: zone, ...options }));
  return formats.get(options).format(new Date(iso));
};
const full = { ...day, ...clock };
const brief = (iso) => format(iso, format(iso, day) === format(new Date(), day) ? clock : full);
const inText = (text) =>
  text.replace(/\{(\d{4}-\d\d-\d\dT[0-9:.+-]+)\}/g, (_, iso) => format(iso, full)) + (/\{\d{4}-/.test(text) ? ` ${zone}` : "");

// The same on a page that is shown and on one that will take its place: only what differs is changed then.
export const showTimes = (root) => {
  for (const element of root.querySelectorAll("time")) {
    const isBrief = "brief" in element.dataset;
    element.textContent = isBrief ? brief(element.dateTime) : format(element.dateTime, full);
    element.title = `${format(element.dateTime, full)} ${zone}`;
  }
  for (const element of root.querySelectorAll("text[data-time]")) {
    element.textContent = format(element.dataset.time, "long" in element.dataset ? minute : clock);
  }
  for (const element of root.querySelectorAll("[data-title]")) {
    const text = inText(element.dataset.title);
    if (element.localName === "title") element.textContent = text;
    else element.title = text;
  }
  for (const element of root.querySelectorAll("[data-zone]")) element.textContent = zone;
};

// A moment as a field of a form has it (without a zone), and back.
export const toField = (iso) => format(iso, full).replace(" ", "T");
export const fromField = (text) => {
  let guess = new Date(`${text}Z`).getTime();
  if (Number.isNaN(guess)) return "";
  // What the zone shows at a moment is off by its offset then; twice, for the days on which the clock is changed.
  for (let turn = 0; turn < 2; turn += 1) guess += new Date(`${text}Z`) - new Date(`${toField(new Date(guess))}Z`);
  return new Date(guess).toISOString().replace(/\.\d+Z$/, "Z");
};
