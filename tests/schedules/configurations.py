"""What is explored: each configuration is one operator on one Airflow, with a bound."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from airflow_durable.core.model import Mode, Request
from tests.schedules.attempts import BEGINNING
from tests.schedules.world import ACTIVE, FAILED, SUCCESS, Budget, Run

FIXED_RUN_ID = "fixed"
FIXED_DATE = BEGINNING - timedelta(days=1)
GENERATED = "generated"
RUN_ID = "run id"
DATE = "logical date"
RUN_AFTER = "run id, run_after"
AFTER = "after"
BESIDE = "beside"

BOUNDS = (
    Budget(faults=2, clears=1, failures=0, people=0),
    Budget(faults=2, clears=0, failures=1, people=0),
    Budget(faults=1, clears=1, failures=1, people=0),
    Budget(faults=1, clears=0, failures=1, people=1),
)
"""What ``make schedules`` explores each configuration up to: 2 faults and a clear give up to 4 attempts."""

SHORT_BOUNDS = (
    Budget(faults=1, clears=1, failures=0, people=0),
    Budget(faults=1, clears=0, failures=1, people=0),
)
"""The same in CI, for each configuration; generated identities are explored there up to the first full bound, too."""


class Configuration(NamedTuple):
    """
    One operator on one Airflow.

    :param identity: what the user fixed. A logical date fixes the run id too (stock makes one from it), so that the
        protocol gets the same request with and without a ``trigger_run_id``.
    :param foreign: what somebody else has there from the beginning: nothing, a run with our run id, or one with our
        logical date under another run id.
    :param twofold: a try may be executed twice: after the first execution was killed, or beside it.
    :param is_racing: people may create a foreign run with our identity at any moment.
    """

    mode: Mode
    identity: str = GENERATED
    has_store: bool = True
    is_reset: bool = False
    is_skip: bool = False
    foreign: str = ""
    is_racing: bool = False
    twofold: str = ""
    budget: Budget = BOUNDS[0]
    retries: int = 2

    @property
    def is_fixed(self) -> bool:
        """Tell whether the user fixed the run id or the date."""
        return self.identity != GENERATED

    @property
    def is_date_ours(self) -> bool:
        """Tell whether the logical date is for the protocol to choose."""
        return self.identity in {GENERATED, RUN_ID}

    @property
    def name(self) -> str:
        """Name it for people."""
        parts = [self.mode.value, self.identity]
        if self.is_reset:
            parts.append("reset")
        if self.is_skip:
            parts.append("skip")
        if self.foreign:
            parts.append(f"foreign {self.foreign}")
        if self.is_racing:
            parts.append("racing")
        if self.twofold:
            parts.append(f"executed twice {self.twofold}")
        if not self.has_store:
            parts.append("no store")
        return ", ".join(parts)

    def request(self, number: int) -> Request:
        """
        Return what the parent's Dag file asks for.

        :param number: 0, or 1 after an edit that changed the conf.
        """
        return Request(
            dag_id="child",
            run_id=FIXED_RUN_ID if self.is_fixed else None,
            logical_date=FIXED_DATE if self.identity == DATE else None,
            is_date_ours=self.is_date_ours,
            digest=f"sha256:{number}",
            mode=self.mode,
            allowed_states=frozenset({SUCCESS}),
            failed_states=frozenset({FAILED}),
            is_reset=self.is_reset,
            is_skip=self.is_skip,
        )

    def foreign_runs(self) -> tuple[Run, ...]:
        """Return what is there from the beginning."""
        if self.foreign == "run":
            return (Run(FIXED_RUN_ID, FIXED_DATE, ACTIVE, 0, None),)
        if self.foreign == "date":
            return (Run("foreign", FIXED_DATE, ACTIVE, 0, None),)
        return ()


def all_configurations(budget: Budget) -> list[Configuration]:
    """
    Return every combination that the protocol tells apart.

    Without a store only generated identities: the operator leaves a fixed one to the stock operator there. A try is
    executed twice in configurations of their own, and so do people take a fixed identity: those are rare, and costly
    beside all the rest.
    """
    found = []
    for mode in Mode:
        for has_store in (True, False):
            found += [
                Configuration(mode, has_store=has_store, twofold=twofold, budget=budget) for twofold in ("", AFTER)
            ]
        for identity in (RUN_ID, DATE, RUN_AFTER):
            for is_reset, is_skip in ((False, False), (True, False), (False, True)):
                fixed = Configuration(mode, identity, is_reset=is_reset, is_skip=is_skip, budget=budget)
                kinds = ("", "run", "date") if identity == DATE else ("", "run")
                found += [fixed._replace(foreign=foreign) for foreign in kinds]
                if budget.people:
                    found.append(fixed._replace(is_racing=True))
            found.append(Configuration(mode, identity, twofold=AFTER, budget=budget))
    return found
