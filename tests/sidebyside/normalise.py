"""What is new each time (run ids, dates, ids of task instances) under names that are the same each time."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?")
_EPOCH = re.compile(r"\b1\d{9}\.\d+\b")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_RANDOM_END = re.compile(r"manual__.*_[A-Za-z0-9]{8}\Z")
_RANDOM = re.compile(r"_[A-Za-z0-9]{8}\Z")
_HEX = re.compile(r"[0-9a-f]{16,}")
_PRESENT = timedelta(hours=1)


def is_generated(run_id: str) -> bool:
    """Tell whether the stock operator made the run id anew: of the present, or with a random end."""
    return bool(_RANDOM_END.match(run_id)) or _name_dates(run_id) != run_id


def form_of(run_id: str) -> str:
    """Return what a generated run id looks like: which of its parts are a date, hexadecimal digits, random."""
    dated = _DATE.sub("<date>", run_id)
    return _RANDOM.sub("_<random>", dated) if dated != run_id else _HEX.sub("<hex>", dated)


class Names:
    """
    The names of the generated run ids of one play.

    :param fixed: run ids that are the same each time: those that the stock operator has not made anew.
    """

    def __init__(self, run_ids: Iterable[str], fixed: set[str]) -> None:
        made = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in fixed]
        self.by_id = {run_id: f"<run {number}>" for number, run_id in enumerate(made, start=1)}

    def text(self, value: object) -> str:
        """Return the value as text, with names."""
        text = value if isinstance(value, str) else _as_text(value)
        for run_id in sorted(self.by_id, key=len, reverse=True):
            for form in (run_id, quote(run_id, safe=""), quote(run_id)):
                text = text.replace(form, self.by_id[run_id])
        return _ADDRESS.sub("<address>", _UUID.sub("<uuid>", _name_dates(text)))


def _as_text(value: object) -> str:
    try:
        return json.dumps(value, default=str, sort_keys=True)
    except TypeError:
        # A user's conf may have anything for a key.
        return str(value)


def _name_dates(text: str) -> str:
    # Seconds since 1970: as the kwargs of a trigger are serialized up to Airflow 3.1.
    text = _EPOCH.sub(lambda found: _name_date(str(datetime.fromtimestamp(float(found.group()), timezone.utc))), text)
    return _DATE.sub(lambda found: _name_date(found.group()), text)


def _name_date(text: str) -> str:
    date: Any = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return "<now>" if abs(datetime.now(tz=timezone.utc) - date) < _PRESENT else text
