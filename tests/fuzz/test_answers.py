"""Whatever the supervisor answers, over several attempts: one child, and our own errors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms
from hypothesis import given
from hypothesis import strategies as st

from airflow_durable.exceptions import DurableTriggerError

from .stage import Stage, is_terminal, server_error
from .strategies import junk
from .test_stored_records import ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

statuses = st.sampled_from([200, 302, 400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504, None, "404", True])
bodies = junk | st.dictionaries(st.sampled_from(["detail", "message", "reason"]), junk, max_size=3)

raised = st.one_of(
    st.builds(server_error, statuses, bodies),
    st.sampled_from(
        [
            OSError("broken pipe"),
            EOFError("the supervisor is gone"),
            TimeoutError(),
            ValueError("no JSON"),
            RuntimeError("?"),
            KeyError("x"),
            RecursionError(),
        ]
    ),
)
returned = st.one_of(
    junk,
    st.sampled_from(list(ErrorType)).map(lambda error: comms.ErrorResponse(error=error)),
    st.just(comms.OKResponse(ok=True)),
    st.just(comms.OKResponse(ok=False)),
    junk.map(lambda state: SimpleNamespace(state=state)),
    st.builds(
        SimpleNamespace,
        state=st.sampled_from(["running", "paused", "success", "restarting"]),
        clear_number=junk,
        logical_date=junk,
    ),
)


class Answers:
    """The supervisor's answers: for some messages something strange, after or instead of what was asked."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.strange = 0

    def __call__(self, message: Any, truth: Callable[[], Any]) -> Any:  # noqa: ANN401 - as many types as messages
        """Answer one message."""
        kind = self._data.draw(
            st.sampled_from(["true"] * 4 + ["raise", "return", "lose"]), label=type(message).__name__
        )
        if kind == "true" or self.strange >= 4:
            return truth()
        self.strange += 1
        if kind == "raise":
            raise self._data.draw(raised, label="raised")
        if kind == "lose":
            truth()
            raise self._data.draw(raised, label="raised, though done")
        return self._data.draw(returned, label="returned")


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
@given(data=st.data())
def test_any_answer_ends_in_one_child(arguments: dict[str, Any], data: st.DataObject) -> None:
    answers = Answers(data)
    stage = Stage(answers, **arguments)
    ends = []
    for _ in range(4):
        ends.append(stage.attempt())
        if is_terminal(ends[-1]):
            break
    assert len(stage.runs) <= 1, "one child, whatever was answered"
    assert len(set(stage.submitted)) <= 1
    if not answers.strange:
        assert list(stage.runs.values())


@given(answer=returned)
def test_only_a_plain_yes_starts_a_run(answer: object) -> None:
    """A fire-and-forget task must not succeed on an answer that it does not know."""
    stage = Stage(lambda message, truth: answer)
    is_yes = isinstance(answer, comms.OKResponse) and answer.ok
    assert (stage.attempt() is None) is is_yes


@given(error=st.builds(server_error, statuses, bodies))
def test_a_check_for_a_paused_dag_that_fails_triggers_nothing(error: Exception) -> None:
    stage = Stage(fail_when_dag_is_paused=True)
    stage.paused = error
    assert isinstance(stage.attempt(), DurableTriggerError)
    assert stage.submitted == []
    stage.paused = False
    assert stage.attempt() is None
    assert len(stage.submitted) == 1
