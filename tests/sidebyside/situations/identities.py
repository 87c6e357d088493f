"""Which run is asked for."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from tests.adapters.dags import DEFER, FORGET, WAIT

from .model import Situation

DATE = datetime(2025, 6, 1, tzinfo=timezone.utc)
LATER = datetime(2025, 7, 1, tzinfo=timezone.utc)
NAIVE = datetime(2025, 6, 1)  # noqa: DTZ001 - on purpose
EAST = datetime(2025, 6, 1, 2, tzinfo=timezone(timedelta(hours=2)))

SITUATIONS = (
    Situation("a generated run id, waiting", WAIT),
    Situation("a generated run id, deferred", DEFER),
    Situation("a generated run id, fire and forget", FORGET),
    Situation("a fixed run id, waiting", {"trigger_run_id": "fixed", **WAIT}),
    Situation("a fixed run id, deferred", {"trigger_run_id": "fixed", **DEFER}),
    Situation("a fixed run id, fire and forget", {"trigger_run_id": "fixed"}),
    Situation("a run id from a template", {"trigger_run_id": "for_{{ run_id }}", **WAIT}),
    Situation("a run id whose template renders to nothing", {"trigger_run_id": "{{ '' }}", **WAIT}),
    Situation("a run id whose template renders to None", {"trigger_run_id": "{{ None }}", **WAIT}),
    Situation("a run id that is a number", {"trigger_run_id": 5, **WAIT}),
    Situation("a run id with a number sign, which cuts it off in the address", {"trigger_run_id": "a#b", **WAIT}),
    Situation("a run id with a slash, for which there is no route", {"trigger_run_id": "a/b", **WAIT}),
    Situation("a run id that is too long for a log folder", {"trigger_run_id": "x" * 249, **FORGET}),
    Situation("a logical date as text", {"logical_date": "2025-06-01T00:00:00+00:00", **WAIT}),
    Situation("a logical date as text without a time zone", {"logical_date": "2025-06-01", **WAIT}),
    Situation("a logical date as a datetime", {"logical_date": DATE, **WAIT}),
    Situation("a logical date as a datetime, deferred", {"logical_date": DATE, **DEFER}),
    Situation("a logical date in another time zone", {"logical_date": EAST, **WAIT}),
    Situation("a logical date without a time zone", {"logical_date": NAIVE, **WAIT}),
    Situation("a logical date without a time zone, fire and forget", {"logical_date": NAIVE}),
    Situation("a logical date that is None", {"logical_date": None, **WAIT}),
    Situation("a logical date from a template", {"logical_date": "{{ ds }}", **WAIT}),
    Situation("a logical date whose template renders to no date", {"logical_date": "{{ 'soon' }}", **WAIT}),
    Situation("a logical date whose template renders to None", {"logical_date": "{{ None }}", **WAIT}),
    Situation("a logical date whose template renders to nothing", {"logical_date": "{{ '' }}", **WAIT}),
    Situation("a logical date of a wrong type", {"logical_date": 5, **WAIT}),
    Situation("a run-after date", {"run_after": LATER, **WAIT}),
    Situation("a run-after date as text", {"run_after": "2025-07-01T00:00:00+00:00", **FORGET}),
    Situation("a run-after date without a time zone", {"run_after": NAIVE, **WAIT}),
    Situation("a run-after date that is no date", {"run_after": "soon", **WAIT}),
    Situation("a run-after date of a wrong type", {"run_after": 5, **WAIT}),
    Situation("a run-after date and a logical date", {"run_after": LATER, "logical_date": DATE, **WAIT}),
    Situation("a run id and a logical date", {"trigger_run_id": "fixed", "logical_date": DATE, **WAIT}),
    Situation("a run id and a run-after date", {"trigger_run_id": "fixed", "run_after": LATER, **WAIT}),
)
