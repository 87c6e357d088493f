"""Which Dag files cannot be imported because of this package: it is not there, or it refuses an argument. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGE = "airflow_durable"

_LACKS = re.compile(
    r"^(?:(?:ModuleNotFoundError|ImportError): )?(?:No module named|cannot import name\b.*?\bfrom)\b"
    rf"[^'\"\n]*['\"]{PACKAGE}(?:\.[\w.]*)?['\"]",
    re.MULTILINE,
)
"""Python's words. With ``[core] dagbag_import_error_tracebacks`` off, Airflow stores them without the error's name."""

_REFUSED = re.compile(rf"^ *File \"[^\"\n]*[/\\]{PACKAGE}[/\\]operators[/\\]\w+\.py\"", re.MULTILINE)
"""A frame in one of the operators' modules. Airflow stores the last two frames (3.0 to 3.4)."""


@dataclass(frozen=True)
class ImportErrors:
    """
    The Dag files with an error that is about this package, in their order, each once.

    :param lacking: those that cannot import it.
    :param refused: those in which one of its operators refuses how it is made: a wrong argument.
    """

    lacking: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def sort_errors(errors: Iterable[tuple[str, str]]) -> ImportErrors:
    """
    Return the files with an error that is about this package.

    :param errors: each file, and its error as Airflow stores it. Nothing of an error's text is kept.
    """
    lacking, refused = set(), set()
    for filename, text in errors:
        if _LACKS.search(text):
            lacking.add(filename)
        elif _REFUSED.search(text):
            refused.add(filename)
    return ImportErrors(tuple(sorted(lacking)), tuple(sorted(refused)))
