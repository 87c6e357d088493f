"""
The commands that change something: ``reconcile``, ``end``, ``resume`` and ``forget``.

The first works on the metadata database; the others ask the API server, which asks its auth manager whether the token's
user may do that. Progress and questions go to standard error; what was done, to standard output.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import sqlalchemy as sa
import typer

from airflow_durable.cli.frame import CommandError, ExitCode, print_lines, say
from airflow_durable.cli.options import check_url, read_token

_HEADER = "X-Durable-Action"
_TIMEOUT_SECONDS = 60.0
_ADVICE = {
    401: "The token is wrong or has expired; ask Airflow for a new one.",
    403: "The token is wrong, or its user may not do that.",
    404: (
        "There is no record of such a task, or the token's user may not read its Dag. Is airflow-durable 0.2.0 or "
        "newer installed in the API server, and [durable] waits_page on?"
    ),
}

DagId = Annotated[str, typer.Argument(metavar="DAG_ID", help="The parent's Dag.")]
RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="The parent's Dag run.")]
TaskId = Annotated[str, typer.Argument(metavar="TASK_ID", help="The parent task.")]
Url = Annotated[str, typer.Option("--url", metavar="URL", help="Airflow's address, e.g. https://airflow.example.com")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Preview = Annotated[bool, typer.Option("--preview", help="Say what would be done, and do nothing.")]
Region = Annotated[
    str, typer.Option("--region", metavar="ID", help="Airflow 3.4: which of several instances in a loop.")
]
MapIndex = Annotated[
    int, typer.Option("--map-index", metavar="N", min=-1, help="Of a mapped task instance; in a loop, the iteration.")
]
Call = Annotated[
    int,
    typer.Option("--call", metavar="N", min=1, help="Of a task that starts several child runs, which of them, from 1."),
]


def reconcile(
    *,
    is_once: Annotated[bool, typer.Option("--once", help="Check once, do what there is to do, and end.")] = False,
) -> None:
    """
    Do what durable parents ask for and a task cannot do: end, resume or reset their child runs.

    The API server does the same, unless [durable] reconciler = False. Works on the metadata database that this
    machine's Airflow (3.3 or later) is configured for. Runs until it is interrupted. There may be several at once.
    """
    from airflow_durable.metadata.connections import open_airflow
    from airflow_durable.metadata.installation import DatabaseUnreadableError

    try:
        # First, because it says what is wrong with the database, and creates none.
        with contextlib.redirect_stdout(sys.stderr), open_airflow() as (database, _):
            list(database.execute(sa.select(database.tables.dag_run.c.id).limit(1)))
    except DatabaseUnreadableError as error:
        raise CommandError(str(error)) from None
    from airflow_durable.server.standalone import NoRecordsError, run_here

    try:
        # What Airflow logs is no result.
        with contextlib.redirect_stdout(sys.stderr):
            run_here(say, is_once=is_once)
    except NoRecordsError as error:
        raise CommandError(str(error)) from None


def end(  # noqa: PLR0913 - a command's options
    dag_id: DagId,
    run_id: RunId,
    task_id: TaskId,
    *,
    url: Url,
    map_index: MapIndex = -1,
    region: Region = "",
    call: Call = 1,
    is_parent_kept: Annotated[
        bool, typer.Option("--child-only", help="End only the child run: the parent task's current try then fails.")
    ] = False,
    is_sure: Yes = False,
    is_preview: Preview = False,
) -> None:
    """
    End a parent task and its child run: both are marked as failed.

    The parent is named as in Airflow's UI: its Dag, its Dag run and its task. Says first what it will do, and asks.
    The token is in the environment variable AIRFLOW_DURABLE_TOKEN; its user must be allowed to change both runs.
    """
    action = "end-child" if is_parent_kept else "end-both"
    _act(url, _query(dag_id, run_id, task_id, map_index, region, call), action, is_sure=is_sure, is_preview=is_preview)


def resume(  # noqa: PLR0913 - a command's options
    dag_id: DagId,
    run_id: RunId,
    task_id: TaskId,
    *,
    url: Url,
    map_index: MapIndex = -1,
    region: Region = "",
    call: Call = 1,
    is_sure: Yes = False,
    is_preview: Preview = False,
) -> None:
    """
    Let the failed child run of a parent task continue from where it failed.

    Only its failed tasks, and those that had not begun, are cleared. Says first what it will do, and asks. The token
    is in the environment variable AIRFLOW_DURABLE_TOKEN.
    """
    query = _query(dag_id, run_id, task_id, map_index, region, call)
    _act(url, query, "resume-child", is_sure=is_sure, is_preview=is_preview)


def forget(  # noqa: PLR0913 - a command's options
    dag_id: DagId,
    run_id: RunId,
    task_id: TaskId,
    *,
    url: Url,
    map_index: MapIndex = -1,
    region: Region = "",
    is_sure: Yes = False,
    is_preview: Preview = False,
) -> None:
    """
    Delete the record of a parent task that is not running.

    Its next try finds an active child run by the run id. The outcome of an ended one counts for a retry, but not after
    a clear. Says first what it will do, and asks. The token is in the environment variable AIRFLOW_DURABLE_TOKEN.
    """
    _act(url, _query(dag_id, run_id, task_id, map_index, region, 1), "forget", is_sure=is_sure, is_preview=is_preview)


def _query(dag_id: str, run_id: str, task_id: str, map_index: int, region: str, call: int) -> dict[str, Any]:  # noqa: PLR0913, PLR0917 - what names a parent
    query = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index, "call": call}
    # Without its dashes, as the server has it.
    return {**query, "region": region.replace("-", "")} if region else query


def _act(url: str, query: dict[str, Any], action: str, *, is_sure: bool, is_preview: bool) -> None:
    check_url(url)
    token = read_token(url)
    with httpx.Client(
        base_url=f"{url.rstrip('/').removesuffix('/api/v2')}/durable-waits",
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        timeout=_TIMEOUT_SECONDS,
    ) as client:
        try:
            _act_with(client, query, action, is_sure=is_sure, is_preview=is_preview)
        except httpx.TransportError as error:
            message = f"{url} could not be reached: {type(error).__name__}."
            raise CommandError(message) from None


def _act_with(client: httpx.Client, query: dict[str, Any], action: str, *, is_sure: bool, is_preview: bool) -> None:
    shown = _read(client.get("/actions", params=query))
    plan = next(one for one in shown["actions"] if one["action"] == action)
    if plan["refusal"]:
        raise CommandError(plan["refusal"], ExitCode.FOUND)
    for effect in plan["effects"]:
        say(effect)
    if is_preview or not (is_sure or typer.confirm("Do it?", err=True)):
        return
    address = f"/wait/{shown['wait_id']}/actions/{quote(action)}"
    _read(client.post(address, json={"seal": plan["seal"]}, headers={_HEADER: action}))
    print_lines(["Done."])


def _read(response: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    """
    Return the answer.

    :raises CommandError: it is a refusal.
    """
    if response.is_success:
        with contextlib.suppress(ValueError):
            return response.json()
        message = "The answer is not JSON. Is that the address of an Airflow?"
        raise CommandError(message)
    detail = ""
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        detail = str(response.json()["detail"])
    status = f"HTTP {response.status_code}."
    advice = _ADVICE.get(response.status_code)
    message = f"{status} {advice}" if advice else detail or status
    raise CommandError(message, ExitCode.FOUND if detail else ExitCode.UNREADABLE)
