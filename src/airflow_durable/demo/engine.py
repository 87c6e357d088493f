"""A real Airflow in a scratch home: its components started, watched, killed and ended one by one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import httpx

from airflow_durable.demo import processes, settings
from airflow_durable.demo.processes import LOCALHOST, Component
from airflow_durable.metadata.scratch import ScratchDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from typing_extensions import Self

STARTUP_LIMIT_SECONDS = 300.0
"""How long Airflow may take to be ready. A busy machine with two cores took 40 seconds."""

POLL_SECONDS = 0.25

_API_SERVER = ("airflow", "api-server", "--host", LOCALHOST, "--workers", "1")
_COMMANDS: dict[str, tuple[str, ...]] = {
    "api-server": _API_SERVER,
    "execution-api-server": (*_API_SERVER, "--apps", "execution"),
    "scheduler": ("airflow", "scheduler", "--skip-serve-logs"),
    "dag-processor": ("airflow", "dag-processor"),
    "triggerer": ("airflow", "triggerer", "--skip-serve-logs"),
    "celery-worker": ("airflow", "celery", "worker", "--skip-serve-logs"),
    "reconciler": ("airflow_durable", "reconcile"),
}
DEFAULT_COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")

_HEALTH_PATHS = {"api-server": "/api/v2/version", "execution-api-server": "/execution/health"}

_JOB_TYPES = {
    "scheduler": "SchedulerJob",
    "dag-processor": "DagProcessorJob",
    "triggerer": "TriggererJob",
}


class AirflowNotReadyError(RuntimeError):
    """The scratch Airflow did not come up, or a component of it ended by itself."""


class ScratchAirflow:
    """
    An Airflow of the running interpreter's environment, with nothing of the machine's own Airflow in it.

    As a context manager it ends all that it has started, whatever ends the block: an error, Ctrl-C, SIGTERM.

    :param home: its ``AIRFLOW_HOME``, an existing folder for it alone. It is left to the caller to remove.
    :param dag_folders: a folder of Dag files for each bundle name.
    :param options: configuration, ``section.key`` to value, before anything of ours: another ``core.executor``, another
        ``database.sql_alchemy_conn``, a proxy as ``core.execution_api_server_url``. May be changed until a component
        is started.
    :param kept: kinds of components that somebody starts again when they end: no wait fails for that.
    """

    def __init__(
        self,
        home: Path,
        *,
        dag_folders: Mapping[str, Path],
        options: Mapping[str, str] | None = None,
        kept: Collection[str] = (),
    ) -> None:
        self.home = home
        self._kept = frozenset(kept)
        self._ports = {kind: processes.free_port() for kind in _HEALTH_PATHS}
        self.options = settings.build_options(
            home, dag_folders=dag_folders, api_port=self._ports["api-server"], given=options or {}
        )
        self.components: list[Component] = []
        self._gone: list[Component] = []
        self._numbers: Counter[str] = Counter()
        self._is_stopped = False
        self._scopes = contextlib.ExitStack()
        self.database = ScratchDatabase(self.options["database.sql_alchemy_conn"])

    @property
    def url(self) -> str:
        """The API server's address."""
        return self._url_of("api-server")

    @property
    def execution_url(self) -> str:
        """
        The address of the API server for workers alone, if that component is started.

        On SQLite a test that acts as a person needs it: the audit log of the public API commits on the server's event
        loop (3.0 to 3.3, ``api_fastapi/logging/decorators.py``), and if a worker's request in the same
        process holds the database's lock then, neither can continue before the lock's time-out.
        """
        return self._url_of("execution-api-server")

    def __enter__(self) -> Self:
        """From here on, let signals end the block in order."""
        self._scopes.enter_context(processes.ending_signals_raised())
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        with processes.ending_signals_ignored():
            self.stop()
        self._scopes.close()

    def start(self, kinds: Collection[str] = DEFAULT_COMPONENTS) -> None:
        """
        Make the database and start the components, and wait until all of them work.

        :raises AirflowNotReadyError: with the end of the log of the component that failed.
        """
        self.migrate()
        for kind in kinds:
            self.start_component(kind)
        self.wait_until_ready()

    def migrate(self) -> None:
        """Make the metadata database, or bring it up to date."""
        component = self._spawn("migrate", ("airflow", "db", "migrate"))
        if component.process.wait(STARTUP_LIMIT_SECONDS) != 0:
            raise AirflowNotReadyError(_tell_of(component, "failed"))
        self._forget(component)
        if path := sqlite_path(self.options["database.sql_alchemy_conn"]):
            # Readers and the one writer do not wait for one another then; it stays with the file.
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")

    def start_component(self, kind: str, *arguments: str, **environment: str) -> Component:
        """
        Start one component more, and return at once.

        :param kind: a key of the commands: ``scheduler``, ``celery-worker``, ...
        :param arguments: more of its command line.
        :param environment: variables for this one alone.
        """
        argv = _COMMANDS[kind]
        if kind in self._ports:
            argv = (*argv, "--port", str(self._ports[kind]))
        return self._spawn(kind, (*argv, *arguments), environment)

    def kill(self, component: Component) -> None:
        """End a component and all its offspring by SIGKILL, as the loss of its machine would."""
        self._forget(component)
        processes.end([component])

    def wait_until_ready(self, limit_seconds: float = STARTUP_LIMIT_SECONDS) -> None:
        """
        Wait until every component that was started works.

        :raises AirflowNotReadyError: one ended, or it takes too long.
        """
        self.wait_for(self._is_ready, "Airflow to be ready", limit_seconds)

    def wait_for_dags(self, dag_ids: Collection[str], limit_seconds: float = STARTUP_LIMIT_SECONDS) -> None:
        """
        Wait until these Dags have been parsed.

        :raises AirflowNotReadyError: one of the files cannot be imported, or it takes too long.
        """

        def are_known() -> bool:
            if errors := self.database.import_errors():
                message = f"Dag files cannot be imported: {'; '.join(errors)}"
                raise AirflowNotReadyError(message)
            return set(dag_ids) <= self.database.known_dags()

        self.wait_for(are_known, f"the Dags {', '.join(sorted(dag_ids))}", limit_seconds)

    def wait_for(self, is_done: Callable[[], bool], what: str, limit_seconds: float) -> None:
        """
        Wait until the condition holds.

        :raises AirflowNotReadyError: a component ended meanwhile, or it takes too long.
        """
        deadline = time.monotonic() + limit_seconds
        while not is_done():
            if self._is_stopped:
                message = f"Airflow was stopped while waiting for {what}."
                raise AirflowNotReadyError(message)
            for component in tuple(self.components):
                is_missed = component.kind not in self._kept and not component.is_alive
                if is_missed and component in self.components:
                    raise AirflowNotReadyError(_tell_of(component, f"ended while waiting for {what}"))
            if time.monotonic() > deadline:
                message = f"Waited {limit_seconds:g} s for {what}, in vain. Its logs are in {self.home}."
                raise AirflowNotReadyError(message)
            time.sleep(POLL_SECONDS)

    def kill_worker(self, task_pid: int) -> tuple[int, ...]:
        """Kill a task process and its supervisor; see :func:`airflow_durable.demo.processes.kill_worker`."""
        return processes.kill_worker(task_pid, self.components)

    def stop(self) -> None:
        """End every process that came of this Airflow."""
        self._is_stopped = True
        components = [*self.components, *self._gone]
        self.components.clear()
        processes.end(components, self.home)
        self._gone.clear()
        self.database.close()

    def _url_of(self, kind: str) -> str:
        return f"http://{LOCALHOST}:{self._ports[kind]}"

    def _spawn(self, kind: str, argv: tuple[str, ...], environment: Mapping[str, str] | None = None) -> Component:
        self._numbers[kind] += 1
        name = f"{kind}-{self._numbers[kind]}"
        component = processes.start(
            kind,
            name,
            argv,
            env={**settings.build_environment(self.home, self.options), **(environment or {})},
            log_path=self.home / f"{name}.log",
        )
        self.components.append(component)
        return component

    def _forget(self, component: Component) -> None:
        """Stop to miss a component that is meant to be gone; offspring of it may still be there."""
        self.components.remove(component)
        self._gone.append(component)

    def _is_ready(self) -> bool:
        return all(self._is_component_ready(kind) for kind in {component.kind for component in self.components})

    def _is_component_ready(self, kind: str) -> bool:
        components = [component for component in self.components if component.kind == kind]
        if kind in _HEALTH_PATHS:
            with contextlib.suppress(httpx.HTTPError):
                url = f"{self._url_of(kind)}{_HEALTH_PATHS[kind]}"
                return httpx.get(url, timeout=5, trust_env=False).is_success
            return False
        if kind in _JOB_TYPES:
            since = datetime.fromtimestamp(min(component.started_at for component in components), tz=timezone.utc)
            return self.database.beats(_JOB_TYPES[kind], since) >= len(components)
        return True


def sqlite_path(url: str) -> str | None:
    """Return the file of an SQLite database, None for any other."""
    scheme, _, rest = url.partition(":///")
    return os.path.abspath(rest.partition("?")[0]) if scheme.startswith("sqlite") else None  # noqa: PTH100 - a text


def _tell_of(component: Component, happened: str) -> str:
    code = component.process.poll()
    return (
        f"Airflow's {component.name} {happened} (exit code {code}). The end of {component.log_path}:\n"
        f"{component.tail()}"
    )
