"""
What a record asks of the reconciler, which acts in the API server.

A task cannot end a run, clear only what failed in it, or clear it under a condition (Airflow 3.0 to 3.4: the Execution
API's ``/clear`` clears the whole run, whatever its state). So it writes down what is wanted, and the reconciler does
it: by what the newest entry of the call says, and in one transaction that holds what it decided from.

There are two actions: to resume a failed run, and to reset one under a fixed identity. A task with many children asks
for some of its failed runs at a time, each by a part of its run id and its ``clear_number``: they are resumed.

**An action is wanted** only while it is in the newest entry of its call, while the task instance that wrote the entry
is still the parent's current one, and while the run has the recorded ``clear_number`` and state. To do it moves
``clear_number``. So it happens once, or not at all, however often and however late it is looked at; and a try withdraws
it by writing an entry without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from airflow_durable.core import run_ids
from airflow_durable.core.model import OnParentEnd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_durable.core.fields import Fields
    from airflow_durable.core.model import ChildRun, Parent
    from airflow_durable.core.record import Record

RESUMED_AT_ONCE = 100
"""The most runs whose resumption one entry of a ledger asks for."""


class ActionKind(str, Enum):
    """What is done to the child, once."""

    RESUME = "resume"
    """Clear only its failed tasks, and what depends on them: the same run continues from there."""

    RESET = "reset"
    """Clear all of it: the same run starts over."""


@dataclass(frozen=True)
class Action:
    """
    Something that is to be done to the child, once.

    :param clear_number: the run's, when it was asked for. It has been done once that has moved.
    :param state: the run's Dag run state, when it was asked for.
    """

    kind: ActionKind
    clear_number: int
    state: str

    def is_of(self, run: ChildRun) -> bool:
        """Return whether the run still is as it was when this was asked for: neither done, nor overtaken."""
        return run.clear_number == self.clear_number and run.state == self.state


@dataclass(frozen=True)
class Asks:
    """
    What the reconciler is asked for.

    :param action: None: nothing is to be done now.
    :param resume_items: in a ledger: the failed runs that are to continue from where they failed, each as the item's
        part of its run id (:func:`.run_ids.item_part`) and its ``clear_number``.
    """

    on_parent_end: OnParentEnd = OnParentEnd.ABANDON
    action: Action | None = None
    resume_items: tuple[tuple[str, int], ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether the reconciler has nothing to do, now or later."""
        return self.action is None and not self.resume_items and self.on_parent_end is OnParentEnd.ABANDON

    def item_action(self, run_id: str) -> Action | None:
        """Return what is asked of this run of an item; None: nothing."""
        clear_number = dict(self.resume_items).get(run_ids.item_part(run_id))
        return None if clear_number is None else Action(ActionKind.RESUME, clear_number, "failed")


def asks_of(
    on_parent_end: OnParentEnd, action: Action | None = None, resume_items: Iterable[tuple[str, int]] = ()
) -> Asks | None:
    """Return what is recorded; None: nothing is asked for."""
    asks = Asks(on_parent_end, action, tuple(resume_items))
    return None if asks.is_nothing else asks


def without_action(asks: Asks | None) -> Asks | None:
    """Return what is asked for when what was to be done now is withdrawn, or done."""
    return asks and asks_of(asks.on_parent_end)


def withdrawn(stored: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the stored form of the entry that follows one with an action, by the stored form of that one.

    Both may write it: the task, which withdraws the action, and the reconciler, in the transaction that does it. There
    is one key for it, so the second waits for the first, and what is withdrawn is not done afterwards. After a reset
    the task's own entry differs in its clock, which starts again; it takes the place of the reconciler's.
    """
    asks = {name: value for name, value in stored.get("asks", {}).items() if name != "action"}
    others = {name: value for name, value in stored.items() if name != "asks"}
    return {**others, "asks": asks} if asks else others


def dump(asks: Asks) -> dict[str, Any]:
    """Return the stored form, JSON-serializable: only what is asked for."""
    stored: dict[str, Any] = {}
    if asks.on_parent_end is not OnParentEnd.ABANDON:
        stored["on_parent_end"] = asks.on_parent_end.value
    if asks.action is not None:
        stored["action"] = {
            "kind": asks.action.kind.value,
            "clear_number": asks.action.clear_number,
            "state": asks.action.state,
        }
    if asks.resume_items:
        stored["resume_items"] = dict(asks.resume_items)
    return stored


def load(fields: Fields) -> Asks | None:
    """
    Return what was stored.

    :raises RecordDamagedError: it is none that this release knows.
    """
    on_parent_end = OnParentEnd.ABANDON
    if fields.has("on_parent_end"):
        on_parent_end = fields.choice("on_parent_end", OnParentEnd)
    action = None
    if fields.has("action"):
        part = fields.part("action")
        action = Action(part.choice("kind", ActionKind), part.get("clear_number", int), part.text("state"))
    return asks_of(on_parent_end, action, _load_items(fields))


def _load_items(fields: Fields) -> Iterator[tuple[str, int]]:
    if fields.has("resume_items"):
        part = fields.part("resume_items")
        for name in fields.get("resume_items", dict):
            yield name, part.get(name, int)


def is_run_of(record: Record, parent: Parent) -> bool:
    """
    Return whether the record's run id is one that follows from this parent: no other parent asks for it.

    False for a fixed identity, which any parent can name, and for the run ids of release 0.1.0.
    """
    epoch = run_ids.epoch_in(record.run_id)
    if record.is_fixed or epoch is None or record.generation < 0 or record.call < 1:
        return False
    follows = run_ids.child_run_id(parent, epoch=epoch, call=record.call, generation=record.generation)
    return record.run_id == follows
