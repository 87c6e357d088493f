"""Which of many runs exist, and which have failed, is found out by counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.core.survey import CountLimit, Survey

if TYPE_CHECKING:
    from collections.abc import Sequence


class Counting:
    """A port that counts runs, and may change them between two counts."""

    def __init__(self, states: dict[str, str], changes: dict[int, tuple[str, str]] | None = None) -> None:
        self.states, self.changes, self.counts = states, changes or {}, 0

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        """Count the runs."""
        self.counts += 1
        if change := self.changes.get(self.counts):
            self.states[change[0]] = change[1]
        found = [self.states[run_id] for run_id in run_ids if run_id in self.states]
        return sum(states is None or state in states for state in found)


def survey_of(port: Any, length: int = 1) -> Survey:  # noqa: ANN401 - a port, as far as it is used
    return Survey(port, "child", lambda index: f"{index}".rjust(length, "0"))


def test_a_survey_finds_each_member() -> None:
    port = Counting({str(index): "failed" if index in {3, 40, 41, 99} else "running" for index in range(100)})
    assert survey_of(port).find(range(100), ["failed"]) == [3, 40, 41, 99]
    assert port.counts < 40
    assert survey_of(port).find(range(100), []) == []
    assert survey_of(port).find(range(200), None) == list(range(100))


def test_a_survey_of_what_changes_names_none_wrongly() -> None:
    """After the first count the failed run is cleared, and another one fails."""
    port = Counting({str(index): "running" for index in range(8)} | {"1": "failed"}, {2: ("1", "running")})
    assert survey_of(port).find(range(8), ["failed"]) == []


def test_a_survey_of_what_changes_still_finds_the_others() -> None:
    """While it is counted one of the two failed runs is cleared, so that another one is deduced to have failed."""
    states = {str(index): "running" for index in range(8)} | {"1": "failed", "5": "failed"}
    port = Counting(states, {2: ("1", "running")})
    assert survey_of(port).find(range(8), ["failed"]) == [5]


def test_a_survey_divides_what_does_not_fit_into_one_count() -> None:
    port = Counting({})
    assert survey_of(port, 200).find(range(1000), None) == []
    assert port.counts == 5


class Narrow(Counting):
    """What stands before the server refuses long addresses, as nginx does (8 KiB by default)."""

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        """Count the runs."""
        if sum(map(len, run_ids)) > 8000:
            self.counts += 1
            message = "HTTP 414"
            raise LookUpFailedError(dag_id, run_ids[0], message, is_transient=False)
        return super().count(dag_id, run_ids, states)


def test_counts_become_smaller_where_an_address_is_refused() -> None:
    port: Any = Narrow({f"{index}".rjust(200, "0"): "running" for index in range(1000)})
    survey = Survey(port, "child", lambda index: f"{index}".rjust(200, "0"), CountLimit())
    assert survey.find(range(1000), None) == list(range(1000))
    assert port.counts < 1000 * 208 // 6000 + 15
    before = port.counts
    assert survey.find(range(20), ["failed"]) == []
    assert port.counts == before + 1


def test_smaller_counts_are_of_the_same_states() -> None:
    states = {f"{index}".rjust(200, "0"): "failed" if index in {7, 33} else "running" for index in range(60)}
    port: Any = Narrow(states)
    assert survey_of(port, 200).count(range(60), ["failed"]) == 2


@pytest.mark.parametrize("limit", [30, 39])
def test_a_count_takes_as_many_run_ids_as_fit(limit: int) -> None:
    """Each takes its length and nine bytes."""
    survey = Survey(Counting({}), "child", str, CountLimit(limit))  # type: ignore[arg-type] # as far as it is used
    assert list(survey.chunks(range(8))) == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_what_needs_no_count_is_not_asked_for() -> None:
    port: Any = Counting({"0": "running"})
    assert survey_of(port).count((), None) == 0
    assert survey_of(port).count((0,), []) == 0
    assert port.counts == 0


@pytest.mark.parametrize(("count", "is_transient", "counts"), [(1, False, 1), (4, False, 3), (4, True, 9)])
def test_a_refusal_that_is_not_about_the_size_is_raised(count: int, is_transient: bool, counts: int) -> None:  # noqa: FBT001
    asked: list[int] = []

    class Refused:
        def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
            asked.append(len(run_ids))
            message = "HTTP 403"
            raise LookUpFailedError(dag_id, run_ids[0], message, is_transient=is_transient)

        def sleep(self, seconds: float) -> None:
            pass

        def report_trouble(self, error: Exception) -> None:
            pass

    with pytest.raises(LookUpFailedError):
        survey_of(Refused()).find(range(count), None)
    assert len(asked) <= counts
