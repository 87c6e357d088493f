"""``python -m tests.sidebyside``: write the table of differences into docs/migration.md."""

from __future__ import annotations

from .table import PAGE, with_table

PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
