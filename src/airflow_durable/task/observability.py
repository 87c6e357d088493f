"""
What people and dashboards are told: log lines, counters, a span.

The counters and the span are those of Airflow's ``ResumableJobMixin`` (3.3, ``sdk/bases/resumablejobmixin.py``), tagged
with the operator, so that what counts resumable jobs counts these too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Stats
from opentelemetry import trace

from airflow_durable.core.model import ChildRun, Decision
from airflow_durable.core.record import KEY

if TYPE_CHECKING:
    from airflow_durable.core.model import Look
    from airflow_durable.core.record import Record

_COUNTERS = {
    Decision.FRESH_SUBMIT: "resumable_job.fresh_submit",
    Decision.RESUBMIT: "resumable_job.fresh_submit",
    Decision.RECONNECT: "resumable_job.reconnect_success",
    Decision.ALREADY_SUCCEEDED: "resumable_job.already_succeeded",
    Decision.SUCCEED_AGAIN: "resumable_job.already_succeeded",
    Decision.TERMINAL_RESUBMIT: "resumable_job.terminal_resubmit",
    Decision.RESET: "resumable_job.terminal_resubmit",
}

_MESSAGES = {
    Decision.FRESH_SUBMIT: "Starting a fresh run; its run id is recorded first.",
    Decision.RESUBMIT: "The run of a prior attempt is not there; submitting it again under the same run id.",
    Decision.RECONNECT: "Reconnecting to run triggered on a prior attempt.",
    Decision.ALREADY_SUCCEEDED: "The run triggered on a prior attempt has done its part; nothing is submitted.",
    Decision.SUCCEED_AGAIN: "A prior attempt had its success recorded and died before reporting it; succeeding again.",
    Decision.TERMINAL_RESUBMIT: "The run triggered on a prior attempt failed; starting a fresh one.",
    Decision.RESET: "Resetting the run that exists under the fixed identity.",
    Decision.FOREIGN: "A run that this task did not start has its identity; doing as without durable.",
    Decision.REFUSE: "The run under the fixed identity failed, and reset_dag_run is not set.",
}

_LOST_REPLY = "The run is there already: an earlier request of this attempt arrived. Going on with it."

_tracer = trace.get_tracer(__name__)


class Teller:
    """
    Tells of one attempt.

    :param log: the task's log.
    :param operator: the operator's class name, the tag of every counter.
    :param tags: further tags (the team, where Airflow has teams).
    """

    def __init__(self, log: Any, operator: str, tags: dict[str, str]) -> None:  # noqa: ANN401 - differs by version
        self._log = log
        self._tags = {"operator": operator, **tags}
        self._has_decided = False
        self._span = _tracer.start_span(
            "resumable_job.resume_decision",
            attributes={"operator": operator, "resumable.external_id_key": KEY},
        )

    def decided(self, decision: Decision, record: Record, seen: ChildRun | Look | None, *, is_prior: bool) -> None:
        """
        Tell of a decision.

        :param is_prior: it is about what a prior attempt recorded.
        """
        state = seen.state if isinstance(seen, ChildRun) else seen and seen.value
        is_own_reply_lost = decision is Decision.RECONNECT and not is_prior
        self._log.info(
            "%s dag_id=%s run_id=%s state=%s",
            _LOST_REPLY if is_own_reply_lost else _MESSAGES[decision],
            record.dag_id,
            record.run_id,
            state or "unknown",
        )
        if is_prior and not self._has_decided:
            Stats.incr("resumable_job.reconnect_attempt", tags=self._tags)
        if (counter := _COUNTERS.get(decision)) and not is_own_reply_lost:
            Stats.incr(counter, tags=self._tags)
        self._has_decided = True
        if self._span.is_recording():
            self._span.set_attribute("resumable.decision", decision.value)
            self._span.set_attribute("resumable.external_id", record.run_id)
            if state:
                self._span.set_attribute("resumable.prior_status", state)
        self.close()

    def trouble(self, error: Exception) -> None:
        """Tell of a failed call that will be repeated."""
        self._log.warning("%s It is tried again.", error)

    def close(self) -> None:
        """End the span, if it has not ended yet."""
        if self._span.is_recording():
            self._span.end()
