"""Differences that code of users sees: subclasses, hooks, unit tests."""

from __future__ import annotations

from .model import Difference, Shown

DIFFERENCES = (
    Difference(
        what="`post_execute`",
        stock="is called after a deferral only, as `execute` hands over to the task runner",
        durable="is called after each success, and fails the try if it raises",
        why="`execute` returns, like that of any other operator.",
        shows=(
            Shown("post_execute", "*"),
            Shown("outcome", "post_execute fails", stock="success", durable="up_for_retry"),
            Shown("error", "post_execute fails", stock="none", durable="ValueError"),
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
                "a subclass with hooks / a subclass that works after it has executed / a subclass that works "
                "after it has executed, fire and forget / a subclass that cleans up after it has executed / a "
                "subclass that returns a value",
            ),
            Shown(
                "xcoms",
                "a subclass with hooks / a subclass that works after it has executed / a subclass that works "
                "after it has executed, fire and forget / a subclass that returns a value",
            ),
        ),
    ),
    Difference(
        what="A subclass that catches exceptions of `super().execute()`",
        stock=("catches the request itself (`DagRunTriggerException`), so that nothing is triggered, or may change it"),
        durable="catches errors only: the run has been requested by then",
        why=(
            "The request is sent by the operator, after it is recorded; change the operator's attributes "
            "before `super().execute()` instead."
        ),
        shows=(
            Shown("runs", "a subclass that catches every error", stock="none", durable="success"),
            Shown("runs", "a subclass that catches every error, and the child fails", stock="none", durable="failed"),
            Shown(
                "request",
                "a subclass that catches the request itself / a subclass that catches every error / a subclass "
                "that catches every error, and the child fails",
            ),
            Shown(
                "xcoms",
                "a subclass that catches every error / a subclass that catches every error, and the child fails",
            ),
            Shown(
                "order",
                "a subclass that catches every error / a subclass that catches every error, and the child fails",
            ),
            Shown("children", "a subclass that catches the request itself"),
        ),
    ),
    Difference(
        what="A subclass that calls `super().execute()` twice",
        stock="triggers once: the first call hands over to the task runner",
        durable="today the second call returns without a run of its own",
        why="Calls of one try are not told apart yet.",
        is_open=True,
        shows=(
            Shown("outcome", "a subclass that triggers twice", stock="success", durable="failed", until="3.2"),
            Shown("order", "a subclass that triggers twice", since="3.3"),
            Shown("seen", "a subclass that triggers twice", since="3.3"),
        ),
    ),
    Difference(
        what=("A subclass that sets `allowed_states` or `failed_states` to plain strings after `super().__init__()`"),
        stock="works",
        durable="today fails with an AttributeError",
        why="The states are read as enums.",
        is_open=True,
        shows=(
            Shown("outcome", "a subclass that sets states as text", stock="success", durable="up_for_retry"),
            Shown(
                "outcome",
                "a subclass that sets states as text, deferred",
                stock="deferred, success",
                durable="up_for_retry",
            ),
            Shown(
                "outcome",
                "a subclass that sets states as text, and the child fails",
                stock="failed",
                durable="up_for_retry",
                until="3.2",
            ),
            Shown(
                "error",
                "a subclass that sets states as text / a subclass that sets states as text, and the child fails",
                stock="none",
                durable="AttributeError",
            ),
            Shown(
                "error", "a subclass that sets states as text, deferred", stock="none, none", durable="AttributeError"
            ),
            Shown(
                "runs",
                "a subclass that sets states as text / a subclass that sets states as text, deferred",
                stock="success",
                durable="none",
            ),
            Shown("runs", "a subclass that sets states as text, and the child fails", stock="failed", durable="none"),
            Shown("request", "a subclass that sets states as text, and the child fails", since="3.3"),
            Shown("order", "a subclass that sets states as text, and the child fails", since="3.3"),
            Shown("seen", "a subclass that sets states as text, and the child fails", since="3.3"),
            Shown("xcoms", "a subclass that sets states as text, and the child fails", since="3.3"),
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
                "a subclass whose execute_complete fails, over two tries",
                stock="deferred, up_for_retry, deferred, up_for_retry",
                durable="deferred, up_for_retry, success",
            ),
            Shown(
                "error",
                "a subclass whose execute_complete fails, over two tries",
                stock="none, ValueError, none, ValueError",
                durable="none, ValueError, none",
            ),
            Shown(
                "runs",
                "a subclass whose execute_complete fails, over two tries",
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
                "a unit test with an empty context / a unit test with an empty context, waiting / a unit test "
                "with an empty context, deferred",
                stock="DagRunTriggerException",
                durable="KeyError",
            ),
            Shown(
                "error",
                "a unit test with a mock of the task instance",
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
                "the child fails, without retries / the child fails, deferred, without retries / there is no "
                "such Dag, without retries / a conf that is no JSON text, without retries / the run id is "
                "taken, at the last try",
                stock="none",
                durable="DurableRetriesWarning",
            ),
        ),
    ),
)
