"""
What needs a person's attention now, and the numbers of the present: for the top of the page, and for the gauges.

They are read from the waits that have not ended, of which there are few, once every few seconds for all users, and
then narrowed to what each user may see. Work that is open elsewhere (of a reconciler, say) is one more field here, one
more :class:`~airflow_durable.server.model.Concern` and one more line in ``attention.html``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_durable.server.model import Concern, Wait
from airflow_durable.server.queries import Waits
from airflow_durable.server.selection import Everything

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.orm import Session

FRESH_SECONDS = 5.0
"""For how long a snapshot is given again."""

MOST_WAITING = 5_000
"""So many waits are looked through, those that have not changed for longest first."""


@dataclass(frozen=True)
class Snapshot:
    """
    The waits that have not ended.

    :param waits: in the order of :meth:`Waits.waiting`.
    :param is_capped: there are more than :data:`MOST_WAITING`.
    """

    waits: tuple[Wait, ...] = ()
    is_capped: bool = False

    def visible_to(self, readable: Collection[str]) -> Snapshot:
        """Return what a user may see: the parents they may read, and nothing of children that they may not."""
        seen = (wait for wait in self.waits if wait.parent.dag_id in readable)
        return replace(self, waits=tuple(_without_hidden(wait, readable) for wait in seen))

    @property
    def concerns(self) -> dict[Concern, int]:
        """How many waits there are for each concern that there is."""
        counted = Counter(concern for wait in self.waits for concern in wait.concerns)
        return {concern: counted[concern] for concern in Concern if counted[concern]}

    @property
    def oldest_seconds(self) -> float:
        """For how long the oldest wait has waited; 0: there is none."""
        return max((wait.seconds or 0.0 for wait in self.waits), default=0.0)


def take_snapshot(session: Session) -> Snapshot:
    """Read the waits that have not ended, of all Dags."""
    found = Waits(session, Everything()).waiting(MOST_WAITING + 1)
    return Snapshot(tuple(found[:MOST_WAITING]), is_capped=len(found) > MOST_WAITING)


def _without_hidden(wait: Wait, readable: Collection[str]) -> Wait:
    if wait.child is None or wait.child.dag_id in readable:
        return wait
    return replace(wait, child=None, is_child_hidden=True, is_child_paused=False)
