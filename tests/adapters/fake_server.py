"""
The scripted server behind the supervisor: Dag runs, the task state store and XComs, as the Execution API has them.

It answers what Airflow's own does (3.3, ``execution_api/routes/dag_runs.py``, ``task_instances.py``,
``task_state_store.py``), by way of the client (``sdk/api/client.py``) and the supervisor.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.sdk.api.datamodels import _generated as api
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
OUTCOMES = ("SucceedTask", "TaskState", "RetryTask", "DeferTask")
UNANSWERED = frozenset({*OUTCOMES, "SetRenderedFields", "SetRenderedMapIndex", "MaskSecret", "SetExecutionTimeout"})
"""Messages to which the answer has no content. ``SetExecutionTimeout`` exists from 3.4."""

ACTIVE = frozenset({"queued", "running"})
ENDS_OF_TASKS = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
_CUT_OFF = re.compile(r"[#?].*", re.DOTALL)


class ServerError(Exception):
    """
    The API server's answer was an error.

    :param status: None: there was no answer.
    :param detail: the ``detail`` of the body.
    """

    def __init__(self, status: int | None, detail: Any = None) -> None:  # noqa: ANN401 - JSON
        super().__init__(f"HTTP {status}")
        self.status = status
        self.detail = detail

    def response(self) -> comms.ErrorResponse:
        """Return it as the supervisor hands it to the task (``supervisor.py``, ``handle_requests``)."""
        detail: dict[str, Any]
        if self.status is None:
            detail = {"status_code": None, "message": "All attempts failed", "exception_type": "ConnectError"}
        else:
            detail = {"status_code": self.status, "message": "Server returned error", "detail": {"detail": self.detail}}
        return comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail)


def not_found(what: str) -> ServerError:
    """Return the error of the Execution API for what does not exist."""
    return ServerError(404, {"reason": "not_found", "message": f"{what} not found"})


def no_such_key(key: str) -> comms.ErrorResponse:
    """Return the supervisor's answer for a key that the state store does not have."""
    return comms.ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND, detail={"key": key})


@dataclass
class Run:
    """
    A Dag run at the server.

    :param tasks: the states of its tasks; None: one that is yet to be scheduled.
    :param returned: what its tasks returned; a list for a mapped one.
    """

    dag_id: str
    run_id: str
    state: str = "queued"
    logical_date: datetime | None = None
    run_after: datetime | None = None
    conf: Any = None
    note: str | None = None
    clear_number: int = 0
    start_date: datetime | None = None
    end_date: datetime | None = None
    run_type: str = "manual"
    tasks: dict[str, str | None] = field(default_factory=dict)
    returned: dict[str, Any] = field(default_factory=dict)
    partition_key: str | None = None


class Server:
    """
    What is true, whatever is asked.

    :ivar dags: the child Dags that exist, and whether each is paused.
    :ivar runs: by Dag and run id. Their logical dates are unique for each Dag, too.
    :ivar upstream: when the tasks upstream of the parent, in its Dag run, ended.
    :ivar store: the state store of the parent, over all its tries.
    :ivar current_id: of the parent's task instance. A new try gets a new one, and the old one may not write any more.
    """

    def __init__(self) -> None:
        self.dags = {"child": False}
        self.runs: dict[tuple[str, str], Run] = {}
        self.upstream: dict[str, datetime] = {}
        self.store: dict[str, Any] = {}
        self.expiries: dict[str, Any] = {}
        self.xcoms: dict[str, Any] = {}
        self.current_id: uuid.UUID | None = None

    # What a test asks.

    def states(self, dag_id: str = "child") -> list[str]:
        """Return the states of the runs of a Dag, in the order of their creation."""
        return [run.state for run in self.runs.values() if run.dag_id == dag_id]

    def only_run(self) -> Run:
        """Return the run; fail if there is not exactly one."""
        (run,) = self.runs.values()
        return run

    def add(self, run_id: str, state: str = "queued", **fields: Any) -> Run:  # noqa: ANN401 - those of Run
        """Let there be a run of the child Dag that somebody else started."""
        run = Run(fields.pop("dag_id", "child"), run_id, state, **fields)
        self.runs[run.dag_id, run.run_id] = run
        return run

    def end_all(self, state: str) -> None:
        """Let every active run end."""
        for run in self.runs.values():
            if run.state in ACTIVE:
                run.state = state

    def answer_truly(self, request: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        """Do what is asked and return the answer; raise ServerError if that is the answer."""
        name = type(request).__name__
        handler = getattr(self, f"_on_{name}", None)
        if handler is None and name not in UNANSWERED:
            raise AssertionError(f"The supervisor is not scripted to answer {name}.")
        return handler(request) if handler else None

    # Dag runs.

    def _on_TriggerDagRun(self, request: Any) -> Any:  # noqa: ANN401, N802 - a message, by its name
        run_id = _as_in_path(request)
        if request.dag_id not in self.dags:
            raise not_found(f"Dag with dag_id: {request.dag_id!r}")
        run = Run(
            request.dag_id,
            run_id,
            logical_date=request.logical_date,
            run_after=getattr(request, "run_after", None) or request.logical_date or NOW,
            conf=request.conf or {},
            note=getattr(request, "note", None),
            partition_key=getattr(request, "partition_key", None),
        )
        existing = self.runs.get((run.dag_id, run.run_id))
        is_date_taken = run.logical_date is not None and any(
            (other.dag_id, other.logical_date) == (run.dag_id, run.logical_date) for other in self.runs.values()
        )
        if existing is None and not is_date_taken:
            self.runs[run.dag_id, run.run_id] = run
        elif not request.reset_dag_run:
            return comms.ErrorResponse(error=ErrorType.DAGRUN_ALREADY_EXISTS)
        elif existing is None:
            # The client clears the run of this id after any 409 (``sdk/api/client.py``, ``DagRunOperations.trigger``).
            raise not_found(f"Dag run with run_id: {run_id!r}")
        else:
            existing.state, existing.clear_number = "queued", existing.clear_number + 1
            existing.start_date = existing.end_date = None
        return comms.OKResponse(ok=True)

    def _on_GetDagRunState(self, request: Any) -> Any:  # noqa: ANN401, N802
        return comms.DagRunStateResult(state=api.DagRunState(self._find(request).state))

    def _on_GetDagRun(self, request: Any) -> Any:  # noqa: ANN401, N802
        run = self._find(request)
        known: dict[str, Any] = {
            "dag_id": run.dag_id,
            "run_id": run.run_id,
            "logical_date": run.logical_date,
            "data_interval_start": run.logical_date,
            "data_interval_end": run.logical_date,
            "run_after": run.run_after or run.logical_date or NOW,
            "start_date": run.start_date,
            "end_date": run.end_date,
            "clear_number": run.clear_number,
            "run_type": api.DagRunType(run.run_type),
            "state": api.DagRunState(run.state),
            "conf": run.conf or {},
            "note": run.note,
            "consumed_asset_events": [],
            "partition_key": run.partition_key,
        }
        # ``note`` is in it from 3.3 only.
        fields = comms.DagRunResult.model_fields
        return comms.DagRunResult(**{name: value for name, value in known.items() if name in fields})

    def _on_GetDRCount(self, request: Any) -> Any:  # noqa: ANN401, N802
        return comms.DRCount(count=sum(1 for _ in self._filtered(request)))

    def _on_GetTICount(self, request: Any) -> Any:  # noqa: ANN401, N802
        states = request.states and {None if state in {"null", "None"} else state for state in request.states}
        return comms.TICount(
            count=sum(
                1
                for run in self._filtered(request, is_by_state=False)
                for task_id, state in run.tasks.items()
                if (not request.task_ids or task_id in request.task_ids) and (not states or state in states)
            )
        )

    def _on_GetTaskStates(self, request: Any) -> Any:  # noqa: ANN401, N802
        found: dict[str, dict[str, str | None]] = {}
        for run in self._filtered(request, is_by_state=False):
            wanted = request.task_ids or ()
            tasks = {name: s for name, s in run.tasks.items() if not wanted or _is_of(name, wanted)}
            if tasks:
                found[run.run_id] = tasks
        return comms.TaskStatesResult(task_states=found)

    def _on_GetTaskBreadcrumbs(self, request: Any) -> Any:  # noqa: ANN401, N802
        """Tell of the tasks that have ended. A run that does not exist has none; that is no error."""
        run = self.runs.get((request.dag_id, request.run_id))
        crumbs = [
            {"task_id": task_id, "map_index": -1, "state": state, "operator": "PythonOperator", "duration": 1.0}
            for task_id, state in sorted(run.tasks.items() if run else ())
            if state in ENDS_OF_TASKS
        ]
        return comms.TaskBreadcrumbsResult(breadcrumbs=crumbs)

    def _find(self, request: Any) -> Run:  # noqa: ANN401
        run = self.runs.get((request.dag_id, _as_in_path(request)))
        if run is None:
            raise not_found(f"DagRun with dag_id: {request.dag_id!r} and run_id: {request.run_id!r}")
        return run

    def _filtered(self, request: Any, *, is_by_state: bool = True) -> Iterator[Run]:  # noqa: ANN401
        """Yield the runs that match. An empty filter is none: the client leaves it out."""
        for run in self.runs.values():
            if (
                run.dag_id == request.dag_id
                and (not request.run_ids or run.run_id in request.run_ids)
                and (not request.logical_dates or run.logical_date in request.logical_dates)
                and (not is_by_state or not request.states or run.state in request.states)
            ):
                yield run

    def _on_GetDag(self, request: Any) -> Any:  # noqa: ANN401, N802
        if request.dag_id not in self.dags:
            raise not_found(f"Dag with dag_id: {request.dag_id!r}")
        return comms.DagResult(
            dag_id=request.dag_id,
            is_paused=self.dags[request.dag_id],
            bundle_name=None,
            bundle_version=None,
            relative_fileloc=None,
            owners=None,
            tags=[],
            next_dagrun=None,
        )

    def _on_GetPreviousTI(self, request: Any) -> Any:  # noqa: ANN401, N802
        """Tell of the newest task instance of the parent's Dag before a date: here all are of the parent's Dag run."""
        if request.task_id not in self.upstream or request.logical_date <= NOW or request.map_index != -1:
            return comms.PreviousTIResult(task_instance=None)
        found = api.PreviousTIResponse(
            dag_id=request.dag_id,
            task_id=request.task_id,
            run_id="parent-run",
            logical_date=NOW,
            end_date=self.upstream[request.task_id],
            state="success",
            try_number=1,
        )
        return comms.PreviousTIResult(task_instance=found)

    # The parent's state store. To a superseded try everything in it is a 404, which the client takes for a key that is
    # not there when it reads.

    def _on_GetTaskStateStore(self, request: Any) -> Any:  # noqa: ANN401, N802
        if request.ti_id != self.current_id or request.key not in self.store:
            return no_such_key(request.key)
        return comms.TaskStateStoreResult(value=self.store[request.key])

    def _on_SetTaskStateStore(self, request: Any) -> Any:  # noqa: ANN401, N802
        self._fence(request)
        self.store[request.key] = json.loads(json.dumps(request.value))
        self.expiries[request.key] = request.expires_at
        return comms.OKResponse(ok=True)

    def _on_DeleteTaskStateStore(self, request: Any) -> Any:  # noqa: ANN401, N802
        self._fence(request)
        self.store.pop(request.key, None)
        return comms.OKResponse(ok=True)

    def _on_ClearTaskStateStore(self, request: Any) -> Any:  # noqa: ANN401, N802
        self._fence(request)
        self.store.clear()
        return comms.OKResponse(ok=True)

    def _fence(self, request: Any) -> None:  # noqa: ANN401
        if request.ti_id != self.current_id:
            raise not_found(f"Task instance {request.ti_id}")

    # XComs.

    def _on_SetXCom(self, request: Any) -> None:  # noqa: ANN401, N802
        self.xcoms[request.key] = request.value

    def _on_GetXCom(self, request: Any) -> Any:  # noqa: ANN401, N802
        run = self.runs.get((request.dag_id, request.run_id))
        value = self.xcoms.get(request.key) if run is None else run.returned.get(request.task_id)
        return comms.XComResult(key=request.key, value=value)

    def _on_GetXComSequenceSlice(self, request: Any) -> Any:  # noqa: ANN401, N802
        run = self._find(request)
        return comms.XComSequenceSliceResult(root=run.returned.get(request.task_id, []))

    def _on_DeleteXCom(self, request: Any) -> None:  # noqa: ANN401, N802
        self.xcoms.pop(request.key, None)


def _is_of(name: str, task_ids: Any) -> bool:  # noqa: ANN401 - a list of texts
    """Tell whether a task state is of one of these tasks: a part of a mapped one is named by its map index, too."""
    return name in task_ids or any(re.fullmatch(rf"{re.escape(task_id)}_\d+", name) for task_id in task_ids)


def _as_in_path(request: Any) -> str:  # noqa: ANN401
    """
    Return the run id as it arrives. The client puts it into the request's path as it is (``sdk/api/client.py``).

    :raises ServerError: there is no such route.
    """
    run_id: str = _CUT_OFF.sub("", request.run_id)
    if not request.dag_id or not run_id or "/" in run_id + request.dag_id:
        raise ServerError(404, "Not Found")
    return run_id
