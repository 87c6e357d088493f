"""For which of the watched calls something seems to be due. No lock is held: before an act it is decided again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_durable.core.ledger import Ledger
from airflow_durable.core.observed import ParentNow
from airflow_durable.core.reconcile import decide, is_resuming_items
from airflow_durable.core.verdicts import Act, Reason
from airflow_durable.metadata.families import ITEMS_AT_ONCE

if TYPE_CHECKING:
    from airflow_durable.core.observed import ChildNow
    from airflow_durable.core.verdicts import Verdict
    from airflow_durable.metadata.asked import Asked
    from airflow_durable.metadata.calls import CallKey
    from airflow_durable.metadata.families import ParentRow
    from airflow_durable.server.watch_list import Watched, WatchList

DELETED = ParentNow(None, None, None, None)
"""A parent whose Dag run is not there any more."""


@dataclass(frozen=True)
class Due:
    """
    A call for which something seems to be due, and its child as it was seen.

    :param is_end: whether the child is to be ended. Otherwise a running task is waiting for the action.
    """

    key: CallKey
    child_id: int
    child: ChildNow
    is_end: bool = False


class Search:
    """
    Looks for what is due, once a turn.

    :param watching: calls that are settled are taken off it.
    """

    def __init__(self, watching: WatchList) -> None:
        self._watching = watching
        self._is_ledgers_turn = False
        self._ledgers_from = 0
        self._latest: dict[bool, CallKey] = {}
        self._runs_from: dict[CallKey, int] = {}

    def find(self, asked: Asked) -> list[Due]:
        """Return what seems to be due, and take off the list what is settled."""
        now = datetime.now(tz=timezone.utc)
        calls = self._watching.calls
        parents = asked.families.parents(calls)
        single: list[Due] = []
        open_calls: list[tuple[CallKey, Watched, ParentNow]] = []
        open_ledgers: list[tuple[CallKey, Watched, Verdict]] = []
        for key, watched in list(calls.items()):
            watched.parent = parents.get(key, watched.parent)
            parent = _now_of(key, parents)
            verdict = decide(watched.entry, parent, None, now)
            if verdict.reason is Reason.CHILD_MISSING and isinstance(watched.record, Ledger):
                open_ledgers.append((key, watched, verdict))
            elif verdict.reason is Reason.CHILD_MISSING:
                open_calls.append((key, watched, parent))
            elif verdict.is_settled:
                self._watching.drop(key)
        children = asked.families.children(
            {(watched.record.dag_id, watched.record.run_id) for _, watched, _ in open_calls}
        )
        for key, watched, parent in open_calls:
            found = children.get((watched.record.dag_id, watched.record.run_id))
            verdict = decide(watched.entry, parent, found and found[1], now)
            if verdict.act is not Act.NOTHING and found:
                single.append(Due(key, *found, is_end=verdict.act is Act.CANCEL))
            elif verdict.is_settled:
                self._watching.drop(key)
        resumed, ended = self._find_items(asked, open_ledgers, parents, now)
        # Running tasks are waiting for a resume or a reset. What is to be ended is less urgent.
        due, ends = (self._in_turn([one for one in single if one.is_end is is_end]) for is_end in (False, True))
        # A turn may not have time for all of it, so ledgers and other calls come first by turns.
        self._is_ledgers_turn = not self._is_ledgers_turn
        return resumed + due + ended + ends if self._is_ledgers_turn else due + resumed + ends + ended

    def note_tried(self, due: Due) -> None:
        """Take note that something was tried: in the next turn those that were not come first."""
        watched = self._watching.calls.get(due.key)
        if watched is None or not isinstance(watched.record, Ledger):
            self._latest[due.is_end] = due.key
        elif due.is_end:
            watched.after = due.child_id

    def _in_turn(self, due: list[Due]) -> list[Due]:
        """Return these in their order, but those first that come after the one that was tried last."""
        latest = self._latest.get(due[0].is_end) if due else None
        return sorted(due, key=lambda one: (latest is not None and one.key <= latest, one.key))

    def _find_items(
        self,
        asked: Asked,
        open_ledgers: list[tuple[CallKey, Watched, Verdict]],
        parents: dict[CallKey, ParentRow],
        now: datetime,
    ) -> tuple[list[Due], list[Due]]:
        """
        Return what seems to be due for ledgers: no more than a turn's worth for all of them, each in its turn.

        Those whose tasks wait for failed runs to be resumed come first, and each of these gets a share of every turn.

        :returns: the runs to be resumed, and those to be ended.
        """
        resumed: list[Due] = []
        ended: list[Due] = []
        start = self._ledgers_from % max(1, len(open_ledgers))
        in_turn = open_ledgers[start:] + open_ledgers[:start]
        waiting = [one for one in in_turn if is_resuming_items(one[1].record, _now_of(one[0], parents))]
        share = max(1, ITEMS_AT_ONCE // max(1, len(waiting)))
        keys = {key for key, _, _ in waiting}
        self._runs_from = {key: start for key, start in self._runs_from.items() if key in keys}
        for key, watched, verdict in waiting + [one for one in in_turn if one[0] not in keys]:
            if len(resumed) + len(ended) >= ITEMS_AT_ONCE:
                break
            self._ledgers_from += 1
            if key in keys:
                resumed += self._find_resumed(asked, key, watched, _now_of(key, parents), now, share)
                continue
            items_due = self._find_ended(asked, key, watched, _now_of(key, parents), now)
            ended += items_due
            if not items_due and not watched.after and verdict.is_settled:
                self._watching.drop(key)
        return resumed, ended

    def _find_resumed(  # noqa: PLR0913, PLR0917 - what is known of a ledger
        self, asked: Asked, key: CallKey, watched: Watched, parent: ParentNow, now: datetime, share: int
    ) -> list[Due]:
        """
        Return some of the runs that a ledger asks to be resumed, and others in the next turn.

        If there is none, the task may have withdrawn that.
        """
        if not isinstance(watched.record, Ledger) or watched.parent is None:
            return []
        found = asked.families.items_to_resume(watched.record, watched.parent)
        due = [Due(key, *child) for child in found if decide(watched.entry, parent, child[1], now).act is Act.RESUME]
        if not due:
            self._watching.take({key}, asked.journals({key}))
            return []
        # Those that could not be resumed do not stand before the others.
        start = self._runs_from.get(key, 0) % len(due)
        self._runs_from[key] = start + share
        return (due[start:] + due[:start])[:share]

    @staticmethod
    def _find_ended(asked: Asked, key: CallKey, watched: Watched, parent: ParentNow, now: datetime) -> list[Due]:
        """
        Return what seems to be due for a ledger: some of its active runs, and others in the next turn.

        So a thousand of them neither make a turn long, nor do some that cannot be ended stand before the others.
        """
        if not isinstance(watched.record, Ledger) or watched.parent is None:
            return []
        found = asked.families.active_items(watched.record, watched.parent, watched.after)
        if not found and watched.after:
            watched.after = 0
            found = asked.families.active_items(watched.record, watched.parent, 0)
        due = [
            Due(key, *child, is_end=True)
            for child in found
            if decide(watched.entry, parent, child[1], now).act is not Act.NOTHING
        ]
        if found and not due:
            watched.after = found[-1][0]
        return due


def _now_of(key: CallKey, parents: dict[CallKey, ParentRow]) -> ParentNow:
    return parents[key].now if key in parents else DELETED
