"""Counters, the span and the log: the names are those of Airflow's own ResumableJobMixin."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from airflow_durable.core.model import ChildRun, Decision, Look, Mode, Proof
from airflow_durable.core.record import Record, TryEntry
from airflow_durable.core.stored import KEY
from airflow_durable.task import observability

from .dags import FORGET, WAIT, finish, killed_while_waiting, make_dag
from .supervisor import NOW, ServerError, Supervisor
from .versions import needs_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORD = Record(
    dag_id="child",
    run_id="run-1",
    proof=Proof.RUN_ID,
    logical_date=NOW,
    mode=Mode.WAIT,
    max_tries=3,
    clear_number=0,
    tries=(TryEntry(1, Decision.FRESH_SUBMIT, "run-1", NOW),),
)
"""Of try 1."""


class Lines(list[str]):
    """A log of Airflow before 3.1: its lines take no keys."""

    def info(self, text: str, *args: object) -> None:
        """Log a line."""
        self.append(text % args)

    warning = info


class Keyed(list[tuple[str, dict[str, str]]]):
    """A log as structlog's."""

    def bind(self) -> Keyed:
        """Return the log with further keys: by this it is known."""
        return self

    def info(self, text: str, **fields: str) -> None:
        """Log a line."""
        self.append((text, fields))

    warning = info


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """Return what is counted, with its tags."""
    counted: list[tuple[str, dict[str, str]]] = []

    class Stats:
        @staticmethod
        def incr(name: str, *, tags: dict[str, str]) -> None:
            """Count."""
            counted.append((name, tags))

    monkeypatch.setattr(observability, "Stats", Stats)
    return counted


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Return the spans that have ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(observability, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def report(*decisions: tuple[Decision, ChildRun | Look | None], is_prior: bool = True) -> Lines:
    lines = Lines()
    reporter = observability.Reporter(lines, "TriggerDagRunOperator", 2 if is_prior else 1, {})
    for decision, seen in decisions:
        reporter.decided(decision, RECORD, seen)
    reporter.close()
    return lines


@needs_store
def test_the_names_are_the_mixins() -> None:
    from airflow.sdk.bases import resumablejobmixin

    source = inspect.getsource(resumablejobmixin)
    counters = set(re.findall(r'stats\.incr\("([^"]+)"', source))
    assert counters == set(observability._COUNTERS.values()) | {observability._ATTEMPT, observability._FRESH}
    assert 'start_as_current_span("resumable_job.resume_decision")' in source
    attributes = set(re.findall(r'set_attribute\("([^"]+)"', source))
    assert attributes == {
        "operator",
        "resumable.external_id_key",
        "resumable.external_id",
        "resumable.prior_status",
        "resumable.decision",
    }


@pytest.mark.parametrize(
    ("decision", "is_prior", "names"),
    [
        (Decision.FRESH_SUBMIT, False, ["fresh_submit"]),
        # "no prior run id stored" is what Airflow's registry says of a fresh submission: here one was.
        (Decision.FRESH_SUBMIT, True, ["reconnect_attempt"]),
        (Decision.RESUBMIT, True, ["reconnect_attempt"]),
        (Decision.RECONNECT, True, ["reconnect_attempt", "reconnect_success"]),
        (Decision.WAIT_OUT, True, ["reconnect_attempt", "reconnect_success"]),
        (Decision.ALREADY_SUCCEEDED, True, ["reconnect_attempt", "already_succeeded"]),
        (Decision.SUCCEED_AGAIN, True, ["reconnect_attempt", "already_succeeded"]),
        (Decision.TERMINAL_RESUBMIT, True, ["reconnect_attempt", "terminal_resubmit"]),
        (Decision.RESET, True, ["reconnect_attempt", "terminal_resubmit"]),
        (Decision.FOREIGN, True, ["reconnect_attempt"]),
        (Decision.USED_UP, True, ["reconnect_attempt"]),
        (Decision.REFUSE, True, ["reconnect_attempt"]),
    ],
)
def test_counters(
    counted: list[tuple[str, dict[str, str]]],
    decision: Decision,
    is_prior: bool,  # noqa: FBT001 - a parameter
    names: list[str],
) -> None:
    report((decision, ChildRun("running")), is_prior=is_prior)
    assert counted == [(f"resumable_job.{name}", {"operator": "TriggerDagRunOperator"}) for name in names]


def test_an_attempt_that_decides_twice_is_one_attempt(counted: list[tuple[str, dict[str, str]]]) -> None:
    """The run could not be looked up, was sent again, and its 409 said that it is there."""
    report((Decision.RESUBMIT, Look.UNREADABLE), (Decision.RECONNECT, ChildRun("running")))
    assert [name for name, _ in counted].count("resumable_job.reconnect_attempt") == 1
    assert [name for name, _ in counted].count("resumable_job.reconnect_success") == 1


def test_a_lost_reply_of_the_attempts_own_is_no_reconnect(counted: list[tuple[str, dict[str, str]]]) -> None:
    lines = report((Decision.FRESH_SUBMIT, None), (Decision.RECONNECT, ChildRun("running")), is_prior=False)
    assert [name for name, _ in counted] == ["resumable_job.fresh_submit"]
    assert lines[-1].startswith("The run is there already: an earlier request of this try arrived.")


def test_a_run_that_an_earlier_life_started_is_no_lost_reply() -> None:
    """It was said that an earlier request of this try had arrived."""
    sent, theirs = NOW, NOW - timedelta(hours=1)
    record = replace(RECORD, logical_date=sent, dates=(sent,), tries=())
    for date, said in (
        (theirs, "of a Dag run with the same name, started it"),
        (sent, "an earlier request of this try"),
    ):
        lines = Lines()
        reporter = observability.Reporter(lines, "TriggerDagRunOperator", 1, {})
        reporter.decided(Decision.RECONNECT, record, ChildRun("running", 0, date))
        assert said in lines[-1]


def test_the_team_is_a_tag(counted: list[tuple[str, dict[str, str]]]) -> None:
    reporter = observability.Reporter(Lines(), "TriggerDagRunOperator", 1, {"team_name": "blue"})
    reporter.decided(Decision.FRESH_SUBMIT, RECORD, None)
    assert counted[0][1] == {"operator": "TriggerDagRunOperator", "team_name": "blue"}


@pytest.mark.parametrize("decision", Decision)
def test_every_line_names_the_run_and_its_state(decision: Decision) -> None:
    (line,) = report((decision, ChildRun("running")))
    assert line.endswith(" dag_id=child run_id=run-1 state=running")


@pytest.mark.parametrize(
    ("seen", "state"), [(None, "unknown"), (Look.MISSING, "missing"), (Look.UNREADABLE, "unreadable")]
)
def test_what_was_seen_where_no_run_was(seen: Look | None, state: str) -> None:
    (line,) = report((Decision.RESUBMIT, seen))
    assert line.endswith(f"state={state}")


def test_a_reconnect_says_so() -> None:
    (line,) = report((Decision.RECONNECT, ChildRun("running")))
    assert line.startswith("Reconnecting to the run that an earlier try triggered. ")


def test_the_span(spans: InMemorySpanExporter) -> None:
    report((Decision.RECONNECT, ChildRun("running")))
    (span,) = spans.get_finished_spans()
    assert span.name == "resumable_job.resume_decision"
    assert dict(span.attributes or {}) == {
        "operator": "TriggerDagRunOperator",
        "resumable.external_id_key": KEY,
        "resumable.external_id": "run-1",
        "resumable.prior_status": "running",
        "resumable.decision": "reconnect",
    }


def test_the_span_ends_where_nothing_was_decided(spans: InMemorySpanExporter) -> None:
    report()
    (span,) = spans.get_finished_spans()
    assert set(span.attributes or {}) == {"operator", "resumable.external_id_key"}


def _counts_of(run: Callable[[Supervisor], Any], counted: list[tuple[str, dict[str, str]]]) -> list[str]:
    counted.clear()
    run(Supervisor())
    return [name.removeprefix("resumable_job.") for name, _ in counted]


def test_what_an_operator_counts(counted: list[tuple[str, dict[str, str]]]) -> None:
    dag = make_dag(**WAIT)

    def crash_and_retry(supervisor: Supervisor) -> None:
        killed_while_waiting(supervisor, dag)
        finish(supervisor, dag, try_number=2)

    def lost_reply(supervisor: Supervisor) -> None:
        supervisor.fail("TriggerDagRun", ServerError(None), is_after=True)
        finish(supervisor, dag)

    assert _counts_of(lambda supervisor: finish(supervisor, dag), counted) == ["fresh_submit"]
    assert _counts_of(lost_reply, counted) == ["fresh_submit"]
    assert _counts_of(crash_and_retry, counted) == ["fresh_submit", "reconnect_attempt", "reconnect_success"]
    assert counted[0][1]["operator"] == "TriggerDagRunOperator"


def test_without_durable_nothing_is_counted(
    counted: list[tuple[str, dict[str, str]]], spans: InMemorySpanExporter
) -> None:
    finish(Supervisor(), make_dag(durable=False, **FORGET))
    assert counted == []
    assert spans.get_finished_spans() == ()


def test_the_attempts_span_is_ended(spans: InMemorySpanExporter) -> None:
    finish(Supervisor(), make_dag(**WAIT))
    (span,) = [span for span in spans.get_finished_spans() if span.name == "resumable_job.resume_decision"]
    assert (span.attributes or {})["resumable.decision"] == "fresh_submit"


def test_trouble_says_that_it_is_tried_again() -> None:
    lines = Lines()
    observability.Reporter(lines, "X", 1, {}).trouble(ValueError("what happened."))
    assert lines == ["what happened. Trying again."]
