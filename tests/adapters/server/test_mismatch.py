"""What the page says where another component lacks the package, or has the switch set otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.adapters.versions import needs_store
from tests.support.waits_rows import NOON

from .test_page import BASE, get

if TYPE_CHECKING:
    from tests.support.waits_rows import Rows

    from .conftest import Client

pytestmark = needs_store
STOCK = "airflow.providers.standard.operators.trigger_dagrun"
OWN = "airflow_durable.operators.trigger_dagrun"


@pytest.fixture
def serialized(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the modules of the operators of the task ``trigger``, by Dag: put in, they are what Airflow stored."""
    from airflow_durable.metadata.reads import Reads

    modules: dict[str, str] = {}

    def read(_: object, dag_ids: list[str]) -> list[tuple[str, object]]:
        fields = {"task_id": "trigger", "task_type": "TriggerDagRunOperator", "template_fields": ["trigger_dag_id"]}
        made = [(one, {**fields, "_task_module": modules[one]}) for one in dag_ids if one in modules]
        return [(one, {"dag": {"dag_id": one, "tasks": [{"__var": task}]}}) for one, task in made]

    monkeypatch.setattr(Reads, "serialized_dags", read)
    return modules


def run(rows: Rows, dag_id: str, *, has_record: bool, state: str = "running") -> None:
    """Make a try that began long ago."""
    key = "durable_child_run" if has_record else "other"
    rows.wait(dag_id, "run", state=state, child=("alpha_child", dag_id), operator="TriggerDagRunOperator", key=key)


def test_nothing_differs(application: Client, rows: Rows, serialized: dict[str, str]) -> None:
    serialized |= {"alpha": STOCK, "beta": OWN}
    run(rows, "alpha", has_record=False)
    run(rows, "beta", has_record=True)
    assert "Components differ" not in get(application, "/totals")


def test_stock_task_without_a_record_where_the_switch_is_on(
    application: Client, rows: Rows, serialized: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DURABLE__STOCK_OPERATORS", "durable")
    monkeypatch.setenv("AIRFLOW__DURABLE__STOCK_OPERATORS_EXCEPT", "left_out")
    serialized |= dict.fromkeys(("alpha", "good", "left_out", "ended", "secret"), STOCK)
    for dag_id in ("alpha", "left_out", "secret"):
        run(rows, dag_id, has_record=False)
    run(rows, "good", has_record=True)
    run(rows, "ended", has_record=False, state="success")
    html = get(application, "/totals")
    assert "though [durable] stock_operators is durable here: alpha.trigger, secret.trigger. A worker" in html
    limited = get(application, "/totals", "limited")
    assert "here: alpha.trigger. A worker" in limited
    assert "secret" not in limited


def test_stock_task_with_a_record_where_the_switch_is_off(
    application: Client, rows: Rows, serialized: dict[str, str]
) -> None:
    serialized |= {"alpha": STOCK}
    run(rows, "alpha", has_record=True)
    assert "though [durable] stock_operators is as_is here: alpha.trigger." in get(application, "/totals")


def test_dag_file_that_cannot_import_the_package(application: Client, rows: Rows, serialized: dict[str, str]) -> None:
    text = "ModuleNotFoundError: No module named 'airflow_durable'"
    rows.insert("import_error", filename="/dags/secret.py", stacktrace=text, timestamp=NOON)
    html = get(application, "/totals")
    assert "1 Dag file cannot import airflow_durable" in html
    assert "secret.py" not in html


def test_argument_that_an_operator_refuses_is_no_missing_package(
    application: Client, rows: Rows, serialized: dict[str, str]
) -> None:
    frame = '  File "/opt/airflow_durable/operators/parameters.py", line 72, in check_all'
    text = f"{frame}\nValueError: durable of task 't' must be True or False, not 'yes'."
    rows.insert("import_error", filename="/dags/refused.py", stacktrace=text, timestamp=NOON)
    assert "cannot import" not in get(application, "/totals")


def test_it_is_not_read_on_each_refresh(application: Client, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_durable.server import app, mismatch
    from airflow_durable.server.cache import Cache

    reads: list[object] = []

    def find(session: object) -> mismatch.Mismatch:
        reads.append(session)
        return mismatch.Mismatch()

    monkeypatch.setattr(app, "mismatches", Cache(find, mismatch.FRESH_SECONDS))
    for _ in range(5):
        assert application("admin").get(f"{BASE}/totals").status_code == 200
    assert len(reads) == 1
