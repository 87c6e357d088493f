"""Plain text for a terminal."""

from __future__ import annotations

from airflow_durable.layout import WIDTH, count, make_table, wrap


def test_nothing_in_a_table_is_cut_off_or_wrapped() -> None:
    lines = make_table(("name", "hours"), [("x" * 200, "1.5"), ("y", "10.25")], right=("hours",))
    assert lines[2] == f"{'x' * 200}    1.5"
    assert lines[3].endswith("  10.25")
    assert len(lines) == 4


def test_a_name_cannot_move_the_cursor() -> None:
    """Dag and run ids may hold anything."""
    lines = make_table(("name",), [("a\x1b[2Jb\nc",)])
    assert lines[2] == "a [2Jb c"
    assert wrap("a\x1b[2Jb\nc") == ["a [2Jb c"]


def test_wide_letters_keep_the_columns() -> None:
    lines = make_table(("name", "n"), [("日本", "1"), ("ab", "2")])
    assert lines[2] == "日本  1"
    assert lines[3] == "ab    2"


def test_a_long_name_stays_whole_in_a_paragraph() -> None:
    lines = wrap(f"See {'x' * 100} and more.", first="- ", rest="  ")
    assert lines == ["- See", f"  {'x' * 100}", "  and more."]
    assert max(map(len, wrap("word " * 100))) <= WIDTH


def test_one_and_many() -> None:
    assert [count(number, "task") for number in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]
    assert count(2, "task is", "tasks are") == "2 tasks are"
