// What the page does without being loaded anew.
import { offerActions } from "./actions.js";
import { leadIntoAirflow } from "./airflow.js";
import { shareFilters } from "./filters.js";
import { follow } from "./following.js";
import { markFolded, openTimelines } from "./timelines.js";
import { showTimes } from "./times.js";

showTimes(document);
leadIntoAirflow();
openTimelines();
offerActions();
const main = document.querySelector("main[data-page]");
if (main) {
  markFolded(document.getElementById("rows"));
  shareFilters(document.querySelector("form.filters"));
  follow(main);
}
