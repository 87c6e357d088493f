"""
The differences between the stock operator and this one with ``durable=True``: each with its reason, reviewed.

docs/migration.md shows them (``python -m tests.sidebyside`` writes them there). A difference that is not listed fails a
test, and so does one that is listed and does not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from packaging.version import Version

from tests.adapters.versions import AIRFLOW

from .compare import SHORT

KNOWN_TODAY: tuple[str, ...] = (
    "an event of a run that is called record",
    "an event of a run that is called record and failed",
)
"""
Situations in which ``durable=False`` differs from the stock operator. It must be empty in the end.

The event of a run that is called ``record`` is taken for one of this operator's.
"""


@dataclass(frozen=True)
class Shown:
    """
    Where a difference shows.

    :param aspect: one of :data:`tests.sidebyside.compare.SHORT` or ``LONG``.
    :param where: names of situations, or patterns of them (``*``). Each has to show it.
    :param stock: what the stock operator comes to, for a short aspect: word for word.
    :param durable: what this one comes to.
    :param since: the Airflow that it shows on first.
    :param until: the Airflow that it shows on last; None: it still does.
    """

    aspect: str
    where: tuple[str, ...]
    stock: str | None = None
    durable: str | None = None
    since: str = "3.0"
    until: str | None = None

    def __post_init__(self) -> None:
        """See that a short aspect is said word for word."""
        assert (self.stock is not None and self.durable is not None) is (self.aspect in SHORT), self

    def is_on_this_airflow(self) -> bool:
        """Tell whether the installed Airflow is one of those on which it shows."""
        minor = Version(f"{AIRFLOW.major}.{AIRFLOW.minor}")
        return Version(self.since) <= minor and (self.until is None or minor <= Version(self.until))

    def covers(self, situation: str, aspect: str, pair: tuple[str, str]) -> bool:
        """Tell whether this difference is meant."""
        return (
            self.aspect == aspect
            and any(fnmatchcase(situation, pattern) for pattern in self.where)
            and (aspect not in SHORT or pair == (self.stock, self.durable))
        )


@dataclass(frozen=True)
class Difference:
    """
    A difference, as people read it.

    :param what: in which matter.
    :param why: one plain sentence.
    :param is_open: it is to go, or to be decided anew (the project's issue 11).
    """

    what: str
    stock: str
    durable: str
    why: str
    shows: tuple[Shown, ...]
    is_open: bool = False


def shown_here() -> list[Shown]:
    """Return where differences show on the installed Airflow."""
    return [shown for difference in DIFFERENCES for shown in difference.shows if shown.is_on_this_airflow()]


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        what="Requests to the API server beside the request for the run",
        stock="the look-ups of a wait",
        durable="at most three more for the whole wait, and a look-up on a retry",
        why="The run id is recorded before the run is requested, and its outcome before the task succeeds: a crash between any two requests loses nothing.",
        shows=(Shown("traffic", ("*",)),),
    ),
    Difference(
        what="The first look of a wait on a worker",
        stock="after a whole `poke_interval`",
        durable="at once, then in growing pauses up to `poke_interval`",
        why="A run that has ended already, as after a crash, is not waited for.",
        shows=(Shown("waiting", ("*",)),),
    ),
    Difference(
        what="The trigger of a deferral",
        stock="`DagStateTrigger`",
        durable="`DurableDagRunTrigger`, whose event the stock operator can read, too",
        why="All waits of a triggerer share their look-ups, and the event carries the record.",
        shows=(Shown("trigger", ("*",)),),
    ),
    Difference(
        what="`post_execute`",
        stock="is called after a deferral only, as `execute` hands over to the task runner",
        durable="is called after each success, and fails the try if it raises",
        why="`execute` returns, like that of any other operator.",
        shows=(
            Shown("post_execute", ("*",)),
            Shown("outcome", ("post_execute fails",), stock="success", durable="up_for_retry"),
            Shown("error", ("post_execute fails",), stock="none", durable="ValueError"),
        ),
    ),
    Difference(
        what="Code of a subclass after `super().execute()`",
        stock="never runs (a `finally` does, before the run is requested)",
        durable="runs when the child has ended; a returned value is pushed as an XCom",
        why="`execute` returns, like that of any other operator.",
        shows=(
            Shown(
                "order",
                (
                    "a subclass with hooks",
                    "a subclass that works after it has executed",
                    "a subclass that works after it has executed, fire and forget",
                    "a subclass that cleans up after it has executed",
                    "a subclass that returns a value",
                ),
            ),
            Shown(
                "xcoms",
                (
                    "a subclass with hooks",
                    "a subclass that works after it has executed",
                    "a subclass that works after it has executed, fire and forget",
                    "a subclass that returns a value",
                ),
            ),
        ),
    ),
    Difference(
        what="A subclass that catches exceptions of `super().execute()`",
        stock="catches the request itself (`DagRunTriggerException`), so that nothing is triggered, or may change it",
        durable="catches errors only: the run has been requested by then",
        why="The request is sent by the operator, after it is recorded; change the operator's attributes before `super().execute()` instead.",
        shows=(
            Shown("runs", ("a subclass that catches every error",), stock="none", durable="success"),
            Shown(
                "runs", ("a subclass that catches every error, and the child fails",), stock="none", durable="failed"
            ),
            Shown(
                "request",
                (
                    "a subclass that catches the request itself",
                    "a subclass that catches every error",
                    "a subclass that catches every error, and the child fails",
                ),
            ),
            Shown(
                "xcoms",
                (
                    "a subclass that catches every error",
                    "a subclass that catches every error, and the child fails",
                ),
            ),
            Shown(
                "order",
                (
                    "a subclass that catches every error",
                    "a subclass that catches every error, and the child fails",
                ),
            ),
            Shown("children", ("a subclass that catches the request itself",)),
        ),
    ),
    Difference(
        what="A subclass that calls `super().execute()` twice",
        stock="triggers once: the first call hands over to the task runner",
        durable="today the second call returns without a run of its own",
        why="Calls of one try are not told apart yet.",
        is_open=True,
        shows=(
            Shown("outcome", ("a subclass that triggers twice",), stock="success", durable="failed", until="3.2"),
            Shown("order", ("a subclass that triggers twice",), since="3.3"),
            Shown("seen", ("a subclass that triggers twice",), since="3.3"),
        ),
    ),
    Difference(
        what="A subclass that sets `allowed_states` or `failed_states` to plain strings after `super().__init__()`",
        stock="works",
        durable="today fails with an AttributeError",
        why="The states are read as enums.",
        is_open=True,
        shows=(
            Shown("outcome", ("a subclass that sets states as text",), stock="success", durable="up_for_retry"),
            Shown(
                "outcome",
                ("a subclass that sets states as text, deferred",),
                stock="deferred, success",
                durable="up_for_retry",
            ),
            Shown(
                "outcome",
                ("a subclass that sets states as text, and the child fails",),
                stock="failed",
                durable="up_for_retry",
                until="3.2",
            ),
            Shown(
                "error",
                (
                    "a subclass that sets states as text",
                    "a subclass that sets states as text, and the child fails",
                ),
                stock="none",
                durable="AttributeError",
            ),
            Shown(
                "error",
                ("a subclass that sets states as text, deferred",),
                stock="none, none",
                durable="AttributeError",
            ),
            Shown(
                "runs",
                (
                    "a subclass that sets states as text",
                    "a subclass that sets states as text, deferred",
                ),
                stock="success",
                durable="none",
            ),
            Shown(
                "runs", ("a subclass that sets states as text, and the child fails",), stock="failed", durable="none"
            ),
            Shown("request", ("a subclass that sets states as text, and the child fails",), since="3.3"),
            Shown("order", ("a subclass that sets states as text, and the child fails",), since="3.3"),
            Shown("seen", ("a subclass that sets states as text, and the child fails",), since="3.3"),
            Shown("xcoms", ("a subclass that sets states as text, and the child fails",), since="3.3"),
        ),
    ),
    Difference(
        what="An override of `execute_complete` that raises",
        stock="runs again at each try, with a new child each",
        durable="today does not run again: the next try succeeds without it",
        why="The outcome counts as consumed before the override has run.",
        is_open=True,
        shows=(
            Shown(
                "outcome",
                ("a subclass whose execute_complete fails, over two tries",),
                stock="deferred, up_for_retry, deferred, up_for_retry",
                durable="deferred, up_for_retry, success",
            ),
            Shown(
                "error",
                ("a subclass whose execute_complete fails, over two tries",),
                stock="none, ValueError, none, ValueError",
                durable="none, ValueError, none",
            ),
            Shown(
                "runs",
                ("a subclass whose execute_complete fails, over two tries",),
                stock="success, success",
                durable="success",
            ),
        ),
    ),
    Difference(
        what="A unit test that calls `execute(context={})`",
        stock="raises DagRunTriggerException",
        durable="raises KeyError or TypeError: the context must be a whole one",
        why="What is recorded belongs to a task instance. Test with `dag.test()`, or with `durable=False`.",
        shows=(
            Shown(
                "error",
                (
                    "a unit test with an empty context",
                    "a unit test with an empty context, waiting",
                    "a unit test with an empty context, deferred",
                ),
                stock="DagRunTriggerException",
                durable="KeyError",
            ),
            Shown(
                "error",
                ("a unit test with a mock of the task instance",),
                stock="DagRunTriggerException",
                durable="TypeError",
            ),
        ),
    ),
    Difference(
        what="A task with `retries=0`",
        stock="nothing is said",
        durable="`DurableRetriesWarning` when the Dag file is parsed",
        why="Without a retry nothing finds the child again after a crash.",
        shows=(
            Shown(
                "parsing",
                (
                    "the child fails, without retries",
                    "the child fails, deferred, without retries",
                    "there is no such Dag, without retries",
                    "a conf that is no JSON text, without retries",
                    "the run id is taken, at the last try",
                ),
                stock="none",
                durable="DurableRetriesWarning",
            ),
        ),
    ),
    Difference(
        what="A `trigger_run_id` that Airflow would take for another, or cannot use (`#`, `?`, `/`, over 248 bytes)",
        stock="a run under another name, HTTP 404, or a run whose logs cannot be written",
        durable="the task fails without a retry, and nothing is requested",
        why="The run could not be found again under its id.",
        is_open=True,
        shows=(
            Shown(
                "outcome",
                (
                    "a run id with a number sign, which cuts it off in the address",
                    "a run id that is too long for a log folder",
                ),
                stock="success",
                durable="failed",
            ),
            Shown(
                "outcome",
                ("a run id with a slash, for which there is no route",),
                stock="up_for_retry",
                durable="failed",
            ),
            Shown(
                "error",
                (
                    "a run id with a number sign, which cuts it off in the address",
                    "a run id that is too long for a log folder",
                ),
                stock="none",
                durable="AirflowFailException",
            ),
            Shown(
                "error",
                ("a run id with a slash, for which there is no route",),
                stock="none",
                durable="AirflowFailException",
                until="3.2",
            ),
            Shown(
                "error",
                ("a run id with a slash, for which there is no route",),
                stock="AirflowRuntimeError",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown(
                "runs",
                ("a run id with a number sign, which cuts it off in the address",),
                stock="success",
                durable="none",
            ),
            Shown("runs", ("a run id that is too long for a log folder",), stock="queued", durable="none"),
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
                ("a conf whose template heals at the next try",),
                stock="up_for_retry, success",
                durable="failed",
            ),
            Shown(
                "error",
                ("a conf whose template heals at the next try",),
                stock="ValueError, none",
                durable="AirflowFailException",
            ),
            Shown("runs", ("a conf whose template heals at the next try",), stock="success", durable="none"),
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
                (
                    "a conf as an empty text",
                    "a conf that is a text of a list",
                    "a conf that is a list",
                    "a conf that is a number",
                    "a conf that is no JSON text",
                    "a conf with a set",
                    "a conf with a datetime",
                    "a conf with a key that is no text",
                    "a conf with a set, fire and forget",
                    "a conf whose template renders to no JSON",
                ),
                stock="up_for_retry",
                durable="failed",
            ),
            Shown(
                "error",
                (
                    "a conf that is no JSON text",
                    "a conf with a set",
                    "a conf with a datetime",
                    "a conf with a key that is no text",
                    "a conf with a set, fire and forget",
                    "a conf whose template renders to no JSON",
                    "a conf that is no JSON text, without retries",
                    "a unit test of a conf that is not JSON",
                ),
                stock="ValueError",
                durable="AirflowFailException",
            ),
            Shown(
                "error",
                (
                    "a conf as an empty text",
                    "a conf that is a text of a list",
                    "a conf that is a list",
                    "a conf that is a number",
                ),
                stock="none",
                durable="AirflowFailException",
                until="3.2",
            ),
            Shown(
                "error",
                (
                    "a conf as an empty text",
                    "a conf that is a text of a list",
                    "a conf that is a list",
                    "a conf that is a number",
                ),
                stock="ValidationError",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown(
                "error",
                ("a policy for ValueError, the conf is not JSON",),
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
                ("a conf with a number as a key",),
                stock="none",
                durable="AirflowException",
                since="3.2",
                until="3.2",
            ),
            Shown(
                "error",
                ("a conf with a number as a key",),
                stock="ValidationError",
                durable="AirflowException",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="A `logical_date` or `run_after` that is no date, or has no time zone",
        stock="is retried, as ParserError or ValidationError (before 3.3 a `run_after` is not sent, so it is not checked)",
        durable="fails without a retry, as AirflowFailException",
        why="The error counts as one that a retry cannot change. A `retry_policy` for ValueError does not match.",
        is_open=True,
        shows=(
            Shown(
                "outcome",
                (
                    "a logical date without a time zone",
                    "a logical date without a time zone, fire and forget",
                    "a logical date whose template renders to no date",
                    "a logical date whose template renders to None",
                    "a logical date whose template renders to nothing",
                    "a run-after date that is no date",
                ),
                stock="up_for_retry",
                durable="failed",
            ),
            Shown("outcome", ("a run-after date without a time zone",), stock="success", durable="failed", until="3.2"),
            Shown(
                "outcome",
                ("a run-after date without a time zone",),
                stock="up_for_retry",
                durable="failed",
                since="3.3",
            ),
            Shown(
                "error",
                (
                    "a logical date whose template renders to no date",
                    "a logical date whose template renders to None",
                    "a logical date whose template renders to nothing",
                    "a run-after date that is no date",
                ),
                stock="ParserError",
                durable="AirflowFailException",
            ),
            Shown(
                "error",
                (
                    "a logical date without a time zone",
                    "a logical date without a time zone, fire and forget",
                    "a run-after date without a time zone",
                ),
                stock="none",
                durable="AirflowFailException",
                until="3.2",
            ),
            Shown(
                "error",
                (
                    "a logical date without a time zone",
                    "a logical date without a time zone, fire and forget",
                    "a run-after date without a time zone",
                ),
                stock="ValidationError",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown(
                "error",
                ("a policy for ValueError, the logical date is no date",),
                stock="ParserError",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown("runs", ("a run-after date without a time zone",), stock="success", durable="none", until="3.2"),
        ),
    ),
    Difference(
        what="A `retry_policy` rule for a refused request",
        stock="matches AirflowRuntimeError",
        durable="matches AirflowException",
        why="All errors of this operator are of one kind, whatever the request was refused by.",
        is_open=True,
        shows=(
            Shown(
                "outcome",
                ("a policy for AirflowException, there is no such Dag",),
                stock="up_for_retry",
                durable="failed",
                since="3.3",
            ),
            Shown(
                "outcome",
                ("a policy for AirflowRuntimeError, there is no such Dag",),
                stock="failed",
                durable="up_for_retry",
                since="3.3",
            ),
            Shown(
                "error",
                (
                    "a policy for AirflowException, there is no such Dag",
                    "a policy for AirflowRuntimeError, there is no such Dag",
                ),
                stock="AirflowRuntimeError",
                durable="AirflowException",
                since="3.3",
            ),
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
                (
                    "a wrong Dag is corrected before the next try",
                    "the Dag's name renders to nothing until the next try",
                ),
                stock="up_for_retry, success",
                durable="up_for_retry, up_for_retry",
                since="3.3",
            ),
            Shown(
                "error",
                (
                    "a wrong Dag is corrected before the next try",
                    "the Dag's name renders to nothing until the next try",
                ),
                stock="none, none",
                durable="AirflowException, none",
                until="3.2",
            ),
            Shown(
                "error",
                (
                    "a wrong Dag is corrected before the next try",
                    "the Dag's name renders to nothing until the next try",
                ),
                stock="AirflowRuntimeError, none",
                durable="AirflowException, AirflowException",
                since="3.3",
            ),
            Shown(
                "runs",
                (
                    "a wrong Dag is corrected before the next try",
                    "the Dag's name renders to nothing until the next try",
                ),
                stock="success",
                durable="none",
                since="3.3",
            ),
            Shown(
                "children",
                (
                    "a wrong Dag is corrected before the next try",
                    "the Dag's name renders to nothing until the next try",
                ),
                until="3.2",
            ),
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
                ("an event of a run that is called record",),
                stock="deferred, success",
                durable="deferred, up_for_retry",
            ),
            Shown(
                "error",
                ("an event of a run that is called record",),
                stock="none, none",
                durable="none, AirflowException",
            ),
            Shown("seen", ("an event of a run that is called record and failed",)),
        ),
    ),
    Difference(
        what="A resumption by an event that the stock operator cannot have meant (no run id, no final state, no event at all)",
        stock="succeeds, or fails with a Python error",
        durable="fails the try, with an AirflowException that says so",
        why="Success is reported only of a run whose state is known to be an allowed one.",
        shows=(
            Shown(
                "outcome",
                (
                    "an event without a state",
                    "an event with a state of neither kind",
                    "an event of no run",
                ),
                stock="deferred, success",
                durable="deferred, up_for_retry",
            ),
            Shown(
                "error",
                (
                    "an event without a state",
                    "an event with a state of neither kind",
                    "an event of no run",
                ),
                stock="none, none",
                durable="none, AirflowException",
            ),
            Shown(
                "error",
                (
                    "an event that is a text",
                    "an event that is a dict",
                ),
                stock="none, ValueError",
                durable="none, AirflowException",
            ),
            Shown("error", ("an event without run ids",), stock="none, KeyError", durable="none, AirflowException"),
            Shown("error", ("an event that is nothing",), stock="none, TypeError", durable="none, AirflowException"),
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
                ("an interval as a timedelta, deferred",),
                stock="deferred, trigger failed",
                durable="up_for_retry",
            ),
            Shown("error", ("a negative interval",), stock="none", durable="ValueError", until="3.2"),
            Shown("error", ("an interval as a timedelta",), stock="none", durable="TypeError", until="3.2"),
            Shown("error", ("an interval as a timedelta, deferred",), stock="none", durable="TypeError"),
        ),
    ),
    Difference(
        what="A `poke_interval` that is a text of a number",
        stock="fails after the run was requested",
        durable="works",
        why="It is converted.",
        shows=(
            Shown("outcome", ("an interval as text",), stock="up_for_retry", durable="success"),
            Shown("error", ("an interval as text",), stock="TypeError", durable="none", since="3.3"),
            Shown("runs", ("an interval as text",), stock="queued", durable="success"),
        ),
    ),
    Difference(
        what="`queued` among the allowed or failed states",
        stock="is missed if the run starts within the first `poke_interval`",
        durable="ends the wait at once",
        why="The first look is at once.",
        shows=(
            Shown("outcome", ("queued is a failed state",), stock="success", durable="up_for_retry"),
            Shown("error", ("queued is a failed state",), stock="none", durable="AirflowException"),
            Shown(
                "runs",
                (
                    "queued is an allowed state",
                    "queued is a failed state",
                ),
                stock="success",
                durable="queued",
            ),
        ),
    ),
    Difference(
        what="A run that somebody else started has the fixed `trigger_run_id` or `logical_date`",
        stock="requests the run, gets HTTP 409, and fails (or skips) without an exception; a reset of a run of another id but the same date is retried",
        durable="looks first, and fails with an AirflowFailException that names the run (or skips)",
        why="Callbacks get an exception that says which run is in the way. No retry follows, as with stock.",
        shows=(
            Shown(
                "outcome", ("the logical date is taken, reset",), stock="up_for_retry", durable="failed", since="3.3"
            ),
            Shown(
                "error",
                (
                    "the run id is taken, at the last try",
                    "the run id is taken by an active run",
                    "the run id is taken by an active run, deferred",
                    "the run id is taken by an active run, fire and forget",
                    "the run id is taken by a run that succeeded",
                    "the run id is taken by a run that failed",
                    "the logical date is taken by an active run",
                    "the logical date is taken by a run that failed",
                    "the logical date is taken, fire and forget",
                    "the run id is free, and the logical date is taken",
                    "a policy, and the run id is taken",
                ),
                stock="none",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown(
                "error",
                ("the run id is taken, and the run fails after its reset",),
                stock="none",
                durable="AirflowException",
                since="3.3",
            ),
            Shown(
                "error",
                ("the logical date is taken, reset",),
                stock="AirflowRuntimeError",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown(
                "request",
                (
                    "the run id is taken, at the last try",
                    "the run id is taken by an active run",
                    "the run id is taken by an active run, deferred",
                    "the run id is taken by an active run, fire and forget",
                    "the run id is taken by a run that succeeded",
                    "the run id is taken by a run that failed",
                    "the run id is taken, skip",
                    "the run id is taken, skip, deferred",
                    "the run id is taken, skip, fire and forget",
                    "to skip, from a template that says False",
                    "a policy, and the run id is taken",
                ),
                since="3.3",
            ),
            Shown(
                "order",
                (
                    "the run id is taken, at the last try",
                    "the run id is taken by an active run",
                    "the run id is taken by an active run, deferred",
                    "the run id is taken by an active run, fire and forget",
                    "the run id is taken by a run that succeeded",
                    "the run id is taken by a run that failed",
                    "the run id is taken, skip",
                    "the run id is taken, skip, deferred",
                    "the run id is taken, skip, fire and forget",
                    "to skip, from a template that says False",
                    "a policy, and the run id is taken",
                ),
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="`reset_dag_run` where there is no run to reset",
        stock="sends the flag",
        durable="creates the run without the flag",
        why="If the request is repeated, the flag would clear the run that it has created.",
        shows=(
            Shown("request", ("a reset with a generated run id",)),
            Shown("request", ("a reset where there is nothing to reset",), since="3.3"),
        ),
    ),
    Difference(
        what="`fail_when_dag_is_paused` for a Dag that does not exist",
        stock="AirflowRuntimeError",
        durable="AirflowException",
        why="As for any refused request.",
        shows=(
            Shown(
                "error",
                ("the child Dag might be paused, and does not exist",),
                stock="AirflowRuntimeError",
                durable="AirflowException",
                since="3.2",
            ),
        ),
    ),
    Difference(
        what="The next try after a request that failed",
        stock="a new run id",
        durable="the same run id, unless its run has failed; a run that is there is adopted",
        why="One parent task has one healthy child run.",
        shows=(
            Shown(
                "error",
                (
                    "there is no such Dag until the next try",
                    "the conf breaks the Dag's params until the next try",
                    "the server fails for the whole of a try",
                    "a look-up is forbidden",
                ),
                stock="none, none",
                durable="AirflowException, none",
                until="3.2",
            ),
            Shown(
                "error",
                (
                    "there is no such Dag until the next try",
                    "the conf breaks the Dag's params until the next try",
                    "the server fails for the whole of a try",
                    "a look-up is forbidden",
                ),
                stock="AirflowRuntimeError, none",
                durable="AirflowException, none",
                since="3.3",
            ),
            Shown("runs", ("a look-up is forbidden",), stock="success, success", durable="success"),
            Shown(
                "request",
                (
                    "there is no such Dag until the next try",
                    "the conf breaks the Dag's params until the next try",
                    "the server fails for the whole of a try",
                    "a look-up is forbidden",
                ),
                since="3.3",
            ),
            Shown(
                "seen",
                (
                    "there is no such Dag until the next try",
                    "the conf breaks the Dag's params until the next try",
                    "the server fails for the whole of a try",
                    "a look-up is forbidden",
                ),
                since="3.3",
            ),
            Shown(
                "xcoms",
                (
                    "there is no such Dag until the next try",
                    "the conf breaks the Dag's params until the next try",
                    "the server fails for the whole of a try",
                    "a look-up is forbidden",
                ),
                since="3.3",
            ),
            Shown(
                "children",
                (
                    "there is no such Dag until the next try",
                    "the conf breaks the Dag's params until the next try",
                    "the server fails for the whole of a try",
                ),
            ),
            Shown(
                "order",
                (
                    "the server fails for the whole of a try",
                    "a look-up is forbidden",
                ),
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="The API server fails for a moment, or its reply is lost",
        stock="the try fails, and the retry starts a second run beside the first (or fails, with a fixed run id)",
        durable="the request is repeated within the try; a run that was started is adopted",
        why="One parent task has one healthy child run.",
        shows=(
            Shown(
                "outcome",
                (
                    "the server has too much to do",
                    "the server fails once",
                    "the server fails once, fire and forget",
                    "the reply is lost",
                    "the reply is lost, fire and forget",
                    "a look-up fails once",
                    "a look-up gets no answer",
                ),
                stock="up_for_retry, success",
                durable="success",
            ),
            Shown(
                "outcome",
                (
                    "the server fails once, deferred",
                    "the reply is lost, deferred",
                ),
                stock="up_for_retry, deferred, success",
                durable="deferred, success",
            ),
            Shown(
                "outcome",
                ("the reply is lost, with a fixed run id",),
                stock="up_for_retry, failed",
                durable="success",
                since="3.3",
            ),
            Shown(
                "error",
                (
                    "the server has too much to do",
                    "the server fails once",
                    "the server fails once, fire and forget",
                    "the reply is lost",
                    "the reply is lost, fire and forget",
                    "a look-up fails once",
                    "a look-up gets no answer",
                    "the reply is lost, with a fixed run id",
                ),
                stock="AirflowRuntimeError, none",
                durable="none",
                since="3.3",
            ),
            Shown(
                "error",
                (
                    "the server has too much to do",
                    "the server fails once",
                    "the server fails once, fire and forget",
                    "the reply is lost",
                    "the reply is lost, fire and forget",
                    "a look-up fails once",
                    "a look-up gets no answer",
                ),
                stock="none, none",
                durable="none",
                until="3.2",
            ),
            Shown(
                "error",
                (
                    "the server fails once, deferred",
                    "the reply is lost, deferred",
                ),
                stock="none, none, none",
                durable="none, none",
                until="3.2",
            ),
            Shown(
                "error",
                (
                    "the server fails once, deferred",
                    "the reply is lost, deferred",
                ),
                stock="AirflowRuntimeError, none, none",
                durable="none, none",
                since="3.3",
            ),
            Shown(
                "runs",
                (
                    "the reply is lost",
                    "the reply is lost, deferred",
                    "a look-up fails once",
                    "a look-up gets no answer",
                ),
                stock="success, success",
                durable="success",
            ),
            Shown("runs", ("the reply is lost, fire and forget",), stock="queued, queued", durable="success"),
            Shown("runs", ("the reply is lost, with a fixed run id",), stock="queued", durable="success", since="3.3"),
            Shown(
                "children",
                (
                    "the server has too much to do",
                    "the server fails once",
                    "the server fails once, deferred",
                    "the server fails once, fire and forget",
                ),
            ),
        ),
    ),
    Difference(
        what="The API server fails all the time while a wait looks",
        stock="the try fails",
        durable="the wait goes on, until `execution_timeout`",
        why="The child run is healthy; to fail would not help it.",
        shows=(
            Shown("outcome", ("a look-up fails all the time",), stock="up_for_retry", durable="waits for ever"),
            Shown("error", ("a look-up fails all the time",), stock="AirflowRuntimeError", durable="none", since="3.3"),
        ),
    ),
    Difference(
        what="A request whose fate is not known, or which meets a conflict",
        stock="is sent once in a try",
        durable="is sent up to five times in a try, under one run id",
        why="A repetition cannot start a second run.",
        shows=(
            Shown(
                "error",
                (
                    "the server finds a conflict and says so itself",
                    "the server fails all the time",
                ),
                stock="none",
                durable="AirflowException",
                until="3.2",
            ),
            Shown(
                "error",
                (
                    "the server finds a conflict and says so itself",
                    "the server fails all the time",
                ),
                stock="AirflowRuntimeError",
                durable="AirflowException",
                since="3.3",
            ),
            Shown(
                "request",
                (
                    "the server finds a conflict and says so itself",
                    "the server fails all the time",
                ),
                since="3.3",
            ),
            Shown(
                "order",
                (
                    "the server finds a conflict and says so itself",
                    "the server fails all the time",
                ),
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="A crash of the worker while the child runs, or before the child's success was reported",
        stock="the next try starts a second run; with a fixed run id it fails, is skipped, or resets the run",
        durable="the next try goes on with the run that is there, under its link and XCom",
        why="This is what the operator is for.",
        shows=(
            Shown(
                "outcome",
                ("a crash while waiting, with a fixed run id",),
                stock="killed, failed",
                durable="killed, success",
                since="3.3",
            ),
            Shown(
                "outcome",
                ("a crash while waiting, with a fixed run id, skip",),
                stock="killed, skipped",
                durable="killed, success",
                since="3.3",
            ),
            Shown(
                "runs",
                (
                    "a crash while waiting",
                    "a crash, and the child succeeds meanwhile",
                    "a crash at the report of success",
                    "a crash while waiting, deferred",
                ),
                stock="success, success",
                durable="success",
            ),
            Shown(
                "runs",
                (
                    "a crash while waiting, with a fixed run id",
                    "a crash while waiting, with a fixed run id, skip",
                ),
                stock="queued",
                durable="success",
                since="3.3",
            ),
            Shown("runs", ("a crash while waiting, fire and forget",), stock="queued, queued", durable="queued"),
            Shown(
                "runs",
                ("a crash, and a person clears the task",),
                stock="success, success",
                durable="success",
                since="3.3",
            ),
            Shown(
                "request",
                (
                    "a crash while waiting",
                    "a crash while waiting, fire and forget",
                    "a crash, and the child succeeds meanwhile",
                    "a crash at the report of success",
                    "a crash while waiting, deferred",
                ),
            ),
            Shown(
                "seen",
                (
                    "a crash while waiting",
                    "a crash while waiting, fire and forget",
                    "a crash, and the child succeeds meanwhile",
                    "a crash at the report of success",
                    "a crash while waiting, deferred",
                ),
            ),
            Shown(
                "xcoms",
                (
                    "a crash while waiting",
                    "a crash while waiting, fire and forget",
                    "a crash, and the child succeeds meanwhile",
                    "a crash at the report of success",
                    "a crash while waiting, deferred",
                ),
            ),
            Shown(
                "order",
                (
                    "a crash while waiting",
                    "a crash while waiting, fire and forget",
                    "a crash, and the child succeeds meanwhile",
                    "a crash at the report of success",
                    "a crash while waiting, deferred",
                ),
            ),
            Shown(
                "request",
                (
                    "a crash, and a person clears the task",
                    "a crash while waiting, with a fixed run id, reset",
                ),
                since="3.3",
            ),
            Shown(
                "order",
                (
                    "a crash, and a person clears the task",
                    "a crash while waiting, with a fixed run id, reset",
                ),
                since="3.3",
            ),
            Shown("seen", ("a crash, and a person clears the task",), since="3.3"),
            Shown("children", ("a crash while waiting, with a fixed run id, reset",), since="3.3"),
            Shown("xcoms", ("a crash, and a person clears the task",), since="3.3"),
        ),
    ),
    Difference(
        what="The next try where the run under a fixed `trigger_run_id` has ended",
        stock="requests it again, gets HTTP 409, and fails",
        durable="looks first, and fails with an AirflowFailException that names the run; with `reset_dag_run` it is reset, once",
        why="Callbacks get an exception that says which run is in the way.",
        shows=(
            Shown(
                "error",
                ("the child with the fixed run id fails",),
                stock="none, none",
                durable="AirflowException, AirflowFailException",
                since="3.3",
            ),
            Shown(
                "error",
                ("the child with the fixed run id fails, reset",),
                stock="none, none",
                durable="AirflowException, none",
                since="3.3",
            ),
            Shown(
                "error",
                ("success, and a person clears the task, with a fixed run id",),
                stock="none, none",
                durable="none, AirflowFailException",
                since="3.3",
            ),
            Shown(
                "request",
                (
                    "the child with the fixed run id fails, reset",
                    "success, and a person clears the task, with a fixed run id",
                    "success, and a person clears the task, reset",
                    "the child with the fixed run id fails",
                ),
                since="3.3",
            ),
            Shown(
                "order",
                (
                    "success, and a person clears the task, with a fixed run id",
                    "the child with the fixed run id fails",
                ),
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="The child run is deleted while the task is deferred",
        stock="the task waits for ever",
        durable="the try fails, and the next one starts the run again",
        why="A wait must end.",
        shows=(
            Shown(
                "outcome",
                ("the child is deleted, deferred",),
                stock="deferred, trigger waits for ever",
                durable="deferred, up_for_retry",
            ),
            Shown("error", ("the child is deleted, deferred",), stock="none", durable="none, AirflowException"),
        ),
    ),
    Difference(
        what="The child fails, on a worker, before Airflow 3.3",
        stock="the task fails without a retry",
        durable="the try fails, and the next one starts a new run",
        why="As on Airflow 3.3, and as in deferrable mode.",
        shows=(
            Shown(
                "outcome",
                (
                    "the child fails",
                    "the child fails after a while",
                    "running is a failed state",
                    "a state that is allowed and failed",
                ),
                stock="failed",
                durable="up_for_retry",
                until="3.2",
            ),
            Shown(
                "outcome",
                ("the child fails, then the next one succeeds",),
                stock="failed",
                durable="up_for_retry, success",
                until="3.2",
            ),
            Shown(
                "outcome", ("the child fails at each try",), stock="failed", durable="up_for_retry, failed", until="3.2"
            ),
            Shown(
                "runs",
                ("the child fails, then the next one succeeds",),
                stock="failed",
                durable="failed, success",
                until="3.2",
            ),
            Shown("runs", ("the child fails at each try",), stock="failed", durable="failed, failed", until="3.2"),
        ),
    ),
    Difference(
        what="The exception where the server refuses a request, or the run is deleted",
        stock="AirflowRuntimeError; before Airflow 3.3 none: no callback is called",
        durable="AirflowException, which says what happened, to which run, and what to do",
        why="Callbacks are called on every version, and `except AirflowException` matches. A `retry_policy` for AirflowRuntimeError does not.",
        shows=(
            Shown(
                "error",
                (
                    "the child is deleted",
                    "there is no such Dag",
                    "there is no such Dag, deferred",
                    "there is no such Dag, fire and forget",
                    "there is no such Dag, without retries",
                    "the Dag's name renders to nothing",
                    "the conf breaks the Dag's params",
                    "the Dag has import errors",
                    "the server forbids it",
                    "the server finds the request invalid",
                    "mapped over Dags, one of them unknown",
                ),
                stock="none",
                durable="AirflowException",
                until="3.2",
            ),
            Shown(
                "error",
                (
                    "the child is deleted",
                    "there is no such Dag",
                    "there is no such Dag, deferred",
                    "there is no such Dag, fire and forget",
                    "there is no such Dag, without retries",
                    "the Dag's name renders to nothing",
                    "the conf breaks the Dag's params",
                    "the Dag has import errors",
                    "the server forbids it",
                    "the server finds the request invalid",
                    "mapped over Dags, one of them unknown",
                ),
                stock="AirflowRuntimeError",
                durable="AirflowException",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="The exception that callbacks get where the child failed, on a worker",
        stock="none",
        durable="an AirflowException, as in deferrable mode",
        why="It says which run failed.",
        shows=(
            Shown(
                "error",
                (
                    "the child fails, without retries",
                    "the child fails at the last try",
                    "the child fails",
                    "the child fails after a while",
                    "running is a failed state",
                    "a state that is allowed and failed",
                ),
                stock="none",
                durable="AirflowException",
            ),
            Shown(
                "error",
                (
                    "a policy for AirflowException, the child fails",
                    "a policy for another class",
                ),
                stock="none",
                durable="AirflowException",
                since="3.3",
            ),
            Shown(
                "error",
                ("the child fails, then the next one succeeds",),
                stock="none",
                durable="AirflowException, none",
                until="3.2",
            ),
            Shown(
                "error",
                ("the child fails at each try",),
                stock="none",
                durable="AirflowException, AirflowException",
                until="3.2",
            ),
            Shown(
                "error",
                ("the child fails, then the next one succeeds",),
                stock="none, none",
                durable="AirflowException, none",
                since="3.3",
            ),
            Shown(
                "error",
                ("the child fails at each try",),
                stock="none, none",
                durable="AirflowException, AirflowException",
                since="3.3",
            ),
        ),
    ),
)
