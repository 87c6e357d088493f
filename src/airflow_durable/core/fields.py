"""The fields of a stored object, each checked as it is read."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_durable.core.errors import RecordDamagedError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fields:
    """
    The fields of one stored object. Their values are not shown: they are not ours to show.

    :param name: of the object, for the error.
    :param key: under which it is stored, for the error.
    """

    def __init__(self, stored: object, name: str, key: str) -> None:
        if not isinstance(stored, dict):
            raise RecordDamagedError(key, f"{name} is {type(stored).__name__}, not an object")
        self._stored: Mapping[str, Any] = stored
        self.name = name
        self.key = key

    def has(self, key: str) -> bool:
        """Return whether there is such a field."""
        return key in self._stored

    def get(self, key: str, *types: type) -> Any:  # noqa: ANN401 - as many types as there are fields
        """Return a field that is of one of these types."""
        if key not in self._stored:
            raise RecordDamagedError(self.key, f"{self.name} has no {key!r}")
        value = self._stored[key]
        if type(value) not in types:
            raise RecordDamagedError(self.key, f"{key!r} of {self.name} is {type(value).__name__}")
        return value

    def part(self, key: str) -> Fields:
        """Return a field that is an object."""
        return Fields(self.get(key, dict), f"its {key}", self.key)

    def optional_part(self, key: str) -> Fields | None:
        """Return a field that is an object or None."""
        return None if self.get(key, dict, type(None)) is None else self.part(key)

    def text(self, key: str) -> str:
        """Return a field that is a text, and not empty."""
        value: str = self.get(key, str)
        if not value:
            raise RecordDamagedError(self.key, f"{key!r} of {self.name} is empty")
        return value

    def date(self, key: str) -> datetime:
        """Return a field that is a date."""
        return parse_date(self, key, self.get(key, str))

    def optional_date(self, key: str) -> datetime | None:
        """Return a field that is a date or None."""
        value = self.get(key, str, type(None))
        return None if value is None else parse_date(self, key, value)

    def choice(self, key: str, choices: type[Any]) -> Any:  # noqa: ANN401 - an enum, whichever it is
        """Return a field that is the value of one of these."""
        value = self.get(key, str)
        try:
            return choices(value)
        except ValueError:
            raise RecordDamagedError(self.key, f"{key!r} of {self.name} is none that this release knows") from None


def parse_date(fields: Fields, key: str, value: object) -> datetime:
    """Return the date that a text is. It has its time zone."""
    try:
        date = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        date = None
    if date is None or date.tzinfo is None:
        raise RecordDamagedError(fields.key, f"{key!r} of {fields.name} is not a date with a time zone")
    return date
