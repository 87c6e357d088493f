"""
The picture of one wait: the parent's tries above the child runs, on one axis of time. Pure: it is told the present.

A try is *cut off* if it ended without success while its child run was there and had not ended: it was killed,
timed out, or a person ended it. It has *crashed* if, beside that, Airflow's audit log says that its worker was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_durable.metadata.model import UNFINISHED_STATES
from airflow_durable.server.model import TAKEOVERS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from airflow_durable.core.record import Record, TryEntry
    from airflow_durable.metadata.model import DagRun, TaskTry

TICKS = 4
LONG = timedelta(hours=12)
"""From here on the axis tells dates, and no seconds."""

_MIN_WIDTH = 0.5
_DONE_STATES = frozenset({"success", "skipped"})


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
    """

    task_try: TaskTry
    entry: TryEntry | None
    bar: Bar | None
    is_cut_off: bool = False
    is_crashed: bool = False

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
    """

    tries: tuple[TryRow, ...]
    runs: tuple[RunRow, ...]
    ticks: tuple[Tick, ...]
    is_long: bool


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


def draw(
    record: Record,
    tries: Sequence[TaskTry],
    runs: Mapping[str, DagRun],
    now: datetime,
    silent: Collection[int] = (),
) -> Timeline:
    """
    Draw the picture.

    :param silent: the tries that the scheduler ended since their workers had gone silent, as far as the user may know.
    :param runs: the child runs that exist and may be seen, by run id. Empty where the user may not see any.
    """
    entries = {entry.try_number: entry for entry in record.tries}
    spans = [(item.start_date, item.end_date) for item in tries]
    spans += [(item.start_date, item.end_date) for item in runs.values()]
    moments = [moment for span in spans for moment in span] + [run.queued_at for run in runs.values()]
    is_anything_open = any(start and not end for start, end in spans)
    known = [moment for moment in moments if moment is not None]
    if is_anything_open or not known:
        known.append(now)
    axis = _Axis(known)

    def draw_try(one: TaskTry) -> TryRow:
        entry = entries.get(one.try_number)
        if one.start_date is None:
            return TryRow(one, entry, None)
        bar = axis.bar(one.state, one.start_date, one.end_date if _is_over(one) else None, None, now)
        is_cut_off = entry is not None and is_cut_off_before(one, runs.get(entry.run_id))
        return TryRow(one, entry, bar, is_cut_off, is_cut_off and one.try_number in silent)

    return Timeline(
        tuple(draw_try(one) for one in tries),
        tuple(_draw_run(run, axis, now) for run in runs.values()),
        axis.ticks(),
        is_long=axis.end - axis.begin > LONG,
    )


def is_cut_off_before(one: TaskTry, run: DagRun | None) -> bool:
    """
    Return whether a try ended without success while its child run was there and had not ended.

    A run that started (again) after the try's end proves nothing: it may have been cleared meanwhile.
    """
    end = one.end_date
    if end is None or run is None or one.state in _DONE_STATES or not _is_over(one):
        return False
    begin = run.queued_at or run.start_date
    return begin is not None and begin <= end and (run.end_date is None or run.end_date > end)


def _is_over(one: TaskTry) -> bool:
    """Return whether the try has ended; one that waits for its retry has."""
    return one.state == "up_for_retry" or one.state not in UNFINISHED_STATES


def _draw_run(run: DagRun, axis: _Axis, now: datetime) -> RunRow:
    start = run.start_date or run.queued_at
    if run.state is None or start is None:
        return RunRow(run, None)
    return RunRow(run, axis.bar(run.state, start, run.end_date, run.queued_at, now))
