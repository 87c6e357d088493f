"""Differences in what can be asked for: run ids, dates, confs."""

from __future__ import annotations

from .model import Difference, Shown

DIFFERENCES = (
    Difference(
        what="A generated run id",
        stock="`manual__<date>`, with a random end where there is no logical date",
        durable=(
            "`manual__<date>_<12 letters and digits>`, and `_r1`, `_e1` or `_c2` where it is not the parent "
            "task's first run"
        ),
        why="It is computed from the parent task, so the run is found even if the record of it is lost.",
        shows=(Shown("form", "*"),),
    ),
    Difference(
        what="The `run_after` of a run with a fixed `logical_date` (Airflow 3.3)",
        stock="the current time of the server",
        durable="the current time or up to a second earlier, with microseconds that are the parent task's own",
        why=(
            "It shows later that this task started the run, and not another one with the same date. Give a "
            "`run_after` to choose it yourself."
        ),
        shows=(
            Shown(
                "children",
                "a logical date as text / a logical date as text without a time zone / a logical date as a "
                "datetime / a logical date as a datetime, deferred / a logical date in another time zone / a "
                "logical date from a template / a run id and a logical date",
                since="3.3",
            ),
            Shown(
                "request",
                "a logical date as text / a logical date as text without a time zone / a logical date as a "
                "datetime / a logical date as a datetime, deferred / a logical date in another time zone / a "
                "logical date from a template / a run id and a logical date / the logical date is taken by an"
                " active run / the logical date is taken by a run that failed / the logical date is taken, "
                "fire and forget / the logical date is taken, skip / the run id is free, and the logical date"
                " is taken",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what=("A `trigger_run_id` that Airflow would take for another, or cannot use (`#`, `?`, `/`, over 248 bytes)"),
        stock="a run under another name, HTTP 404, or a run whose logs cannot be written",
        durable="the try fails with an AirflowException that is a ValueError, and nothing is requested",
        why="The run could not be found again under its id.",
        shows=(
            Shown(
                "outcome",
                "a run id with a slash, for which there is no route",
                stock="failed",
                durable="up_for_retry",
                until="3.0",
            ),
            Shown(
                "outcome",
                "a run id with a number sign, which cuts it off in the address / a run id that is too long "
                "for a log folder",
                stock="success",
                durable="up_for_retry",
            ),
            Shown(
                "error",
                "a run id with a slash, for which there is no route",
                stock="none",
                durable="AirflowException and ValueError",
                until="3.2",
            ),
            Shown(
                "error",
                "a run id with a number sign, which cuts it off in the address / a run id that is too long "
                "for a log folder",
                stock="none",
                durable="AirflowException and ValueError",
            ),
            Shown(
                "error",
                "a run id with a slash, for which there is no route",
                stock="AirflowRuntimeError",
                durable="AirflowException and ValueError",
                since="3.3",
            ),
            Shown("runs", "a run id that is too long for a log folder", stock="queued", durable="none"),
            Shown(
                "runs", "a run id with a number sign, which cuts it off in the address", stock="success", durable="none"
            ),
            Shown("request", "a run id with a slash, for which there is no route", since="3.3"),
            Shown("order", "a run id with a slash, for which there is no route", since="3.3"),
        ),
    ),
    Difference(
        what="A `conf` that is not a JSON object",
        stock=(
            "ValueError, or pydantic's ValidationError (before Airflow 3.3 no exception, and on 3.0 no "
            "retry), which show the conf"
        ),
        durable=(
            "an AirflowException that is a ValueError, does not show the conf, and is retried; nothing is requested"
        ),
        why=(
            "The conf may hold secrets. Code written for ValueError still matches; callbacks see no "
            "`trigger_run_id`, as there is none yet."
        ),
        shows=(
            Shown(
                "outcome",
                "a conf as an empty text / a conf that is a text of a list / a conf that is a list / a conf "
                "that is a number",
                stock="failed",
                durable="up_for_retry",
                until="3.0",
            ),
            Shown(
                "error",
                "a conf as an empty text / a conf that is a text of a list / a conf that is a list / a conf "
                "that is a number",
                stock="none",
                durable="AirflowException and ValueError",
                until="3.2",
            ),
            Shown(
                "error",
                "a conf that is no JSON text / a conf that is no JSON text, without retries / a conf with a "
                "set / a conf with a datetime / a conf with a key that is no text / a conf with a set, fire "
                "and forget / a conf whose template renders to no JSON / a policy for ValueError, the conf is"
                " not JSON",
                stock="ValueError",
                durable="AirflowException and ValueError",
            ),
            Shown(
                "error",
                "a conf whose template heals at the next try",
                stock="ValueError, none",
                durable="AirflowException and ValueError, none",
            ),
            Shown(
                "error",
                "a conf with a number as a key",
                stock="none",
                durable="AirflowException and ValueError",
                since="3.2",
                until="3.2",
            ),
            Shown(
                "error",
                "a conf as an empty text / a conf that is a text of a list / a conf that is a list / a conf "
                "that is a number / a conf with a number as a key",
                stock="ValidationError",
                durable="AirflowException and ValueError",
                since="3.3",
            ),
            Shown(
                "order",
                "a conf as an empty text / a conf that is a text of a list / a conf that is a list / a conf "
                "that is a number / a conf with a number as a key",
                since="3.3",
            ),
            Shown(
                "seen",
                "a conf as an empty text / a conf that is a text of a list / a conf that is a list / a conf "
                "that is a number / a conf with a number as a key",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="A `logical_date` or `run_after` that is not a date, or has no time zone",
        stock=(
            "pendulum's ParserError or a TypeError; without a time zone pydantic's ValidationError (before "
            "Airflow 3.3 no exception, and on 3.0 no retry)"
        ),
        durable=("an AirflowException that is a ParserError (or a TypeError), and is retried; nothing is requested"),
        why=(
            "The message says which date, and what to pass. Code written for ParserError, ValueError or "
            "TypeError still matches; callbacks see no `trigger_run_id`, as there is none yet."
        ),
        shows=(
            Shown(
                "outcome",
                "a logical date without a time zone / a logical date without a time zone, fire and forget",
                stock="failed",
                durable="up_for_retry",
                until="3.0",
            ),
            Shown(
                "error",
                "a logical date without a time zone / a logical date without a time zone, fire and forget",
                stock="none",
                durable="AirflowException and ParserError",
                until="3.2",
            ),
            Shown(
                "error",
                "a logical date whose template renders to no date / a logical date whose template renders to "
                "None / a logical date whose template renders to nothing / a run-after date that is no date /"
                " a policy for ValueError, the logical date is no date",
                stock="ParserError",
                durable="AirflowException and ParserError",
            ),
            Shown(
                "error",
                "a logical date of a wrong type / a policy for TypeError, the logical date is of a wrong type",
                stock="TypeError",
                durable="AirflowException and TypeError",
            ),
            Shown(
                "error",
                "a logical date without a time zone / a logical date without a time zone, fire and forget / a"
                " run-after date without a time zone",
                stock="ValidationError",
                durable="AirflowException and ParserError",
                since="3.3",
            ),
            Shown(
                "order",
                "a logical date without a time zone / a logical date without a time zone, fire and forget / a"
                " run-after date without a time zone",
                since="3.3",
            ),
            Shown(
                "seen",
                "a logical date without a time zone / a logical date without a time zone, fire and forget / a"
                " run-after date without a time zone",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="A `trigger_dag_id` that renders to nothing",
        stock=("is requested, and refused: AirflowRuntimeError (before Airflow 3.3 no exception, and on 3.0 no retry)"),
        durable="an AirflowException that is a ValueError, and is retried; nothing is requested",
        why="That request cannot succeed, and the message says which parameter is empty.",
        shows=(
            Shown("outcome", "the Dag's name renders to nothing", stock="failed", durable="up_for_retry", until="3.0"),
            Shown(
                "outcome",
                "the Dag's name renders to nothing until the next try",
                stock="failed",
                durable="up_for_retry, success",
                until="3.0",
            ),
            Shown(
                "error",
                "the Dag's name renders to nothing until the next try",
                stock="none",
                durable="AirflowException and ValueError, none",
                until="3.0",
            ),
            Shown(
                "error",
                "the Dag's name renders to nothing",
                stock="none",
                durable="AirflowException and ValueError",
                until="3.2",
            ),
            Shown(
                "error",
                "the Dag's name renders to nothing until the next try",
                stock="none, none",
                durable="AirflowException and ValueError, none",
                since="3.1",
                until="3.2",
            ),
            Shown(
                "error",
                "the Dag's name renders to nothing",
                stock="AirflowRuntimeError",
                durable="AirflowException and ValueError",
                since="3.3",
            ),
            Shown(
                "error",
                "the Dag's name renders to nothing until the next try",
                stock="AirflowRuntimeError, none",
                durable="AirflowException and ValueError, none",
                since="3.3",
            ),
            Shown(
                "runs",
                "the Dag's name renders to nothing until the next try",
                stock="none",
                durable="success",
                until="3.0",
            ),
            Shown("children", "the Dag's name renders to nothing until the next try", since="3.1"),
            Shown("xcoms", "the Dag's name renders to nothing until the next try", since="3.3"),
            Shown(
                "request",
                "the Dag's name renders to nothing / the Dag's name renders to nothing until the next try",
                since="3.3",
            ),
            Shown(
                "order",
                "the Dag's name renders to nothing / the Dag's name renders to nothing until the next try",
                since="3.3",
            ),
            Shown(
                "seen",
                "the Dag's name renders to nothing / the Dag's name renders to nothing until the next try",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="A `poke_interval` that is a timedelta",
        stock="fails after the run was requested (deferred: in the triggerer)",
        durable="works",
        why="Its meaning is clear.",
        shows=(
            Shown("outcome", "an interval as a timedelta", stock="failed", durable="success", until="3.0"),
            Shown(
                "outcome",
                "an interval as a timedelta, deferred",
                stock="deferred, trigger failed",
                durable="deferred, success",
            ),
            Shown("outcome", "an interval as a timedelta", stock="up_for_retry", durable="success", since="3.1"),
            Shown("error", "an interval as a timedelta, deferred", stock="none", durable="none, none"),
            Shown("error", "an interval as a timedelta", stock="TypeError", durable="none", since="3.3"),
            Shown(
                "runs",
                "an interval as a timedelta / an interval as a timedelta, deferred",
                stock="queued",
                durable="success",
            ),
        ),
    ),
    Difference(
        what="A `poke_interval` that is a string or negative, of a task that waits",
        stock="fails after the run was requested; a negative one of a deferred task works like 0",
        durable="a ValueError when the Dag file is parsed",
        why="The mistake shows before anything is started.",
        shows=(
            Shown(
                "parsing",
                "an interval as text",
                stock="none",
                durable=(
                    "ValueError: poke_interval of task 'trigger' must be a number of seconds, 0 or more, or a "
                    "timedelta, not '5'."
                ),
            ),
            Shown(
                "parsing",
                "a negative interval / a negative interval, deferred",
                stock="none",
                durable=(
                    "ValueError: poke_interval of task 'trigger' must be a number of seconds, 0 or more, or a "
                    "timedelta, not -1."
                ),
            ),
            Shown("outcome", "a negative interval / an interval as text", stock="failed", durable="", until="3.0"),
            Shown("outcome", "a negative interval, deferred", stock="deferred, success", durable=""),
            Shown(
                "outcome", "a negative interval / an interval as text", stock="up_for_retry", durable="", since="3.1"
            ),
            Shown("error", "a negative interval / an interval as text", stock="none", durable="", until="3.2"),
            Shown("error", "a negative interval, deferred", stock="none, none", durable=""),
            Shown("error", "an interval as text", stock="TypeError", durable="", since="3.3"),
            Shown("error", "a negative interval", stock="ValueError", durable="", since="3.3"),
            Shown("runs", "a negative interval / an interval as text", stock="queued", durable="none"),
            Shown("runs", "a negative interval, deferred", stock="success", durable="none"),
        ),
    ),
    Difference(
        what=(
            "A deferral that ends with an event that the stock operator cannot have sent (no run id, no final state, "
            "no event at all)"
        ),
        stock="succeeds, or fails with a Python error",
        durable="the try fails with an AirflowException that says so",
        why="Success is reported only if the run is known to be in an allowed state.",
        shows=(
            Shown(
                "outcome",
                "an event without a state / an event with a state of neither kind / an event of no run",
                stock="deferred, success",
                durable="deferred, up_for_retry",
            ),
            Shown("error", "an event without run ids", stock="none, KeyError", durable="none, AirflowException"),
            Shown("error", "an event that is nothing", stock="none, TypeError", durable="none, AirflowException"),
            Shown(
                "error",
                "an event that is a text / an event that is a dict",
                stock="none, ValueError",
                durable="none, AirflowException",
            ),
            Shown(
                "error",
                "an event without a state / an event with a state of neither kind / an event of no run",
                stock="none, none",
                durable="none, AirflowException",
            ),
        ),
    ),
)
