"""How a difference is told."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from packaging.version import Version

from tests.adapters.versions import AIRFLOW
from tests.sidebyside.compare import SHORT


@dataclass(frozen=True)
class Shown:
    """
    Where a difference shows.

    :param aspect: one of :data:`tests.sidebyside.compare.SHORT` or ``LONG``.
    :param where: names of situations, or patterns of them (``*``), with `` / `` between. Each has to show it.
    :param stock: what the stock operator comes to, for a short aspect: word for word.
    :param durable: what this one comes to.
    :param since: the Airflow that it shows on first.
    :param until: the Airflow that it shows on last; None: it still does.
    """

    aspect: str
    where: str
    stock: str | None = None
    durable: str | None = None
    since: str = "3.0"
    until: str | None = None

    def __post_init__(self) -> None:
        """See that a short aspect is said word for word."""
        assert (self.stock is not None and self.durable is not None) is (self.aspect in SHORT), self

    @property
    def patterns(self) -> list[str]:
        """The names and patterns of ``where``."""
        return self.where.split(" / ")

    def is_on_this_airflow(self) -> bool:
        """Tell whether the installed Airflow is one of those on which it shows."""
        minor = Version(f"{AIRFLOW.major}.{AIRFLOW.minor}")
        return Version(self.since) <= minor and (self.until is None or minor <= Version(self.until))

    def covers(self, situation: str, aspect: str, pair: tuple[str, str]) -> bool:
        """Tell whether this difference is meant."""
        return (
            self.aspect == aspect
            and any(fnmatchcase(situation, pattern) for pattern in self.patterns)
            and (aspect not in SHORT or pair == (self.stock, self.durable))
        )


@dataclass(frozen=True)
class Difference:
    """
    A difference, as people read it.

    :param what: in which matter.
    :param why: one plain sentence.
    """

    what: str
    stock: str
    durable: str
    why: str
    shows: tuple[Shown, ...]
