"""Differences where a run is in the way, or one of an earlier try."""

from __future__ import annotations

from .model import Difference, Shown

DIFFERENCES = (
    Difference(
        what="A run that somebody else started has the fixed `trigger_run_id` or `logical_date`",
        stock=(
            "fails (or skips) without an exception, and its link leads nowhere; a reset of a run of another "
            "id but the same date is retried"
        ),
        durable=(
            "fails with an AirflowFailException that names the run (or skips), and the link and the XCom "
            "`trigger_run_id` lead to it"
        ),
        why=(
            "Callbacks and people learn which run is in the way. As with the stock operator, no retry follows: "
            "it would change nothing."
        ),
        shows=(
            Shown("outcome", "the logical date is taken, reset", stock="up_for_retry", durable="failed", since="3.3"),
            Shown("error", "a policy, and the run id is taken", stock="none", durable="AirflowFailException"),
            Shown(
                "error",
                "the logical date is taken, reset",
                stock="AirflowRuntimeError",
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
                "the run id is taken by an active run / the run id is taken by an active run, deferred / the "
                "run id is taken by an active run, fire and forget / the run id is taken by a run that "
                "succeeded / the run id is taken by a run that failed / the run id is taken, at the last try "
                "/ the logical date is taken by an active run / the logical date is taken by a run that "
                "failed / the logical date is taken, fire and forget / the run id is free, and the logical "
                "date is taken",
                stock="none",
                durable="AirflowFailException",
                since="3.3",
            ),
            Shown("xcoms", "a policy, and the run id is taken"),
            Shown(
                "xcoms",
                "the run id is taken by an active run / the run id is taken by an active run, deferred / the "
                "run id is taken by an active run, fire and forget / the run id is taken by a run that "
                "succeeded / the run id is taken by a run that failed / the run id is taken, at the last try "
                "/ the run id is taken, skip / the run id is taken, skip, deferred / the run id is taken, "
                "skip, fire and forget / to skip, from a template that says False",
                since="3.3",
            ),
            Shown("order", "a policy, and the run id is taken"),
            Shown(
                "order",
                "the run id is taken by an active run / the run id is taken by an active run, deferred / the "
                "run id is taken by an active run, fire and forget / the run id is taken by a run that "
                "succeeded / the run id is taken by a run that failed / the run id is taken, at the last try "
                "/ the run id is taken, skip / the run id is taken, skip, deferred / the run id is taken, "
                "skip, fire and forget / to skip, from a template that says False",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="`reset_dag_run`",
        stock="the request has the flag",
        durable=(
            "the first request does not have it; if the run exists already, the reconciler resets it, or a second "
            "request that has the flag"
        ),
        why=("A request that is repeated after a lost reply would otherwise clear the run that it has created."),
        shows=(
            Shown("request", "a reset with a generated run id"),
            Shown(
                "request",
                "the run id is taken by an active run, reset / the run id is taken by a run that succeeded, "
                "reset / the run id is taken by a run that failed, reset / the run id is taken, reset, "
                "deferred / the run id is taken, reset, fire and forget / the run id is taken, reset and skip"
                " / the run id is taken, and the run fails after its reset / a reset where there is nothing "
                "to reset / the child with the fixed run id fails, reset / success, and a person clears the "
                "task, reset",
                since="3.3",
            ),
            Shown(
                "order",
                "the run id is taken by an active run, reset / the run id is taken by a run that succeeded, "
                "reset / the run id is taken by a run that failed, reset / the run id is taken, reset, "
                "deferred / the run id is taken, reset, fire and forget / the run id is taken, reset and skip"
                " / the run id is taken, and the run fails after its reset",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="The next try after a request that failed",
        stock="a new run id",
        durable="the same run id, unless its run has failed; a run that exists is adopted",
        why="One parent task has one healthy child run.",
        shows=(
            Shown(
                "outcome",
                "there is no such Dag until the next try / a wrong Dag is corrected before the next try / the"
                " conf breaks the Dag's params until the next try / the server fails for the whole of a try /"
                " a look-up is forbidden",
                stock="failed",
                durable="up_for_retry, success",
                until="3.0",
            ),
            Shown(
                "error",
                "there is no such Dag until the next try / a wrong Dag is corrected before the next try / the"
                " conf breaks the Dag's params until the next try / the server fails for the whole of a try /"
                " a look-up is forbidden",
                stock="none",
                durable="AirflowException and AirflowRuntimeError, none",
                until="3.0",
            ),
            Shown(
                "error",
                "there is no such Dag until the next try / a wrong Dag is corrected before the next try / the"
                " conf breaks the Dag's params until the next try / the server fails for the whole of a try /"
                " a look-up is forbidden",
                stock="none, none",
                durable="AirflowException and AirflowRuntimeError, none",
                since="3.1",
                until="3.2",
            ),
            Shown(
                "error",
                "there is no such Dag until the next try / a wrong Dag is corrected before the next try / the"
                " conf breaks the Dag's params until the next try / the server fails for the whole of a try /"
                " a look-up is forbidden",
                stock="AirflowRuntimeError, none",
                durable="AirflowException and AirflowRuntimeError, none",
                since="3.3",
            ),
            Shown(
                "runs",
                "there is no such Dag until the next try / a wrong Dag is corrected before the next try / the"
                " conf breaks the Dag's params until the next try / the server fails for the whole of a try",
                stock="none",
                durable="success",
                until="3.0",
            ),
            Shown("runs", "a look-up is forbidden", stock="success, success", durable="success", since="3.1"),
            Shown("children", "a wrong Dag is corrected before the next try", since="3.1", until="3.2"),
            Shown(
                "children",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next "
                "try / the server fails for the whole of a try",
                since="3.1",
            ),
            Shown(
                "xcoms",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next "
                "try / the server fails for the whole of a try / a look-up is forbidden",
                since="3.3",
            ),
            Shown(
                "request",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next "
                "try / the server fails for the whole of a try / a look-up is forbidden",
                since="3.3",
            ),
            Shown("order", "the server fails for the whole of a try / a look-up is forbidden", since="3.3"),
            Shown(
                "seen",
                "there is no such Dag until the next try / the conf breaks the Dag's params until the next "
                "try / the server fails for the whole of a try / a look-up is forbidden",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="A crash of the worker while the child runs, or before the child's success was reported",
        stock="the next try starts a second run; with a fixed run id it fails, is skipped, or resets the run",
        durable=(
            "the next try continues with that run, under its link and XCom. A person's clear continues with an active "
            "run from Airflow 3.2 on (before, it waits for the end of the run and then starts a new one). It uses an "
            "ended one on Airflow 3.3, and on 3.4 with *keep task state*"
        ),
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
            Shown("runs", "a crash while waiting, fire and forget", stock="queued, queued", durable="queued"),
            Shown(
                "runs",
                "a crash while waiting / a crash while waiting, deferred / a crash, and the child succeeds "
                "meanwhile / a crash at the report of success",
                stock="success, success",
                durable="success",
            ),
            Shown(
                "runs",
                "a crash, and a person clears the task",
                stock="success, success",
                durable="success",
                since="3.2",
            ),
            Shown(
                "runs",
                "a crash while waiting, with a fixed run id / a crash while waiting, with a fixed run id, skip",
                stock="queued",
                durable="success",
                since="3.3",
            ),
            Shown("children", "a crash while waiting, with a fixed run id, reset", since="3.3"),
            Shown(
                "xcoms",
                "a crash while waiting / a crash while waiting, deferred / a crash while waiting, fire and "
                "forget / a crash, and the child succeeds meanwhile / a crash at the report of success",
            ),
            Shown("xcoms", "a crash, and a person clears the task", since="3.2"),
            Shown(
                "request",
                "a crash while waiting / a crash while waiting, deferred / a crash while waiting, fire and "
                "forget / a crash, and the child succeeds meanwhile / a crash at the report of success",
            ),
            Shown("request", "a crash, and a person clears the task", since="3.2"),
            Shown("request", "a crash while waiting, with a fixed run id, reset", since="3.3"),
            Shown(
                "order",
                "a crash while waiting / a crash while waiting, deferred / a crash while waiting, fire and "
                "forget / a crash, and the child succeeds meanwhile / a crash, and a person clears the task /"
                " a crash at the report of success",
            ),
            Shown("order", "a crash while waiting, with a fixed run id, reset", since="3.3"),
            Shown(
                "seen",
                "a crash while waiting / a crash while waiting, deferred / a crash while waiting, fire and "
                "forget / a crash, and the child succeeds meanwhile / a crash at the report of success",
            ),
            Shown("seen", "a crash, and a person clears the task", since="3.2"),
        ),
    ),
    Difference(
        what="The next try where the run under a fixed `trigger_run_id` has ended",
        stock="fails without an exception (with `reset_dag_run` it resets the run)",
        durable=(
            "fails with an AirflowFailException that names the run, and the link leads to it; with "
            "`reset_dag_run` the run is reset, once"
        ),
        why="Callbacks and people learn which run is in the way.",
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
            Shown("xcoms", "success, and a person clears the task, with a fixed run id", since="3.3"),
            Shown(
                "request",
                "the child with the fixed run id fails / success, and a person clears the task, with a fixed run id",
                since="3.3",
            ),
            Shown(
                "order",
                "the child with the fixed run id fails / success, and a person clears the task, with a fixed run id",
                since="3.3",
            ),
        ),
    ),
)
