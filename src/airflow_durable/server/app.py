"""
The page's routes: all of them read, all of them ask the auth manager first.

Nothing of a run but its names, states and times leaves here: no conf, no XCom, no rendered field. All output goes
through a template that escapes it, and the content security policy admits no script but our own files.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from airflow_durable.metadata import records
from airflow_durable.metadata.reads import KEYS_AT_ONCE
from airflow_durable.server import api, attention, metrics, mismatch, pending
from airflow_durable.server.access import (
    DatabaseSession,
    ReadableDags,
    SignedInUser,
    may_read_audit_log,
    read_dag_ids,
)
from airflow_durable.server.answers import add_headers, show_bad_request, show_error, show_failure
from airflow_durable.server.cache import Cache
from airflow_durable.server.items import ItemCache
from airflow_durable.server.queries import Waits, has_store
from airflow_durable.server.rendering import FOLDER, render
from airflow_durable.server.requests import STATES, RequestedTable, TableRequest
from airflow_durable.server.timeline import draw
from airflow_durable.server.totals import FRESH_SECONDS, count

if TYPE_CHECKING:
    from airflow_durable.server.model import Wait
    from airflow_durable.server.timeline import Timeline

_SCRIPT = "text/javascript; charset=utf-8"
_STATIC = {
    "waits.css": "text/css; charset=utf-8",
    "timeline.css": "text/css; charset=utf-8",
    "dialog.css": "text/css; charset=utf-8",
    "theme.js": _SCRIPT,
    "main.js": _SCRIPT,
    "airflow.js": _SCRIPT,
    "times.js": _SCRIPT,
    "timelines.js": _SCRIPT,
    "following.js": _SCRIPT,
    "filters.js": _SCRIPT,
    "actions.js": _SCRIPT,
    "icon.svg": "image/svg+xml",
    "icon-dark.svg": "image/svg+xml",
}

NO_MAP_INDEX = "{MAP_INDEX}"
"""What Airflow leaves in a tab's address where a task instance is of no mapped task (3.1 to 3.4, ``Iframe.tsx``)."""

WaitId = Annotated[int, PathParameter(ge=0, lt=2**31)]

counts = Cache(count, FRESH_SECONDS)
snapshots = Cache(attention.take_snapshot, attention.FRESH_SECONDS)
requests = Cache(pending.Reader().read, pending.FRESH_SECONDS)
"""What the reconciler is asked for."""

items = ItemCache()
mismatches = Cache(mismatch.find, mismatch.FRESH_SECONDS)


def make_app(url_prefix: str) -> FastAPI:
    """Make the application that is mounted under this prefix."""
    app = FastAPI(
        title="Durable waits",
        openapi_url=None,
        dependencies=[Depends(read_dag_ids)],
        exception_handlers={
            StarletteHTTPException: show_error,
            RequestValidationError: show_bad_request,
            Exception: show_failure,
        },
    )
    app.state.url_prefix = url_prefix
    app.middleware("http")(add_headers)
    app.get("/")(show_table)
    app.get("/rows")(show_rows)
    app.get("/count")(show_count)
    app.get("/totals")(show_totals)
    app.get("/wait/{wait_id}")(show_wait)
    app.get("/run/{dag_id}/{run_id:path}")(show_run)
    app.get("/task/{dag_id}/{task_id}/{map_index}/{run_id:path}")(show_task_instance)
    app.get("/static/{name}")(send_static)
    app.get("/export.csv")(export_csv)
    app.get("/export.json")(export_json)
    app.get("/api/waits")(list_waits)
    app.get("/api/waits/{wait_id}")(get_wait)
    app.get("/api/totals")(get_totals)
    app.get(metrics.PATH)(get_metrics)
    app.get("/reconciler")(show_reconciler)
    if has_store():
        # What they import is not there in an older Airflow.
        from airflow_durable.server.action_routes import add_routes

        add_routes(app)
    return app


@cache
def get_app(url_prefix: str) -> FastAPI:
    """Return this process's application."""
    return make_app(url_prefix)


def show_table(request: Request, session: DatabaseSession, readable: ReadableDags, table: RequestedTable) -> Response:
    """Show the whole page."""
    if not has_store():
        runs, has_older = Waits(session, readable).derived_children(table.cursor)
        return render("storeless.html", request, runs=runs, has_older=has_older, requested=table)
    return render("table.html", request, states=STATES, **_rows(session, readable, table))


def show_rows(request: Request, session: DatabaseSession, readable: ReadableDags, table: RequestedTable) -> Response:
    """Show the table alone: the page requests it every few seconds."""
    _require_store()
    return render("rows.html", request, **_rows(session, readable, table))


def show_count(session: DatabaseSession, readable: ReadableDags, table: RequestedTable) -> Response:
    """Return how many waits pass the filters: it may take longer than a page of the table."""
    _require_store()
    found = Waits(session, readable).count(table.filters)
    return JSONResponse({"count": found.number, "is_capped": found.is_capped} if found else {"count": None})


def show_totals(request: Request, session: DatabaseSession, readable: ReadableDags, user: SignedInUser) -> Response:
    """Show the numbers, what needs attention and the reconciler: they may take longer than a page of the table."""
    _require_store()
    totals, snapshot = counts.get(session).visible_to(readable), snapshots.get(session).visible_to(readable)
    shown = {
        "totals": totals,
        "snapshot": snapshot,
        "most_waiting": attention.MOST_WAITING,
        "reconciler": _view_reconciler(session, readable, user),
        "differing": mismatches.get(session).visible_to(readable),
    }
    return render("totals.html", request, dag_ids=sorted(readable), **shown)


def show_wait(  # noqa: PLR0913, PLR0917 - FastAPI's
    wait_id: WaitId,
    request: Request,
    session: DatabaseSession,
    readable: ReadableDags,
    user: SignedInUser,
    part: bool = False,  # noqa: FBT001, FBT002 - FastAPI's
) -> Response:
    """
    Show one wait's timeline.

    :param part: without the page around it.
    """
    wait, timeline = _find_wait(Waits(session, readable), wait_id, user)
    return render("timeline.html" if part else "wait.html", request, wait=wait, timeline=timeline)


def show_run(  # noqa: PLR0913, PLR0917 - FastAPI's
    dag_id: str, run_id: str, request: Request, session: DatabaseSession, readable: ReadableDags, user: SignedInUser
) -> Response:
    """Show, in a tab of a Dag run's page, who waits for that run, and for whom its own tasks wait."""
    if dag_id not in readable:
        raise HTTPException(404, "There is no such Dag run, or you may not read its Dag.")
    if not has_store():
        return render("run.html", request, parents=[], own=[], has_store=False)
    waits = Waits(session, readable)
    found = items.fill(session, waits.of_child_run(dag_id, run_id), has_names=True)
    parents = [(wait, _draw(waits, wait, user)) for wait in found]
    own = list(items.fill(session, waits.of_parent_run(dag_id, run_id)))
    return render("run.html", request, parents=parents, own=own, most=KEYS_AT_ONCE, has_store=True)


def show_task_instance(  # noqa: PLR0913, PLR0917 - FastAPI's
    dag_id: str,
    task_id: str,
    map_index: str,
    run_id: str,
    request: Request,
    session: DatabaseSession,
    readable: ReadableDags,
    user: SignedInUser,
) -> Response:
    """Show, in a tab of a task instance's page, for whom it waits."""
    if dag_id not in readable:
        raise HTTPException(404, "There is no such task instance, or you may not read its Dag.")
    if not has_store():
        return render("task.html", request, waits=[], has_store=False)
    index = int(map_index) if map_index.removeprefix("-").isdecimal() and len(map_index) < 10 else -1  # noqa: PLR2004
    waits = Waits(session, readable)
    found = items.fill(session, waits.of_task_instance(dag_id, run_id, task_id, index), has_names=True)
    return render("task.html", request, waits=[(one, _draw(waits, one, user)) for one in found], has_store=True)


def send_static(name: str) -> Response:
    """Send a style sheet, a script or an icon."""
    media_type = _STATIC.get(name)
    if media_type is None:
        raise HTTPException(404, "Not found")
    body = (FOLDER / "static" / name).read_bytes()
    return Response(body, media_type=media_type, headers={"Cache-Control": "private, max-age=300"})


def export_csv(session: DatabaseSession, readable: ReadableDags, table: RequestedTable) -> Response:
    """Send what passes the filters as a CSV file."""
    _require_store()
    waits = Waits(session, readable).iterate(table.filters, api.MOST_EXPORTED)
    body = "".join(api.write_csv(waits))
    return Response(body, media_type="text/csv; charset=utf-8", headers=_as_file("csv"))


def export_json(session: DatabaseSession, readable: ReadableDags, table: RequestedTable) -> Response:
    """Send what passes the filters as a JSON file."""
    _require_store()
    waits = Waits(session, readable).iterate(table.filters, api.MOST_EXPORTED)
    body = json.dumps({"waits": [api.wait_json(wait) for wait in waits]}, indent=1)
    return Response(body, media_type="application/json", headers=_as_file("json"))


def list_waits(request: Request, session: DatabaseSession, readable: ReadableDags, table: RequestedTable) -> Response:
    """Return a page of the table as JSON."""
    _require_store()
    here = str(request.scope.get("root_path", ""))
    shown = _rows(session, readable, table)
    page, following = shown["page"], shown["next"] or shown["further"]
    return JSONResponse(
        {
            "waits": [api.wait_json(wait) for wait in page.waits],
            "next": f"{here}/api/waits{following}" if following else None,
        }
    )


def get_wait(wait_id: WaitId, session: DatabaseSession, readable: ReadableDags, user: SignedInUser) -> Response:
    """Return one wait and its timeline as JSON."""
    wait, timeline = _find_wait(Waits(session, readable), wait_id, user)
    return JSONResponse({**api.wait_json(wait), **api.timeline_json(timeline)})


def get_totals(session: DatabaseSession, readable: ReadableDags) -> Response:
    """Return the numbers above the table as JSON."""
    _require_store()
    totals, snapshot = counts.get(session).visible_to(readable), snapshots.get(session).visible_to(readable)
    return JSONResponse(api.totals_json(totals, snapshot))


def show_reconciler(session: DatabaseSession, readable: ReadableDags, user: SignedInUser) -> Response:
    """Return how the reconciler of the process that answers stands, what waits for it, and what it did last."""
    _require_store()
    return JSONResponse(api.reconciler_json(_view_reconciler(session, readable, user)))


def get_metrics(session: DatabaseSession, readable: ReadableDags) -> Response:
    """Return the numbers of the present for Prometheus."""
    _require_store()
    queue = requests.get(session).visible_to(readable, lambda _: False)
    body = metrics.write_metrics(snapshots.get(session).visible_to(readable), queue)
    return Response(body, media_type=metrics.MEDIA_TYPE)


def _rows(session: Any, readable: frozenset[str], table: TableRequest) -> dict[str, Any]:  # noqa: ANN401 - a session
    waits = Waits(session, readable)
    page = waits.page(table.filters, table.cursor, order=table.order)
    if (table.cursor.after or table.cursor.before) and not page.has_previous:
        # Nothing is left before it: this is the first page, which may have become longer meanwhile.
        table = table.at_top()
        page = waits.page(table.filters, table.cursor, order=table.order)
    return {
        "requested": table,
        "page": replace(page, waits=tuple(items.fill(session, page.waits))),
        "now": waits.now,
        "previous": table.previous(page),
        "next": table.next(page),
        "further": table.further(page),
    }


def _find_wait(waits: Waits, wait_id: int, user: Any) -> tuple[Wait, Timeline | None]:  # noqa: ANN401 - see _draw
    _require_store()
    wait = waits.get(wait_id)
    if wait is None:
        # The same for one that is not there and for one that may not be seen.
        raise HTTPException(404, "There is no such wait, or you may not read its Dag.")
    (wait,) = items.fill(waits.session, [wait], has_names=True)
    return wait, _draw(waits, wait, user)


def _draw(waits: Waits, wait: Wait, user: Any) -> Timeline | None:  # noqa: ANN401 - the auth manager's own
    record = wait.record
    if record is None:
        return None
    tries = waits.tries(wait.parent)
    losses = waits.losses(wait.parent, tries) if may_read_audit_log(user, wait.parent.dag_id) else {}
    keys = records.runs_in(record)
    found = waits.runs(keys)
    runs = {key.run_id: found[key] for key in keys if key in found}
    if wait.ledger:
        # All of its children as one bar.
        runs = {record.run_id: wait.items.as_run(wait.ledger)} if wait.items else {}
    now = datetime.now(tz=timezone.utc)
    timeline = draw(record, tries, runs, now, losses=losses, limits=wait.limits)
    may_know = record.dag_id in {run.dag_id for run in runs.values()} and may_read_audit_log(user, record.dag_id)
    actions = waits.actions_on(record.dag_id, runs) if may_know and not wait.ledger else ()
    return replace(timeline, actions=tuple(actions), request=requests.get(waits.session).of_wait(wait.id))


def _view_reconciler(session: Any, readable: frozenset[str], user: Any) -> pending.View:  # noqa: ANN401 - see _draw
    return pending.view(requests.get(session).visible_to(readable, lambda dag_id: may_read_audit_log(user, dag_id)))


def _require_store() -> None:
    if not has_store():
        raise HTTPException(404, "This Airflow has no task state store.")


def _as_file(kind: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="durable-waits.{kind}"'}
