"""
The picture of one wait: the parent's tries above the child runs, on one axis of time. Pure: it is told the present.

A try has *crashed* if Airflow ended it since its worker was not heard of any more, whether or not its child run had
ended by then. Its bar ends at the last heartbeat; when Airflow noticed is a mark of its own. A try is *without
heartbeat* from :data:`~airflow_durable.wording.QUIET_AFTER` after the last one until then. It is *cut off* if it ended
in another way without success while its child run was there and had not ended: it timed out, or a person ended it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_durable.core.ledger import Ledger
from airflow_durable.server.endings import find_ending, is_over
from airflow_durable.server.model import TAKEOVERS
from airflow_durable.wording import HeartbeatLimits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_durable.core.record import Record, TryEntry
    from airflow_durable.metadata.logged_actions import LoggedAction
    from airflow_durable.metadata.model import DagRun, Loss, TaskTry
    from airflow_durable.server.endings import Ending
    from airflow_durable.server.pending import Request

TICKS = 4
LONG = timedelta(hours=12)
"""From here on the axis shows dates, and no seconds."""

_MIN_WIDTH = 0.5
_LIMITS = HeartbeatLimits()


@dataclass(frozen=True)
class Bar:
    """
    One bar. Positions are percent of the whole width.

    :param queued_left: where the time in the queue began, before the bar; None: there was none, or it is not known.
    :param is_open: it has not ended.
    """

    left: float
    width: float
    state: str
    start: datetime
    end: datetime
    queued_left: float | None = None
    is_open: bool = False

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.left + self.width


@dataclass(frozen=True)
class TryRow:
    """
    One try of the parent.

    :param entry: what it decided; None: it has recorded nothing.
    :param bar: None: it has not started.
    :param ending: how it ended, or that it sends no heartbeat; None: it succeeded, goes on, or has not begun.
    :param unnoticed: from its last heartbeat to when Airflow noticed, or to the present if it has not.
    """

    task_try: TaskTry
    entry: TryEntry | None
    bar: Bar | None
    ending: Ending | None = None
    unnoticed: Bar | None = None

    @property
    def is_takeover(self) -> bool:
        """Whether it took over the run of an earlier try."""
        return self.entry is not None and self.entry.decision in TAKEOVERS


@dataclass(frozen=True)
class RunRow:
    """One child run. Without a bar it is not there, or has neither been queued nor started."""

    run: DagRun
    bar: Bar | None


@dataclass(frozen=True)
class Tick:
    """A moment on the axis."""

    left: float
    at: datetime


@dataclass(frozen=True)
class Timeline:
    """
    The whole picture.

    :param is_long: see :data:`LONG`.
    :param actions: what the reconciler, and people, did to the child runs.
    :param request: what the parent asks of the reconciler, and is not done.
    """

    tries: tuple[TryRow, ...]
    runs: tuple[RunRow, ...]
    ticks: tuple[Tick, ...]
    is_long: bool
    actions: tuple[LoggedAction, ...] = ()
    request: Request | None = None


class _Axis:
    def __init__(self, moments: Sequence[datetime]) -> None:
        self.begin, self.end = min(moments), max(moments)
        self._span = max((self.end - self.begin).total_seconds(), 1.0)

    def place(self, moment: datetime) -> float:
        return round(100 * (moment - self.begin).total_seconds() / self._span, 3)

    def bar(
        self, state: str | None, start: datetime, end: datetime | None, queued_at: datetime | None, now: datetime
    ) -> Bar:
        until = max(start, end or now)
        left = self.place(start)
        width = max(self.place(until) - left, _MIN_WIDTH)
        left = min(left, 100 - width)
        queued_left = self.place(queued_at) if queued_at is not None and queued_at < start else None
        return Bar(left, width, state or "none", start, until, queued_left, is_open=end is None)

    def ticks(self) -> tuple[Tick, ...]:
        step = timedelta(seconds=self._span / TICKS)
        return tuple(Tick(100 / TICKS * number, self.begin + number * step) for number in range(TICKS + 1))


def draw(  # noqa: PLR0913 - all that the picture shows
    record: Record,
    tries: Sequence[TaskTry],
    runs: Mapping[str, DagRun],
    now: datetime,
    *,
    losses: Mapping[int, Loss] | None = None,
    limits: HeartbeatLimits = _LIMITS,
) -> Timeline:
    """
    Draw the picture.

    :param losses: what the audit log says of lost workers, by try, as far as the user may know.
    :param runs: the child runs that exist and may be seen, by run id. Empty where the user may not see any.
    """
    entries = {entry.try_number: entry for entry in record.tries}
    endings = {}
    for one in tries:
        entry = entries.get(one.try_number)
        run = runs.get(entry.run_id) if entry else None
        loss = (losses or {}).get(one.try_number)
        endings[one.try_number] = find_ending(one, run, loss, now, limits, is_many=isinstance(record, Ledger))
    spans = [(item.start_date, item.end_date) for item in tries]
    spans += [(item.start_date, item.end_date) for item in runs.values()]
    moments = [moment for span in spans for moment in span] + [run.queued_at for run in runs.values()]
    moments += [ending.noticed_at for ending in endings.values() if ending]
    is_anything_open = any(start and not end for start, end in spans)
    known = [moment for moment in moments if moment is not None]
    if is_anything_open or not known:
        known.append(now)
    axis = _Axis(known)
    return Timeline(
        tuple(_draw_try(one, entries.get(one.try_number), endings[one.try_number], axis, now) for one in tries),
        tuple(_draw_run(run, axis, now) for run in runs.values()),
        axis.ticks(),
        is_long=axis.end - axis.begin > LONG,
    )


def _draw_try(one: TaskTry, entry: TryEntry | None, ending: Ending | None, axis: _Axis, now: datetime) -> TryRow:
    if one.start_date is None:
        return TryRow(one, entry, None, ending)
    end = one.end_date if is_over(one) else None
    if ending is None or ending.died_at is None:
        return TryRow(one, entry, axis.bar(one.state, one.start_date, end, None, now), ending)
    bar = axis.bar(one.state, one.start_date, ending.died_at, None, now)
    bar, unnoticed = _abut(bar, axis.bar("unnoticed", ending.died_at, ending.noticed_at, None, now))
    return TryRow(one, entry, bar, ending, unnoticed)


def _abut(first: Bar, second: Bar) -> tuple[Bar, Bar]:
    """Let the second begin where the first ends: one that is drawn wider than it lasted would cover it."""
    border = min(max(first.right, second.left), 100 - _MIN_WIDTH)
    width = max(second.right - border, _MIN_WIDTH)
    return replace(first, left=min(first.left, border - first.width)), replace(second, left=border, width=width)


def _draw_run(run: DagRun, axis: _Axis, now: datetime) -> RunRow:
    start = run.start_date or run.queued_at
    if run.state is None or start is None:
        return RunRow(run, None)
    return RunRow(run, axis.bar(run.state, start, run.end_date, run.queued_at, now))
