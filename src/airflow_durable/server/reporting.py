"""What the reconciler says in the API server's log and in metrics: what it did and, once, why it did nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_durable.compat import Stats
from airflow_durable.core.verdicts import Act, Reason
from airflow_durable.server import changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_durable.core.verdicts import Verdict
    from airflow_durable.metadata.calls import CallKey
    from airflow_durable.metadata.families import ParentRow

log = logging.getLogger("airflow_durable.reconciler")

MAX_REPORTED = 10_000
"""How many reports are remembered, so that each is logged only once."""

_DONE = {Act.CANCEL: "Ended", Act.RESUME: "Resumed", Act.RESET: "Reset"}


@dataclass(frozen=True)
class Done:
    """What was done to which run, for which parent."""

    act: Act
    dag_id: str
    run_id: str
    parent: str


class Reports:
    """Remembers what was said."""

    def __init__(self) -> None:
        self._reported: set[tuple[CallKey, Reason]] = set()
        self._failed: set[tuple[CallKey, type[Exception]]] = set()

    @staticmethod
    def done(done: Done, verdict: Verdict, changed: changes.Changed) -> None:
        """Log and count what was done, and call Airflow's listeners for what has ended by it."""
        log.info(
            "%s the Dag run %s of %s for %s: %s.",
            _DONE[done.act],
            done.run_id,
            done.dag_id,
            done.parent,
            verdict.reason.value,
        )
        Stats.incr("durable.reconciler.done", tags={"act": done.act.value})
        if done.act is Act.CANCEL:
            try:
                changes.call_listeners(changed, f"airflow-durable: {verdict.reason.value}.")
            except Exception:
                log.exception("Airflow's listeners could not be called.")

    def failure(self, key: CallKey, error: Exception) -> None:
        """Log an error, such as a lock that was not had or a connection that was lost; once for each kind."""
        is_known = (key, type(error)) in self._failed
        if len(self._failed) >= MAX_REPORTED:
            self._failed.clear()
        self._failed.add((key, type(error)))
        log.log(
            logging.DEBUG if is_known else logging.ERROR,
            "What a record asks for could not be done. The next turn tries again.",
            exc_info=error,
        )

    def left_alone(
        self, key: CallKey, parent: ParentRow | None, reason: Reason, rivals: Sequence[ParentRow] = ()
    ) -> None:
        """
        Log once why something is left alone. Nothing of the record is quoted: anybody may have written it.

        :param parent: by its rows; None: they were not read.
        :param rivals: by their rows.
        """
        if (key, reason) in self._reported:
            return
        if len(self._reported) >= MAX_REPORTED:
            self._reported.clear()
        self._reported.add((key, reason))
        name = text_of(parent) if parent else f"task {key.task_id!r}"
        others = f" ({'; '.join(map(text_of, rivals))})" if rivals else ""
        log.warning("What the record of %s asks for is left alone: %s%s.", name, reason.value, others)
        Stats.incr("durable.reconciler.left_alone", tags={"reason": reason.name.lower()})


def text_of(parent: ParentRow) -> str:
    """Return a parent's name, for people."""
    index = f"[{parent.map_index}]" if parent.map_index >= 0 else ""
    return f"{parent.dag_id}.{parent.task_id}{index} in {parent.run_id}"
