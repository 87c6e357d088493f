"""
The page's routes: all of them read, all of them ask the auth manager first.

Nothing of a run but its names, states and times leaves here: no conf, no XCom, no rendered field. All output goes
through a template that escapes it, and the content security policy admits no script but our own files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from airflow_durable.metadata import records
from airflow_durable.metadata.model import UNFINISHED_STATES
from airflow_durable.server.access import (
    DatabaseSession,
    ReadableDags,
    SignedInUser,
    may_read_audit_log,
    read_dag_ids,
)
from airflow_durable.server.model import WAITING, Filters, Wait
from airflow_durable.server.queries import Cursor, Waits, has_store
from airflow_durable.server.rendering import FOLDER, render, render_error
from airflow_durable.server.timeline import draw
from airflow_durable.server.totals import TotalsCache, count

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_durable.server.timeline import Timeline

_STATIC = {
    "waits.css": "text/css; charset=utf-8",
    "waits.js": "text/javascript; charset=utf-8",
    "theme.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "icon-dark.svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}
STATES = (WAITING, *UNFINISHED_STATES, "success", "failed", "upstream_failed", "skipped", "removed")
"""What the filter by state offers."""

MAX_ID_LENGTH = 250
"""Of Dag ids and run ids, in Airflow's database."""

counts = TotalsCache(count)


@dataclass(frozen=True)
class TableRequest:
    """Which part of the table is requested, checked by FastAPI."""

    filters: Filters
    cursor: Cursor

    def link(self, **cursor: int) -> str:
        """Return the query string of another page of the same table."""
        fields = {
            "dag_id": self.filters.dag_id,
            "child_dag_id": self.filters.child_dag_id,
            "state": self.filters.state,
            "recovered": "true" if self.filters.is_recovered_only else "",
            **cursor,
        }
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"?{query}" if query else ""


def read_table_request(  # noqa: PLR0913, PLR0917 - the form's fields
    dag_id: Annotated[str, Query(max_length=MAX_ID_LENGTH)] = "",
    child_dag_id: Annotated[str, Query(max_length=MAX_ID_LENGTH)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    recovered: Annotated[bool, Query()] = False,  # noqa: FBT002 - FastAPI's
    before: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    after: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> TableRequest:
    """Read the query string."""
    filters = Filters(dag_id.strip(), child_dag_id.strip(), state if state in STATES else "", recovered)
    return TableRequest(filters, Cursor(before, after))


RequestedTable = Annotated[TableRequest, Depends(read_table_request)]


def make_app(url_prefix: str) -> FastAPI:
    """Make the application that is mounted under this prefix."""
    app = FastAPI(
        title="Durable waits",
        openapi_url=None,
        dependencies=[Depends(read_dag_ids)],
        exception_handlers={StarletteHTTPException: _show_error},
    )
    app.state.url_prefix = url_prefix
    app.middleware("http")(_add_headers)
    app.get("/")(show_table)
    app.get("/rows")(show_rows)
    app.get("/totals")(show_totals)
    app.get("/wait/{wait_id}")(show_wait)
    app.get("/run/{dag_id}/{run_id:path}")(show_run)
    app.get("/static/{name}")(send_static)
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
    return render("table.html", request, requested=table, states=STATES, **_rows(session, readable, table))


def show_rows(request: Request, session: DatabaseSession, readable: ReadableDags, table: RequestedTable) -> Response:
    """Show the table alone: the page requests it every few seconds."""
    _require_store()
    return render("rows.html", request, requested=table, **_rows(session, readable, table))


def show_totals(request: Request, session: DatabaseSession, readable: ReadableDags) -> Response:
    """Show the numbers alone: they may take longer than a page of the table."""
    _require_store()
    return render("totals.html", request, totals=counts.get(session).visible_to(readable))


def show_wait(  # noqa: PLR0913, PLR0917 - FastAPI's
    wait_id: Annotated[int, PathParameter(ge=0, lt=2**31)],
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
    _require_store()
    waits = Waits(session, readable)
    wait = waits.get(wait_id)
    if wait is None:
        # The same for one that is not there and for one that may not be seen.
        raise HTTPException(404, "There is no such wait, or you may not read its Dag.")
    timeline = _draw(waits, wait, user) if wait.record else None
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
    parents = [(wait, _draw(waits, wait, user)) for wait in waits.of_child_run(dag_id, run_id)]
    return render("run.html", request, parents=parents, own=waits.of_parent_run(dag_id, run_id), has_store=True)


def send_static(name: str) -> Response:
    """Send a style sheet, a script or an icon."""
    media_type = _STATIC.get(name)
    if media_type is None:
        raise HTTPException(404, "Not found")
    body = (FOLDER / "static" / name).read_bytes()
    return Response(body, media_type=media_type, headers={"Cache-Control": "private, max-age=300"})


def _rows(session: Any, readable: frozenset[str], table: TableRequest) -> dict[str, Any]:  # noqa: ANN401 - a session
    page = Waits(session, readable).page(table.filters, table.cursor)
    if table.cursor.after and not page.has_newer:
        # Nothing newer is left: this is the first page, which may have become longer meanwhile.
        table = replace(table, cursor=Cursor())
        page = Waits(session, readable).page(table.filters, table.cursor)
    return {
        "page": page,
        "newer": table.link(after=page.waits[0].id) if page.has_newer and page.waits else None,
        "older": table.link(before=page.waits[-1].id) if page.has_older and page.waits else None,
    }


def _draw(waits: Waits, wait: Wait, user: Any) -> Timeline | None:  # noqa: ANN401 - the auth manager's own
    record = wait.record
    if record is None:
        return None
    silent = waits.silent_tries(wait.parent) if may_read_audit_log(user, wait.parent.dag_id) else ()
    keys = records.runs_in(record)
    found = waits.runs(keys)
    runs = {key.run_id: found[key] for key in keys if key in found}
    return draw(record, waits.tries(wait.parent), runs, datetime.now(tz=timezone.utc), silent)


def _require_store() -> None:
    if not has_store():
        raise HTTPException(404, "This Airflow has no task state store.")


async def _add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def _show_error(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    detail = str(getattr(error, "detail", "")) or "Something went wrong."
    return render_error(request, status, detail, getattr(error, "headers", None))
