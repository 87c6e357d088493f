"""
The fenced code blocks of the README and of the site.

Sybil and its like find the blocks that they know and pass the others over. Here it is the other way round: a Markdown
parser finds all, and one that nothing can execute is a failure, unless a comment in front of it says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

WRITTEN_BY_COMMANDS = ("chaos-report", "benchmarks", "matrix", "waits-page", "audit", "doctor", "design-notes")
"""Pages that other commands write: what they show as text is their own output."""

DIRECTIVES = frozenset(
    {
        "toctree",
        "sequence",
        "decision-table",
        "error-message",
        "eval-rst",
        "config-options",
        "command-help",
        "image",
        "literalinclude",
    }
)
"""What MyST runs when the site is built: the build is their execution."""

_MARKER = re.compile(r"<!-- not executed: (?P<reason>[^>]{10,}) -->\s*")


@dataclass(frozen=True)
class Block:
    """
    One fenced block.

    :param line: of its fence, from 1.
    :param reason: why it is not executed; None: it is.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        """Return where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}:{self.language}"

    @property
    def is_output(self) -> bool:
        """Whether it is text on a page that a command has written."""
        name = self.page.relative_to(ROOT).as_posix()
        return self.language in {"", "text"} and name.startswith(tuple(f"docs/{page}" for page in WRITTEN_BY_COMMANDS))


def pages() -> list[Path]:
    """Return the README and all pages of the site."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks() -> Iterator[Block]:
    """Return every block of every page, but for MyST's directives."""
    for page in pages():
        reason: str | None = None
        for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
            if token.type == "html_block":
                match = _MARKER.fullmatch(token.content)
                reason = match.group("reason") if match else None
                continue
            if token.type in {"fence", "code_block"}:
                language = token.info.strip() if token.type == "fence" else "indented"
                if language.strip("{}").split("}")[0] not in DIRECTIVES or not language.startswith("{"):
                    line = token.map[0] + 1 if token.map else 0
                    yield Block(page, line, language, token.content, reason)
            reason = None
