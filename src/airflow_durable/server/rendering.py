"""How the page's HTML is made. All of it goes through a template that escapes what it shows."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from airflow_durable.core.model import Decision, Mode
from airflow_durable.core.verdicts import Act
from airflow_durable.durations import format_duration
from airflow_durable.server.model import QUEUED_LONG, Concern
from airflow_durable.server.paging import MOST_READ, PAGE_SIZE
from airflow_durable.wording import DECISIONS, format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from fastapi import Request

    from airflow_durable.metadata.model import InstanceKey
    from airflow_durable.server.model import Wait

FOLDER = Path(__file__).parent

MOST_REQUESTS = 5
"""The most of the reconciler's requests, and of its latest actions, that are listed."""

MOST_FAILED = 20
"""The most failed items of a task with many children that are listed."""

_HOURS_UNTIL_DAYS = 48
_SECONDS_PER_HOUR = 3600
_TAIL = 14
_GENERATED = re.compile(r"(?P<head>\w+?__)(?P<middle>\d{4}-\d\d-\d\dT[0-9:.+-]+)(?P<tail>_\w{12}(?:_\w+)?)?")
"""Run ids of Airflow's form, with or without the end that this package gives them."""

MODES = {Mode.WAIT: "waiting", Mode.DEFER: "deferrable", Mode.FIRE_AND_FORGET: "fire and forget"}


class Words(NamedTuple):
    """A label, and a sentence without its full stop."""

    label: str
    says: str


CONCERNS = {
    Concern.SILENT: Words(
        "no heartbeat", "Parents that count as running and send no heartbeat: the worker is most likely dead"
    ),
    Concern.QUEUED: Words(
        "child queued",
        f"Child runs that have been queued for more than {format_duration(QUEUED_LONG.total_seconds())}",
    ),
    Concern.PAUSED: Words(
        "child paused", "Child Dags that are paused: Airflow neither starts nor continues their runs"
    ),
}


ACTS = {Act.CANCEL: "end", Act.RESUME: "resume", Act.RESET: "reset"}
"""What the reconciler is asked for, as a verb."""

LOGGED = {
    "durable.cancel": "Ended",
    "durable.resume": "Resumed",
    "durable.reset": "Reset",
    "durable.end-child": "Ended",
    "durable.end-both": "Ended, with its parent task,",
    "durable.resume-child": "Resumed",
}
"""What was done to a child run, by the event of the audit log."""


class Parts(NamedTuple):
    """A name in three parts: where there is no room, the first one is shortened first, the last one never."""

    head: str
    middle: str
    tail: str


def render(template: str, request: Request, **context: Any) -> HTMLResponse:  # noqa: ANN401 - what a template shows
    """
    Return a page.

    :param request: to the application, which knows where it is mounted.
    """
    here = str(request.scope.get("root_path", ""))
    airflow = here.removesuffix(request.app.state.url_prefix)
    return HTMLResponse(_templates().get_template(template).render(here=here, airflow=airflow, **context))


def render_error(request: Request, status: int, detail: str, headers: Mapping[str, str] | None) -> HTMLResponse:
    """Return a page that says what went wrong. Its style is in it: a user who is not signed in gets no files."""
    here = str(request.scope.get("root_path", ""))
    html = _templates().get_template("error.html").render(here=here, status=status, detail=detail)
    return HTMLResponse(html, status_code=status, headers=dict(headers or {}))


@cache
def hash_of_style() -> str:
    """Return the source by which a content security policy admits the style sheet of that page."""
    digest = hashlib.sha256(_templates().get_template("error.css").render().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def split_name(name: str) -> Parts:
    """Return a name in the parts by which it is shortened: of a run id, its date and its end are kept longest."""
    if found := _GENERATED.fullmatch(name):
        return Parts(found["head"], found["middle"], found["tail"] or "")
    return Parts("", name[:-_TAIL], name[-_TAIL:])


def format_length(seconds: float) -> str:
    """Return a length of time: in hours up to 48 of them, then in days."""
    hours = seconds / _SECONDS_PER_HOUR
    if hours < 1 or hours > _HOURS_UNTIL_DAYS:
        return format_duration(seconds)
    whole, minutes = divmod(round(seconds / 60), 60)
    return f"{whole} h {minutes} min" if minutes else f"{whole} h"


def with_times(words: str, moments: Iterable[datetime | None], now: datetime) -> Markup:
    """
    Return a sentence of :mod:`airflow_durable.wording` with its times marked up, so that the reader's zone is used.

    :param moments: that may be in the sentence.
    """
    marked = str(escape(words))
    for moment in moments:
        if moment is not None:
            shown = format_moment(moment, now)
            element = f'<time data-brief datetime="{moment.isoformat()}">{shown}</time>'
            marked = re.sub(rf"(?<![\d>T:-]){re.escape(shown)}(?![\d<])", element, marked)
    return Markup(marked)  # noqa: S704 - escaped above; what is put in holds digits only


def silence_of(wait: Wait) -> Markup:
    """Return what there is to say of a parent without heartbeat."""
    heard = wait.last_heartbeat_at
    moments = (heard, wait.limits.noticed_by(heard)) if heard else ()
    return with_times(wait.silence or "", moments, wait.seen_at)


def group_mapped(waits: Iterable[Wait]) -> Iterator[tuple[InstanceKey, list[Wait]]]:
    """Yield waits, the instances of one mapped task in one run together, at the place of the first of them."""
    groups: dict[object, list[Wait]] = {}
    for wait in waits:
        parent = wait.parent
        key = (*parent[:3], parent.region_id) if wait.is_mapped else wait.id
        groups.setdefault(key, []).append(wait)
    for members in groups.values():
        yield members[0].parent, members


def count_states(waits: Iterable[Wait]) -> dict[str, int]:
    """Return how many parents are in each state."""
    counts: dict[str, int] = {}
    for wait in waits:
        state = wait.state or "none"
        counts[state] = counts.get(state, 0) + 1
    return counts


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
    environment.filters["duration"] = format_length
    environment.filters["parts"] = split_name
    environment.filters["silence"] = silence_of
    environment.filters["with_times"] = with_times
    environment.filters["grouped"] = group_mapped
    environment.filters["states"] = count_states
    environment.globals["decisions"] = DECISIONS
    environment.globals["every_decision"] = tuple(Decision)
    environment.globals["page_size"] = PAGE_SIZE
    environment.globals["most_read"] = MOST_READ
    environment.globals["modes"] = MODES
    environment.globals["concern_words"] = CONCERNS
    environment.globals["acts"] = ACTS
    environment.globals["logged"] = LOGGED
    environment.globals["most_requests"] = MOST_REQUESTS
    environment.globals["most_failed"] = MOST_FAILED
    return environment
