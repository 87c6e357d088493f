"""What is asked for: the conf, templates, the note, what OpenLineage adds."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tests.adapters.dags import DEFER, WAIT

from .conflicts import FIXED, id_taken
from .model import OPENLINEAGE, Situation, Try

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

INJECTION = "airflow.providers.standard.operators.trigger_dagrun.safe_inject_openlineage_properties_into_dagrun_conf"


def openlineage() -> AbstractContextManager[object]:
    """Let the OpenLineage provider be there and at work."""
    return patch(INJECTION, lambda dr_conf, ti: {**(dr_conf or {}), "openlineage": {"parent": ti.task_id}})


def sent(name: str, conf: Any, **arguments: Any) -> Situation:  # noqa: ANN401 - the user's own
    return Situation(name, {**WAIT, "conf": conf, **arguments})


SITUATIONS = (
    sent("a conf", {"a": 1, "b": ["c", {"d": None}]}),
    sent("no conf", None),
    sent("an empty conf", {}),
    sent("a conf as JSON text", '{"a": 1}'),
    sent("a conf as an empty text", ""),
    sent("a conf that is a text of a list", '["a"]'),
    sent("a conf that is a list", ["a"]),
    sent("a conf that is a number", 5),
    sent("a conf that is no JSON text", "{a"),
    sent("a conf that is no JSON text, without retries", "{a", retries=0),
    sent("a conf with a set", {"a": {1, 2}}),
    sent("a conf with a datetime", {"a": datetime(2025, 6, 1, tzinfo=timezone.utc)}),
    sent("a conf with a key that is no text", {("a", "b"): 1}),
    sent("a conf with a number as a key", {1: "a"}),
    sent("a conf with not a number", {"a": float("nan")}),
    sent("a conf with a set, fire and forget", {"a": {1}}, wait_for_completion=False),
    sent("a conf from templates", {"{{ run_id }}": "{{ run_id }}", "n": ["{{ ti.try_number }}"]}),
    sent("a conf that is one template", '{"a": "{{ run_id }}"}'),
    sent("a conf whose template renders to no JSON", "{{ run_id }}"),
    Situation(
        "a conf whose template heals at the next try",
        {**WAIT, "conf": "{{ '{}' if ti.try_number > 1 else '{' }}"},
        (Try(), Try(2)),
    ),
    Situation(
        "a conf from the parent's conf",
        {**WAIT, "conf": {"x": "{{ dag_run.conf['x'] }}"}},
        (Try(parent_conf={"x": "y"}),),
    ),
    sent("a conf whose template cannot be rendered", {"x": "{{ nothing.there }}"}),
    sent("a conf whose template is broken", {"x": "{{ "}),
    Situation("a Dag from a template", {**WAIT, "trigger_dag_id": "{{ 'child' }}"}),
    Situation("to wait, from a template that says False", {"wait_for_completion": "{{ False }}"}),
    Situation(
        "to wait, from a template that says True, deferred", {"wait_for_completion": "{{ 1 }}", "deferrable": True}
    ),
    Situation(
        "to skip, from a template that says False",
        {**FIXED, **WAIT, "skip_when_already_exists": "{{ False }}"},
        server=id_taken("running"),
    ),
    Situation("a note", {**WAIT, "note": "because of {{ run_id }}"}),
    Situation("an empty note", {**WAIT, "note": ""}),
    Situation("OpenLineage adds to the conf", {**WAIT, "conf": {"a": 1}}, around=openlineage, need=OPENLINEAGE),
    Situation("OpenLineage adds to no conf, deferred", DEFER, around=openlineage, need=OPENLINEAGE),
    Situation(
        "OpenLineage must not add to the conf",
        {**WAIT, "openlineage_inject_parent_info": False},
        around=openlineage,
        need=OPENLINEAGE,
    ),
    Situation("XComs are not wanted", {**WAIT, "do_xcom_push": False}),
    Situation("mapped over confs", WAIT, expand={"conf": [{"n": 0}, {"n": 1}]}),
    Situation("mapped over confs, deferred", DEFER, expand={"conf": [{"n": 0}, {"n": 1}]}),
    Situation("mapped over run ids", WAIT, expand={"trigger_run_id": ["a", "b"]}),
    Situation("mapped over Dags, one of them unknown", WAIT, expand={"trigger_dag_id": ["child", "unknown"]}),
    Situation(
        "mapped with a name for each",
        {**WAIT, "map_index_template": "{{ task.conf['n'] }}"},
        expand={
            "conf": [{"n": 0}, {"n": 1}],
        },
    ),
)
