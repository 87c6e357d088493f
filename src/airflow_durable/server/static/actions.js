// What a person can do about a wait: a dialog shows what each action would do, does the one that is chosen, and says
// what was done or why not. What is possible, and the seal of each action, come from the server.
const HEADER = "X-Durable-Action";
const NAMES = {
  "end-child": "End the child run",
  "end-both": "End the parent task and the child run",
  "resume-child": "Resume the failed child run",
  forget: "Forget the record",
};

export const isActing = () => Boolean(document.querySelector("dialog[open]"));

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const list = (sentences) => make("ul", {}, ...sentences.map((sentence) => make("li", {}, sentence)));

// The answer, or an error with a sentence for the reader.
const ask = async (address, options = {}) => {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin", ...options, headers: { Accept: "application/json", ...options.headers } });
  } catch {
    const isUnknown = options.method === "POST";
    throw new Error(`The server cannot be reached.${isUnknown ? " It is not known whether this was done. Check again." : ""}`);
  }
  if (answer.status === 401) throw new Error("You are signed out: load Airflow again.");
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  throw new Error(typeof said.detail === "string" ? said.detail : `The server answers ${answer.status}.`);
};

const nameOf = (what, state, ...parts) =>
  make("div", {}, make("dt", {}, what), make("dd", {}, ...parts.map((part, at) => make("span", { className: at ? "mono" : "" }, part)), make("span", { className: "faint" }, state ?? "no state")));

const describe = ({ parent, child, child_state: state }) => {
  const task = `${parent.task_id}${parent.map_index < 0 ? "" : ` [${parent.map_index}]`}`;
  const childRun = child ? nameOf("Child run", state ?? "not there", child.dag_id, child.run_id) : nameOf("Child run", "", "A Dag that you may not read");
  return make("dl", {}, nameOf("Parent task", parent.state, `${parent.dag_id} / ${task}`, parent.run_id), childRun);
};

const choice = ({ action, effects, seal }) => {
  const field = make("input", { type: "radio", name: "action", value: action, required: true });
  field.dataset.seal = seal;
  const says = Object.assign(list(effects), { id: `does-${action}` });
  field.setAttribute("aria-describedby", says.id);
  return make("div", { className: "choice" }, make("label", {}, field, NAMES[action] ?? action), says);
};

class Dialog {
  constructor(address) {
    this.address = address;
    this.hasChanged = false;
    this.isBusy = false;
    this.body = make("div");
    this.doer = make("button", { type: "submit", className: "danger", hidden: true });
    this.again = make("button", { type: "button", hidden: true }, "Check again");
    this.closer = make("button", { type: "button" }, "Cancel");
    const title = make("h2", { id: "acting-title" }, "Actions");
    const form = make("form", {}, title, this.body, make("div", { className: "buttons" }, this.closer, this.again, this.doer));
    this.element = make("dialog", { className: "acting" }, form);
    this.element.setAttribute("aria-labelledby", title.id);
    form.addEventListener("submit", (event) => { event.preventDefault(); this.act(); });
    form.addEventListener("change", () => this.choose());
    this.again.addEventListener("click", () => this.show());
    this.closer.addEventListener("click", () => this.element.close());
    this.element.addEventListener("cancel", (event) => { if (this.isBusy) event.preventDefault(); });
    this.element.addEventListener("close", () => {
      this.element.remove();
      if (this.hasChanged) document.dispatchEvent(new CustomEvent("waits-changed"));
    });
  }

  open() {
    document.body.append(this.element);
    this.element.showModal();
    return this.show();
  }

  async show() {
    this.doer.hidden = this.again.hidden = true;
    this.closer.textContent = "Cancel";
    this.body.replaceChildren(make("p", { className: "faint" }, "Checking what can be done…"));
    try {
      this.place(await ask(this.address));
    } catch (error) {
      this.fail(error);
    }
  }

  place(found) {
    const possible = found.actions.filter((one) => one.is_possible);
    const refused = found.actions.filter((one) => !one.is_possible);
    const parts = [describe(found)];
    if (possible.length) {
      parts.push(make("fieldset", {}, make("legend", {}, "What do you want to do?"), ...possible.map(choice)));
      this.doer.hidden = false;
    }
    if (refused.length) {
      const why = refused.map(({ action, refusal }) => `${NAMES[action] ?? action}: ${refusal}`);
      parts.push(make("h3", {}, "Not possible now"), list(why));
    }
    this.body.replaceChildren(...parts);
    this.choose();
    (this.body.querySelector("input") ?? this.closer).focus();
    if (!possible.length) this.closer.textContent = "Close";
  }

  get chosen() { return this.body.querySelector("input:checked"); }

  choose() {
    this.doer.disabled = !this.chosen;
    this.doer.textContent = this.chosen ? NAMES[this.chosen.value] : "Choose an action";
  }

  async act() {
    const { value: action, dataset: { seal } } = this.chosen;
    this.isBusy = true;
    for (const field of this.element.querySelectorAll("input, button")) field.disabled = true;
    const options = { method: "POST", headers: { "Content-Type": "application/json", [HEADER]: action }, body: JSON.stringify({ seal }) };
    try {
      const done = await ask(`${this.address}/${action}`, options);
      this.hasChanged = true;
      this.finish(make("p", { className: "good" }, `Done: ${NAMES[action]}.`), list(done.effects));
      this.body.setAttribute("role", "status");
    } catch (error) {
      this.hasChanged = true;
      this.fail(error);
    }
  }

  fail(error) {
    this.finish(make("p", { className: "bad" }, error.message));
    this.body.setAttribute("role", "alert");
    this.again.hidden = false;
  }

  finish(...parts) {
    this.isBusy = false;
    for (const button of this.element.querySelectorAll("button")) button.disabled = false;
    this.doer.hidden = this.again.hidden = true;
    this.body.replaceChildren(...parts);
    this.closer.textContent = "Close";
    this.closer.focus();
  }
}

export const offerActions = () => {
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-actions]");
    if (button && !isActing()) new Dialog(button.dataset.actions).open();
  });
  // The table follows what happens; a page of one wait is loaded anew.
  document.addEventListener("waits-changed", () => { if (!document.querySelector("main[data-page]")) location.reload(); });
};
