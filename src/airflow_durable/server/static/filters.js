// The filters: their times are in the reader's zone, and what is empty stays out of the address.
import { fromField, toField } from "./times.js";

export const shareFilters = (form) => {
  for (const field of form.querySelectorAll("[data-at]")) field.value = toField(field.dataset.at);
  form.addEventListener("submit", () => {
    for (const field of form.querySelectorAll("input[name], select[name]")) {
      if (field.type === "datetime-local" && field.value) {
        const hidden = document.createElement("input");
        Object.assign(hidden, { type: "hidden", name: field.name, value: fromField(field.value) });
        form.append(hidden);
        field.disabled = true;
      } else if (!field.value) field.disabled = true;
    }
  });
  // A page that is shown again from the browser's memory has its fields still disabled.
  addEventListener("pageshow", () => {
    for (const field of form.querySelectorAll(":disabled")) field.disabled = false;
    for (const field of form.querySelectorAll("input[type=hidden]:not([name=sort])")) field.remove();
  });
  form.addEventListener("change", (event) => {
    if (event.target.matches("select, [type=checkbox]")) form.requestSubmit();
  });
};
