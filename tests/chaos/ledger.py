"""What the run itself has done to the parents that ask for something, and to their children: the oracle's own book."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.chaos.life import Fate, Subject

_MAKE = """
CREATE TABLE IF NOT EXISTS chaos_work (
  id SERIAL PRIMARY KEY, dag_id VARCHAR NOT NULL, run_id VARCHAR NOT NULL, task_id VARCHAR NOT NULL,
  what VARCHAR NOT NULL, noted_at TIMESTAMPTZ NOT NULL DEFAULT now()
)
"""


@dataclass
class Deed:
    """
    What a person did to a parent.

    :param sent_at: when it was asked for first.
    :param answered_at: when Airflow had done it for certain; None: that is not known.
    :param is_clear: it asks for the parent's work; else it gives the work up.
    """

    fate: Fate
    sent_at: datetime
    answered_at: datetime | None = None
    is_clear: bool = False


@dataclass
class Book:
    """
    All of it.

    :param deeds: by the parent's number, in their order.
    :param marks: the child runs (Dag, run, clear number) that the run has asked to be marked, and as what.
    """

    subjects: list[Subject] = field(default_factory=list)
    deeds: dict[int, list[Deed]] = field(default_factory=dict)
    marks: dict[tuple[str, str, int], str] = field(default_factory=dict)

    def do(self, subject: Subject, what: Fate, act: Callable[[], object], *, is_clear: bool = False) -> Deed:
        """Note a deed before it is done, do it, and note that it is done. Done again after an error it is one deed."""
        deeds = self.deeds.setdefault(subject.number, [])
        if not deeds or deeds[-1].fate is not what or deeds[-1].is_clear is not is_clear or deeds[-1].answered_at:
            deeds.append(Deed(what, now(), is_clear=is_clear))
        act()
        deeds[-1].answered_at = now()
        return deeds[-1]


def now() -> datetime:
    """Return the time, by the clock that Airflow's processes have, too."""
    return datetime.now(tz=timezone.utc)


def make_work_table(url: str) -> None:
    """Make the table in which the child runs note what they do."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(_MAKE))
    engine.dispose()


def only_ended(states: Iterable[str | None]) -> bool:
    """Return whether these are states of task instances that have ended."""
    return set(states) <= {"success", "failed", "skipped", "upstream_failed", "removed"}
