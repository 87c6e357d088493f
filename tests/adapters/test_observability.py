"""Counters, the span and the log: the names are those of Airflow's own ResumableJobMixin."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from airflow_durable import telling
from airflow_durable.core.model import ChildRun, Decision, Look, Mode
from airflow_durable.core.record import KEY, Record

from .dags import FORGET, WAIT, finish, killed_while_waiting, make_dag
from .supervisor import NOW, ServerError, Supervisor
from .versions import needs_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORD = Record(
    dag_id="child",
    run_id="run-1",
    logical_date=NOW,
    is_fixed=False,
    is_date_ours=True,
    digest="sha256:x",
    mode=Mode.WAIT,
    max_tries=3,
    clear_number=0,
)


class Lines(list[str]):
    """A log."""

    def info(self, text: str, *args: object) -> None:
        """Log a line."""
        self.append(text % args)

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

    monkeypatch.setattr(telling, "Stats", Stats)
    return counted


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Return the spans that have ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telling, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def tell(*decisions: tuple[Decision, ChildRun | Look | None], is_prior: bool = True) -> Lines:
    lines = Lines()
    teller = telling.Teller(lines, "TriggerDagRunOperator", {})
    for decision, seen in decisions:
        teller.decided(decision, RECORD, seen, is_prior=is_prior)
    teller.close()
    return lines


@needs_store
def test_the_names_are_the_mixins() -> None:
    from airflow.sdk.bases import resumablejobmixin

    source = inspect.getsource(resumablejobmixin)
    counters = set(re.findall(r'stats\.incr\("([^"]+)"', source))
    assert counters == set(telling._COUNTERS.values()) | {"resumable_job.reconnect_attempt"}
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
        (Decision.FRESH_SUBMIT, True, ["reconnect_attempt", "fresh_submit"]),
        (Decision.RESUBMIT, True, ["reconnect_attempt", "fresh_submit"]),
        (Decision.RECONNECT, True, ["reconnect_attempt", "reconnect_success"]),
        (Decision.ALREADY_SUCCEEDED, True, ["reconnect_attempt", "already_succeeded"]),
        (Decision.SUCCEED_AGAIN, True, ["reconnect_attempt", "already_succeeded"]),
        (Decision.TERMINAL_RESUBMIT, True, ["reconnect_attempt", "terminal_resubmit"]),
        (Decision.RESET, True, ["reconnect_attempt", "terminal_resubmit"]),
        (Decision.FOREIGN, True, ["reconnect_attempt"]),
        (Decision.REFUSE, True, ["reconnect_attempt"]),
    ],
)
def test_counters(
    counted: list[tuple[str, dict[str, str]]],
    decision: Decision,
    is_prior: bool,  # noqa: FBT001 - a parameter
    names: list[str],
) -> None:
    tell((decision, ChildRun("running")), is_prior=is_prior)
    assert counted == [(f"resumable_job.{name}", {"operator": "TriggerDagRunOperator"}) for name in names]


def test_an_attempt_that_decides_twice_is_one_attempt(counted: list[tuple[str, dict[str, str]]]) -> None:
    """The run could not be looked up, was sent again, and its 409 said that it is there."""
    tell((Decision.RESUBMIT, Look.UNREADABLE), (Decision.RECONNECT, ChildRun("running")))
    assert [name for name, _ in counted].count("resumable_job.reconnect_attempt") == 1
    assert [name for name, _ in counted].count("resumable_job.reconnect_success") == 1


def test_a_lost_reply_of_the_attempts_own_is_no_reconnect(counted: list[tuple[str, dict[str, str]]]) -> None:
    lines = tell((Decision.FRESH_SUBMIT, None), (Decision.RECONNECT, ChildRun("running")), is_prior=False)
    assert [name for name, _ in counted] == ["resumable_job.fresh_submit"]
    assert lines[-1].startswith("The run is there already: an earlier request of this attempt arrived.")


def test_the_team_is_a_tag(counted: list[tuple[str, dict[str, str]]]) -> None:
    teller = telling.Teller(Lines(), "TriggerDagRunOperator", {"team_name": "blue"})
    teller.decided(Decision.FRESH_SUBMIT, RECORD, None, is_prior=False)
    assert counted[0][1] == {"operator": "TriggerDagRunOperator", "team_name": "blue"}


@pytest.mark.parametrize("decision", Decision)
def test_every_line_names_the_run_and_its_state(decision: Decision) -> None:
    (line,) = tell((decision, ChildRun("running")))
    assert line.endswith(" dag_id=child run_id=run-1 state=running")


@pytest.mark.parametrize(
    ("seen", "state"), [(None, "unknown"), (Look.MISSING, "missing"), (Look.UNREADABLE, "unreadable")]
)
def test_what_was_seen_where_no_run_was(seen: Look | None, state: str) -> None:
    (line,) = tell((Decision.RESUBMIT, seen))
    assert line.endswith(f"state={state}")


def test_a_reconnect_says_so() -> None:
    (line,) = tell((Decision.RECONNECT, ChildRun("running")))
    assert line.startswith("Reconnecting to run triggered on a prior attempt. ")


def test_the_span(spans: InMemorySpanExporter) -> None:
    tell((Decision.RECONNECT, ChildRun("running")))
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
    tell()
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
    telling.Teller(lines, "X", {}).trouble(ValueError("what happened."))
    assert lines == ["what happened. It is tried again."]
