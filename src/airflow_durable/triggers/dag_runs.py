"""The deferrable wait for many child runs of one task."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_durable.core import indices
from airflow_durable.core.items import run_id_of
from airflow_durable.core.many import Wake
from airflow_durable.core.model import Parent
from airflow_durable.core.packing import unpack_keys
from airflow_durable.logs import write_line
from airflow_durable.task_sdk import AsyncLookUps
from airflow_durable.triggers.watch import Watch, in_slices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

VERSION = 1


class DurableDagRunsTrigger(BaseTrigger):
    """
    Waits for many runs of one Dag until their task has something to do: start more, fail, or succeed.

    The run ids are not in its arguments: they follow from the parent, the keys of the items that are waited for, the
    epoch and the generation. All waits of a triggerer process share one poller
    (:mod:`airflow_durable.triggers.poller`).

    Its arguments and its event are a versioned contract: they lie in the database while the parent is deferred.

    :param version: of the arguments.
    :param dag_id: the child's Dag.
    :param parent: from which the run ids follow.
    :param epoch: of the ledger.
    :param watched: the numbers of the items that are waited for (:meth:`.items.Items.by_number`), as ``0-199,205``.
    :param keys: their keys, packed; None: the items have none, and the numbers are their positions.
    :param generations: of those whose run is not the first one, by number.
    :param states: Dag run states that end the wait for a run, beside the final ones.
    :param failed_states: the states in which a run has failed.
    :param poll_interval: the longest time between two polls, in seconds.
    :param wake: when the task has something to do (:class:`airflow_durable.core.many.Wake`).
    :param progress: how the whole stood, for the log: ``count``, ``done``, ``failed``.
    :param ledger: the stored form of the parent's ledger, handed back in the event.
    :param board: the stored form of the items' statuses, handed back in the event.
    :param waited_out: those of the watched items whose run is not taken: only its end ends their wait, whatever
        ``states`` has. Left out where there are none.
    """

    def __init__(  # noqa: PLR0913 - what a wait is about
        self,
        *,
        version: int,
        dag_id: str,
        parent: dict[str, Any],
        epoch: int,
        watched: str,
        keys: str | None,
        generations: dict[str, int],
        states: list[str],
        failed_states: list[str],
        poll_interval: float,
        wake: dict[str, Any],
        progress: dict[str, int],
        ledger: dict[str, Any],
        board: dict[str, Any],
        waited_out: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's
        self._arguments: dict[str, Any] = {
            "version": version,
            "dag_id": dag_id,
            "parent": parent,
            "epoch": epoch,
            "watched": watched,
            "keys": keys,
            "generations": generations,
            "states": states,
            "failed_states": failed_states,
            "poll_interval": poll_interval,
            "wake": wake,
            "progress": progress,
            "ledger": ledger,
            "board": board,
            **({"waited_out": waited_out} if waited_out else {}),
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all of them JSON."""
        return f"{type(self).__module__}.{type(self).__qualname__}", dict(self._arguments)

    def runs(self) -> dict[int, str]:
        """Return the run id of each item that is waited for."""
        return dict(self._runs())

    def _runs(self) -> Iterator[tuple[int, str]]:
        given = self._arguments
        parent = load_parent(given["parent"])
        watched = list(indices.load(given["watched"]))
        keys: list[str] | list[None] = unpack_keys(given["keys"]) if given["keys"] else [None] * len(watched)
        generations, epoch = given["generations"], given["epoch"]
        for index, key in zip(watched, keys, strict=True):
            yield index, run_id_of(parent, key, index, epoch=epoch, generation=generations.get(str(index), 0))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event: what has become of runs."""
        given = self._arguments
        runs = await in_slices(self._runs())
        self._write("Waiting for child runs.", 0, 0)
        watch = Watch(
            given["dag_id"],
            runs,
            given["failed_states"],
            Wake(**given["wake"]),
            lambda ended, failed: self._write("Still waiting for child runs.", ended, failed),
            waited_out=set(indices.load(given.get("waited_out", ""))),
        )
        ends = await watch.run(AsyncLookUps(), frozenset(given["states"]), given["poll_interval"])
        self._write("The task has something to do.", len(ends), watch.failed)
        yield TriggerEvent(self.payload(ends))  # type: ignore[no-untyped-call] # Airflow's

    def payload(self, ends: dict[int, str | None]) -> dict[str, Any]:
        """
        Return the event's payload.

        :param ends: the state of each run that has ended; None: it is missing.
        """
        found: dict[str | None, list[int]] = {}
        for index, state in ends.items():
            found.setdefault(state, []).append(index)
        missing = found.pop(None, [])
        return {
            "version": VERSION,
            "ledger": self._arguments["ledger"],
            "board": self._arguments["board"],
            "ended": {state: indices.dump(positions) for state, positions in found.items()},
            "missing": indices.dump(missing),
        }

    def _write(self, text: str, ended: int, failed: int) -> None:
        progress = self._arguments["progress"]
        # What the task has counted as done without knowing which it was is among the first that are seen to have ended.
        seen_first = max(0, ended - failed - self._arguments["board"].get("ended_unseen", 0))
        write_line(
            self.log,
            "info",
            text,
            dag_id=self._arguments["dag_id"],
            done=f"{progress['done'] + seen_first:,} of {progress['count']:,}",
            failed=f"{progress['failed'] + failed:,}",
        )


def dump_parent(parent: Parent) -> dict[str, Any]:
    """Return what of a parent the run ids follow from."""
    return {
        "dag_id": parent.dag_id,
        "run_id": parent.run_id,
        "task_id": parent.task_id,
        "map_index": parent.map_index,
        "run_after": parent.run_after.isoformat(),
        "loop_index": parent.loop_index,
    }


def load_parent(given: dict[str, Any]) -> Parent:
    """Return a parent as far as run ids follow from it."""
    return Parent(**{**given, "run_after": datetime.fromisoformat(given["run_after"])})
