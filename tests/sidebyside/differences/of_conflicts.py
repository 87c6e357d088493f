"""Differences where a run is in the way, or one of an earlier try."""

from __future__ import annotations

from .model import Difference, Shown

DIFFERENCES = (
    Difference(
        what="A run that somebody else started has the fixed `trigger_run_id` or `logical_date`",
        stock=(
            "requests the run, gets HTTP 409, and fails (or skips) without an exception; a reset of a run of "
            "another id but the same date is retried"
        ),
        durable="looks first, and fails with an AirflowFailException that names the run (or skips)",
        why="Callbacks get an exception that says which run is in the way. No retry follows, as with stock.",
        shows=(
            Shown("outcome", "the logical date is taken, reset", stock="up_for_retry", durable="failed", since="3.3"),
            Shown(
                "error",
                "the run id is taken, at the last try / the run id is taken by an active run / the run id is "
                "taken by an active run, deferred / the run id is taken by an active run, fire and forget / the"
                " run id is taken by a run that succeeded / the run id is taken by a run that failed / the "
                "logical date is taken by an active run / the logical date is taken by a run that failed / the "
                "logical date is taken, fire and forget / the run id is free, and the logical date is taken / a"
                " policy, and the run id is taken",
                stock="none",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown(
                "error",
                "the run id is taken, and the run fails after its reset",
                stock="none",
                durable="AirflowException",
                since="3.3",
            ),
            Shown(
                "error",
                "the logical date is taken, reset",
                stock="AirflowRuntimeError",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown(
                "request",
                "the run id is taken, at the last try / the run id is taken by an active run / the run id is "
                "taken by an active run, deferred / the run id is taken by an active run, fire and forget / the"
                " run id is taken by a run that succeeded / the run id is taken by a run that failed / the run "
                "id is taken, skip / the run id is taken, skip, deferred / the run id is taken, skip, fire and "
                "forget / to skip, from a template that says False / a policy, and the run id is taken",
                since="3.3",
            ),
            Shown(
                "order",
                "the run id is taken, at the last try / the run id is taken by an active run / the run id is "
                "taken by an active run, deferred / the run id is taken by an active run, fire and forget / the"
                " run id is taken by a run that succeeded / the run id is taken by a run that failed / the run "
                "id is taken, skip / the run id is taken, skip, deferred / the run id is taken, skip, fire and "
                "forget / to skip, from a template that says False / a policy, and the run id is taken",
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
            Shown("request", "a reset with a generated run id"),
            Shown("request", "a reset where there is nothing to reset", since="3.3"),
        ),
    ),
    Difference(
        what="The next try after a request that failed",
        stock="a new run id",
        durable="the same run id, unless its run has failed; a run that is there is adopted",
        why="One parent task has one healthy child run.",
        shows=(
            Shown(
                "outcome",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next try "
                "/ the server fails for the whole of a try / a look-up is forbidden",
                stock="failed",
                durable="up_for_retry, success",
                until="3.0",
            ),
            Shown(
                "error",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next try "
                "/ the server fails for the whole of a try / a look-up is forbidden",
                stock="none",
                durable="AirflowException, none",
                until="3.0",
            ),
            Shown(
                "error",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next try "
                "/ the server fails for the whole of a try / a look-up is forbidden",
                stock="none, none",
                durable="AirflowException, none",
                since="3.1",
                until="3.2",
            ),
            Shown(
                "error",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next try "
                "/ the server fails for the whole of a try / a look-up is forbidden",
                stock="AirflowRuntimeError, none",
                durable="AirflowException, none",
                since="3.3",
            ),
            Shown(
                "runs",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next try "
                "/ the server fails for the whole of a try",
                stock="none",
                durable="success",
                until="3.0",
            ),
            Shown("runs", "a look-up is forbidden", stock="success, success", durable="success", since="3.1"),
            Shown(
                "request",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next try "
                "/ the server fails for the whole of a try / a look-up is forbidden",
                since="3.3",
            ),
            Shown(
                "seen",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next try "
                "/ the server fails for the whole of a try / a look-up is forbidden",
                since="3.3",
            ),
            Shown(
                "xcoms",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next try "
                "/ the server fails for the whole of a try / a look-up is forbidden",
                since="3.3",
            ),
            Shown(
                "children",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next try "
                "/ the server fails for the whole of a try",
                since="3.1",
            ),
            Shown("order", "the server fails for the whole of a try / a look-up is forbidden", since="3.3"),
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
                "a crash while waiting, with a fixed run id",
                stock="killed, failed",
                durable="killed, success",
                since="3.3",
            ),
            Shown(
                "outcome",
                "a crash while waiting, with a fixed run id, skip",
                stock="killed, skipped",
                durable="killed, success",
                since="3.3",
            ),
            Shown(
                "runs",
                "a crash while waiting / a crash, and the child succeeds meanwhile / a crash at the report of "
                "success / a crash while waiting, deferred",
                stock="success, success",
                durable="success",
            ),
            Shown(
                "runs",
                "a crash while waiting, with a fixed run id / a crash while waiting, with a fixed run id, skip",
                stock="queued",
                durable="success",
                since="3.3",
            ),
            Shown("runs", "a crash while waiting, fire and forget", stock="queued, queued", durable="queued"),
            Shown(
                "runs",
                "a crash, and a person clears the task",
                stock="success, success",
                durable="success",
                since="3.3",
            ),
            Shown(
                "request",
                "a crash while waiting / a crash while waiting, fire and forget / a crash, and the child "
                "succeeds meanwhile / a crash at the report of success / a crash while waiting, deferred",
            ),
            Shown(
                "seen",
                "a crash while waiting / a crash while waiting, fire and forget / a crash, and the child "
                "succeeds meanwhile / a crash at the report of success / a crash while waiting, deferred",
            ),
            Shown(
                "xcoms",
                "a crash while waiting / a crash while waiting, fire and forget / a crash, and the child "
                "succeeds meanwhile / a crash at the report of success / a crash while waiting, deferred",
            ),
            Shown(
                "order",
                "a crash while waiting / a crash while waiting, fire and forget / a crash, and the child "
                "succeeds meanwhile / a crash at the report of success / a crash while waiting, deferred",
            ),
            Shown(
                "request",
                "a crash, and a person clears the task / a crash while waiting, with a fixed run id, reset",
                since="3.3",
            ),
            Shown(
                "order",
                "a crash, and a person clears the task / a crash while waiting, with a fixed run id, reset",
                since="3.3",
            ),
            Shown("seen", "a crash, and a person clears the task", since="3.3"),
            Shown("children", "a crash while waiting, with a fixed run id, reset", since="3.3"),
            Shown("xcoms", "a crash, and a person clears the task", since="3.3"),
        ),
    ),
    Difference(
        what="The next try where the run under a fixed `trigger_run_id` has ended",
        stock="requests it again, gets HTTP 409, and fails",
        durable=(
            "looks first, and fails with an AirflowFailException that names the run; with `reset_dag_run` it "
            "is reset, once"
        ),
        why="Callbacks get an exception that says which run is in the way.",
        shows=(
            Shown(
                "error",
                "the child with the fixed run id fails",
                stock="none, none",
                durable="AirflowException, AirflowFailException",
                since="3.3",
            ),
            Shown(
                "error",
                "the child with the fixed run id fails, reset",
                stock="none, none",
                durable="AirflowException, none",
                since="3.3",
            ),
            Shown(
                "error",
                "success, and a person clears the task, with a fixed run id",
                stock="none, none",
                durable="none, AirflowFailException",
                since="3.3",
            ),
            Shown(
                "request",
                "the child with the fixed run id fails, reset / success, and a person clears the task, with a "
                "fixed run id / success, and a person clears the task, reset / the child with the fixed run id "
                "fails",
                since="3.3",
            ),
            Shown(
                "order",
                "success, and a person clears the task, with a fixed run id / the child with the fixed run id fails",
                since="3.3",
            ),
        ),
    ),
)
