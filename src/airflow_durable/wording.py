"""
The words that the page *Durable waits* and the command line share. Pure; dates are in UTC.

A *crash* is a try that Airflow ended because its worker's heartbeat was lost, whether or not the child run had ended by
then. A try is *without heartbeat* from :data:`QUIET_AFTER` on until Airflow notices, which by default takes five
minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

from airflow_durable.core.model import Decision

if TYPE_CHECKING:
    from collections.abc import Mapping

QUIET_AFTER = timedelta(seconds=30)
"""
A running try that has sent no heartbeat for this long is shown as being without heartbeat.

A supervisor sends a heartbeat every ``[workers] min_heartbeat_interval`` (5 s) by default, and gives its task up after
three that failed (3.0 to 3.4, ``sdk/execution_time/supervisor.py``).
"""


@dataclass(frozen=True)
class HeartbeatLimits:
    """
    When Airflow gives a try up (3.0 to 3.4, ``jobs/scheduler_job_runner.py``). The defaults are Airflow's own.

    :param timeout: ``[scheduler] task_instance_heartbeat_timeout``.
    :param detection: ``[scheduler] task_instance_heartbeat_timeout_detection_interval``.
    :param interval: ``[workers] min_heartbeat_interval``.
    """

    timeout: timedelta = timedelta(seconds=300)
    detection: timedelta = timedelta(seconds=10)
    interval: timedelta = timedelta(seconds=5)

    @property
    def quiet_after(self) -> timedelta:
        """From when on a running try is without heartbeat."""
        return max(QUIET_AFTER, 3 * self.interval)

    def noticed_by(self, last_heartbeat_at: datetime) -> datetime:
        """Return by when the scheduler should have noticed that the heartbeats have ended."""
        return last_heartbeat_at + self.timeout + self.detection


def is_quiet(state: str | None, last_heartbeat_at: datetime | None, now: datetime, limits: HeartbeatLimits) -> bool:
    """Return whether a try is without heartbeat: it counts as running, and was not heard of for long."""
    return state == "running" and last_heartbeat_at is not None and now - last_heartbeat_at > limits.quiet_after


def describe_silence(last_heartbeat_at: datetime, now: datetime, limits: HeartbeatLimits, *, has_next_try: bool) -> str:
    """
    Return what a person needs to know of a try that is without heartbeat.

    ``no heartbeat since 19:45:28; Airflow will retry it by about 19:50:38``

    :param has_next_try: Airflow will retry the task; otherwise it will fail it.
    """
    due = limits.noticed_by(last_heartbeat_at)
    since = f"no heartbeat since {format_moment(last_heartbeat_at, now)}"
    if due < now:
        return f"{since}; Airflow should have ended it by {format_moment(due, now)}: is the scheduler running?"
    return f"{since}; Airflow will {'retry' if has_next_try else 'fail'} it by about {format_moment(due, now)}"


def describe_crash(last_heartbeat_at: datetime | None, noticed_at: datetime | None, now: datetime) -> str:
    """
    Return what a person needs to know of a crashed try.

    ``crashed: no heartbeat after 19:45:28; Airflow ended it at 19:50:31``

    :param last_heartbeat_at: None: not known any more. Airflow keeps it for the latest try only (3.0 to 3.3).
    :param noticed_at: when Airflow ended the try.
    """
    words = "crashed: its heartbeats stopped"
    if last_heartbeat_at is not None:
        words = f"crashed: no heartbeat after {format_moment(last_heartbeat_at, now)}"
    return words if noticed_at is None else f"{words}; Airflow ended it at {format_moment(noticed_at, now)}"


def format_moment(moment: datetime, now: datetime) -> str:
    """Return a moment in UTC: the time, with the date where it is of another day."""
    own, present = moment.astimezone(timezone.utc), now.astimezone(timezone.utc)
    return f"{own:%H:%M:%S}" if own.date() == present.date() else f"{own:%Y-%m-%d %H:%M:%S}"


class DecisionWords(NamedTuple):
    """
    What a try decided, in words.

    :param label: two words at most, for a badge.
    :param says: a sentence without its subject (the try) and its full stop.
    """

    label: str
    says: str


DECISIONS: Mapping[Decision, DecisionWords] = {
    Decision.FRESH_SUBMIT: DecisionWords("started", "Started a new child run"),
    Decision.RESUBMIT: DecisionWords(
        "sent again", "The recorded child run was missing: requested it again, under the same run id"
    ),
    Decision.RECONNECT: DecisionWords(
        "reconnected", "Found the child run of an earlier try, and continued to wait for it"
    ),
    Decision.ALREADY_SUCCEEDED: DecisionWords(
        "already done", "The child run of an earlier try had already finished: started nothing"
    ),
    Decision.SUCCEED_AGAIN: DecisionWords(
        "success repeated", "An earlier try had recorded its success, and died before it could report it"
    ),
    Decision.TERMINAL_RESUBMIT: DecisionWords("new run", "The child run had failed: started a new one"),
    Decision.RESUME: DecisionWords("resumed", "The child run had failed: asked for its failed tasks to run again"),
    Decision.GIVE_UP: DecisionWords("gave up", "The child run had failed: failed, too, and started nothing"),
    Decision.WAIT_OUT: DecisionWords("waits first", "Waits for the end of the active child run, then starts a new one"),
    Decision.RESET: DecisionWords("reset", "Cleared the existing run that has the fixed run id"),
    Decision.FOREIGN: DecisionWords(
        "not its own", "The run with the fixed run id is not this task's: did what the stock operator does"
    ),
    Decision.USED_UP: DecisionWords(
        "already used", "The run with the fixed run id was used before: did what the stock operator does"
    ),
    Decision.REFUSE: DecisionWords("refused", "The run with the fixed run id had failed, and reset_dag_run is off"),
}
"""For each decision. The stored values (``fresh_submit``, …) are in logs, in metrics and in JSON."""
