"""Whether a parent may ask something of a run: what the core says, and what only the database can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.models.dag import DagModel

from airflow_durable.compat import conf
from airflow_durable.core.proof import prove, proving_window
from airflow_durable.core.verdicts import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from airflow_durable.core.observed import ChildNow
    from airflow_durable.core.record import Record
    from airflow_durable.metadata.asked import Asked
    from airflow_durable.metadata.calls import CallKey, Journal
    from airflow_durable.metadata.families import ParentRow

__all__ = ["Claim", "DagModel", "find_rivals", "find_unproven", "is_same_team"]


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


def find_unproven(session: Session, claim: Claim, child: ChildNow, rivals: Sequence[ParentRow]) -> Reason | None:
    """
    Return why it is not proven that the parent started this run; None: it is.

    :param rivals: of :func:`find_rivals`.
    """
    unproven = claim.find_unproven(child)
    if unproven is not None:
        return unproven
    if not is_same_team(session, claim.parent.dag_id, child.dag_id):
        return Reason.UNPROVEN_TEAM
    return Reason.UNPROVEN_TWICE if rivals and claim.record.is_fixed else None


def is_same_team(session: Session, dag_id: str, other_id: str) -> bool:
    """Return whether both Dags are of one team, or neither of any, where Airflow has teams (``[core] multi_team``)."""
    if not conf.getboolean("core", "multi_team", fallback=False):
        return True
    teams = DagModel.get_dag_id_to_team_name_mapping([dag_id, other_id], session=session)
    return bool(teams.get(dag_id) == teams.get(other_id))


def find_rivals(asked: Asked, key: CallKey, record: Record, child: ChildNow) -> list[ParentRow]:
    """
    Return the other parents whose records prove the same as this one: then one of them is forged.

    Only of a fixed identity there can be any. The entries that prove it are older than the run, so this needs no lock:
    nobody can become a rival afterwards. One that ends to be one, as its record is deleted, is one for this time still.
    """
    window = proving_window(record, child)
    if window is None:
        return []
    others = asked.named_elsewhere(record, key, window)
    journals, parents = asked.journals(others), asked.families.parents(others)
    found = {}
    for other in others:
        if other in journals and other in parents and (named := journals[other].record) is not None:
            claim = Claim(other, parents[other], journals[other], named)
            if claim.find_unproven(child) is None:
                found[other[:4]] = claim.parent
    return list(found.values())
