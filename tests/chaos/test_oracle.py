"""The oracle of the child's life finds what it looks for: each case is a parent as a broken protocol would leave it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_durable.metadata.model import InstanceKey, TaskTry
from tests.chaos.ledger import Book, Deed
from tests.chaos.life import LIFE_MODES, TIMEOUT_SECONDS, Fate, Subject, make_subject
from tests.chaos.oracle import Life, LifeChild, Wrong, judge, pass_sentence

_NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def _at(seconds: float) -> datetime:
    return _NOON + timedelta(seconds=seconds)


def _tries(*states: str | None, end: float = 60, task_id: str = "run_child") -> tuple[TaskTry, ...]:
    """Return tries, the last of which ends then."""
    key = InstanceKey("durable_life", "l00001", task_id, -1)
    count = len(states)
    return tuple(
        TaskTry(key, number, 60, state, _at(0), _at(end - count + number)) for number, state in enumerate(states, 1)
    )


def _child(number: int, state: str, ended: float | None, **more: Any) -> LifeChild:  # noqa: ANN401 - a child's own
    return LifeChild(number, f"run_{number}", state, _at(number), None if ended is None else _at(ended), **more)


def _life(mode: str, fate: Fate, tries: tuple[TaskTry, ...], *children: LifeChild, **more: Any) -> Life:  # noqa: ANN401
    return Life(Subject(1, mode, fate), more.pop("deeds", ()), tries, children, **more)


def _mark(seconds: float, *, fate: Fate = Fate.MARK_FAILED) -> Deed:
    return Deed(fate, _at(seconds), _at(seconds + 1))


def _clear(seconds: float) -> Deed:
    return Deed(Fate.CLEAR, _at(seconds), _at(seconds + 1), is_clear=True)


_RESULT = {"parent": "l00001", "run_id": "run_1"}
_ONCE = Counter({("load", "failed"): 1, ("load", "finished"): 1})
_RESUMED = _child(1, "success", 50, clear_number=1, noted=_ONCE)
_LATE = TIMEOUT_SECONDS + 5

_UNBEGUN = tuple(replace(one, start_date=None, end_date=None) for one in _tries("scheduled"))
_RUN_ENDED = _mark(58, fate=Fate.MARK_RUN)


@pytest.mark.parametrize(
    "life",
    [
        _life("cancel", Fate.FINISH, _tries("failed", "success"), _child(1, "success", 40, mark="success")),
        _life("cancel", Fate.MARK_FAILED, _tries("failed"), _child(1, "failed", 70), deeds=(_mark(58),)),
        _life("cancel", Fate.MARK_RUN, _tries("failed"), _child(1, "failed", 59), deeds=(_mark(58),)),
        _life("cancel", Fate.DELETE, (), _child(1, "failed", 59), deeds=(_mark(58, fate=Fate.DELETE),)),
        _life("cancel", Fate.DELETE, (), _child(1, "success", 59), deeds=(_mark(58, fate=Fate.DELETE),)),
        _life(
            "cancel",
            Fate.MARK_AND_CLEAR,
            _tries("failed", "success"),
            _child(1, "failed", 22),
            _child(30, "success", 50),
            deeds=(_mark(20), _clear(25)),
        ),
        _life("cancel_last", Fate.CRASH, _tries("failed"), _child(1, "failed", 70)),
        _life("resume", Fate.FINISH, _tries("failed", "success"), _RESUMED, returned=_RESULT),
        _life("fail", Fate.FINISH, _tries("failed", "failed"), _child(1, "failed", 40, mark="failed")),
        _life("start", Fate.TIMEOUT, _tries("failed", end=_LATE), _child(1, "failed", 70)),
        _life("cancel", Fate.MARK_RUN, _UNBEGUN, deeds=(_RUN_ENDED,)),
    ],
)
def test_right(life: Life) -> None:
    assert list(judge(life)) == []


_PLAIN = _child(1, "success", 40, mark="success")


@pytest.mark.parametrize(
    ("life", "wrong"),
    [
        (_life("cancel", Fate.FINISH, _tries("success"), _PLAIN, _child(2, "success", 9)), Wrong.DUPLICATE),
        (
            _life("cancel", Fate.CLEAR, _tries("success"), _PLAIN, _child(30, "success", 50), deeds=(_clear(25),)),
            Wrong.DUPLICATE,
        ),
        (_life("cancel", Fate.FINISH, _tries("success")), Wrong.LOST_WORK),
        (_life("cancel_calls", Fate.FINISH, _tries("success"), _PLAIN), Wrong.LOST_WORK),
        (
            _life(
                "resume",
                Fate.FINISH,
                _tries("success"),
                replace(_RESUMED, noted=Counter({("load", "failed"): 1})),
                returned=_RESULT,
            ),
            Wrong.LOST_WORK,
        ),
        (
            _life(
                "cancel", Fate.FINISH, _tries("failed", "success"), _child(1, "failed", 20), _child(30, "success", 50)
            ),
            Wrong.ENDED_THOUGH_WANTED,
        ),
        (
            _life(
                "cancel",
                Fate.MARK_AND_CLEAR,
                _tries("failed", "success"),
                _child(1, "failed", 30),
                _child(40, "success", 50),
                deeds=(_mark(20), _clear(25)),
            ),
            Wrong.ENDED_THOUGH_WANTED,
        ),
        (
            _life("cancel", Fate.MARK_FAILED, _tries("failed"), _child(1, "failed", 19), deeds=(_mark(20),)),
            Wrong.ENDED_THOUGH_WANTED,
        ),
        (_life("cancel_last", Fate.CRASH, _tries("failed"), _child(1, "running", None)), Wrong.LEFT_RUNNING),
        (
            _life("resume", Fate.FINISH, _tries("success"), replace(_RESUMED, clear_number=2), returned=_RESULT),
            Wrong.RESUMED_TOO_OFTEN,
        ),
        (
            _life(
                "resume",
                Fate.FINISH,
                _tries("success"),
                replace(_RESUMED, tries=_tries("success", "success", task_id="extract")),
                returned=_RESULT,
            ),
            Wrong.FINISHED_TASK_REPEATED,
        ),
        (
            _life(
                "resume",
                Fate.FINISH,
                _tries("success"),
                _child(1, "failed", 20, noted=_ONCE),
                replace(_RESUMED, id=2, created_at=_at(30)),
                returned=_RESULT,
            ),
            Wrong.NOT_RESUMED,
        ),
        (_life("resume", Fate.FINISH, _tries("success"), _RESUMED, returned=None), Wrong.WRONG_RESULT),
        (_life("cancel", Fate.FINISH, _tries("failed"), _PLAIN), Wrong.WRONG_END),
        (
            _life("fail", Fate.FINISH, _tries("failed"), *(_child(n, "failed", n + 1, mark="failed") for n in (1, 5))),
            Wrong.WRONG_END,
        ),
        (_life("start", Fate.TIMEOUT, _tries("failed", end=9), _child(1, "failed", 70)), Wrong.WRONG_END),
        (_life("start", Fate.TIMEOUT, _tries("success", end=70), _child(1, "success", 9)), Wrong.WRONG_END),
        (_life("start", Fate.FINISH, _tries("failed", end=_LATE), _child(1, "success", 9)), Wrong.WRONG_END),
        (_life("cancel", Fate.FINISH, _tries("deferred"), _PLAIN), Wrong.NEVER_ENDED),
        (_life("cancel", Fate.FINISH, _UNBEGUN), Wrong.NEVER_ENDED),
        (_life("cancel", Fate.MARK_RUN, _tries("scheduled"), deeds=(_RUN_ENDED,)), Wrong.NEVER_ENDED),
    ],
)
def test_wrong(life: Life, wrong: Wrong) -> None:
    assert set(judge(life)) == {wrong}
    assert pass_sentence([life]).examples


def test_all_that_can_happen_does() -> None:
    subjects = [make_subject(1, number) for number in range(1, 32)]
    assert {subject.mode_name for subject in subjects} == set(LIFE_MODES)
    assert {subject.fate for subject in subjects} == set(Fate)
    assert subjects == [make_subject(1, number) for number in range(1, 32)]


def test_a_deed_counts_from_its_first_sending_to_its_answer() -> None:
    book, subject = Book(), Subject(1, "cancel", Fate.MARK_FAILED)
    with pytest.raises(ConnectionError):
        book.do(subject, subject.fate, _break)
    book.do(subject, subject.fate, lambda: None)
    (deed,) = book.deeds[1]
    assert deed.answered_at is not None
    assert deed.answered_at >= deed.sent_at


def _break() -> None:
    raise ConnectionError
