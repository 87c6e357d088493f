"""
What a try with many children knows and works with, and the decision about one item's run.

The decision itself is :func:`.decide.decide`, the same as for a task with one child.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Protocol, cast

from airflow_durable.core import port as calls
from airflow_durable.core.asks import asks_of
from airflow_durable.core.board import Board, Status
from airflow_durable.core.decide import decide
from airflow_durable.core.ledger import Ledger
from airflow_durable.core.many_errors import NAMED_AT_MOST, ItemsFailedError
from airflow_durable.core.many_timeouts import begin_clock
from airflow_durable.core.model import ENDED_STATES, Decision, Mode, OnChildFailure, OnClear, Proof
from airflow_durable.core.record import CLEARED
from airflow_durable.core.run_ids import tag_of_life
from airflow_durable.core.survey import CountLimit, Survey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow_durable.core.items import Items
    from airflow_durable.core.ledger import ItemRecord
    from airflow_durable.core.model import Attempt, ChildRun, Clear, Request
    from airflow_durable.core.port import Port

CALL = 1
"""A task with many children makes one call."""


class ManyPort(Protocol):
    """The world, as one try with many items sees it. What has a name of :class:`.port.Port` does the same."""

    has_store: bool
    has_details: bool

    def read(self) -> Ledger | None:
        """Return the newest entry of the ledger."""

    def write(self, ledger: Ledger) -> None:
        """Store the newest entry. The same entry again is the same write; a superseded try is refused."""

    def item(self, index: int) -> Port:
        """Return the port for one item: it submits with the item's conf, and compares with it. It stores nothing."""

    def is_upstream_newer(self, than: datetime | None) -> bool | None:
        """Return whether a task upstream of the parent ran again after this moment; None: that cannot be known."""

    def now(self) -> datetime:
        """Return the present, in UTC, to the microsecond."""

    def sleep(self, seconds: float) -> None:
        """Sleep."""

    def report(self, decision: Decision, many: Many) -> None:
        """Say what was decided about the whole. Must not fail."""

    def report_change(self, before: int, many: Many) -> None:
        """Say that the items are others than those of an earlier try, which were so many. Must not fail."""

    def report_progress(self, many: Many) -> None:
        """Say how the whole stands, if it is time to. Must not fail."""


@dataclass(frozen=True)
class Goal:
    """
    What the user asks for.

    :param request: for each item.
    :param items: what identifies them.
    :param max_active: so many runs may be unfinished at once; None: as many as there are items.
    :param tolerated: so many items may fail.
    :param child_tries: how many runs one try of the task may start for an item that fails, the first one included.
    """

    request: Request
    items: Items
    max_active: int | None = None
    tolerated: int = 0
    child_tries: int = 1

    @property
    def is_waiting(self) -> bool:
        """Whether the task waits for the ends of its runs."""
        return self.request.mode is not Mode.FIRE_AND_FORGET

    @property
    def failed_states(self) -> list[str]:
        """The states in which a run has failed."""
        states = ENDED_STATES | self.request.failed_states
        return sorted(state for state in states if self.request.is_failure(state))

    @property
    def done_states(self) -> list[str]:
        """The states in which a run has done its part."""
        return sorted(state for state in self.request.allowed_states if self.request.is_success(state))


@dataclass
class Many:
    """
    One try.

    :ivar ledger: as last written.
    :ivar is_settled: nothing is left to be sent or consumed: an earlier try consumed the outcome, or there is no item.
    :ivar count_limit: how large a count may be, as far as this try has learned.
    :ivar has_others: a run of another life of the parent was met under one of the items' run ids.
    :ivar met: how many runs were met under an item's run ids when they were asked for.
    :ivar has_begun: this very try had begun before, and may have sent what it meets.
    """

    port: ManyPort
    goal: Goal
    attempt: Attempt
    ledger: Ledger = field(init=False)
    board: Board = field(init=False)
    is_settled: bool = False
    has_others: bool = False
    has_begun: bool = False
    met: Counter[int] = field(default_factory=Counter)
    count_limit: CountLimit = field(default_factory=CountLimit)

    def __post_init__(self) -> None:
        """Start with what a task has that never ran."""
        self.board = Board(self.goal.items)
        self.ledger = self._new_ledger()

    def run_id(self, index: int) -> str:
        """Return the run id of an item's present run."""
        return self.goal.items.run_id(
            self.attempt.parent, index, epoch=self.ledger.epoch, generation=self.board.generation(index)
        )

    def record(self, index: int, *, is_recovered: bool) -> ItemRecord:
        """Return the record of an item's present run."""
        return self.ledger.record_of(self.goal.request, self.run_id(index), self.board.generation(index), is_recovered)

    def survey(self, generation: int) -> Survey:
        """Return the survey of the items' runs of one generation."""
        items, parent, epoch = self.goal.items, self.attempt.parent, self.ledger.epoch

        def run_id_of(index: int) -> str:
            return items.run_id(parent, index, epoch=epoch, generation=generation)

        return Survey(self.port.item(0), self.ledger.dag_id, run_id_of, self.count_limit)

    def count(self, generations: int, states: Sequence[str] | None) -> int:
        """Count the runs of the first so many generations that exist and are in one of these states; None: in any."""
        return sum(self.count_in(generation, states) for generation in range(generations))

    def count_in(self, generation: int, states: Sequence[str] | None) -> int:
        """Count the runs of one generation that exist and are in one of these states; None: in any."""
        survey = self.survey(generation)
        return sum(survey.count(chunk, states) for chunk in survey.chunks(range(self.goal.items.count)))

    def write(self) -> None:
        """Store the ledger as it is."""
        # Of the port this needs only what both kinds have.
        calls.write(cast("Port", self.port), self.ledger)

    def enter(self, decision: Decision) -> None:
        """
        Record that this try continues from here.

        While runs are left to be started after a clear, the entry does not hide the clear: a request of before may
        still arrive, and its run may have another conf. Only the reply that creates an item's run settles it.
        """
        self.port.report(decision, self)
        entered = self.ledger.with_try(self.attempt, decision, self.port.now())
        self.ledger = cast("Ledger", replace(entered, max_tries=CLEARED) if self.board.by_clear else entered)
        self.write()

    def of_goal(self) -> Ledger:
        """Return the ledger for what the task asks for by now."""
        request, items = self.goal.request, self.goal.items
        return replace(
            self.ledger,
            dag_id=request.dag_id,
            mode=request.mode,
            count=items.count,
            digest=items.digest,
            asks=asks_of(request.on_parent_end),
        )

    def act(  # noqa: PLR0913 - what a decision depends on
        self,
        index: int,
        seen: ChildRun,
        clear: Clear | None,
        *,
        is_upstream_newer: bool | None = None,
        is_recovered: bool = True,
        is_moved: bool = False,
    ) -> None:
        """
        Decide about an item's run that exists, as about any other child.

        :param is_recovered: it was there before this try sent anything.
        :param is_moved: the run may be of another request, and no person has cleared the task since: the conf tells.
        """
        is_before = self.board.generation(index) < self.ledger.first
        is_met = is_before or (is_recovered and not self.has_begun)
        record, board = self.record(index, is_recovered=is_met), self.board
        request = self.goal.request
        if request.on_clear is OnClear.FRESH or is_moved:
            # With FRESH, the epoch has moved for that. Within one, nothing is started beside an active run.
            request = replace(request, on_clear=OnClear.AUTO)
        decision = decide(record, request, self.attempt, seen, clear, is_upstream_newer=is_upstream_newer)
        self.has_others = self.has_others or not record.is_author_of(seen, self.attempt)
        if decision is Decision.RECONNECT:
            self.take(index)
        elif decision is Decision.ALREADY_SUCCEEDED:
            board.set(index, Status.DONE)
        elif decision is Decision.RESUME:
            board.set(index, Status.TO_RESUME)
        elif decision is Decision.GIVE_UP:
            board.set(index, Status.FAILED)
        elif decision is Decision.WAIT_OUT:
            board.set(index, Status.WAITED_OUT)
            board.by_clear.add(index)
            self._note_outdated()
        else:
            # The run failed; or it is not what the task asks for by now, or is of another life of the parent.
            board.start_anew(index)
            if not request.is_failure(seen.state):
                self._note_outdated()
            if clear is not None:
                board.by_clear.add(index)

    def _note_outdated(self) -> None:
        """
        Note that a run that has not failed is replaced: all that are older may be of another request, too.

        Older than this try: what it, or a later one, has sent is of the request that replaces them.
        """
        if self.ledger.outdated_before is None:
            has_entered = self.ledger.last_try == self.attempt.try_number
            began_at = self.ledger.tries[-1].at if has_entered else self.port.now()
            self.ledger = replace(self.ledger, outdated_before=began_at)

    def take(self, index: int) -> None:
        """Take note that an item's run exists and is ours: all that fire-and-forget waits for."""
        self.board.set(index, Status.ACTIVE if self.goal.is_waiting else Status.DONE)
        if self.goal.is_waiting:
            begin_clock(self, index)

    def failed_items(self, most: int) -> list[tuple[str, str, Status]]:
        """Return name, run id and status of the failed items, some of them if there are more."""
        failed = islice(self.board.of(Status.FAILED, Status.MISSING, Status.OVERDUE), most)
        return [(self.goal.items.name_of(index), self.run_id(index), self.board.status(index)) for index in failed]

    def check_failures(self) -> None:
        """
        End the try as soon as it is certain that more items fail than are tolerated.

        :raises ItemsFailedError: they do.
        """
        if self.board.failed <= self.goal.tolerated or self.is_settled:
            return
        on_child_failure = self.goal.request.on_child_failure
        if on_child_failure is OnChildFailure.FAIL and self.board.failed_runs <= self.goal.tolerated:
            # What was deleted is sent again by another try.
            on_child_failure = OnChildFailure.FRESH
        raise ItemsFailedError(
            self.goal.request.dag_id,
            [(name, run_id) for name, run_id, _ in self.failed_items(NAMED_AT_MOST)],
            failures=self.board.failed,
            count=self.goal.items.count,
            tolerated=self.goal.tolerated,
            running=self.board.running + self.board.overdue,
            pending=self.board.pending + self.board.to_resume,
            on_child_failure=on_child_failure,
            overdue=self.board.overdue,
            seconds=self.goal.request.start_timeout_seconds or 0.0,
        )

    def _new_ledger(self) -> Ledger:
        items, request, epoch = self.goal.items, self.goal.request, self.attempt.last_cleared_try
        return Ledger(
            dag_id=request.dag_id,
            run_id=items.run_id(self.attempt.parent, 0, epoch=epoch, generation=0),
            proof=Proof.RUN_ID,
            mode=request.mode,
            max_tries=self.attempt.max_tries,
            clear_number=self.attempt.clear_number,
            epoch=epoch,
            count=items.count,
            digest=items.digest,
            asks=asks_of(request.on_parent_end),
            tag=tag_of_life(self.attempt.parent, CALL) if request.is_run_after_ours else None,
        )
