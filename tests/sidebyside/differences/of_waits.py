"""Differences in how the child is waited for, and in what is said when it or the server fails."""

from __future__ import annotations

from .model import Difference, Shown

DIFFERENCES = (
    Difference(
        what="Requests to the API server, apart from the one that starts the run",
        stock="the look-ups of the wait",
        durable=(
            "two more for a whole wait, three with a fixed run id or date and a `run_after`; some look-ups on a retry"
        ),
        why=(
            "The run id is recorded before the run is requested, and its outcome before the task succeeds, "
            "so a crash between any two requests loses nothing."
        ),
        shows=(Shown("traffic", "*"),),
    ),
    Difference(
        what="`execution_timeout` of a wait on a worker",
        stock="does not cover the wait",
        durable="covers the wait",
        why="The wait is part of `execute`.",
        shows=(
            Shown("outcome", "the child takes longer than execution_timeout", stock="success", durable="up_for_retry"),
            Shown("error", "the child takes longer than execution_timeout", stock="none", durable="AirflowTaskTimeout"),
            Shown("runs", "the child takes longer than execution_timeout", stock="success", durable="queued"),
        ),
    ),
    Difference(
        what="The pauses of a wait on a worker",
        stock="a whole `poke_interval` before each look-up",
        durable=("a look-up at once, then growing pauses from 1 second up to `poke_interval`; 0 counts as 1 second"),
        why="A short run, or one that ended while the worker was dead, is seen without delay.",
        shows=(Shown("waiting", "*"),),
    ),
    Difference(
        what="The trigger of a deferral",
        stock="`DagStateTrigger`",
        durable="`DurableDagRunTrigger`, whose event the stock operator can read, too",
        why="All waits of a triggerer share their look-ups, and the event carries the record.",
        shows=(Shown("trigger", "*"),),
    ),
    Difference(
        what="`queued` among the allowed or failed states",
        stock="is missed if the run starts within the first `poke_interval`",
        durable="ends the wait at once",
        why="The first look-up is at once.",
        shows=(
            Shown("outcome", "queued is a failed state", stock="success", durable="up_for_retry"),
            Shown("error", "queued is a failed state", stock="none", durable="AirflowException"),
            Shown("runs", "queued is an allowed state / queued is a failed state", stock="success", durable="queued"),
        ),
    ),
    Difference(
        what="The child run is deleted while the task is deferred",
        stock="the task waits forever",
        durable="the try fails, and the next one starts the run again",
        why="Otherwise the wait would never end.",
        shows=(
            Shown(
                "outcome",
                "the child is deleted, deferred",
                stock="deferred, trigger waits for ever",
                durable="deferred, up_for_retry",
            ),
            Shown(
                "error",
                "the child is deleted, deferred",
                stock="none",
                durable="none, AirflowException and AirflowRuntimeError",
            ),
        ),
    ),
    Difference(
        what=(
            "The child ends in a state that is neither in `allowed_states` nor in `failed_states`, as with "
            "`failed_states=[]`"
        ),
        stock="the task waits forever",
        durable="the try fails, and the next one starts a new run",
        why=(
            "A run that has ended does not change by itself, so the wait would only end if a person cleared the child."
        ),
        shows=(
            Shown(
                "outcome",
                "no failed states, and the child fails, deferred",
                stock="deferred, trigger waits for ever",
                durable="deferred, up_for_retry",
            ),
            Shown("outcome", "no failed states, and the child fails", stock="waits for ever", durable="up_for_retry"),
            Shown(
                "error",
                "no failed states, and the child fails, deferred",
                stock="none",
                durable="none, AirflowException",
            ),
        ),
    ),
    Difference(
        what="The child fails, on a worker, before Airflow 3.3",
        stock="the task fails without a retry",
        durable="the try fails, and the next one starts a new run",
        why="Airflow 3.3 does the same, and so does the deferrable mode on each version.",
        shows=(
            Shown(
                "outcome",
                "the child fails / the child fails after a while / running is a failed state / a state that "
                "is allowed and failed / a subclass that sets states as text, and the child fails",
                stock="failed",
                durable="up_for_retry",
                until="3.2",
            ),
            Shown(
                "outcome", "the child fails at each try", stock="failed", durable="up_for_retry, failed", until="3.2"
            ),
            Shown(
                "outcome",
                "the child fails, then the next one succeeds",
                stock="failed",
                durable="up_for_retry, success",
                until="3.2",
            ),
            Shown("runs", "the child fails at each try", stock="failed", durable="failed, failed", until="3.2"),
            Shown(
                "runs",
                "the child fails, then the next one succeeds",
                stock="failed",
                durable="failed, success",
                until="3.2",
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
                "the child fails at each try",
                stock="none",
                durable="AirflowException, AirflowException",
                until="3.2",
            ),
            Shown(
                "error",
                "the child fails, then the next one succeeds",
                stock="none",
                durable="AirflowException, none",
                until="3.2",
            ),
            Shown(
                "error",
                "the child fails / the child fails after a while / the child fails, without retries / the "
                "child fails at the last try / no failed states, and the child fails / running is a failed "
                "state / a state that is allowed and failed / a policy for AirflowException, the child fails "
                "/ a policy for another class / a subclass that sets states as text, and the child fails",
                stock="none",
                durable="AirflowException",
            ),
            Shown(
                "error",
                "the child fails at each try",
                stock="none, none",
                durable="AirflowException, AirflowException",
                since="3.3",
            ),
            Shown(
                "error",
                "the child fails, then the next one succeeds",
                stock="none, none",
                durable="AirflowException, none",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="The exception where the server refuses a request, or the child run is deleted",
        stock=("AirflowRuntimeError; before Airflow 3.3 none: no callback is called (and on 3.0 there is no retry)"),
        durable=(
            "one that is both an AirflowException and an AirflowRuntimeError; it says what happened, to "
            "which run, and what to do"
        ),
        why="Callbacks are called on every version, and code written for the stock error still matches.",
        shows=(
            Shown(
                "outcome",
                "the child is deleted / there is no such Dag / there is no such Dag, deferred / there is no "
                "such Dag, fire and forget / the conf breaks the Dag's params / the Dag has import errors / "
                "the server forbids it / the server finds the request invalid / mapped over Dags, one of them"
                " unknown",
                stock="failed",
                durable="up_for_retry",
                until="3.0",
            ),
            Shown(
                "error",
                "the child is deleted / there is no such Dag / there is no such Dag, deferred / there is no "
                "such Dag, fire and forget / there is no such Dag, without retries / the conf breaks the "
                "Dag's params / the Dag has import errors / the server forbids it / the server finds the "
                "request invalid / mapped over Dags, one of them unknown",
                stock="none",
                durable="AirflowException and AirflowRuntimeError",
                until="3.2",
            ),
            Shown(
                "error",
                "the child Dag might be paused, and does not exist",
                stock="AirflowRuntimeError",
                durable="AirflowException and AirflowRuntimeError",
            ),
            Shown(
                "error",
                "the child is deleted / there is no such Dag / there is no such Dag, deferred / there is no "
                "such Dag, fire and forget / there is no such Dag, without retries / the conf breaks the "
                "Dag's params / the Dag has import errors / the server forbids it / the server finds the "
                "request invalid / mapped over Dags, one of them unknown",
                stock="AirflowRuntimeError",
                durable="AirflowException and AirflowRuntimeError",
                since="3.3",
            ),
        ),
    ),
    Difference(
        what="A `retry_policy` rule for AirflowException where the server refuses a request",
        stock="does not match",
        durable="matches",
        why="Each error of this operator is an AirflowException, so that one rule can cover all of them.",
        shows=(
            Shown(
                "outcome", "a policy for AirflowException, there is no such Dag", stock="up_for_retry", durable="failed"
            ),
            Shown(
                "error",
                "a policy for AirflowException, there is no such Dag / a policy for AirflowRuntimeError, "
                "there is no such Dag",
                stock="AirflowRuntimeError",
                durable="AirflowException and AirflowRuntimeError",
            ),
        ),
    ),
    Difference(
        what="The API server fails for a moment, or its reply is lost",
        stock=("the try fails, and the retry starts a second run beside the first (or fails, with a fixed run id)"),
        durable="the request is repeated within the try; a run that was started is adopted",
        why="One parent task has one healthy child run.",
        shows=(
            Shown(
                "outcome",
                "the server fails once, deferred / the reply is lost, deferred",
                stock="failed",
                durable="deferred, success",
                until="3.0",
            ),
            Shown(
                "outcome",
                "the server has too much to do / the server fails once / the server fails once, fire and "
                "forget / the reply is lost / the reply is lost, fire and forget / a look-up fails once / a "
                "look-up gets no answer",
                stock="failed",
                durable="success",
                until="3.0",
            ),
            Shown(
                "outcome",
                "the server fails once, deferred / the reply is lost, deferred",
                stock="up_for_retry, deferred, success",
                durable="deferred, success",
                since="3.1",
            ),
            Shown(
                "outcome",
                "the server has too much to do / the server fails once / the server fails once, fire and "
                "forget / the reply is lost / the reply is lost, fire and forget / a look-up fails once / a "
                "look-up gets no answer",
                stock="up_for_retry, success",
                durable="success",
                since="3.1",
            ),
            Shown(
                "outcome",
                "the reply is lost, with a fixed run id",
                stock="up_for_retry, failed",
                durable="success",
                since="3.3",
            ),
            Shown(
                "error",
                "the server fails once, deferred / the reply is lost, deferred",
                stock="none",
                durable="none, none",
                until="3.0",
            ),
            Shown(
                "error",
                "the server has too much to do / the server fails once / the server fails once, fire and "
                "forget / the reply is lost / the reply is lost, fire and forget / a look-up fails once / a "
                "look-up gets no answer",
                stock="none, none",
                durable="none",
                since="3.1",
                until="3.2",
            ),
            Shown(
                "error",
                "the server fails once, deferred / the reply is lost, deferred",
                stock="none, none, none",
                durable="none, none",
                since="3.1",
                until="3.2",
            ),
            Shown(
                "error",
                "the server has too much to do / the server fails once / the server fails once, fire and "
                "forget / the reply is lost / the reply is lost, fire and forget / the reply is lost, with a "
                "fixed run id / a look-up fails once / a look-up gets no answer",
                stock="AirflowRuntimeError, none",
                durable="none",
                since="3.3",
            ),
            Shown(
                "error",
                "the server fails once, deferred / the reply is lost, deferred",
                stock="AirflowRuntimeError, none, none",
                durable="none, none",
                since="3.3",
            ),
            Shown("runs", "the server fails once, fire and forget", stock="none", durable="queued", until="3.0"),
            Shown(
                "runs",
                "the server has too much to do / the server fails once / the server fails once, deferred",
                stock="none",
                durable="success",
                until="3.0",
            ),
            Shown(
                "runs",
                "the reply is lost / the reply is lost, deferred / the reply is lost, fire and forget",
                stock="queued",
                durable="success",
                until="3.0",
            ),
            Shown("runs", "the reply is lost, fire and forget", stock="queued, queued", durable="success", since="3.1"),
            Shown(
                "runs",
                "the reply is lost / the reply is lost, deferred / a look-up fails once / a look-up gets no answer",
                stock="success, success",
                durable="success",
                since="3.1",
            ),
            Shown("runs", "the reply is lost, with a fixed run id", stock="queued", durable="success", since="3.3"),
            Shown(
                "children",
                "the server has too much to do / the server fails once / the server fails once, deferred / "
                "the server fails once, fire and forget",
                since="3.1",
            ),
        ),
    ),
    Difference(
        what="A request that may or may not have arrived, or that meets a conflict",
        stock="is sent once in a try",
        durable="is sent up to five times in a try, under one run id",
        why="A repetition cannot start a second run.",
        shows=(
            Shown(
                "outcome",
                "the server finds a conflict and says so itself / the server fails all the time",
                stock="failed",
                durable="up_for_retry",
                until="3.0",
            ),
            Shown(
                "error",
                "the server finds a conflict and says so itself",
                stock="none",
                durable="AirflowException",
                until="3.2",
            ),
            Shown(
                "error",
                "the server fails all the time",
                stock="none",
                durable="AirflowException and AirflowRuntimeError",
                until="3.2",
            ),
            Shown(
                "error",
                "the server finds a conflict and says so itself",
                stock="AirflowRuntimeError",
                durable="AirflowException",
                since="3.3",
            ),
            Shown(
                "error",
                "the server fails all the time",
                stock="AirflowRuntimeError",
                durable="AirflowException and AirflowRuntimeError",
                since="3.3",
            ),
            Shown(
                "request", "the server finds a conflict and says so itself / the server fails all the time", since="3.3"
            ),
            Shown(
                "order", "the server finds a conflict and says so itself / the server fails all the time", since="3.3"
            ),
        ),
    ),
    Difference(
        what="The API server keeps failing while a task waits",
        stock="the try fails",
        durable="the wait continues, until `execution_timeout`",
        why="The child run is healthy, and failing would not help it.",
        shows=(
            Shown("outcome", "a look-up fails all the time", stock="failed", durable="waits for ever", until="3.0"),
            Shown(
                "outcome", "a look-up fails all the time", stock="up_for_retry", durable="waits for ever", since="3.1"
            ),
            Shown("error", "a look-up fails all the time", stock="AirflowRuntimeError", durable="none", since="3.3"),
        ),
    ),
)
