"""Differences in what can be asked for: run ids, dates, confs."""

from __future__ import annotations

from .model import Difference, Shown

DIFFERENCES = (
    Difference(
        what="A generated run id",
        stock="`manual__<date>`, with a random end where there is no logical date",
        durable="`manual__durable_<hex>_<n>`",
        why="It follows from the try, or from the parent, so that a request can be repeated.",
        shows=(Shown("form", "*"),),
    ),
    Difference(
        what=("A `trigger_run_id` that Airflow would take for another, or cannot use (`#`, `?`, `/`, over 248 bytes)"),
        stock="a run under another name, HTTP 404, or a run whose logs cannot be written",
        durable="the task fails without a retry, and nothing is requested",
        why="The run could not be found again under its id.",
        is_open=True,
        shows=(
            Shown(
                "outcome",
                "a run id with a number sign, which cuts it off in the address / a run id that is too long for "
                "a log folder",
                stock="success",
                durable="failed",
            ),
            Shown(
                "outcome",
                "a run id with a slash, for which there is no route",
                stock="up_for_retry",
                durable="failed",
                since="3.1",
            ),
            Shown(
                "error",
                "a run id with a number sign, which cuts it off in the address / a run id that is too long for "
                "a log folder",
                stock="none",
                durable="AirflowFailException",
            ),
            Shown(
                "error",
                "a run id with a slash, for which there is no route",
                stock="none",
                durable="AirflowFailException",
                until="3.2",
            ),
            Shown(
                "error",
                "a run id with a slash, for which there is no route",
                stock="AirflowRuntimeError",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown(
                "runs", "a run id with a number sign, which cuts it off in the address", stock="success", durable="none"
            ),
            Shown("runs", "a run id that is too long for a log folder", stock="queued", durable="none"),
        ),
    ),
    Difference(
        what="A conf that is not JSON, and would be at the next try",
        stock="the retry succeeds",
        durable="today there is no retry",
        why="The error counts as one that a retry cannot change.",
        is_open=True,
        shows=(
            Shown(
                "outcome",
                "a conf whose template heals at the next try",
                stock="up_for_retry, success",
                durable="failed",
            ),
            Shown(
                "error",
                "a conf whose template heals at the next try",
                stock="ValueError, none",
                durable="AirflowFailException",
            ),
            Shown("runs", "a conf whose template heals at the next try", stock="success", durable="none"),
        ),
    ),
    Difference(
        what="A conf that is not a JSON object",
        stock="is retried; the ValueError shows the conf",
        durable="fails without a retry, as AirflowFailException; the message does not show the conf",
        why="The conf may hold secrets. A `retry_policy` for ValueError does not match.",
        is_open=True,
        shows=(
            Shown(
                "outcome",
                "a conf that is no JSON text / a conf with a set / a conf with a datetime / a conf with a key "
                "that is no text / a conf with a set, fire and forget / a conf whose template renders to no "
                "JSON",
                stock="up_for_retry",
                durable="failed",
            ),
            Shown(
                "outcome",
                "a conf as an empty text / a conf that is a text of a list / a conf that is a list / a conf "
                "that is a number",
                stock="up_for_retry",
                durable="failed",
                since="3.1",
            ),
            Shown(
                "error",
                "a conf that is no JSON text / a conf with a set / a conf with a datetime / a conf with a key "
                "that is no text / a conf with a set, fire and forget / a conf whose template renders to no "
                "JSON / a conf that is no JSON text, without retries / a unit test of a conf that is not JSON",
                stock="ValueError",
                durable="AirflowFailException",
            ),
            Shown(
                "error",
                "a conf as an empty text / a conf that is a text of a list / a conf that is a list / a conf "
                "that is a number",
                stock="none",
                durable="AirflowFailException",
                until="3.2",
            ),
            Shown(
                "error",
                "a conf as an empty text / a conf that is a text of a list / a conf that is a list / a conf "
                "that is a number",
                stock="ValidationError",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown(
                "error",
                "a policy for ValueError, the conf is not JSON",
                stock="ValueError",
                durable="AirflowFailException",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="A conf with a number as a key",
        stock="ValidationError",
        durable="AirflowException, which does not show the conf",
        why="The conf may hold secrets.",
        shows=(
            Shown(
                "error",
                "a conf with a number as a key",
                stock="none",
                durable="AirflowException",
                since="3.2",
                until="3.2",
            ),
            Shown(
                "error",
                "a conf with a number as a key",
                stock="ValidationError",
                durable="AirflowException",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="A `logical_date` or `run_after` that is no date, or has no time zone",
        stock=(
            "is retried, as ParserError or ValidationError (before 3.3 a `run_after` is not sent, so it is not checked)"
        ),
        durable="fails without a retry, as AirflowFailException",
        why=("The error counts as one that a retry cannot change. A `retry_policy` for ValueError does not match."),
        is_open=True,
        shows=(
            Shown(
                "outcome",
                "a logical date whose template renders to no date / a logical date whose template renders to "
                "None / a logical date whose template renders to nothing / a run-after date that is no date",
                stock="up_for_retry",
                durable="failed",
            ),
            Shown(
                "outcome",
                "a logical date without a time zone / a logical date without a time zone, fire and forget",
                stock="up_for_retry",
                durable="failed",
                since="3.1",
            ),
            Shown("outcome", "a run-after date without a time zone", stock="success", durable="failed", until="3.2"),
            Shown(
                "outcome", "a run-after date without a time zone", stock="up_for_retry", durable="failed", since="3.3"
            ),
            Shown(
                "error",
                "a logical date whose template renders to no date / a logical date whose template renders to "
                "None / a logical date whose template renders to nothing / a run-after date that is no date",
                stock="ParserError",
                durable="AirflowFailException",
            ),
            Shown(
                "error",
                "a run-after date without a time zone / a logical date without a time zone / a logical date "
                "without a time zone, fire and forget",
                stock="none",
                durable="AirflowFailException",
                until="3.2",
            ),
            Shown(
                "error",
                "a run-after date without a time zone / a logical date without a time zone / a logical date "
                "without a time zone, fire and forget",
                stock="ValidationError",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown(
                "error",
                "a policy for ValueError, the logical date is no date",
                stock="ParserError",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown("runs", "a run-after date without a time zone", stock="success", durable="none", until="3.2"),
        ),
    ),
    Difference(
        what="A wrong `trigger_dag_id` that is corrected before the next try",
        stock="the next try uses the new one",
        durable="today the next try still uses the old one",
        why="The record keeps the first request.",
        is_open=True,
        shows=(
            Shown(
                "outcome",
                "a wrong Dag is corrected before the next try / the Dag's name renders to nothing until the next try",
                stock="failed",
                durable="up_for_retry, success",
                until="3.0",
            ),
            Shown(
                "outcome",
                "a wrong Dag is corrected before the next try / the Dag's name renders to nothing until the next try",
                stock="up_for_retry, success",
                durable="up_for_retry, up_for_retry",
                since="3.3",
            ),
            Shown(
                "error",
                "a wrong Dag is corrected before the next try / the Dag's name renders to nothing until the next try",
                stock="none",
                durable="AirflowException, none",
                until="3.0",
            ),
            Shown(
                "error",
                "a wrong Dag is corrected before the next try / the Dag's name renders to nothing until the next try",
                stock="none, none",
                durable="AirflowException, none",
                since="3.1",
                until="3.2",
            ),
            Shown(
                "error",
                "a wrong Dag is corrected before the next try / the Dag's name renders to nothing until the next try",
                stock="AirflowRuntimeError, none",
                durable="AirflowException, AirflowException",
                since="3.3",
            ),
            Shown(
                "runs",
                "a wrong Dag is corrected before the next try / the Dag's name renders to nothing until the next try",
                stock="none",
                durable="success",
                until="3.0",
            ),
            Shown(
                "runs",
                "a wrong Dag is corrected before the next try / the Dag's name renders to nothing until the next try",
                stock="success",
                durable="none",
                since="3.3",
            ),
            Shown(
                "children",
                "a wrong Dag is corrected before the next try / the Dag's name renders to nothing until the next try",
                since="3.1",
                until="3.2",
            ),
        ),
    ),
    Difference(
        what="A `poke_interval` that is a timedelta",
        stock="today fails after the run was requested (deferred: in the triggerer, or not at all)",
        durable="fails after the run was requested",
        why="It is not checked when the Dag file is parsed.",
        is_open=True,
        shows=(
            Shown(
                "outcome",
                "a negative interval / an interval as a timedelta",
                stock="failed",
                durable="up_for_retry",
                until="3.0",
            ),
            Shown(
                "outcome",
                "an interval as a timedelta, deferred",
                stock="deferred, trigger failed",
                durable="up_for_retry",
            ),
            Shown("error", "a negative interval", stock="none", durable="ValueError", until="3.2"),
            Shown("error", "an interval as a timedelta", stock="none", durable="TypeError", until="3.2"),
            Shown("error", "an interval as a timedelta, deferred", stock="none", durable="TypeError"),
        ),
    ),
    Difference(
        what="A `poke_interval` that is a text of a number",
        stock="fails after the run was requested",
        durable="works",
        why="It is converted.",
        shows=(
            Shown("outcome", "an interval as text", stock="failed", durable="success", until="3.0"),
            Shown("outcome", "an interval as text", stock="up_for_retry", durable="success", since="3.1"),
            Shown("error", "an interval as text", stock="TypeError", durable="none", since="3.3"),
            Shown("runs", "an interval as text", stock="queued", durable="success"),
        ),
    ),
    Difference(
        what="A resumption by the stock operator's event, of a run whose id is `record`",
        stock="works",
        durable="today fails: the event is taken for this operator's",
        why="The event is told by that word.",
        is_open=True,
        shows=(
            Shown(
                "outcome",
                "an event of a run that is called record",
                stock="deferred, success",
                durable="deferred, up_for_retry",
            ),
            Shown(
                "error", "an event of a run that is called record", stock="none, none", durable="none, AirflowException"
            ),
            Shown("seen", "an event of a run that is called record and failed"),
        ),
    ),
    Difference(
        what=(
            "A resumption by an event that the stock operator cannot have meant (no run id, no final state, "
            "no event at all)"
        ),
        stock="succeeds, or fails with a Python error",
        durable="fails the try, with an AirflowException that says so",
        why="Success is reported only of a run whose state is known to be an allowed one.",
        shows=(
            Shown(
                "outcome",
                "an event without a state / an event with a state of neither kind / an event of no run",
                stock="deferred, success",
                durable="deferred, up_for_retry",
            ),
            Shown(
                "error",
                "an event without a state / an event with a state of neither kind / an event of no run",
                stock="none, none",
                durable="none, AirflowException",
            ),
            Shown(
                "error",
                "an event that is a text / an event that is a dict",
                stock="none, ValueError",
                durable="none, AirflowException",
            ),
            Shown("error", "an event without run ids", stock="none, KeyError", durable="none, AirflowException"),
            Shown("error", "an event that is nothing", stock="none, TypeError", durable="none, AirflowException"),
        ),
    ),
)
