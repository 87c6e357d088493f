"""Plain text for a terminal, a pipe or a file: tables and paragraphs. Pure."""

from __future__ import annotations

import textwrap
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

WIDTH = 80
"""Of paragraphs, whatever they are printed to. Tables are as wide as what is in them: nothing is ever cut off."""

_GAP = "  "


def make_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: Collection[str] = ()) -> list[str]:
    """
    Return a table's lines. No cell is shortened or wrapped, so that names can be copied and searched for.

    :param right: the headings of the columns with numbers.
    """
    cells = [[_clean(str(cell)) for cell in row] for row in (headings, *rows)]
    widths = [max(_width(row[place]) for row in cells) for place in range(len(headings))]
    lines = []
    for row in cells:
        shown = [
            _pad(cell, width, is_right=heading in right)
            for cell, width, heading in zip(row, widths, headings, strict=True)
        ]
        lines.append(_GAP.join(shown).rstrip())
    return [lines[0], _GAP.join("-" * width for width in widths), *lines[1:]]


def wrap(text: str, *, first: str = "", rest: str = "", width: int = WIDTH) -> list[str]:
    """
    Return a paragraph in lines of at most this width; a word that is longer than that stays whole.

    :param first: what the first line begins with.
    :param rest: what the other lines begin with.
    """
    return textwrap.wrap(
        _clean(text),
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def fold(paragraphs: Collection[str]) -> Iterator[str]:
    """Yield paragraphs, wrapped."""
    for paragraph in paragraphs:
        yield from wrap(paragraph)


def count(number: int, one: str, many: str = "") -> str:
    """Return ``1 task``, ``2 tasks``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def _clean(text: str) -> str:
    """Return a text without what would move a terminal's cursor or break a line in two: names may hold anything."""
    return "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _pad(text: str, width: int, *, is_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if is_right else text + space
