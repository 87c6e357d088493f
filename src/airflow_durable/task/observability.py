"""
What people and dashboards see of a try: log lines, counters, a span.

The counters and the span are those of Airflow's ``ResumableJobMixin`` (3.3, ``sdk/bases/resumablejobmixin.py``), tagged
with the operator, so that what counts resumable jobs counts these too; they mean what Airflow's registry of metrics
says of them. Log lines have Airflow's keys: ``dag_id`` and ``run_id`` are the child's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from airflow_durable import task_sdk
from airflow_durable.compat import Stats
from airflow_durable.core.model import ChildRun, Decision
from airflow_durable.core.stored import KEY
from airflow_durable.durations import format_duration
from airflow_durable.logs import write_line

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.core.model import Look
    from airflow_durable.core.record import Record

_ATTEMPT = "resumable_job.reconnect_attempt"
_FRESH = "resumable_job.fresh_submit"
_COUNTERS = {
    Decision.RECONNECT: "resumable_job.reconnect_success",
    Decision.WAIT_OUT: "resumable_job.reconnect_success",
    Decision.ALREADY_SUCCEEDED: "resumable_job.already_succeeded",
    Decision.SUCCEED_AGAIN: "resumable_job.already_succeeded",
    Decision.TERMINAL_RESUBMIT: "resumable_job.terminal_resubmit",
    Decision.RESET: "resumable_job.terminal_resubmit",
    Decision.RESUME: "resumable_job.reconnect_success",
}

_MESSAGES = {
    Decision.FRESH_SUBMIT: "Starting a fresh run.",
    Decision.RESUBMIT: "The run of an earlier try does not exist; submitting it again under the same run id.",
    Decision.RECONNECT: "Reconnecting to the run that an earlier try triggered.",
    Decision.ALREADY_SUCCEEDED: "The run that an earlier try triggered has done its part; nothing is submitted.",
    Decision.SUCCEED_AGAIN: "An earlier try recorded its success, but died before reporting it; succeeding again.",
    Decision.TERMINAL_RESUBMIT: "The run that an earlier try triggered failed; starting a fresh one.",
    Decision.RESUME: "The run that an earlier try triggered failed; asking the reconciler to resume it: what failed in "
    "it, and what depends on that, runs again.",
    Decision.GIVE_UP: "The run that an earlier try triggered failed, and on_child_failure is 'fail'.",
    Decision.WAIT_OUT: (
        "A run that this task triggered before it was cleared is active, and it is not known to carry the same "
        "request: waiting for its end before a fresh run is started. To wait no longer, mark that run as failed; to "
        "take its outcome, set on_clear='adopt'."
    ),
    Decision.RESET: "Resetting the run that exists under the fixed identity.",
    Decision.FOREIGN: "There is a run with this task's fixed run id or logical date, and it is not known that this "
    "task started it; doing what the stock operator does.",
    Decision.USED_UP: "The run under the fixed identity is this task's own, and its outcome was used before the clear.",
    Decision.REFUSE: "The run under the fixed identity failed, and reset_dag_run is not set.",
}
_LOST_REPLY = "The run is there already: an earlier request of this try arrived. Continuing with it."
_STARTED_BEFORE = (
    "The run is there already, and active: an earlier execution of this task, or of a Dag run with the same name, "
    "started it. Continuing with it."
)
_BESIDE = (
    "Starting a fresh run beside an active one that this task triggered before it was cleared. End that run if it is "
    "not wanted: mark it as failed."
)
_ANEW = "Starting a fresh run; the run from before the clear stays as it is."

_FIRST_NOTE_SECONDS = 60.0
_LONGEST_SILENCE_SECONDS = 600.0

_tracer = trace.get_tracer(__name__)


class Reporter:
    """
    Reports one call of one try.

    :param log: the task's log.
    :param operator: the operator's class name, the tag of every counter.
    :param try_number: this try.
    :param tags: further tags (the team, where Airflow has teams).
    """

    def __init__(self, log: Any, operator: str, try_number: int, tags: dict[str, str]) -> None:  # noqa: ANN401 - differs by version
        self._log = log
        self._try_number = try_number
        self._tags = {"operator": operator, **tags}
        self._has_decided = False
        self._state: str | None = None
        self._next_note_seconds = _FIRST_NOTE_SECONDS
        self._span = _tracer.start_span(
            "resumable_job.resume_decision",
            attributes={"operator": operator, "resumable.external_id_key": KEY},
        )

    def decided(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:
        """
        Report a decision.

        :param record: of the run that was decided about.
        """
        is_prior = record.is_recovered or any(entry.try_number != self._try_number for entry in record.tries)
        state = seen.state if isinstance(seen, ChildRun) else seen and seen.value
        is_own_reply_lost = decision is Decision.RECONNECT and not is_prior
        level = "warning" if decision in {Decision.WAIT_OUT, Decision.TERMINAL_RESUBMIT, Decision.RESUME} else "info"
        text = _MESSAGES[decision]
        if is_own_reply_lost:
            # Without details, or without a date of ours, nothing tells the two apart.
            is_other = isinstance(seen, ChildRun) and seen.logical_date is not None and not record.is_sent_as(seen)
            text = _STARTED_BEFORE if is_other else _LOST_REPLY
        elif decision is Decision.FRESH_SUBMIT and isinstance(seen, ChildRun):
            text, level = (_BESIDE, "warning") if seen.is_active else (_ANEW, "info")
        write_line(self._log, level, text, dag_id=record.dag_id, run_id=record.run_id, state=state or "unknown")
        if is_prior and not self._has_decided:
            Stats.incr(_ATTEMPT, tags=self._tags)
        counter = _COUNTERS.get(decision)
        if decision is Decision.FRESH_SUBMIT and not is_prior and not self._has_decided:
            counter = _FRESH
        if counter and not is_own_reply_lost:
            Stats.incr(counter, tags=self._tags)
        self._has_decided = True
        if self._span.is_recording():
            self._span.set_attribute("resumable.decision", decision.value)
            self._span.set_attribute("resumable.external_id", record.run_id)
            if state:
                self._span.set_attribute("resumable.prior_status", state)
        self.close()

    def started(self, record: Record) -> None:
        """Report where to find the child."""
        url = task_sdk.url_of_run(record.dag_id, record.run_id)
        fields = {"url": url} if url else {}
        write_line(self._log, "info", "The child run:", dag_id=record.dag_id, run_id=record.run_id, **fields)

    def waiting(self, record: Record, state: str | None, waited_seconds: float) -> None:
        """
        Report how the wait stands: when the state changes, and now and then.

        :param state: None: it could not be read just now.
        """
        is_changed = state is not None and state != self._state
        if not is_changed and waited_seconds < self._next_note_seconds:
            return
        while self._next_note_seconds <= waited_seconds:
            self._next_note_seconds += min(self._next_note_seconds, _LONGEST_SILENCE_SECONDS)
        self._state = state or self._state
        fields = {"dag_id": record.dag_id, "run_id": record.run_id, "state": state or "unknown"}
        if waited_seconds:
            fields["waited"] = format_duration(waited_seconds)
        if state == "queued" and waited_seconds and (reason := task_sdk.why_queued(record.dag_id)):
            fields["reason"] = reason
        write_line(self._log, "info", "Waiting for the child run.", **fields)

    def ended(self, record: Record, state: str | None) -> None:
        """Report that the task succeeds by this run."""
        fields = {"dag_id": record.dag_id, "run_id": record.run_id, "state": state or "unknown"}
        write_line(self._log, "info", "The child run has done its part.", **fields)

    def trouble(self, error: Exception) -> None:
        """Report a failed call that will be repeated."""
        write_line(self._log, "warning", f"{error} Trying again.")

    def close(self) -> None:
        """End the span, if it has not ended yet."""
        if self._span.is_recording():
            self._span.end()


def tags_of(context: Context) -> dict[str, str]:
    """Return the tags of the task's counters beside the operator: the team, where Airflow has teams."""
    team_name = getattr(context["ti"], "stats_tags", {}).get("team_name")
    return {"team_name": team_name} if team_name else {}
