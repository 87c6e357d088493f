"""How the page's HTML is made. All of it goes through a template that escapes what it shows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from airflow_durable.core.model import Decision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request

FOLDER = Path(__file__).parent

_SECONDS_PER_MINUTE = 60
_SECONDS_PER_HOUR = 3600

_DECISIONS = {
    Decision.FRESH_SUBMIT: ("started", "Started a fresh child run"),
    Decision.RESUBMIT: ("resubmitted", "The recorded run was not there: asked for it again, under the same run id"),
    Decision.RECONNECT: ("reconnected", "Took over the child run that an earlier try had started"),
    Decision.ALREADY_SUCCEEDED: (
        "found done",
        "The child run of an earlier try had done its part: nothing was started",
    ),
    Decision.SUCCEED_AGAIN: (
        "succeeded again",
        "An earlier try had recorded its success and died before it reported it",
    ),
    Decision.TERMINAL_RESUBMIT: ("restarted", "The child run had failed: started a fresh one"),
    Decision.RESET: ("reset", "Reset the run that exists under the fixed run id"),
    Decision.FOREIGN: (
        "foreign",
        "A run that this task did not start has its fixed run id: did as the stock operator does",
    ),
    Decision.REFUSE: ("refused", "The run under the fixed run id had failed, and it may not be reset"),
}


def render(template: str, request: Request, **context: Any) -> HTMLResponse:  # noqa: ANN401 - what a template shows
    """
    Return a page.

    :param request: to the application, which knows where it is mounted.
    """
    here = str(request.scope.get("root_path", ""))
    airflow = here.removesuffix(request.app.state.url_prefix)
    return HTMLResponse(_templates().get_template(template).render(here=here, airflow=airflow, **context))


def render_error(request: Request, status: int, detail: str, headers: Mapping[str, str] | None) -> HTMLResponse:
    """Return a page that says what went wrong. Without static files: a user who is not signed in gets none."""
    here = str(request.scope.get("root_path", ""))
    html = _templates().get_template("error.html").render(here=here, status=status, detail=detail)
    return HTMLResponse(html, status_code=status, headers=dict(headers or {}))


def format_duration(seconds: float) -> str:
    """Return a duration in the unit that fits it: from two minutes on in minutes, from two hours on in hours."""
    if seconds < 2 * _SECONDS_PER_MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _SECONDS_PER_HOUR:
        return f"{seconds / _SECONDS_PER_MINUTE:.0f} min"
    return f"{seconds / _SECONDS_PER_HOUR:,.1f} h"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["path"] = lambda text: quote(str(text), safe="")
    environment.filters["label"] = lambda state: str(state or "none").replace("_", " ")
    environment.filters["duration"] = format_duration
    environment.globals["decisions"] = _DECISIONS
    return environment
