"""What is explored: each configuration is one or more parents on one Airflow, with a bound."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from airflow_durable.core.model import Mode, OnChildFailure, OnClear, OnParentEnd, Request
from airflow_durable.core.run_ids import child_run_id, tag_of_life
from tests.schedules.attempts import Wanted
from tests.schedules.world import ACTIVE, BEGINNING, FAILED, QUEUED, SUCCESS, Budget, Run, Token, moment_of, parent_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = "child"
OTHER_CHILD = "other child"
NO_DAG = "no such Dag"
"""Every request for it is refused."""

FIXED_RUN_ID = "fixed"
OTHER_RUN_ID = "fixed otherwise"
FIXED_DATE = BEGINNING - timedelta(days=9)
OTHER_DATE = BEGINNING - timedelta(days=8)
FIXED_RUN_IDS = frozenset({FIXED_RUN_ID, OTHER_RUN_ID})
FIXED_DATES = frozenset({FIXED_DATE, OTHER_DATE})

FOREIGN_CONF = "foreign"
"""The conf of a run that somebody else started. A reset does not change it."""

GENERATED = "generated"
UNDATED = "generated, run_after"
RUN_ID = "run id"
DATE = "logical date"
REPLY = "run id, run_after"
"""Nothing of the run is left for us to choose."""

AFTER = "after"
BESIDE = "beside"


class Configuration(NamedTuple):
    """
    One or more parents on one Airflow.

    :param identity: what the user fixed. A logical date fixes the run id too (stock makes one from it), so that the
        protocol gets the same request with and without a ``trigger_run_id``.
    :param parents: how many contend for the identity; each has a conf of its own.
    :param calls: how many children a try asks for.
    :param edits: what people may change in the Dag file; see :meth:`wanted`.
    :param foreign: what somebody else has there from the beginning: nothing, a run with our run id, or one with our
        logical date under another run id.
    :param earlier: what the first parent's Dag run has left from before it was deleted and created again: the states of
        children, each of another life of it, under its first run ids.
    :param is_racing: people may create a foreign run with our identity at any moment.
    :param twofold: a try may be executed twice: after the first execution was killed, or beside it.
    :param is_volatile: the conf is another one in each try, as with ``{{ ti.try_number }}``.
    :param is_conf_shared: all parents ask with the same conf.
    :param has_both_failed: ``failed`` is an allowed state and a failed one.
    :param is_refused: the child Dag does not exist, until ``edits`` correct it.
    :param upgrade: the store may ``appear`` or ``vanish``.
    :param is_discarding: a clear may discard the record (3.4); and the record may be lost at any moment.
    :param is_misread: a read may say that there is no such key.
    :param run_timeout: less than a day, and more than a try takes: it is over in a later try, and in none before.
    :param start_timeout: more than all tries take, and less than the clock moves by.
    :param is_waiting_first: ``defer_after``: a deferrable task waits a while before it defers.
    :param has_result: the task returns what its child has returned.
    :param is_reset_asked: a reset is asked of the reconciler before the task sends it.
    :param has_upstream: what is upstream of the task may be cleared with it.
    """

    mode: Mode
    identity: str = GENERATED
    has_store: bool = True
    has_details: bool = True
    parents: int = 1
    calls: int = 1
    on_clear: OnClear = OnClear.AUTO
    is_reset: bool = False
    is_skip: bool = False
    edits: tuple[str, ...] = ()
    foreign: str = ""
    earlier: tuple[str, ...] = ()
    is_racing: bool = False
    twofold: str = ""
    is_volatile: bool = False
    is_conf_shared: bool = False
    has_both_failed: bool = False
    is_refused: bool = False
    upgrade: str = ""
    is_discarding: bool = False
    is_misread: bool = False
    has_upstream: bool = False
    on_child_failure: OnChildFailure = OnChildFailure.FRESH
    run_timeout: timedelta | None = None
    start_timeout: timedelta | None = None
    is_waiting_first: bool = False
    has_result: bool = False
    is_reset_asked: bool = False
    on_parent_end: OnParentEnd = OnParentEnd.ABANDON
    budget: Budget = Budget()
    retries: int = 2

    @property
    def is_fixed(self) -> bool:
        """Tell whether the user fixed the run id or the date."""
        return self.identity not in {GENERATED, UNDATED}

    @property
    def is_asking(self) -> bool:
        """Tell whether anything is asked of the reconciler."""
        return self.is_waiting_for_reconciler or self.on_parent_end is not OnParentEnd.ABANDON

    @property
    def is_waiting_for_reconciler(self) -> bool:
        """Tell whether a try may wait for the reconciler."""
        return self.is_reset_asked or self.on_child_failure is OnChildFailure.RESUME

    @property
    def first_stage(self) -> str:
        """Return how far a run has come when it is started, or started over."""
        return QUEUED if self.start_timeout else ""

    @property
    def name(self) -> str:
        """Name it for people."""
        parts = [self.mode.value, self.identity]
        parts += [f"{self.parents} parents"] if self.parents > 1 else []
        parts += [f"{self.calls} calls"] if self.calls > 1 else []
        parts += [f"on_clear {self.on_clear.value}"] if self.on_clear is not OnClear.AUTO else []
        is_failure_set = self.on_child_failure is not OnChildFailure.FRESH
        parts += [f"on_child_failure {self.on_child_failure.value}"] if is_failure_set else []
        parts += ["run_timeout"] if self.run_timeout else []
        parts += ["start_timeout"] if self.start_timeout else []
        parts += [f"edits {'/'.join(self.edits)}"] if self.edits else []
        parts += [f"foreign {self.foreign}"] if self.foreign else []
        parts += [f"earlier lives {'/'.join(self.earlier)}"] if self.earlier else []
        parts += [f"executed twice {self.twofold}"] if self.twofold else []
        parts += [f"store may {self.upgrade}"] if self.upgrade else []
        flags = {
            "reset": self.is_reset,
            "reset asked for": self.is_reset_asked,
            "defer_after": self.is_waiting_first,
            "result": self.has_result,
            "cancel": self.on_parent_end is OnParentEnd.CANCEL,
            "skip": self.is_skip,
            "racing": self.is_racing,
            "volatile conf": self.is_volatile,
            "one conf": self.is_conf_shared,
            "failed states win": self.has_both_failed,
            "refused": self.is_refused,
            "discarding": self.is_discarding,
            "misread": self.is_misread,
            "upstream": self.has_upstream,
            "no store": not self.has_store and not self.upgrade,
            "no details": not self.has_details,
        }
        return ", ".join(parts + [text for text, is_set in flags.items() if is_set])

    def wanted(self, parent: int, version: str, try_number: int) -> tuple[Wanted, ...]:
        """
        Return what the parent's Dag file asks for.

        :param version: what was edited; empty: nothing. The number of a later version, if it asks for something else.
        """
        calls = range(1, self.calls + 1)
        if version == "fewer calls":
            calls = range(1, self.calls)
        elif version == "more calls":
            calls = range(1, self.calls + 2)
        found = [self._wanted(parent, call, version, try_number) for call in calls]
        return tuple(reversed(found)) if version == "calls in another order" else tuple(found)

    def _wanted(self, parent: int, call: int, version: str, try_number: int) -> Wanted:
        conf = f"conf {1 if self.is_conf_shared else parent + 1}.{call}"
        if version == "conf":
            conf += " edited"
        if self.is_volatile:
            conf += f" of try {try_number}"
        request = Request(
            dag_id=NO_DAG if self.is_refused else CHILD,
            run_id=FIXED_RUN_ID if self.is_fixed else None,
            logical_date=FIXED_DATE if self.identity == DATE else None,
            is_date_ours=self.identity in {GENERATED, RUN_ID},
            is_run_after_ours=self.has_store and self.identity not in {REPLY, UNDATED},
            mode=self.mode,
            allowed_states=frozenset({SUCCESS, FAILED} if self.has_both_failed else {SUCCESS}),
            failed_states=frozenset({FAILED}),
            is_reset=self.is_reset,
            is_skip=self.is_skip,
            on_clear=self.on_clear,
            on_child_failure=self.on_child_failure,
            run_timeout_seconds=self.run_timeout.total_seconds() if self.run_timeout else None,
            start_timeout_seconds=self.start_timeout.total_seconds() if self.start_timeout else None,
            reconciler_timeout_seconds=1.0,
            reset_timeout_seconds=1.0 if self.is_reset_asked else 0.0,
            on_parent_end=self.on_parent_end,
        )
        return Wanted(self._edited(request, version), conf)

    def _edited(self, request: Request, version: str) -> Request:
        changes: dict[str, dict[str, object]] = {
            "dag": {"dag_id": CHILD if self.is_refused else OTHER_CHILD},
            "run id": {"run_id": OTHER_RUN_ID},
            "date": {
                "run_id": request.run_id or FIXED_RUN_ID,
                "logical_date": OTHER_DATE,
                "is_date_ours": False,
                "is_run_after_ours": self.has_store,
            },
            "generated": {"run_id": None, "logical_date": None, "is_date_ours": True},
            "states": {"allowed_states": frozenset({SUCCESS, FAILED}), "failed_states": frozenset()},
            "mode": {"mode": {Mode.WAIT: Mode.DEFER, Mode.DEFER: Mode.WAIT}.get(self.mode, Mode.WAIT)},
            "fire and forget": {"mode": Mode.FIRE_AND_FORGET},
            "reset": {"is_reset": True},
            "no reset": {"is_reset": False},
        }
        return replace(request, **changes.get(version, {}))  # type: ignore[arg-type] # as the fields are

    def first_runs(self) -> tuple[Run, ...]:
        """Return what is there from the beginning."""
        run = foreign_run(FIXED_RUN_ID)
        if self.foreign == "run":
            return (run,)
        if self.foreign == "date":
            return (run._replace(run_id="foreign"),)
        return tuple(sorted(self._runs_of_earlier_lives(), key=lambda run: run.key))

    def _runs_of_earlier_lives(self) -> Iterator[Run]:
        for generation, state in enumerate(self.earlier):
            life = generation - len(self.earlier)
            for call, wanted in enumerate(self.wanted(0, "", 1), 1):
                parent = parent_of(0, life)
                began = moment_of(life) + timedelta(hours=12)
                token = Token(0, life, call, 0, wanted.ask)
                yield Run(
                    CHILD,
                    child_run_id(parent, epoch=0, call=call, generation=generation),
                    began.replace(microsecond=tag_of_life(parent, call)) if wanted.request.is_date_ours else None,
                    began,
                    wanted.conf,
                    state,
                    began,
                    began,
                    owners=frozenset({token}),
                )


def foreign_run(run_id: str) -> Run:
    """Return a run that somebody else started."""
    return Run(CHILD, run_id, FIXED_DATE, BEGINNING - timedelta(days=2), FOREIGN_CONF, ACTIVE, BEGINNING, BEGINNING)
