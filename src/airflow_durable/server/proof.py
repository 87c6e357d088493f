"""Whether a parent may ask something of a run: what the core says, and what only the database can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.models.dag import DagModel

from airflow_durable.compat import conf
from airflow_durable.core.reconcile import Reason, prove

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from airflow_durable.core.reconcile import ChildNow
    from airflow_durable.core.record import Record
    from airflow_durable.metadata.asked import Asked, CallKey, Journal, ParentRow

__all__ = ["Claim", "DagModel", "find_unproven", "is_same_team"]


@dataclass(frozen=True)
class Claim:
    """A record that names a run, and whose it is by its row."""

    key: CallKey
    parent: ParentRow
    journal: Journal
    record: Record

    def find_unproven(self, child: ChildNow) -> Reason | None:
        """Return why it is not proven that the parent started this run, as far as its own rows tell."""
        return prove(self.parent.identities, self.journal.entries, self.record, child, calls=self.journal.calls)


def find_unproven(session: Session, asked: Asked, claim: Claim, child: ChildNow) -> Reason | None:
    """Return why it is not proven that the parent started this run; None: it is."""
    unproven = claim.find_unproven(child)
    if unproven is not None:
        return unproven
    if not is_same_team(session, claim.parent.dag_id, child.dag_id):
        return Reason.UNPROVEN_TEAM
    if claim.record.is_fixed and _is_proven_elsewhere(asked, claim, child):
        return Reason.UNPROVEN_TWICE
    return None


def is_same_team(session: Session, dag_id: str, other_id: str) -> bool:
    """Return whether both Dags are of one team, or neither of any, where Airflow has teams (``[core] multi_team``)."""
    if not conf.getboolean("core", "multi_team", fallback=False):
        return True
    teams = DagModel.get_dag_id_to_team_name_mapping([dag_id, other_id], session=session)
    return bool(teams.get(dag_id) == teams.get(other_id))


def _is_proven_elsewhere(asked: Asked, claim: Claim, child: ChildNow) -> bool:
    """
    Return whether the record of another parent proves the same: then one of the two is forged.

    All values are searched for the run id, but only for a fixed identity, and only when there is something to do.
    """
    others = asked.named_elsewhere(claim.record, claim.key)
    journals, parents = asked.journals(others), asked.parents(others)
    for key in others:
        if key in journals and key in parents and (record := journals[key].record) is not None:
            other = Claim(key, parents[key], journals[key], record)
            if other.find_unproven(child) is None:
                return True
    return False
