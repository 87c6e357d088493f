"""How far each item of a task with many children has come, and how a deferral carries it."""

from __future__ import annotations

import json

import pytest

from airflow_durable.core.board import Board, Status
from airflow_durable.core.items import Items


def test_many_exceptions_are_stored_in_a_few_bytes_each() -> None:
    board = Board(Items(5000))
    for index in range(0, 5000, 2):
        board.generations[index], board.starts[index] = 1, 2
    stored = json.dumps(board.dump())
    assert len(stored) < 20_000
    assert Board.load(Items(5000), json.loads(stored)) == board


def test_a_board_survives_its_stored_form() -> None:
    board = Board(Items(5))
    board.set(1, Status.ACTIVE)
    board.set(2, Status.WAITED_OUT)
    board.by_clear.add(2)
    board.start_anew(3)
    board.starts[3] = 2
    board.refused.add(4)
    board.ended_unseen = 1
    stored = json.loads(json.dumps(board.dump()))
    loaded = Board.load(Items(5), stored)
    assert loaded == board
    assert (loaded.pending, loaded.watched, loaded.running, loaded.done) == (3, 2, 1, 1)
    with pytest.raises(ValueError, match=r"^the statuses are of other items$"):
        Board.load(Items(4), stored)


def test_a_board_is_the_same_for_a_list_in_another_order() -> None:
    board = Board(Items.of_keys(["b", "c", "a"]))
    board.set(0, Status.ACTIVE)
    board.queued_since[0] = 7.0
    board.start_anew(1)
    board.starts[1] = 2
    board.by_clear.add(1)
    board.set(2, Status.FAILED)
    board.refused.add(2)
    loaded = Board.load(Items.of_keys(["a", "b", "c"]), json.loads(json.dumps(board.dump())))
    assert [loaded.status(index) for index in range(3)] == [Status.FAILED, Status.ACTIVE, Status.PENDING]
    assert (loaded.generations, loaded.starts, loaded.by_clear) == ({2: 1}, {2: 2}, {2})
    assert (loaded.refused, loaded.queued_since) == ({0}, {1: 7.0})
    assert loaded.dump() == board.dump()


@pytest.mark.parametrize(
    ("news", "expected"), [((0, 0), (4, 1)), ((2, 0), (4, 1)), ((3, 1), (4, 0)), ((4, 1), (4, 0)), ((4, 0), (5, 0))]
)
def test_what_is_counted_as_done_and_then_seen_to_end_is_counted_once(
    news: tuple[int, int], expected: tuple[int, int]
) -> None:
    board = Board(Items(5))
    board.set(0, Status.DONE)
    for index in range(1, 5):
        board.set(index, Status.ACTIVE)
    board.ended_unseen = 3
    assert board.after(0, 0) == (board.done, board.running)
    assert board.after(*news) == expected


def test_the_next_pending_item_is_the_first() -> None:
    board = Board(Items(3))
    for index in range(3):
        assert board.next_pending() == index
        board.set(index, Status.ACTIVE)
    assert board.next_pending() is None
    board.start_anew(1)
    assert (board.next_pending(), board.generation(1), board.generation(0)) == (1, 1, 0)
    assert not board.is_over


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        (Status.ACTIVE, Status.DONE, 1),
        (Status.ACTIVE, Status.FAILED, 2),
        (Status.ACTIVE, Status.WAITED_OUT, 2),
        (Status.WAITED_OUT, Status.DONE, 2),
        (Status.PENDING, Status.DONE, 2),
    ],
)
def test_a_run_that_is_seen_to_have_ended_well_is_one_of_those_that_were_only_counted(
    before: Status, after: Status, left: int
) -> None:
    board = Board(Items(4), bytearray([Status.ACTIVE] * 4), ended_unseen=2)
    board.set(0, before)
    board.set(0, after)
    assert board.ended_unseen == left


def test_of_what_was_counted_no_more_is_taken_than_there_is() -> None:
    board = Board(Items(2), bytearray([Status.ACTIVE] * 2))
    board.set(0, Status.DONE)
    assert (board.ended_unseen, board.done, board.running) == (0, 1, 1)


def test_each_fresh_run_of_an_item_is_the_next_generation() -> None:
    board = Board(Items(2))
    board.start_anew(1)
    board.start_anew(1)
    assert (board.generation(1), board.generation(0)) == (2, 0)
