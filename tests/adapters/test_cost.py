"""What durability costs, counted in requests; without it, nothing differs from the stock operator."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator
from packaging.version import Version

from airflow_durable.operators.parameters import OWN
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator

from .dags import DEFER, FORGET, WAIT, each_mode, finish, make_dag
from .supervisor import NOW, Run, Supervisor
from .versions import (
    HAS_DETAILS,
    HAS_PAUSE_CHECK,
    HAS_RUN_AFTER,
    HAS_STORE,
    HAS_TEXT_CONF,
    IS_DEFERRABLE_WAITING,
    PROVIDER,
    lacks_a_parameter,
    needs_parameter,
    needs_pause_check,
    needs_run_after,
)

if TYPE_CHECKING:
    from .supervisor import Outcome

DATE = datetime(2025, 6, 1, tzinfo=timezone.utc)


def run_without_a_crash(operator: type[StockTriggerDagRunOperator], **kwargs: Any) -> Counter[str]:  # noqa: ANN401
    """Return how often each request was sent; the child has ended when it is first looked at."""
    supervisor = Supervisor()
    supervisor.before["GetDagRunState"] = lambda: supervisor.end_all("success")
    outcome = finish(supervisor, make_dag(operator, **kwargs))
    assert outcome.state == "success"
    assert len(supervisor.runs) == 1
    return Counter(outcome.names())


@each_mode
def test_a_generated_identity_costs_two_requests(mode: dict[str, Any]) -> None:
    durable = run_without_a_crash(TriggerDagRunOperator, **mode)
    stock = run_without_a_crash(StockTriggerDagRunOperator, **mode)
    assert stock - durable == Counter()
    if HAS_STORE:
        assert durable - stock == Counter(SetTaskStateStore=2)
    else:
        # Where a look-up says no dates, what is there already can be told only before anything is sent. Who does not
        # wait for it needs no count of what is active.
        counts = 1 if mode == FORGET else 2
        assert durable - stock == (Counter() if HAS_DETAILS else Counter(GetDRCount=counts))


@each_mode
@pytest.mark.parametrize("fixed", [{"trigger_run_id": "fixed"}, {"logical_date": DATE}], ids=["run id", "date"])
def test_a_fixed_identity_costs_two_requests(mode: dict[str, Any], fixed: dict[str, Any]) -> None:
    durable = run_without_a_crash(TriggerDagRunOperator, **mode, **fixed)
    stock = run_without_a_crash(StockTriggerDagRunOperator, **mode, **fixed)
    assert stock - durable == Counter()
    # Without a state store nothing can be recovered there, so nothing is spent.
    assert durable - stock == (Counter(SetTaskStateStore=2) if HAS_STORE else Counter())


@needs_run_after
@each_mode
def test_a_fixed_identity_without_anything_of_ours_costs_three_requests(mode: dict[str, Any]) -> None:
    """Run id, date and ``run_after`` are the user's: only the reply shows who created the run, so it is recorded."""
    fixed = {"trigger_run_id": "fixed", "run_after": DATE}
    durable = run_without_a_crash(TriggerDagRunOperator, **mode, **fixed)
    stock = run_without_a_crash(StockTriggerDagRunOperator, **mode, **fixed)
    assert (stock - durable, durable - stock) == (Counter(), Counter(SetTaskStateStore=3))


SCENARIOS: dict[str, dict[str, Any]] = {
    "fire-and-forget": FORGET,
    "wait": WAIT,
    "defer": DEFER,
    "deferrable alone": {"deferrable": True},
    "conf": {"conf": {"a": [1, None], "b": "{{ ds }}"}},
    "conf as text": {"conf": '{"a": 1}'},
    "conf is not JSON": {"conf": "{"},
    "conf is no object": {"conf": "[1]"},
    "run id": {"trigger_run_id": "{{ ds }}-1", **WAIT},
    "run id with a slash": {"trigger_run_id": "a/b", **WAIT},
    "logical date": {"logical_date": DATE, **WAIT},
    "logical date as text": {"logical_date": "{{ ts }}", **WAIT},
    "logical date, naive": {"logical_date": datetime(2025, 6, 1), **WAIT},  # noqa: DTZ001 - on purpose
    "no logical date": {"logical_date": None, **WAIT},
    "run after": {"run_after": DATE, **WAIT},
    "run after and logical date": {"run_after": DATE, "logical_date": NOW, **DEFER},
    "note": {"note": "text"},
    "states": {"allowed_states": ["failed"], "failed_states": [], **WAIT},
    "no states": {"allowed_states": [], "failed_states": [], **WAIT},
    "another Dag": {"trigger_dag_id": "{{ 'unknown' }}", **WAIT},
    "reset": {"trigger_run_id": "taken", "reset_dag_run": True, **WAIT},
    "skip": {"trigger_run_id": "taken", "skip_when_already_exists": True, **WAIT},
    "skip, as a template": {"trigger_run_id": "taken", "skip_when_already_exists": "{{ 1 == 1 }}"},
    "taken": {"trigger_run_id": "taken", **DEFER},
    "taken date": {"logical_date": DATE, "trigger_run_id": "another", **WAIT},
    "failing child": {"states": "failed", **WAIT},
    "failing child, deferred": {"states": "failed", **DEFER},
    "no OpenLineage": {"openlineage_inject_parent_info": False, "conf": {"a": 1}},
}
if HAS_PAUSE_CHECK:
    SCENARIOS |= {
        "paused": {"fail_when_dag_is_paused": True, "is_paused": True},
        "not paused": {"fail_when_dag_is_paused": True},
    }
SCENARIOS = {name: given for name, given in SCENARIOS.items() if not lacks_a_parameter(given)}

_VOLATILE = [
    # The moments of the test itself; the dates that a scenario gives stay.
    (re.compile(r"(?!2025-06-01|2026-01-01)\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?"), "<date>"),
    (re.compile(r"datetime\.datetime\((?!2025, 6, 1,|2026, 1, 1,)[^)]*\)"), "<date>"),
    (re.compile(r"\b1[789]\d{8}\.\d+"), "<seconds>"),
    (re.compile(r"(?<=[>0])_[A-Za-z0-9]{8}\b"), "_<random>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"),
]


def _stable(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True)
    for pattern, name in _VOLATILE:
        text = pattern.sub(name, text)
    return text


def _observe(operator: type[StockTriggerDagRunOperator], scenario: dict[str, Any]) -> dict[str, Any]:
    kwargs = dict(scenario)
    supervisor = Supervisor()
    supervisor.dags["child"] = kwargs.pop("is_paused", False)
    supervisor.runs["child", "taken"] = Run("child", "taken", "success", DATE)
    state = kwargs.pop("states", "success")
    looks: list[str] = []

    def go_on() -> None:
        # The third look sees the end.
        looks.append("look")
        if len(looks) > 2:
            supervisor.end_all("failed" if kwargs.get("allowed_states") == ["failed"] else state)

    supervisor.on_sleep = go_on
    outcomes: list[Outcome] = []
    dag = make_dag(operator, **kwargs)
    for try_number in (1, 2):
        outcomes.append(finish(supervisor, dag, try_number=try_number))
        if outcomes[-1].state != "up_for_retry":
            break
    return {
        "states": [outcome.state for outcome in outcomes],
        "errors": [(type(outcome.error).__name__, _stable(str(outcome.error))) for outcome in outcomes],
        "requests": [
            (type(request).__name__, _stable(request.model_dump()))
            for outcome in outcomes
            for request in outcome.requests
        ],
        "log": [
            _stable(line) for outcome in outcomes for line in outcome.log if not line.startswith("Running finalizers")
        ],
        "sleeps": supervisor.sleeps,
        "runs": [_stable(str(run)) for run in supervisor.runs.values()],
        "xcoms": {key: _stable(value) for key, value in supervisor.xcoms.items()},
        "store": supervisor.store,
        "attributes": sorted(vars(outcomes[-1].task).keys() - set(OWN)),
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_durable_nothing_differs_from_stock(name: str) -> None:
    stock = _observe(StockTriggerDagRunOperator, SCENARIOS[name])
    ours = _observe(TriggerDagRunOperator, SCENARIOS[name] | {"durable": False})
    assert ours == stock
    assert stock["store"] == {}


def test_what_is_compared_does_differ_with_durable() -> None:
    stock = _observe(StockTriggerDagRunOperator, SCENARIOS["run id"])
    ours = _observe(TriggerDagRunOperator, SCENARIOS["run id"])
    assert (ours["requests"] != stock["requests"]) is HAS_STORE


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in SCENARIOS
        # Nothing is sent for these.
        if (name != "conf as text" or HAS_TEXT_CONF)
        and name
        not in {
            "conf is not JSON",
            "conf is no object",
            "run id with a slash",
            "logical date, naive",
            "paused",
        }
    ],
)
def test_durable_sends_the_stock_request(name: str) -> None:
    """All that the user asks for arrives; only a generated run id is another."""

    def requested(operator: type[StockTriggerDagRunOperator]) -> tuple[str, dict[str, Any]]:
        sent = [dump for kind, dump in _observe(operator, SCENARIOS[name])["requests"] if kind == "TriggerDagRun"]
        fields = json.loads(sent[0])
        return fields.pop("run_id"), fields

    stock_id, stock = requested(StockTriggerDagRunOperator)
    durable_id, durable = requested(TriggerDagRunOperator)
    if HAS_STORE and SCENARIOS[name].get("logical_date") is not None and "run_after" not in SCENARIOS[name]:
        # The date is the user's, so the run is known as ours by its run_after. The server would take now.
        assert (stock.pop("run_after"), durable.pop("run_after")) == (None, "<date>")
    # A run is reset only after a look: an existing one of our own must not be. Without a store stock's request is sent.
    assert durable == {**stock, "reset_dag_run": stock["reset_dag_run"] and not HAS_STORE}
    is_generated = "trigger_run_id" not in SCENARIOS[name] and SCENARIOS[name].get("logical_date") is None
    assert re.fullmatch(r"manual__.*_[a-z2-7]{12}", durable_id) if is_generated else durable_id == stock_id


@needs_parameter("run_after")
@pytest.mark.skipif(not HAS_RUN_AFTER, reason="see versions.HAS_RUN_AFTER")
def test_run_after_arrives() -> None:
    supervisor = Supervisor()
    finish(supervisor, make_dag(run_after=DATE))
    assert (supervisor.only_run().run_after, supervisor.only_run().logical_date) == (DATE, None)


@needs_parameter("note")
@pytest.mark.skipif(not HAS_DETAILS, reason="see versions.HAS_DETAILS")
def test_a_note_arrives() -> None:
    supervisor = Supervisor()
    finish(supervisor, make_dag(note="text"))
    assert supervisor.only_run().note == "text"


@pytest.mark.skipif(HAS_TEXT_CONF, reason="see versions.HAS_TEXT_CONF")
def test_a_conf_that_the_stock_operator_cannot_send_is_not_sent() -> None:
    for operator in (StockTriggerDagRunOperator, TriggerDagRunOperator):
        supervisor = Supervisor()
        assert finish(supervisor, make_dag(operator, **SCENARIOS["conf as text"])).state != "success"
        assert supervisor.runs == {}


def test_a_pause_check_that_the_stock_operator_refuses_is_refused() -> None:
    """From 1.9.1 to 1.13 there is none for Airflow 3; later ones have it on Airflow 3.2 and later."""
    if HAS_PAUSE_CHECK or Version("1.9.1") > PROVIDER:
        make_dag(fail_when_dag_is_paused=True)
        return
    with pytest.raises(NotImplementedError, match=r"requires Airflow 3\.2|not yet supported"):
        make_dag(fail_when_dag_is_paused=True)


@pytest.mark.skipif(Version("1.9.1") <= PROVIDER, reason="later stock operators refuse the parameter")
@each_mode
def test_a_pause_check_that_the_stock_operator_cannot_do_starts_nothing(mode: dict[str, Any]) -> None:
    """That of 1.6.0 asks the database, which a task of Airflow 3 cannot."""
    for operator in (StockTriggerDagRunOperator, TriggerDagRunOperator):
        supervisor = Supervisor()
        outcome = finish(supervisor, make_dag(operator, fail_when_dag_is_paused=True, **mode))
        assert outcome.state == "up_for_retry"
        assert supervisor.runs == {}


@needs_pause_check
def test_a_pause_check_is_asked_for_once() -> None:
    supervisor = Supervisor()
    outcome = finish(supervisor, make_dag(fail_when_dag_is_paused=True, **WAIT))
    assert outcome.state == "success"
    assert outcome.names().count("GetDag") == 1


def test_deferrable_alone_waits_where_it_waits_without_durable() -> None:
    """Airflow 3.0 defers although ``wait_for_completion`` is False; later ones ignore ``deferrable`` then."""
    states = []
    for operator in (StockTriggerDagRunOperator, TriggerDagRunOperator):
        outcome = Supervisor().run(make_dag(operator, deferrable=True))
        states.append(outcome.state)
    assert states == (["deferred", "deferred"] if IS_DEFERRABLE_WAITING else ["success", "success"])
