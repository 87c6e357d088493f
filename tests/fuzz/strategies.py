"""Damage, done to what is valid: where a field is missing, of another type, empty, huge, or from another version."""

from __future__ import annotations

import copy
import json
from datetime import datetime, timezone
from typing import Any

from hypothesis import strategies as st

from airflow_durable.core.model import Decision, Mode, Outcome, Phase, Proof
from airflow_durable.core.record import Baseline, Record, TryEntry
from airflow_durable.core.stored import dump

DATE = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["success", "failed", "running", "x" * 100_000, "2026-01-01", "2026-01-01T00:00:00+00:00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)

run_ids = st.sampled_from(["manual__durable_a_0", "manual__durable_b_1"])

records = st.builds(
    Record,
    dag_id=st.just("child"),
    run_id=run_ids,
    proof=st.sampled_from(Proof),
    logical_date=st.sampled_from([None, DATE]),
    run_after=st.sampled_from([None, DATE]),
    mode=st.sampled_from(Mode),
    max_tries=st.sampled_from([3, 4]),
    clear_number=st.sampled_from([0, 1]),
    call=st.just(1),
    epoch=st.integers(0, 3),
    generation=st.integers(0, 3),
    phase=st.sampled_from(Phase),
    outcome=st.none()
    | st.builds(Outcome, st.just("child"), run_ids, st.sampled_from(["success", None]), st.just(DATE)),
    dates=st.lists(st.just(DATE), max_size=2).map(tuple),
    reset=st.sampled_from([None, Baseline(0, None), Baseline(1, DATE, DATE)]),
    task_instance_id=st.sampled_from(["", "01990000-0000-7000-8000-000000000001"]),
    tries=st.lists(
        st.builds(
            TryEntry,
            try_number=st.integers(1, 3),
            decision=st.sampled_from(Decision),
            run_id=st.just("manual__durable_a_0"),
            at=st.just(DATE),
        ),
        max_size=2,
    ).map(tuple),
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401 - JSON
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += _places(inner, (*path, index))
    return found


@st.composite
def damaged(draw: st.DrawFn, valid: st.SearchStrategy[Any]) -> Any:  # noqa: ANN401 - JSON
    """Draw something valid and damage it once, twice or not at all."""
    value = copy.deepcopy(draw(valid))
    for _ in range(draw(st.integers(0, 2))):
        places = [place for place in _places(value) if place]
        if not places or not isinstance(value, (dict, list)):
            break
        place = draw(st.sampled_from(places))
        inside = value
        for key in place[:-1]:
            inside = inside[key]
        if draw(st.booleans()):
            del inside[place[-1]]
        else:
            inside[place[-1]] = draw(junk)
    if draw(st.integers(0, 9)) == 0:
        text = json.dumps(value)
        return text[: draw(st.integers(0, len(text)))]
    return value


stored_records = (
    damaged(records.map(dump))
    | damaged(
        records.map(dump).flatmap(
            lambda stored: st.integers(-2, 5).map(lambda version: {**stored, "version": version, "newer": []})
        )
    )
    | junk
)
