"""The doctor: what it finds in a deployment that is made up, how it says it, and what it reads."""

from __future__ import annotations

import json
from configparser import InterpolationSyntaxError
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy as sa

from airflow_durable.audit.client import ApiClient
from airflow_durable.audit.database import DatabaseSource
from airflow_durable.audit.rest import RestSource
from airflow_durable.doctor import facts as doctor_facts
from airflow_durable.doctor.classes import with_classes
from airflow_durable.doctor.model import Facts, Job, Severity, Standing, version_of
from airflow_durable.doctor.report import build_json, build_lines, diagnose
from airflow_durable.metadata.connections import Database
from airflow_durable.metadata.dag_sources import read_flag
from airflow_durable.metadata.import_errors import ImportErrors, sort_errors
from airflow_durable.metadata.model import TaskKey
from airflow_durable.metadata.trigger_tasks import TriggerTask, tasks_in
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.stock import StockTriggerDagRunOperator
from airflow_durable.switch.settings import Mode, Switch
from airflow_durable.switch.verdict import MANY_MODULE, MANY_NAME, OWN_MODULE, STOCK_MODULE

from .audit_database import PARENT, TASK, Filler, load_schema
from .audit_fakes import at
from .test_inspection import needs_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.doctor.model import Diagnosis

NOW = at(0)


def task(name: str, module: str = OWN_MODULE, **fields: Any) -> TriggerTask:  # noqa: ANN401 - the task's own
    """Return a task with which nothing is wrong."""
    fine = {"retries": 2, "retry_delay_seconds": 300.0, "has_fixed_id": False, "durable": True, "deferrable": False}
    return TriggerTask(TaskKey("dag", name), "TriggerDagRunOperator", module, **{**fine, **fields})


def look(*tasks: TriggerTask, **fields: Any) -> Diagnosis:  # noqa: ANN401 - the facts' own
    jobs = tuple(Job(kind, "host", NOW) for kind in ("SchedulerJob", "DagProcessorJob", "TriggererJob"))
    given = {"jobs": jobs, "here": {"airflow-durable": "0.2.0"}, **fields}
    return diagnose(Facts("database", "there", given.pop("airflow_version", "3.3.2"), tasks=tasks, **given))


def checks(diagnosis: Diagnosis, severity: Severity | None = None) -> list[str]:
    return [one.check for one in diagnosis.findings if severity is None or one.severity is severity]


def test_where_nothing_is_wrong_nothing_is_found() -> None:
    diagnosis = look(task("fine"))
    assert (diagnosis.findings, diagnosis.has_problem) == ((), False)


@pytest.mark.parametrize(
    ("fields", "options", "check", "severity"),
    [
        ({"retries": 0}, {}, "no_retries", "problem"),
        ({"retry_delay_seconds": 0.0}, {}, "no_retry_delay", "warning"),
        ({"has_fixed_id": True}, {}, "fixed_identity", "note"),
        ({"has_fixed_id": True}, {"airflow_version": "3.2.2"}, "fixed_identity", "warning"),
        ({"deferrable": True}, {}, "triggerer", "note"),
        ({"deferrable": True}, {"jobs": ()}, "no_triggerer", "problem"),
        ({"deferrable": None}, {"jobs": ()}, "triggerer", "note"),
        ({"durable": False}, {}, "durable_off", "note"),
        ({"durable": None}, {}, "durable_unknown", "note"),
        ({"module": STOCK_MODULE}, {}, "not_switched", "note"),
        ({"module": STOCK_MODULE, "tags": frozenset({"not-durable"})}, {}, "opted_out", "note"),
        ({"module": "theirs"}, {}, "subclasses", "note"),
        ({"module": STOCK_MODULE, "retries": 0}, {}, "no_retries_yet", "note"),
        ({}, {"airflow_version": "3.0.5"}, "airflow_version", "problem"),
        ({}, {"airflow_version": "3.9.0"}, "airflow_version", "warning"),
        ({}, {"airflow_version": "3.1.8"}, "airflow_version", "note"),
        ({}, {"api_server": {"apache-airflow-providers-standard": "1.21.0"}}, "not_in_api_server", "warning"),
        ({}, {"api_server": {"airflow-durable": "0.1.0"}}, "other_version", "warning"),
        ({}, {"here": {"apache-airflow-providers-standard": "1.5.0"}}, "provider_version", "problem"),
        ({}, {"missing_parts": ("execute_complete",)}, "provider_lacks", "problem"),
        ({}, {"import_errors": ImportErrors(lacking=("dags/a.py",))}, "import_errors", "problem"),
        ({}, {"import_errors": ImportErrors(refused=("dags/a.py",))}, "refused_arguments", "problem"),
        ({}, {"jobs": (Job("TriggererJob", "host", NOW),)}, "no_component", "warning"),
        ({}, {"dialect": "sqlite"}, "sqlite", "warning"),
        ({}, {"switch": Switch(problems=("wrong",))}, "switch_option", "problem"),
        ({"module": STOCK_MODULE}, {"recorded": frozenset({TaskKey("dag", "one")})}, "switch_differs", "warning"),
    ],
)
def test_what_is_wrong_is_found(fields: dict[str, Any], options: dict[str, Any], check: str, severity: str) -> None:
    """Once, or once for each component; and only a problem makes the exit code 1."""
    diagnosis = look(task("one", **fields), **options)
    assert check in checks(diagnosis, Severity(severity))
    assert diagnosis.has_problem is (severity == "problem")


@pytest.mark.parametrize(
    ("option", "value", "check", "severity"),
    [
        ("scheduler.task_instance_heartbeat_timeout", "3600", "heartbeat_timeout", "warning"),
        ("scheduler.task_instance_heartbeat_timeout", "10", "heartbeat_timeout", "problem"),
        ("scheduler.allowed_run_id_pattern", "^scheduled__", "allowed_run_id_pattern", "problem"),
        ("scheduler.allowed_run_id_pattern", "(", "allowed_run_id_pattern", "problem"),
        ("state_store.clear_on_success", "True", "clear_on_success", "warning"),
        ("state_store.backend", "ours.Backend", "state_backend", "warning"),
        ("workers.state_store_backend", "ours.Backend", "state_backend", "warning"),
        ("state_store.default_retention_days", "7", "retention", "note"),
        ("durable.start_timeout", "1h", "unusable_default", "problem"),
        ("durable.run_timeout", "0", "unusable_default", "problem"),
        ("durable.on_parent_end", "kill", "unusable_default", "problem"),
    ],
)
def test_options_that_work_against_it(option: str, value: str, check: str, severity: str) -> None:
    assert checks(look(task("one"), options={option: value})) == [check]
    assert checks(look(task("one"), options={option: value}), Severity(severity)) == [check]


def test_airflows_own_options_do_not() -> None:
    """Those of the installed Airflow, as this test's own process has them."""
    found = doctor_facts._read_configuration()
    assert "scheduler.allowed_run_id_pattern" in found
    allowed = {"state_backend", "sqlite"}
    assert set(checks(look(task("one"), options=found))) <= allowed


def test_the_worst_comes_first() -> None:
    found = look(
        task("note", durable=False),
        task("problem", retries=0),
        task("warning", retry_delay_seconds=0.0),
    ).findings
    assert [one.severity for one in found] == [Severity.PROBLEM, Severity.WARNING, Severity.NOTE]
    assert all(one.says and one.advice for one in found)


def test_where_the_dag_file_does_not_say_it_earlier_runs_do() -> None:
    (one,) = look(task("one", durable=None), recorded=frozenset({TaskKey("dag", "one")})).tasks
    assert one.standing is Standing.DURABLE
    (one,) = look(task("one", durable=False), recorded=frozenset({TaskKey("dag", "one")})).tasks
    assert one.standing is Standing.NOT_DURABLE


@pytest.mark.parametrize("fields", [{"retries": 0}, {"retry_delay_seconds": 0.0}, {"deferrable": True}])
def test_a_task_with_many_children_is_durable(fields: dict[str, Any]) -> None:
    """And is checked as any other."""
    many = replace(task("many", MANY_MODULE, **{"durable": None, **fields}), type_name=MANY_NAME)
    found = look(many, jobs=())
    assert [one.standing for one in found.tasks] == [Standing.DURABLE]
    assert set(checks(found)) <= {"no_retries", "no_retry_delay", "no_triggerer"}
    assert len(checks(found)) == 1


@pytest.mark.parametrize(
    ("version", "default", "is_found"), [("3.0.6", "3", False), ("3.0.6", "0", True), ("3.1.8", "3", True)]
)
def test_retries_that_are_the_default_of_airflow_3_0(version: str, default: str, is_found: bool) -> None:  # noqa: FBT001
    """It does not store them (``serialize_operator``), so a task seems to have none."""
    found = look(task("t", retries=0), airflow_version=version, options={"core.default_task_retries": default})
    assert ("no_retries" in checks(found)) is is_found


def test_the_switch_decides_what_a_stock_task_is() -> None:
    stock = task("stock", STOCK_MODULE, retries=0)

    def standing(**fields: Any) -> tuple[Standing, int | None]:  # noqa: ANN401 - the switch's own
        (one,) = look(stock, switch=Switch(**fields)).tasks
        return one.standing, one.retries

    assert standing() == (Standing.WOULD_BE, 0)
    assert standing(mode=Mode.REPORT) == (Standing.WOULD_BE, 0)
    assert standing(mode=Mode.DURABLE) == (Standing.SWITCHED, 0)
    assert standing(mode=Mode.DURABLE, min_retries=3) == (Standing.SWITCHED, 3)
    assert standing(mode=Mode.DURABLE, excepted=("dag.*",))[0] is Standing.EXCLUDED


def test_a_default_that_cannot_be_used_makes_the_switch_do_nothing() -> None:
    """As the switch itself does; what it leaves alone anyway has its own reason."""
    tasks = (task("stock", STOCK_MODULE), task("tagged", STOCK_MODULE, tags=frozenset({"not-durable"})), task("ours"))
    found = look(*tasks, switch=Switch(mode=Mode.DURABLE), options={"durable.start_timeout": "1h"})
    standings = {one.task.key.task_id: one.standing for one in found.tasks}
    assert standings == {"stock": Standing.NOT_POSSIBLE, "tagged": Standing.EXCLUDED, "ours": Standing.DURABLE}
    says = " ".join(one.says for one in found.findings)
    assert "[durable] start_timeout = 1h cannot be used" in says
    assert "1 task cannot be made durable: a default in [durable] cannot be used: start_timeout" in says


@pytest.mark.parametrize(
    ("version", "value", "found"),
    [
        ("3.2.2", "resume", ["unusable_default"]),
        ("3.3.2", "resume", []),
        ("3.2.2", "fail", []),
        ("3.3.2", " ", []),
    ],
)
def test_a_default_may_need_a_task_state_store(version: str, value: str, found: list[str]) -> None:
    diagnosis = look(task("one"), airflow_version=version, options={"durable.on_child_failure": value})
    assert checks(diagnosis, Severity.PROBLEM) == found


class Safe(StockTriggerDagRunOperator):
    """A subclass that builds on what the stock operator promises."""


class Slotted(StockTriggerDagRunOperator):
    """One that cannot be made durable."""

    __slots__ = ("mine",)


def test_whether_the_switch_works_is_seen_by_records() -> None:
    """A Dag processor or a worker without it leaves none."""
    stock, switch = task("stock", STOCK_MODULE), Switch(mode=Mode.DURABLE)
    assert checks(look(stock, switch=switch)) == ["switch_unproven"]
    assert checks(look(stock, switch=switch, recorded=frozenset({stock.key}))) == []


def test_a_class_is_imported_only_when_that_is_asked_for() -> None:
    """And says then whether it can be made durable."""
    tasks = tuple(replace(task(name, __name__), type_name=name) for name in ("Safe", "Slotted", "NotThere"))
    facts = Facts("database", "there", "3.3.2", tasks=tasks)
    assert {one.standing for one in diagnose(facts).tasks} == {Standing.MAYBE}
    found = {one.task.type_name: one for one in diagnose(with_classes(facts)).tasks}
    assert found["Safe"].standing is Standing.WOULD_BE
    assert found["Slotted"].standing is Standing.NOT_POSSIBLE
    assert "__slots__" in found["Slotted"].reason
    assert found["NotThere"].standing is Standing.MAYBE


class Ours(TriggerDagRunOperator):
    """An organisation's own, built on the durable operator."""


def test_a_subclass_of_the_durable_operator_is_its_own() -> None:
    """The switch leaves it as it is; what its runs left says whether it is durable."""
    one = replace(task("ours", __name__, durable=None), type_name="Ours")
    facts = Facts("database", "there", "3.3.2", tasks=(one,), switch=Switch(mode=Mode.DURABLE))
    (found,) = diagnose(with_classes(facts)).tasks
    assert (found.standing, found.reason) == (Standing.UNKNOWN, "")
    (found,) = diagnose(with_classes(replace(facts, recorded=frozenset({one.key})))).tasks
    assert found.standing is Standing.DURABLE


@pytest.mark.parametrize("mode", Mode)
def test_records_say_that_a_task_of_another_class_is_durable(mode: Mode) -> None:
    one = replace(task("theirs", "theirs", durable=None, retries=0), type_name="Theirs")
    found = look(one, switch=Switch(mode=mode), recorded=frozenset({one.key}))
    assert found.tasks[0].standing.is_durable
    assert checks(found) == ["no_retries"]
    found = look(one, switch=Switch(mode=Mode.DURABLE, min_retries=2), recorded=frozenset({one.key}))
    assert checks(found) == []


def test_one_screen() -> None:
    """With a hundred tasks of each kind, and something wrong with each."""
    kinds: tuple[dict[str, Any], ...] = (
        {"retries": 0},
        {"retry_delay_seconds": 0.0},
        {"durable": False},
        {"module": STOCK_MODULE},
        {"module": "x"},
    )
    tasks = [task(f"task_{kind}_{number}", **kinds[kind]) for number in range(100) for kind in range(len(kinds))]
    diagnosis = look(*tasks)
    lines = list(build_lines(diagnosis, NOW))
    assert len(lines) <= 24, "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "and 97 more)" in " ".join("\n".join(lines).split())
    assert sum("task_0_" in line for line in build_lines(diagnosis, NOW, is_detailed=True)) == 100


def test_the_json_has_all_tasks_and_findings() -> None:
    built = build_json(look(task("one", retries=0), task("two", STOCK_MODULE)), NOW)
    assert json.loads(json.dumps(built)) == built
    assert built["version"] == 1
    assert built["totals"] == {"problems": 1, "warnings": 0, "notes": 1, "tasks": 2, "durable_tasks": 1}
    assert [(one["task_id"], one["standing"]) for one in built["tasks"]] == [("one", "durable"), ("two", "would_be")]
    assert built["findings"][0]["tasks"] == ["dag.one"]


@pytest.mark.parametrize(("text", "numbers"), [("3.4.0b2", (3, 4, 0)), ("3.3.2", (3, 3, 2)), ("", ()), ("dev", ())])
def test_versions_are_compared_by_their_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert version_of(text) == numbers


# The text of a Dag file.


@pytest.mark.parametrize(
    ("source", "is_it"),
    [
        ("T(task_id='t', durable=True)", True),
        ("T(task_id='t', durable=False)", False),
        ("T(task_id='t')", False),
        ("T(task_id='t', durable=FLAG)", None),
        ("T(task_id='t', **more)", None),
        ("T(task_id=name)", None),
        ("T(task_id='other')", None),
        ("T(task_id='t')\nT(task_id='t', durable=True)", None),
        ("with DAG('d', default_args={'durable': True}):\n    T(task_id='t')", None),
        ("with DAG('d', default_args={'retries': 2}):\n    T(task_id='t')", False),
        ("ARGS = {'retries': 2}\nwith DAG('d', default_args=ARGS):\n    T(task_id='t')", False),
        ("from shared import ARGS\nwith DAG('d', default_args=ARGS):\n    T(task_id='t')", None),
        ("with DAG('d', default_args={**ARGS}):\n    T(task_id='t')", None),
        ("with DAG('d', default_args=make()):\n    T(task_id='t')", None),
        ("not python at all:", None),
    ],
)
def test_only_what_is_certain_counts(source: str, *, is_it: bool | None) -> None:
    assert read_flag(source, "group.t", "durable", default=False) is is_it


# What is read.


def serialized(*, is_mapped: bool = False, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    one = {"task_id": "t", "template_fields": ["trigger_dag_id"], "task_type": "T", "_task_module": "m", **fields}
    if is_mapped:
        one |= {"_is_mapped": True}
    return {"dag": {"tags": ["a"], "tasks": [{"__type": "operator", "__var": one}]}}


def test_a_serialized_task() -> None:
    (one,) = tasks_in("d", serialized(retries=2, retry_delay=60.0, trigger_run_id="fixed"))
    assert one == TriggerTask(
        TaskKey("d", "t"), "T", "m", frozenset({"a"}), retries=2, retry_delay_seconds=60.0, has_fixed_id=True
    )


def test_a_mapped_task_says_more() -> None:
    partial = {"durable": True, "retries": 1, "retry_delay": {"__type": "timedelta", "__var": 0.0}}
    expanded = {"type": "dict-of-lists", "value": {"__type": "dict", "__var": {"trigger_run_id": ["a"]}}}
    (one,) = tasks_in("d", serialized(is_mapped=True, partial_kwargs=partial, expand_input=expanded))
    assert (one.durable, one.retries, one.retry_delay_seconds, one.has_fixed_id) == (True, 1, 0.0, True)


def mapped(
    partial: dict[str, Any], *, defaults: dict[str, Any], group: str = "", expanded: dict[str, Any] | None = None
) -> TriggerTask:
    value = {"type": "dict-of-lists", "value": {"__type": "dict", "__var": {"conf": [], **(expanded or {})}}}
    name = f"{group}t"
    stored = serialized(
        is_mapped=True, partial_kwargs=partial, expand_input=value, task_id=name, _task_module=OWN_MODULE
    )
    stored["dag"]["default_args"] = {"__type": "dict", "__var": defaults}
    inner = {"_group_id": "g", "children": {"t": ["operator", name]}}
    children = {"g": ["taskgroup", inner]} if group else {"t": ["operator", name]}
    stored["dag"]["task_group"] = {"_group_id": None, "children": children}
    options = {"durable.default_durable": "True"}
    (one,) = doctor_facts._with_flags(tasks_in("d", stored), options, lambda _: {})
    return one


def test_a_mapped_task_takes_its_dags_default_arguments() -> None:
    """When it runs, beneath its own; those of a task group are not known. Each case: durable, deferrable."""

    def flags(one: TriggerTask) -> tuple[bool | None, bool | None]:
        return one.durable, one.deferrable

    assert flags(mapped({}, defaults={})) == (True, False)
    assert flags(mapped({}, defaults={"durable": False, "deferrable": True})) == (False, True)
    assert flags(mapped({"deferrable": False}, defaults={"deferrable": True})) == (True, False)
    assert flags(mapped({}, defaults={}, expanded={"durable": [True, False]})) == (None, False)
    assert flags(mapped({"durable": False}, defaults={"durable": True}, group="g.")) == (False, None)
    assert flags(mapped({}, defaults={"durable": False}, group="g.")) == (None, None)
    assert mapped({}, defaults={"trigger_run_id": "fixed"}).has_fixed_id


REFUSED = """Traceback (most recent call last):
  File "/opt/site-packages/airflow_durable/operators/trigger_dagrun.py", line 231, in __init__
    check_all(self)
  File "/opt/site-packages/airflow_durable/operators/parameters.py", line 72, in check_all
    raise ValueError(message)
ValueError: on_child_failure of task 't' must be one of fresh, resume, fail, not 'resum'.
"""


@pytest.mark.parametrize(
    ("text", "lacks_it", "refuses"),
    [
        (REFUSED, False, True),
        (REFUSED.replace("/", "\\"), False, True),
        ("ModuleNotFoundError: No module named 'airflow_durable'\n", True, False),
        ("ModuleNotFoundError: No module named 'airflow_durable.operators'", True, False),
        ("No module named 'airflow_durable'", True, False),
        (
            "ImportError: cannot import name 'Other' from 'airflow_durable' (/opt/airflow_durable/__init__.py)",
            True,
            False,
        ),
        ("ModuleNotFoundError: No module named 'airflow_durable_ours'", False, False),
        (
            "  File \"/dags/airflow_durable/a.py\", line 1, in <module>\nModuleNotFoundError: No module named 'x'",
            False,
            False,
        ),
        ("ImportError: cannot import name 'x' from 'ours' (/dags/airflow_durable/ours.py)", False, False),
        ("KeyError: 'airflow_durable'", False, False),
    ],
)
def test_only_a_file_that_cannot_import_the_package_lacks_it(text: str, *, lacks_it: bool, refuses: bool) -> None:
    """An argument that an operator refuses is no missing package, and neither is a path with its name."""
    expected = ImportErrors(("a.py",) if lacks_it else (), ("a.py",) if refuses else ())
    assert sort_errors([("a.py", text)]) == expected


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://", future=True)
    load_schema()["dag_run"].metadata.create_all(engine)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def test_a_database_is_read(connection: sa.Connection) -> None:
    filler = Filler(connection, load_schema())
    for name in ("there", "gone"):
        filler.dag(name)
    filler.deployment("there", source="T(task_id='trigger', durable=True)")
    filler.deployment("gone", is_stale=True)
    filler.job("TriggererJob", "host-1", -30)
    filler.job("SchedulerJob", "host-2", -300)
    filler.import_error("dags/broken.py", "ModuleNotFoundError: No module named 'airflow_durable'")
    filler.import_error("dags/other.py", "ModuleNotFoundError: No module named 'pandas'")
    filler.import_error("dags/refused.py", REFUSED)
    found = doctor_facts.read_database(DatabaseSource(Database(connection), "3.3.2"), NOW)
    assert [one.key.dag_id for one in found.tasks] == ["there"]
    assert found.jobs is not None
    assert [(job.kind, job.hostname) for job in found.jobs] == [("TriggererJob", "host-1")]
    assert found.import_errors == ImportErrors(lacking=("dags/broken.py",), refused=("dags/refused.py",))
    assert found.dialect == "sqlite"


def test_an_option_that_cannot_be_read_turns_the_switch_off(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the policy: a lone % in a pattern is one."""
    from airflow.configuration import conf

    read = conf.get

    def get(section: str, option: str, **more: Any) -> Any:  # noqa: ANN401 - Airflow's own
        if option == "stock_operators_except":
            raise InterpolationSyntaxError(option, section, "'%' must be followed by '%' or '('")
        return "durable" if option == "stock_operators" else read(section, option, **more)

    monkeypatch.setattr(conf, "get", get)
    found = doctor_facts.read_database(DatabaseSource(Database(connection), "3.3.2"), NOW)
    assert found.switch.mode is Mode.AS_IS
    assert "switch_option" in checks(diagnose(found), Severity.PROBLEM)


def test_records_say_which_tasks_were_durable(connection: sa.Connection) -> None:
    needs_store()
    filler = Filler(connection, load_schema())
    filler.run("run", 0, dag_id=PARENT)
    filler.record({"version": 99})
    source = DatabaseSource(Database(connection), "3.3.2")
    assert source.recorded_tasks() == {TaskKey(PARENT, TASK)}


def test_the_rest_api_is_read() -> None:
    """What the API does not show, or the token may not read, is not known; nothing fails by it."""
    answers = {
        "version": {"version": "3.3.2"},
        "dags": {"dags": [{"dag_id": "d", "tags": [{"name": "not-durable"}], "is_stale": False}], "total_entries": 1},
        "dags/d/tasks": {
            "tasks": [
                {
                    "task_id": "t",
                    "template_fields": ["trigger_dag_id"],
                    "class_ref": {"module_path": OWN_MODULE, "class_name": "TriggerDagRunOperator"},
                    "retries": 0.0,
                    "retry_delay": {"days": 0, "seconds": 60, "microseconds": 0},
                    "is_mapped": False,
                }
            ]
        },
        "dagSources/d": {"content": "T(task_id='t', durable=True)"},
        "providers": {"providers": [{"package_name": "airflow-durable", "version": "0.2.0"}], "total_entries": 1},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v2/")
        return httpx.Response(200, json=answers[path]) if path in answers else httpx.Response(403, json={})

    transport = httpx.MockTransport(answer)
    client = ApiClient("http://there", "token", requests_per_second=1e6, transport=transport)
    found = doctor_facts.read_api(RestSource(client))
    (one,) = found.tasks
    assert (one.durable, one.retries, one.retry_delay_seconds, one.tags) == (True, 0, 60.0, frozenset({"not-durable"}))
    assert (found.jobs, found.is_configuration_known) == (None, False)
    diagnosis = diagnose(found)
    assert "no_retries" in checks(diagnosis, Severity.PROBLEM)
    text = " ".join("\n".join(build_lines(diagnosis, NOW)).split())
    for words in ("[api] expose_config", "which components run", "fixed run ids", "API server: Airflow 3.3.2"):
        assert words in text
