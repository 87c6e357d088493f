"""
The page's routes: all of them read, all of them ask the auth manager first.

Nothing of a run but its names, states and times leaves here: no conf, no XCom, no rendered field. All output goes
through a template that escapes it, and the content security policy admits no script but our own files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException as StarletteHTTPException

from airflow_durable.core.model import Decision
from airflow_durable.waits.access import (
    DatabaseSession,
    ReadableDags,
    SeenBy,
    may_read_audit_log,
    read_dag_ids,
)
from airflow_durable.waits.model import UNFINISHED_STATES, WAITING, Filters, Wait
from airflow_durable.waits.plugin import URL_PREFIX
from airflow_durable.waits.queries import Cursor, Store, Waits
from airflow_durable.waits.timeline import draw
from airflow_durable.waits.totals import TotalsCache, count

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_HERE = Path(__file__).parent
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

_SECONDS_PER_MINUTE = 60
_SECONDS_PER_HOUR = 3600
MAX_ID_LENGTH = 250
"""Of Dag ids and run ids, in Airflow's database."""

_DECISIONS = {
    Decision.FRESH_SUBMIT: ("started", "Started a fresh child run"),
    Decision.RESUBMIT: ("resubmitted", "The recorded run was not there: asked for it again, under the same run id"),
    Decision.RECONNECT: ("reconnected", "Took over the child run that an earlier attempt had started"),
    Decision.ALREADY_SUCCEEDED: (
        "found done",
        "The child run of an earlier attempt had done its part: nothing was started",
    ),
    Decision.SUCCEED_AGAIN: ("succeeded again", "An earlier attempt had recorded its success and died before it told"),
    Decision.TERMINAL_RESUBMIT: ("restarted", "The child run had failed: started a fresh one"),
    Decision.RESET: ("reset", "Reset the run that exists under the fixed run id"),
    Decision.FOREIGN: (
        "foreign",
        "A run that this task did not start has its fixed run id: did as the stock operator does",
    ),
    Decision.REFUSE: ("refused", "The run under the fixed run id had failed, and it may not be reset"),
}

counts = TotalsCache(count)


@dataclass(frozen=True)
class Asked:
    """What of the table was asked for, checked by FastAPI."""

    filters: Filters
    cursor: Cursor

    def link(self, **cursor: int) -> str:
        """Return the query string of another page of the same table."""
        asked = {
            "dag_id": self.filters.dag_id,
            "child_dag_id": self.filters.child_dag_id,
            "state": self.filters.state,
            "recovered": "true" if self.filters.is_recovered_only else "",
            **cursor,
        }
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"?{query}" if query else ""


def read_asked(  # noqa: PLR0913, PLR0917 - the form's fields
    dag_id: Annotated[str, Query(max_length=MAX_ID_LENGTH)] = "",
    child_dag_id: Annotated[str, Query(max_length=MAX_ID_LENGTH)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    recovered: Annotated[bool, Query()] = False,  # noqa: FBT002 - FastAPI's
    before: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    after: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Asked:
    """Read the query string."""
    filters = Filters(dag_id.strip(), child_dag_id.strip(), state if state in STATES else "", recovered)
    return Asked(filters, Cursor(before, after))


AskedFor = Annotated[Asked, Depends(read_asked)]


def make_app() -> FastAPI:
    """Make the application that is mounted at :data:`URL_PREFIX`."""
    app = FastAPI(
        title="Durable waits",
        openapi_url=None,
        dependencies=[Depends(read_dag_ids)],
        exception_handlers={StarletteHTTPException: _tell_error},
    )
    app.middleware("http")(_add_headers)
    app.get("/")(show_table)
    app.get("/rows")(show_rows)
    app.get("/totals")(show_totals)
    app.get("/wait/{wait_id}")(show_wait)
    app.get("/run/{dag_id}/{run_id:path}")(show_run)
    app.get("/static/{name}")(send_static)
    return app


@cache
def get_app() -> FastAPI:
    """Return this process's application."""
    return make_app()


def show_table(request: Request, session: DatabaseSession, readable: ReadableDags, asked: AskedFor) -> Response:
    """Show the whole page."""
    if Store is None:
        runs, has_older = Waits(session, readable).derived_children(asked.cursor)
        return _render("storeless.html", request, runs=runs, has_older=has_older, asked=asked)
    return _render("table.html", request, asked=asked, states=STATES, **_rows(session, readable, asked))


def show_rows(request: Request, session: DatabaseSession, readable: ReadableDags, asked: AskedFor) -> Response:
    """Show the table alone: the page asks for it again and again."""
    _require_store()
    return _render("rows.html", request, asked=asked, **_rows(session, readable, asked))


def show_totals(request: Request, session: DatabaseSession, readable: ReadableDags) -> Response:
    """Show the numbers alone: they may take longer than a page of the table."""
    _require_store()
    return _render("totals.html", request, totals=counts.get(session).seen_by(readable))


def show_wait(  # noqa: PLR0913, PLR0917 - FastAPI's
    wait_id: Annotated[int, PathParameter(ge=0, lt=2**31)],
    request: Request,
    session: DatabaseSession,
    readable: ReadableDags,
    user: SeenBy,
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
    return _render("timeline.html" if part else "wait.html", request, wait=wait, timeline=timeline)


def show_run(  # noqa: PLR0913, PLR0917 - FastAPI's
    dag_id: str, run_id: str, request: Request, session: DatabaseSession, readable: ReadableDags, user: SeenBy
) -> Response:
    """Show, in a tab of a Dag run's page, who waits for that run, and for whom its own tasks wait."""
    if dag_id not in readable:
        raise HTTPException(404, "There is no such Dag run, or you may not read its Dag.")
    if Store is None:
        return _render("run.html", request, parents=[], own=[], has_store=False)
    waits = Waits(session, readable)
    parents = [(wait, _draw(waits, wait, user)) for wait in waits.of_child_run(dag_id, run_id)]
    return _render("run.html", request, parents=parents, own=waits.of_parent_run(dag_id, run_id), has_store=True)


def send_static(name: str) -> Response:
    """Send a style sheet, a script or an icon."""
    media_type = _STATIC.get(name)
    if media_type is None:
        raise HTTPException(404, "Not found")
    body = (_HERE / "static" / name).read_bytes()
    return Response(body, media_type=media_type, headers={"Cache-Control": "private, max-age=300"})


def _rows(session: Any, readable: frozenset[str], asked: Asked) -> dict[str, Any]:  # noqa: ANN401 - a session
    page = Waits(session, readable).page(asked.filters, asked.cursor)
    if asked.cursor.after and not page.has_newer:
        # Nothing newer is left: this is the first page, which may have become longer meanwhile.
        asked = replace(asked, cursor=Cursor())
        page = Waits(session, readable).page(asked.filters, asked.cursor)
    return {
        "page": page,
        "newer": asked.link(after=page.waits[0].id) if page.has_newer and page.waits else None,
        "older": asked.link(before=page.waits[-1].id) if page.has_older and page.waits else None,
    }


def _draw(waits: Waits, wait: Wait, user: Any) -> Any:  # noqa: ANN401 - the auth manager's own
    record = wait.record
    if record is None:
        return None
    is_silence_readable = may_read_audit_log(user, wait.parent.dag_id)
    attempts = waits.attempts(wait.parent, is_silence_readable=is_silence_readable)
    run_ids = dict.fromkeys([*(entry.run_id for entry in record.tries), record.run_id])
    found = waits.runs((record.dag_id, run_id) for run_id in run_ids)
    runs = {run_id: found[record.dag_id, run_id] for run_id in run_ids if (record.dag_id, run_id) in found}
    return draw(record, attempts, runs, datetime.now(tz=timezone.utc))


def tell_duration(seconds: float) -> str:
    """Return a duration in the unit that fits it: from two minutes on in minutes, from two hours on in hours."""
    if seconds < 2 * _SECONDS_PER_MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _SECONDS_PER_HOUR:
        return f"{seconds / _SECONDS_PER_MINUTE:.0f} min"
    return f"{seconds / _SECONDS_PER_HOUR:,.1f} h"


def _require_store() -> None:
    if Store is None:
        raise HTTPException(404, "This Airflow has no task state store.")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["path"] = lambda text: quote(str(text), safe="")
    environment.filters["label"] = lambda state: str(state or "none").replace("_", " ")
    environment.filters["duration"] = tell_duration
    environment.globals["decisions"] = _DECISIONS
    environment.globals["as_link"] = Asked.link
    return environment


def _render(template: str, request: Request, **context: Any) -> Response:  # noqa: ANN401 - what a template shows
    here = str(request.scope.get("root_path", ""))
    html = _templates().get_template(template).render(here=here, airflow=here.removesuffix(URL_PREFIX), **context)
    return HTMLResponse(html)


async def _add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def _tell_error(request: Request, error: Exception) -> Response:
    """Tell of an error in the page's own look. Static files have none: whoever is not signed in gets none."""
    status = getattr(error, "status_code", 500)
    detail = str(getattr(error, "detail", "")) or "Something went wrong."
    here = str(request.scope.get("root_path", ""))
    html = _templates().get_template("error.html").render(here=here, status=status, detail=detail)
    return HTMLResponse(html, status_code=status, headers=dict(getattr(error, "headers", None) or {}))
