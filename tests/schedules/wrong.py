"""
Wrong protocols: the real one, with one function of it changed. The explorer has to catch each.

Each is a mistake that somebody has made or would make; the first is what Airflow's own ``ResumableJobMixin`` does (3.3,
``sdk/bases/resumablejobmixin.py``: it submits, then persists the external id).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from airflow_durable.core import (
    asks,
    child_tasks,
    proof,
    protocol,
    reconcile,
    recovery,
    resetting,
    resuming,
    sending,
    timeouts,
    waiting,
)
from airflow_durable.core.decide import decide
from airflow_durable.core.errors import ReconcilerMissingError, StartTimeoutError
from airflow_durable.core.failing import failure_of
from airflow_durable.core.model import (
    ENDED_STATES,
    Clear,
    Decision,
    Look,
    Mode,
    OnChildFailure,
    OnParentEnd,
    Phase,
    Request,
)
from airflow_durable.core.reconcile import newest_of
from airflow_durable.core.record import Baseline, Clock, Record, baseline_of
from airflow_durable.core.resuming import resume
from airflow_durable.core.run_ids import child_run_id
from airflow_durable.core.timeouts import clock_after
from airflow_durable.core.verdicts import Act, Reason, Verdict
from airflow_durable.task.journal import StoreJournal, _CallEntries
from tests.schedules import attempts, calls
from tests.schedules.configurations import DATE, RUN_ID, Configuration
from tests.schedules.world import SUCCESS, Budget, see

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from airflow_durable.core.asks import Action
    from airflow_durable.core.model import Attempt, ChildRun, Parent
    from airflow_durable.core.observed import ChildNow, Entry, ParentNow
    from airflow_durable.core.port import Port
    from tests.schedules.world import Run


class Wrong(NamedTuple):
    """
    One wrong protocol.

    :param owner: whose function is changed.
    :param broken: the property that has to catch it.
    :param configuration: where it shows.
    """

    name: str
    owner: Any
    function: str
    change: Any
    broken: str
    configuration: Configuration

    def applied(self) -> Any:  # noqa: ANN401 - a patcher
        """Return a context in which the protocol is wrong."""
        return mock.patch.object(self.owner, self.function, self.change, create=True)


class _LateWriter:
    """A port that records only once the request was sent."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._pending: Record | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the port has
        return getattr(self._port, name)

    def write(self, record: Record) -> None:
        self._pending = record

    def submit(self, record: Record) -> bool:
        is_created = self._port.submit(record)
        self._port.write(self._pending or record)
        return is_created


_send, _trigger, _find_clear, _meet = sending.send, protocol.trigger, protocol._find_clear, protocol._meet
_finish, _wait = attempts._finish, waiting.wait
_check, _check_start = timeouts.check, timeouts._check_start
_decide_action, _is_over, reconcile_decide = reconcile._decide_action, reconcile._is_over, reconcile.decide


def _submit_then_persist(port: Port, *rest: Any) -> Any:  # noqa: ANN401 - as the real one
    return _send(_LateWriter(port), *rest)


def _deciding(change: Callable[..., Decision | None]) -> Callable[..., Decision]:
    def changed(
        record: Record,
        request: Request,
        attempt: Attempt,
        seen: ChildRun | Look,
        clear: Clear | None = None,
        **rest: Any,  # noqa: ANN401 - as the real one
    ) -> Decision:
        right = decide(record, request, attempt, seen, clear, **rest)
        return change(right, seen) or right

    return changed


def _mark_at_once(port: Port, request: Request, attempt: Attempt, record: Record) -> Any:  # noqa: ANN401 - as the real one
    return _send(port, request, attempt, replace(record, phase=Phase.CONSUMED))


def _always(answer: Any) -> Callable[..., Any]:  # noqa: ANN401 - anything
    return lambda *_, **__: answer


def _seeing(*, is_same: bool) -> Callable[..., ChildRun | None]:
    def changed(run: Run | None, dag_id: str, conf: str, *, is_detailed: bool) -> ChildRun | None:
        seen = see(run, dag_id, conf, is_detailed=is_detailed)
        return seen and replace(seen, is_same_request=is_same if is_detailed else None)

    return changed


def _is_failure_unless_allowed(request: Request, state: str) -> bool:
    return state in ENDED_STATES and state not in request.allowed_states


def _in_the_same_epoch(request: Request, attempt: Attempt, record: Record, *, is_anew: bool) -> int:
    return record.epoch


def _first_call(port: Port, request: Request, attempt: Attempt) -> protocol.Started:
    return _trigger(port, replace(request, call=1, epoch=None), attempt)


def _without_dates(run: ChildRun) -> Baseline:
    return Baseline(run.clear_number or 0, None, None)


def _marked_by_one(port: Port, record: Record) -> bool:
    return record.is_consumed


def _never_anew(*arguments: Any) -> Clear | None:  # noqa: ANN401 - as the real one
    return _find_clear(*arguments) and Clear(is_anew=False)


def _first_entry(entries: _CallEntries) -> Record | None:
    return entries.found[0][0] if entries.found else None


def _wait_for_nobody(right: Decision, seen: ChildRun | Look) -> Decision | None:
    return Decision.FRESH_SUBMIT if right is Decision.WAIT_OUT else None


def _join_anybody(right: Decision, seen: ChildRun | Look) -> Decision | None:
    return Decision.RECONNECT if right is Decision.WAIT_OUT else None


def _fresh_when_missing(right: Decision, seen: ChildRun | Look) -> Decision | None:
    return Decision.TERMINAL_RESUBMIT if seen is Look.MISSING else None


def _refused_for_good(
    record: Record,
    request: Request,
    attempt: Attempt,
    seen: ChildRun | Look,
    clear: Clear | None = None,
    **rest: Any,  # noqa: ANN401 - as the real one
) -> Decision:
    """Let a foreign run be in the way, whatever the task asks for by now."""
    if record.is_fixed and not isinstance(seen, Look) and not record.is_author_of(seen, attempt):
        return Decision.FOREIGN
    return decide(record, request, attempt, seen, clear, **rest)


def _resetting_for_good(
    record: Record,
    request: Request,
    attempt: Attempt,
    seen: ChildRun | Look,
    clear: Clear | None = None,
    **rest: Any,  # noqa: ANN401 - as the real one
) -> Decision:
    """Do a reset that was recorded, whatever the task asks for by now."""
    if not isinstance(seen, Look) and record.is_reset_pending(seen):
        return Decision.RESET
    return decide(record, request, attempt, seen, clear, **rest)


def _join_what_is_there(  # noqa: PLR0913, PLR0917 - as the real one
    port: Port, request: Request, attempt: Attempt, record: Record, found: ChildRun, clear: Clear | None
) -> protocol.Started:
    """Wait for what a 409 points to, also if it has failed."""
    if clear is None and record.is_author_of(found, attempt):
        return protocol.Started(record, found)
    return _meet(port, request, attempt, record, found, clear)


def _fresh_when_failed(right: Decision, seen: ChildRun | Look) -> Decision | None:
    return Decision.TERMINAL_RESUBMIT if right is Decision.GIVE_UP else None


def _retried(request: Request, record: Record, state: str) -> Exception:
    return failure_of(replace(request, on_child_failure=OnChildFailure.FRESH), record, state)


def _from_this_try(*arguments: Any) -> Clock | None:  # noqa: ANN401 - as the real one
    clock = clock_after(*arguments)
    return clock and replace(clock, since=arguments[-1])


def _as_it_was(*arguments: Any) -> Clock | None:  # noqa: ANN401 - as the real one
    return arguments[1].clock or clock_after(*arguments)


def _of_a_run_never_cleared(request: Request, now: datetime, **_: Any) -> Clock | None:  # noqa: ANN401 - as the real one
    return Clock(now, 0) if timeouts.has_any(request) else None


def _check_from_now(port: Port, request: Request, record: Record) -> timeouts.Checked:
    return _check(port, request, replace(record, clock=record.clock and replace(record.clock, since=port.now())))


def _start_another(port: Port, request: Request, record: Record, *rest: Any) -> list[datetime]:  # noqa: ANN401 - as the real one
    """Take a run that has not begun in time for one that has failed: start a fresh one."""
    try:
        return _check_start(port, request, record, *rest)
    except StartTimeoutError:
        port.submit(replace(record, run_id=f"{record.run_id}_r1", logical_date=None))
        raise


def _whatever_was_cleared(action: Action, child: ChildNow | None) -> Verdict:
    return _decide_action(replace(action, clear_number=child.clear_number) if child else action, child)


def _whatever_it_is(action: Action, child: ChildNow | None) -> Verdict:
    return Verdict(Act(action.kind.value) if child else Act.NOTHING, Reason.ASKED)


def _last_asked(entries: Sequence[Entry]) -> Entry | None:
    """Return the last entry with an action, also if a later one withdraws it."""
    asking = [it for it in entries if it.record and it.record.asks and it.record.asks.action]
    return max(asking, key=lambda entry: entry.sequence) if asking else newest_of(entries)


def _first_of(entries: Sequence[Entry]) -> Entry | None:
    return min(entries, key=lambda entry: entry.sequence, default=None)


def _over_if(*states: str | None) -> Callable[[ParentNow], bool]:
    return lambda parent: parent.state in states or _is_over(parent)


def _for_any(entry: Entry | None, parent: ParentNow, child: ChildNow | None, now: datetime) -> Verdict:
    """Decide as if no outcome had been taken."""
    if entry is not None and entry.record is not None and entry.record.is_consumed:
        entry = replace(entry, record=replace(entry.record, phase=Phase.SENT))
    return reconcile_decide(entry, parent, child, now)


def _as_if_sent(record: Record, run: ChildRun) -> Record:
    return replace(record, dates=(*record.dates, run.logical_date)) if run.logical_date else record


def _reset_at_once(port: Port, request: Request, record: Record, found: ChildRun) -> Record:
    """Ask the reconciler, and do not withdraw that before the task does it itself."""
    action = asks.Action(asks.ActionKind.RESET, found.clear_number or 0, found.state)
    record = replace(record, reset=baseline_of(found), asks=asks.asks_of(request.on_parent_end, action))
    port.write(record)
    port.reset(record)
    return record


def _consume_first(port: attempts.ReplayPort, started: protocol.Started, *, has_result: bool) -> list[str]:
    waiting.consume(port, started)
    return [port.result(started.record).value] if has_result else []


def _forget_result(port: attempts.ReplayPort, started: protocol.Started, *, has_result: bool) -> list[str]:
    """Read no result where the outcome was taken already: it was read then."""
    return [] if started.record.is_consumed else _finish(port, started, has_result=has_result)


def _defer_without_the_record(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as the real one
    """Wait in the worker, and be ready when the patience ends."""
    ended = _wait(*arguments, **named)
    return ended or replace(arguments[2], is_settled=True)


def _start_beside(port: Port, request: Request, record: Record, seen: ChildRun) -> tuple[Record, ChildRun]:
    """Ask the reconciler, and start a fresh run where it has not acted in time."""
    try:
        return resume(port, request, record, seen)
    except ReconcilerMissingError:
        port.submit(replace(record, run_id=f"{record.run_id}_r1", logical_date=None))
        raise


def _is_of_the_epoch_of_the_record(record: Record, parent: Parent) -> bool:
    made = child_run_id(parent, epoch=record.epoch, call=record.call, generation=record.generation)
    return record.run_id == made


def _as_many_as_tries(attempt: Attempt, epoch: int) -> int:
    return max(1, attempt.try_number - epoch)


_WAIT = Configuration(Mode.WAIT)
_FAILING = _WAIT._replace(on_child_failure=OnChildFailure.FAIL, budget=Budget(failures=1))
_RESUMING = _WAIT._replace(on_child_failure=OnChildFailure.RESUME)
_RESETTING = _WAIT._replace(identity=RUN_ID, is_reset=True, is_reset_asked=True)
_CANCELLING = _WAIT._replace(on_parent_end=OnParentEnd.CANCEL)
_TIMED = _WAIT._replace(run_timeout=timedelta(hours=6), budget=Budget(faults=1))
_LATE = _WAIT._replace(start_timeout=timedelta(days=50), budget=Budget(leaps=1))
_LATE_DEFERRED = _LATE._replace(mode=Mode.DEFER)
_LATE_RESET = _LATE_DEFERRED._replace(identity=RUN_ID, is_reset=True, budget=Budget(failures=1, leaps=1))
_ONE_FAULT = _WAIT._replace(budget=Budget(faults=1))
_CLEAR = _WAIT._replace(budget=Budget(clears=1))
_CRASH_AND_CLEAR = _WAIT._replace(budget=Budget(faults=1, clears=1))
_EDITED = _WAIT._replace(edits=("conf",), budget=Budget(faults=1, clears=1))
_CONTENDED = _WAIT._replace(identity=RUN_ID, parents=2, is_conf_shared=True)
_REBORN = _WAIT._replace(budget=Budget(remakes=1))
_CALLS = _WAIT._replace(calls=2, budget=Budget(clears=1))
_REFUSED = _WAIT._replace(is_refused=True, edits=("dag",), budget=Budget(edits=1))

WRONG = (
    Wrong(
        "submit before persist",
        sending,
        "send",
        _submit_then_persist,
        "duplicate",
        _WAIT._replace(edits=("dag",), budget=Budget(faults=1, edits=1)),
    ),
    Wrong("adopt any 409", Record, "is_author_of", _always(answer=True), "lost", _CONTENDED),
    Wrong("adopt a run of an earlier life", Record, "is_author_of", _always(answer=True), "lost", _REBORN),
    Wrong(
        "a fresh id when the run is missing",
        protocol,
        "decide",
        _deciding(_fresh_when_missing),
        "duplicate",
        _ONE_FAULT,
    ),
    Wrong(
        "reset without a baseline",
        Record,
        "is_reset_pending",
        lambda record, run: record.reset is not None,
        "cleared",
        _ONE_FAULT._replace(identity=DATE, is_reset=True, foreign="run"),
    ),
    Wrong(
        "the dates of the run before its reset not recorded",
        resetting,
        "baseline_of",
        _without_dates,
        "cleared",
        _ONE_FAULT._replace(identity=DATE, is_reset=True, foreign="run"),
    ),
    Wrong("consumed mark before the outcome is known", sending, "send", _mark_at_once, "lost", _ONE_FAULT),
    Wrong("no mark at all", waiting, "consume", lambda port, started: started.record, "lost", _CLEAR),
    Wrong("every run takes itself for the same request", calls, "see", _seeing(is_same=True), "lost", _EDITED),
    Wrong("no run is of the same request", calls, "see", _seeing(is_same=False), "duplicate", _CRASH_AND_CLEAR),
    Wrong(
        "failed states do not win over allowed ones",
        Request,
        "is_failure",
        _is_failure_unless_allowed,
        "stuck",
        _WAIT._replace(has_both_failed=True, budget=Budget(failures=1)),
    ),
    Wrong("no clear is seen", protocol, "_find_clear", _always(answer=None), "lost", _EDITED),
    Wrong("a clear after success is as any other", protocol, "_find_clear", _never_anew, "lost", _CLEAR),
    Wrong(
        "an active child of another request is joined",
        protocol,
        "decide",
        _deciding(_wait_for_nobody),
        "duplicate",
        _EDITED,
    ),
    Wrong(
        "an active child of another request is adopted", protocol, "decide", _deciding(_join_anybody), "lost", _EDITED
    ),
    Wrong("the epoch does not move", sending, "epoch_of", _in_the_same_epoch, "lost", _CALLS),
    Wrong("one call's mark counts for all", protocol, "_is_success_marked", _marked_by_one, "duplicate", _CALLS),
    Wrong("call numbers are ignored", protocol, "trigger", _first_call, "duplicate", _WAIT._replace(calls=2)),
    Wrong(
        "candidates are not searched when the record is lost",
        protocol,
        "recover",
        _always(answer=None),
        "duplicate",
        _WAIT._replace(is_discarding=True, budget=Budget(clears=1, losses=1)),
    ),
    Wrong(
        "as many generations are looked for as there were tries, without those of other lives",
        recovery,
        "most_generations",
        _as_many_as_tries,
        "duplicate",
        _WAIT._replace(earlier=(SUCCESS, SUCCESS), has_store=False, budget=Budget(clears=1)),
    ),
    Wrong(
        "a first try looks for the first generation only, where a look-up has no details",
        recovery,
        "most_generations",
        _as_many_as_tries,
        "lost",
        _WAIT._replace(earlier=(SUCCESS, SUCCESS), has_store=False, has_details=False),
    ),
    Wrong(
        "a read that says none is believed",
        _CallEntries,
        "is_attempted",
        property(_always(answer=True), _always(answer=None)),
        "duplicate",
        _WAIT._replace(is_misread=True, budget=Budget(clears=1, losses=1)),
    ),
    Wrong(
        "what has outlived the first entry is not read",
        StoreJournal,
        "_read_all",
        lambda journal, call: journal._read_from(call, 0),
        "stuck",
        _WAIT._replace(is_discarding=True, budget=Budget(clears=1, losses=1)),
    ),
    Wrong("the first entry counts, not the newest", _CallEntries, "newest", _first_entry, "lost", _CLEAR),
    Wrong(
        "a fresh child after a failure that is to be the end",
        protocol,
        "decide",
        _deciding(_fresh_when_failed),
        "failed",
        _FAILING._replace(budget=Budget(faults=1, failures=1)),
    ),
    Wrong("a failure that is to be the end is retried", waiting, "failure_of", _retried, "stuck", _FAILING),
    Wrong("a retry starts the timeout anew", timeouts, "clock_after", _from_this_try, "late", _TIMED),
    Wrong(
        "a retry starts the timeout anew, deferred",
        timeouts,
        "clock_after",
        _from_this_try,
        "late",
        _TIMED._replace(mode=Mode.DEFER),
    ),
    Wrong(
        "a retry starts start_timeout anew",
        timeouts,
        "clock_after",
        _from_this_try,
        "late",
        _LATE_DEFERRED._replace(budget=Budget(faults=1, leaps=1)),
    ),
    Wrong("a deferral starts start_timeout anew", timeouts, "check", _check_from_now, "late", _LATE_DEFERRED),
    Wrong("a run that has begun has not begun", child_tasks, "has_begun", _always(answer=False), "late", _LATE),
    Wrong(
        "a fresh child where one has not begun in time", timeouts, "_check_start", _start_another, "duplicate", _LATE
    ),
    Wrong("a reset does not start start_timeout anew", timeouts, "clock_after", _as_it_was, "late", _LATE_RESET),
    Wrong(
        "a reset of the reconciler's is taken for a person's clear",
        timeouts,
        "new_clock",
        _of_a_run_never_cleared,
        "late",
        _LATE_RESET._replace(is_reset_asked=True),
    ),
    Wrong(
        "resume without checking clear_number",
        reconcile,
        "_decide_action",
        _whatever_was_cleared,
        "resumed",
        _RESUMING._replace(budget=Budget(failures=2, people=1)),
    ),
    Wrong(
        "resume without checking the state",
        reconcile,
        "_decide_action",
        _whatever_it_is,
        "resumed",
        _RESUMING._replace(budget=Budget(failures=1, people=1)),
    ),
    Wrong(
        "resume for a try that is over",
        reconcile,
        "_is_waiting",
        _always(answer=True),
        "resumed",
        _RESUMING._replace(budget=Budget(faults=1, failures=1)),
    ),
    Wrong(
        "reset without checking clear_number",
        reconcile,
        "_decide_action",
        _whatever_was_cleared,
        "reset",
        _RESETTING._replace(budget=Budget(failures=2, people=1)),
    ),
    Wrong(
        "reset without checking anything",
        reconcile,
        "_decide_action",
        _whatever_it_is,
        "reset",
        _RESETTING._replace(budget=Budget(failures=1, people=1)),
    ),
    Wrong(
        "reset for a try that is over",
        reconcile,
        "_is_waiting",
        _always(answer=True),
        "reset",
        _RESETTING._replace(budget=Budget(faults=1, failures=1)),
    ),
    Wrong(
        "a reset that was withdrawn is done all the same",
        reconcile,
        "newest_of",
        _last_asked,
        "cleared",
        _RESETTING._replace(budget=Budget(faults=1, failures=1)),
    ),
    Wrong(
        "a reset that is not withdrawn before the task does it itself",
        resetting,
        "reset",
        _reset_at_once,
        "cleared",
        _RESETTING._replace(budget=Budget(failures=1)),
    ),
    Wrong(
        "a child is ended while its parent is to be retried",
        reconcile,
        "_is_over",
        _over_if("up_for_retry"),
        "ended",
        _CANCELLING._replace(budget=Budget(faults=1)),
    ),
    Wrong(
        "a child is ended while its parent waits in the triggerer",
        reconcile,
        "_is_over",
        _over_if("deferred"),
        "ended",
        _CANCELLING._replace(mode=Mode.DEFER),
    ),
    Wrong(
        "a child is ended when its parent is removed, which may be restored",
        reconcile,
        "_is_over",
        _over_if("removed"),
        "ended",
        _CANCELLING._replace(budget=Budget(removals=1)),
    ),
    Wrong(
        "a child is ended that a person has started again",
        reconcile,
        "_is_after",
        _always(answer=False),
        "ended",
        _CANCELLING._replace(budget=Budget(marks=1, people=1)),
    ),
    Wrong(
        "a child is ended whose outcome was taken",
        reconcile,
        "decide",
        _for_any,
        "ended",
        _CANCELLING._replace(mode=Mode.FIRE_AND_FORGET),
    ),
    Wrong(
        "only a parent that has failed has ended",
        reconcile,
        "_PARENT_ENDED",
        frozenset({"failed"}),
        "orphan",
        _CANCELLING._replace(budget=Budget(marks=1)),
    ),
    Wrong(
        "a removed parent never ends",
        reconcile,
        "_is_over",
        lambda parent: parent.state != "removed" and _is_over(parent),
        "orphan",
        _CANCELLING._replace(budget=Budget(removals=1)),
    ),
    Wrong(
        "the first entry says what becomes of the child",
        reconcile,
        "newest_of",
        _first_of,
        "orphan",
        _CANCELLING._replace(budget=Budget(failures=1, marks=1)),
    ),
    Wrong(
        "a run is proven by the epoch of its record, which has moved when it was adopted",
        proof,
        "is_run_of",
        _is_of_the_epoch_of_the_record,
        "unproven",
        _WAIT._replace(is_discarding=True, budget=Budget(clears=1, losses=1)),
    ),
    Wrong(
        "a fresh child where nobody resumed",
        resuming,
        "resume",
        _start_beside,
        "duplicate",
        _RESUMING._replace(budget=Budget(faults=1, failures=1)),
    ),
    Wrong(
        "the outcome is taken before the result is read",
        attempts,
        "_finish",
        _consume_first,
        "duplicate",
        _WAIT._replace(has_result=True, budget=Budget(faults=1, clears=1)),
    ),
    Wrong(
        "a try that succeeds again reads no result",
        attempts,
        "_finish",
        _forget_result,
        "lost",
        _WAIT._replace(has_result=True, budget=Budget(faults=1)),
    ),
    Wrong(
        "the child has done its part when the patience ends",
        waiting,
        "wait",
        _defer_without_the_record,
        "lost",
        _WAIT._replace(mode=Mode.DEFER, is_waiting_first=True),
    ),
    Wrong(
        "a foreign run is in the way of another identity",
        protocol,
        "decide",
        _refused_for_good,
        "stock",
        _CLEAR._replace(identity=RUN_ID, foreign="run", edits=("run id",)),
    ),
    Wrong(
        "a reset that was recorded is done in place of what the task asks for",
        protocol,
        "decide",
        _resetting_for_good,
        "stock",
        _CRASH_AND_CLEAR._replace(identity=RUN_ID, foreign="run", edits=("run id",), is_reset=True),
    ),
    Wrong(
        "a reset that was recorded is done though the task no longer asks for it",
        protocol,
        "decide",
        _resetting_for_good,
        "stock",
        _CRASH_AND_CLEAR._replace(identity=RUN_ID, foreign="run", edits=("no reset",), is_reset=True),
    ),
    Wrong(
        "the date of a run that was adopted is taken for one that was sent",
        Record,
        "with_seen",
        _as_if_sent,
        "resumed",
        _RESUMING._replace(identity=RUN_ID, is_reset=True, foreign="run", budget=Budget(faults=1, failures=1)),
    ),
    Wrong(
        "a failed run that a 409 points to is waited for",
        protocol,
        "_meet",
        _join_what_is_there,
        "stuck",
        _WAIT._replace(budget=Budget(faults=1, failures=1)),
    ),
    Wrong(
        "a refused request keeps the old identity", Record, "is_same_identity", _always(answer=True), "stuck", _REFUSED
    ),
)
