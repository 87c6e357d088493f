"""The live tests' Airflow, and what a scenario can do to its parent and see of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from packaging.version import Version

import airflow_durable.example_dags
from airflow_durable.core.stored import KEY, position_of
from airflow_durable.demo import processes
from airflow_durable.demo.api import PublicApi
from airflow_durable.demo.engine import DEFAULT_COMPONENTS, AirflowNotReadyError, ScratchAirflow
from tests.support.fault_proxy import Action, Fault, FaultProxy
from tests.support.servers import PostgresServer

from .keeper import SchedulerKeeper
from .limits import LIMITS, LIMITS_OF_30, UNTRIED, Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from concurrent.futures import Future

    from airflow_durable.demo.processes import Component
    from airflow_durable.metadata.model import DagRun, TaskTry
    from tests.support.fault_proxy import Passage

LIMIT_SECONDS = 540.0
"""For any one thing that a scenario waits for: not how long it should take, but when to give up."""

CONCURRENT_SCENARIOS = 12
RUN_ID = "run"

_OPTIONS = {
    "core.parallelism": "40",
    "scheduler.task_instance_heartbeat_timeout": "15",
    # 3.4 gives a process that is to end so long before SIGKILL. By default its heartbeat would time out first, and the
    # scheduler of 3.4.0b2 ends itself when it gives up a task that was cleared (docs/limits.md, "Airflow 3.4").
    "core.killed_task_cleanup_time": "3",
    # A worker that was cut off goes on for as long as its scenario wants it to, and one whose request is held waits.
    "workers.max_failed_heartbeats": "1000",
    "workers.execution_api_timeout": "300",
    "workers.execution_api_retry_wait_min": "0.2",
    "workers.execution_api_retry_wait_max": "0.5",
    "durable.reconciler_interval": "0.5",
    # While its host is away no try gives up.
    "durable.reconciler_timeout": "900",
    # It has an API server of its own.
    "durable.reconciler": "False",
    "core.plugins_folder": str(Path(__file__).parent / "plugins"),
}
_SWITCH_OPTIONS = {
    "durable.stock_operators": "durable",
    "durable.stock_operators_only": "switched*, stock_until_switched_parent, stock_by_policy_parent, stock_excepted*",
    "durable.stock_operators_except": "stock_excepted_parent.run_child",
}
"""For the Dags of ``dags/switched.py``; those of ``dags/audited.py`` stay stock."""

_LOCAL_SETTINGS = """
def task_policy(task):
    if task.dag_id == "stock_by_policy_parent":
        task.durable = False
    if task.dag_id == "switched_without_retries_parent":
        task.retries = max(task.retries, 1)
"""
_DAG_FOLDERS = {
    "scenarios": Path(__file__).parent / "dags",
    "examples": Path(airflow_durable.example_dags.__file__).parent,
}


_ASKS_TO_KEEP = Version(metadata.version("apache-airflow")) >= Version("3.4.0a0")
"""A person who clears a task chooses whether what it has stored is kept."""


class ReconcilerHost:
    """
    An API server of its own for the reconciler, so that it can be killed while people use the other one.

    See ``plugins/hold_reconciler.py`` for :meth:`hold`.
    """

    def __init__(self, airflow: ScratchAirflow) -> None:
        self._airflow = airflow
        self._port = processes.free_port()
        self._folder = airflow.home / "hold"
        self._folder.mkdir()
        self._component: Component | None = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self._component = self._airflow.start_component(
            "api-server",
            "--port",
            str(self._port),
            AIRFLOW__DURABLE__RECONCILER="True",
            HOLD_RECONCILER=str(self._folder),
        )
        self._airflow.wait_for(self._is_serving, "the reconciler's host", LIMIT_SECONDS)

    def kill(self) -> None:
        """End it by SIGKILL."""
        assert self._component is not None
        self._airflow.kill(self._component)

    def hold(self, step: str, dag_id: str) -> None:
        """Let the reconciler stop at this step of what it does to a run of this Dag."""
        (self._folder / f"{step} {dag_id}").touch()

    def is_held(self, step: str, dag_id: str) -> bool:
        """Return whether it has stopped there."""
        return (self._folder / f"{step} {dag_id} held").exists()

    def release(self, step: str, dag_id: str) -> None:
        """Let it pass from now on."""
        (self._folder / f"{step} {dag_id}").unlink()

    def _is_serving(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            url = f"http://{processes.LOCALHOST}:{self._port}/api/v2/version"
            return httpx.get(url, timeout=5, trust_env=False).is_success
        return False


@dataclass(frozen=True)
class Lab:
    """One Airflow for all scenarios, with the fault proxy between its workers and its API server."""

    airflow: ScratchAirflow
    proxy: FaultProxy
    api: PublicApi
    host: ReconcilerHost
    _triggerer: threading.Lock = field(default_factory=threading.Lock)

    @property
    def has_store(self) -> bool:
        """Whether this Airflow has a task state store (3.3)."""
        return self.airflow.database.has_store

    @contextlib.contextmanager
    def without_triggerer(self) -> Iterator[None]:
        """Kill the triggerer; start another one at the end. One scenario at a time."""
        with self._triggerer:
            (triggerer,) = [component for component in self.airflow.components if component.kind == "triggerer"]
            self.airflow.kill(triggerer)
            try:
                yield
            finally:
                self.airflow.start_component("triggerer")


@contextlib.contextmanager
def open_lab(home: Path) -> Iterator[Lab]:
    """
    Start it all, and end it all.

    On SQLite, or on PostgreSQL if the environment variable ``LIVE_DATABASE`` says ``postgresql``.
    """
    with contextlib.ExitStack() as scope:
        options = _OPTIONS | _SWITCH_OPTIONS
        (home / "config").mkdir()
        (home / "config" / "airflow_local_settings.py").write_text(_LOCAL_SETTINGS, encoding="utf-8")
        if os.environ.get("LIVE_DATABASE") == "postgresql":
            options |= scope.enter_context(PostgresServer(home)).options
        airflow = ScratchAirflow(home, dag_folders=_DAG_FOLDERS, options=options, kept={"scheduler"})
        proxy = FaultProxy(airflow.execution_url, airflow.database.try_of_id, airflow.kill_worker)
        scope.enter_context(proxy)
        scope.enter_context(airflow)
        api = scope.enter_context(contextlib.closing(PublicApi(airflow.url)))
        airflow.options["core.execution_api_server_url"] = f"http://127.0.0.1:{proxy.port}/execution/"
        host = ReconcilerHost(airflow)
        airflow.start((*DEFAULT_COMPONENTS, "execution-api-server"))
        if airflow.database.has_store:
            host.start()
        scope.enter_context(SchedulerKeeper(airflow))
        yield Lab(airflow, proxy, api, host)


class Stage:
    """
    One scenario's parent and child, ``<name>_parent`` and ``<name>_child``.

    :param name: as in ``dags/scenarios.py``.
    """

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.parent_dag = f"{name}_parent"
        self.child_dag = f"{name}_child"
        self.submit_path = rf"/execution/dag-runs/{self.child_dag}/[^/]+"
        self.reset_path = rf"/execution/dag-runs/{self.child_dag}/[^/]+/clear"
        self.look_up_path = rf"/execution/dag-runs/{self.child_dag}/[^/]+(/state)?"
        self.poll_path = rf"/execution/dag-runs/{self.child_dag}/[^/]+/state"
        self.record_path = rf"/execution/store/ti/[^/]+/{KEY}[^/]*"
        self.state_path = r"/execution/task-instances/[^/]+/state"
        self.anything = r".*"

    # What can be done.

    def start(self) -> None:
        """Trigger the parent."""
        self.lab.airflow.wait_for_dags({self.parent_dag, self.child_dag})
        self.lab.api.trigger(self.parent_dag, RUN_ID)

    def start_foreign_child(self, run_id: str, state: str = "success") -> None:
        """Make a child run that the parent has not started, and mark it."""
        self.lab.airflow.wait_for_dags({self.child_dag})
        self.lab.api.trigger(self.child_dag, run_id)
        self.lab.api.mark_run(self.child_dag, run_id, state)

    def inject(self, action: Action, method: str, path: str, **more: Any) -> Fault:  # noqa: ANN401 - Fault's own
        """Let a request of the parent meet a fault."""
        return self.lab.proxy.inject(Fault(action, self.parent_dag, RUN_ID, method, path, **more))

    def kill_worker(self, map_index: int = -1) -> None:
        """Kill the parent's task process and its supervisor."""
        pid = self.parent(map_index).pid
        assert pid is not None
        self.lab.airflow.kill_worker(pid)

    def kill_supervisor(self) -> None:
        """Kill the supervisor of the parent's task process alone: an executor's worker that runs out of memory."""
        supervisor = psutil.Process(self.parent().pid).parent()
        assert supervisor is not None
        supervisor.send_signal(signal.SIGKILL)

    def mark_child(self, state: str = "success", run: DagRun | None = None) -> None:
        """Let the newest child run end, as a person would."""
        self.lab.api.mark_run(self.child_dag, (run or self.children()[-1]).run_id, state)

    def delete_child(self) -> None:
        """Delete the newest child run, as a person would."""
        self.lab.api.delete_run(self.child_dag, self.children()[-1].run_id)

    def clear_parent(self, *, is_record_kept: bool = True) -> None:
        """
        Clear the parent, as a person would.

        :param is_record_kept: Airflow 3.4 asks whether what the task has stored is kept. An older one keeps it always:
            there it is deleted.
        """
        self._wait_until_run_is_settled()
        if not is_record_kept and not _ASKS_TO_KEEP:
            self.lab.api.clear_store(self.parent_dag, RUN_ID, "run_child")
        keep = is_record_kept if _ASKS_TO_KEEP else None
        self.lab.api.clear_task(self.parent_dag, RUN_ID, "run_child", keep_task_state=keep)

    def clear_parent_run(self) -> None:
        """Clear the parent's whole Dag run, as a person would."""
        self._wait_until_run_is_settled()
        self.lab.api.clear_run(self.parent_dag, RUN_ID)

    def delete_parent_run(self) -> None:
        """Delete the parent's Dag run, as a person would."""
        self.lab.api.delete_run(self.parent_dag, RUN_ID)

    def mark_parent(self, state: str) -> None:
        """Mark the parent, as a person would."""
        self.lab.api.mark_task(self.parent_dag, RUN_ID, "run_child", state)

    def clear_child(self) -> None:
        """Clear the newest child run, as a person would."""
        self.lab.api.clear_run(self.child_dag, self.children()[-1].run_id)

    def finish(self, try_number: int) -> None:
        """Let the child succeed that this try waits for, and the parent with it."""
        self.wait_until_waiting(try_number)
        self.mark_child()
        self.wait_for_parent("success", try_number)

    def turn_off(self) -> None:
        """Opt the parent's Dag out of the switch, from the next parse on."""
        self._turned_off.parent.mkdir(exist_ok=True)
        self._turned_off.touch()

    def turn_on(self) -> None:
        """Take the opt-out back."""
        self._turned_off.unlink()

    @property
    def _turned_off(self) -> Path:
        return self.lab.airflow.home / "turned_off" / self.child_dag.removesuffix("_child")

    # What can be seen.

    def parent(self, map_index: int = -1) -> TaskTry:
        """Return the parent's latest attempt."""
        attempts = self.lab.airflow.database.latest_tries(self.parent_dag, RUN_ID)
        return next(one for one in attempts if (one.task_id, one.map_index) == ("run_child", map_index))

    def children(self) -> list[DagRun]:
        """Return all runs of the child Dag, the oldest first."""
        return self.lab.airflow.database.runs(self.child_dag)

    def record(self, map_index: int = -1) -> dict[str, Any] | None:
        """Return the newest entry of the first call in the task state store, None if there is none."""
        records = self.lab.airflow.database.stored(self.parent_dag, RUN_ID)
        entries = {
            position: value
            for (_, index, key), value in records.items()
            if index == map_index and (position := position_of(key)) is not None and position[0] == 1
        }
        return entries[max(entries)] if entries else None

    def conf_of(self, run: DagRun) -> Any:  # noqa: ANN401 - JSON
        """Return a child run's conf."""
        return self.lab.api.conf(self.child_dag, run.run_id)

    def xcom(self, key: str) -> Any:  # noqa: ANN401 - JSON
        """Return an XCom of the parent."""
        return self.lab.api.xcom(self.parent_dag, RUN_ID, "run_child", key)

    @property
    def is_deferrable(self) -> bool:
        """Whether the parent defers."""
        return self.parent().state == "deferred" or bool(
            self.lab.airflow.database.select(
                "SELECT 1 AS one FROM task_instance WHERE dag_id = :dag_id AND next_method IS NOT NULL",
                dag_id=self.parent_dag,
            )
        )

    def expect_decisions(self, *expected: str) -> None:
        """Compare what each try has decided, where this Airflow keeps a record."""
        if self.lab.has_store:
            found = self.decisions()
            assert found == list(expected), f"The tries have decided {found}, not {list(expected)}."

    def decisions(self, map_index: int = -1) -> list[str]:
        """Return what each attempt has decided, by the record."""
        record = self.record(map_index)
        assert record is not None
        return [entry["decision"] for entry in record["attempts"]]

    def audit_log(self) -> list[str]:
        """Return what the reconciler and people have done to the child's runs, by Airflow's audit log."""
        statement = "SELECT event FROM log WHERE dag_id = :dag_id AND event LIKE 'durable.%' ORDER BY id"
        return [row["event"] for row in self.lab.airflow.database.select(statement, dag_id=self.child_dag)]

    def sent(self, method: str, path: str, try_number: int | None = None) -> int:
        """Return how many such requests the parent has sent."""
        return len(self.lab.proxy.passages_of(self.parent_dag, method, path, try_number=try_number))

    def log(self, try_number: int) -> str:
        """Return an attempt's log."""
        folder = self.lab.airflow.home / "logs"
        (path,) = folder.glob(f"dag_id={self.parent_dag}/run_id={RUN_ID}/task_id=run_child/attempt={try_number}.log")
        return path.read_text()

    # What can be waited for.

    def wait_for(self, is_done: Callable[[], bool], what: str) -> None:
        """
        Wait until the condition holds.

        :raises AirflowNotReadyError: it does not; with what can be known of the reason.
        """
        try:
            self.lab.airflow.wait_for(is_done, f"{self.parent_dag}: {what}", LIMIT_SECONDS)
        except AirflowNotReadyError as error:
            message = f"{error}\n{self.describe()}"
            raise AirflowNotReadyError(message) from error

    def describe(self) -> str:
        """Return where this Airflow stands: for whoever has only the output of a failed test."""
        unfinished = self.lab.airflow.database.unfinished()
        requests = [passage for passage in tuple(self.lab.proxy.passages) if passage.sender]
        own = [passage for passage in requests if passage.sender and passage.sender.dag_id == self.parent_dag]
        sections = {
            "Now": [str(datetime.now(tz=timezone.utc))],
            "Unfinished task instances": [str(dict(row)) for row in unfinished],
            "The parent's Dag runs": [str(run) for run in self.lab.airflow.database.runs(self.parent_dag)],
            "Child runs": [str(run) for run in self.children()],
            "The parent's latest requests": [_tell_passage(passage) for passage in own[-8:]],
            "Anybody's latest requests": [_tell_passage(passage) for passage in requests[-8:]],
            "Processes": [
                told
                for process in processes.members(self.lab.airflow.components)
                if not (told := _tell_process(process)).rstrip().endswith("<idle>")
            ],
            "The ends of the logs": [
                f"--- {component.name}\n{component.tail(15)}" for component in tuple(self.lab.airflow.components)
            ],
        }
        return "\n".join(line for title, lines in sections.items() for line in (f"{title}:", *lines))

    def wait_for_children(self, count: int) -> None:
        """Wait until there are so many child runs."""
        self.wait_for(lambda: len(self.children()) == count, f"{count} child runs")

    def wait_for_parent(
        self, states: Collection[str] | str, try_number: int | None = None, map_index: int = -1
    ) -> None:
        """Wait until the parent is in one of the states, in that try."""
        wanted = {states} if isinstance(states, str) else set(states)

        def is_there() -> bool:
            attempt = self.parent(map_index)
            return attempt.state in wanted and try_number in {None, attempt.try_number}

        self.wait_for(is_there, f"state {sorted(wanted)} in try {try_number or 'any'}")
        attempt = self.parent(map_index)
        if attempt.state == "deferred":
            self._wait_until_worker_is_reported(attempt)

    def wait_until_waiting(self, try_number: int, map_index: int = -1, run: DagRun | None = None) -> None:
        """
        Wait until this try of the parent has seen its child's state, as it does while it waits.

        :param run: of this child; None: of any.
        """
        path = self.poll_path if run is None else rf"/execution/dag-runs/{self.child_dag}/{re.escape(run.run_id)}/state"

        def has_looked() -> bool:
            passages = self.lab.proxy.passages_of(self.parent_dag, "GET", path, try_number=try_number)
            return any(
                passage.sender and passage.sender.map_index == map_index and passage.status == 200
                for passage in passages
            )

        self.wait_for(has_looked, f"try {try_number} to look its child up")

    def _wait_until_worker_is_reported(self, deferred: TaskTry) -> None:
        """
        Wait until the scheduler knows that the worker which deferred the task has ended.

        What resumes the task before makes the scheduler take that end for the resumed task's own, and fail the try
        (3.3, ``scheduler_job_runner.py``, ``process_executor_events``: the LocalExecutor keeps no list of what runs).
        The next try reconnects, and a user never sees a second child; but here tries are counted.
        """
        key = (
            f"TaskInstanceKey(dag_id='{deferred.dag_id}', task_id='{deferred.task_id}', run_id='{deferred.run_id}', "
            f"try_number={deferred.try_number}, map_index={deferred.map_index})"
        )
        # From 3.4 the line has the task instance's id before its key.
        report = re.compile(rf"executor event with state success for task instance .*{re.escape(key)}")
        (scheduler,) = [one for one in self.lab.airflow.components if one.kind == "scheduler"]
        self.wait_for(
            lambda: report.search(scheduler.log_path.read_text()) is not None,
            f"the report of try {deferred.try_number}",
        )

    def _wait_until_run_is_settled(self) -> None:
        """
        Wait until the parent's Dag run has ended, and its trigger is gone, if the parent has ended.

        A clear before the end of the run is lost on SQLite, which locks no rows: the scheduler ends a Dag run that it
        has read before, and the cleared task stays in it for good. A trigger that is still there the next try would
        get along with the task instance (3.3), and be resumed by it.
        """
        if self.parent().state in {"success", "failed", "skipped"}:
            runs = self.lab.airflow.database.runs
            has_trigger = self.lab.airflow.database.has_trigger
            self.wait_for(lambda: not has_trigger(self.parent_dag), "the end of its trigger")
            self.wait_for(
                lambda: {run.state for run in runs(self.parent_dag)} <= {"success", "failed"}, "the end of its Dag run"
            )

    def wait_until_gone(self, pid: int | None) -> None:
        """Wait until a process has ended."""
        assert pid is not None
        self.wait_for(lambda: not psutil.pid_exists(pid), f"the end of process {pid}")


def _tell_passage(passage: Passage) -> str:
    try_number = passage.sender.try_number if passage.sender else None
    return f"{passage.at:.1f} try {try_number}: {passage.method} {passage.path}: {passage.status} ({passage.fault})"


def _tell_process(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        title = " ".join(process.cmdline())[:150]
        return f"{process.pid} of {process.ppid()}, {process.num_threads()} threads: {title}"
    return f"{process.pid} has ended."


def scenario(body: Callable[[Stage], None]) -> Callable[..., None]:
    """
    Make a test of a scenario that runs beside the others: the test waits for its own one to end.

    The scenario is named as the test is; its Dags are found by that name. Where this Airflow cannot do what it asks
    for, what it does instead is run and asserted, and the test is an expected failure with the reason.
    """

    def test(outcomes: dict[str, Future[None]], record_property: Callable[[str, object], None]) -> None:
        if reason := find_reason_to_skip(body):
            pytest.skip(reason)
        outcomes[body.__name__].result()
        if limit := find_limit(body):
            record_property("verdict", "cannot" if limit.is_applicable else "not applicable")
            record_property("instead", limit.instead)
            pytest.xfail(limit.reason)

    test.__name__, test.__qualname__, test.__module__ = body.__name__, body.__qualname__, body.__module__
    test.__doc__ = body.__doc__
    test.__dict__["scenario"] = body
    return test


def find_limit(body: Callable[[Stage], None]) -> Limit | None:
    """Return what this environment's Airflow cannot do of a scenario; None if it can."""
    name, version = body.__name__.removeprefix("test_"), metadata.version("apache-airflow")
    limits = [known[name] for known in (LIMITS_OF_30, LIMITS) if name in known]
    return next((limit for limit in limits if limit.holds_on(version)), None)


def find_reason_to_skip(body: Callable[[Stage], None]) -> str | None:
    """Return why this very version of Airflow cannot be put through a scenario; None: it can."""
    names, reason = UNTRIED.get(metadata.version("apache-airflow"), ((), ""))
    return reason if body.__name__.removeprefix("test_") in names else None


@contextlib.contextmanager
def running_scenarios(lab: Lab, items: Collection[pytest.Item]) -> Iterator[dict[str, Future[None]]]:
    """Start the scenarios of these tests, some at a time, in their order."""
    with ThreadPoolExecutor(CONCURRENT_SCENARIOS, thread_name_prefix="scenario") as pool:
        outcomes: dict[str, Future[None]] = {}
        for item in items:
            body = getattr(getattr(item, "function", None), "scenario", None)
            if body is not None and not find_reason_to_skip(body):
                limit = find_limit(body)
                stage = Stage(lab, body.__name__.removeprefix("test_"))
                outcomes[body.__name__] = pool.submit(limit.body if limit else body, stage)
        try:
            yield outcomes
        finally:
            if not all(outcome.cancel() or outcome.done() for outcome in outcomes.values()):
                # The session was interrupted: let no scenario wait for what will not come.
                lab.airflow.stop()
