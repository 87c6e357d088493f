"""Differences that code of users sees: subclasses, hooks, unit tests."""

from __future__ import annotations

from .model import Difference, Shown

DIFFERENCES = (
    Difference(
        what="`post_execute`",
        stock="is called only after a deferral, because `execute` hands over to the task runner",
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
                "xcoms",
                "a subclass with hooks / a subclass that works after it has executed / a subclass that works "
                "after it has executed, fire and forget / a subclass that returns a value",
            ),
            Shown(
                "order",
                "a subclass with hooks / a subclass that works after it has executed / a subclass that works "
                "after it has executed, fire and forget / a subclass that cleans up after it has executed / a"
                " subclass that returns a value",
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
            Shown("runs", "a subclass that catches every error, and the child fails", stock="none", durable="failed"),
            Shown("runs", "a subclass that catches every error", stock="none", durable="success"),
            Shown("children", "a subclass that catches the request itself"),
            Shown(
                "xcoms",
                "a subclass that catches every error / a subclass that catches every error, and the child fails",
            ),
            Shown(
                "request",
                "a subclass that catches every error / a subclass that catches every error, and the child "
                "fails / a subclass that catches the request itself",
            ),
            Shown(
                "order",
                "a subclass that catches every error / a subclass that catches every error, and the child fails",
            ),
        ),
    ),
    Difference(
        what="A subclass that calls `super().execute()` twice",
        stock="triggers once: the first call hands over to the task runner",
        durable=(
            "triggers twice: each call has a run and a record of its own; the link and the XCom lead to the last one"
        ),
        why=("`execute` returns, like that of any other operator, and a call that starts nothing would be lost work."),
        shows=(
            Shown("runs", "a subclass that triggers twice", stock="queued", durable="queued, queued"),
            Shown("xcoms", "a subclass that triggers twice"),
            Shown("request", "a subclass that triggers twice"),
            Shown("order", "a subclass that triggers twice"),
            Shown("seen", "a subclass that triggers twice"),
        ),
    ),
    Difference(
        what="An override of `execute_complete` that raises",
        stock="the next try starts a new child, and runs it again after that",
        durable="the next try runs it again with the child that has ended",
        why="The child's work is done; what failed is repeated until it succeeds.",
        shows=(
            Shown(
                "outcome",
                "a subclass whose execute_complete fails, over two tries",
                stock="deferred, up_for_retry, deferred, up_for_retry",
                durable="deferred, up_for_retry, up_for_retry",
            ),
            Shown(
                "error",
                "a subclass whose execute_complete fails, over two tries",
                stock="none, ValueError, none, ValueError",
                durable="none, ValueError, ValueError",
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
        what="A task with `retries=0`",
        stock="no warning",
        durable="`DurableRetriesWarning` when the Dag file is parsed",
        why="Without a retry nothing finds the child again after a crash, until a person clears the task.",
        shows=(
            Shown(
                "parsing",
                "the run id is taken, at the last try / the child fails, without retries / the child fails, "
                "deferred, without retries / there is no such Dag, without retries / a conf that is no JSON "
                "text, without retries",
                stock="none",
                durable="DurableRetriesWarning",
            ),
        ),
    ),
)
