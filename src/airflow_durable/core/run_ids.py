"""
Run ids: which of them Airflow would mangle, and how a child's is computed from its parent.

A generated run id is a function of the parent, of how often the work was asked for again, of which child of the try
it is, and of how many runs of it failed. So a lost or misread record leads to a 409, or to a look-up that finds
the run; it does not lead to a second run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_durable.core.errors import RunIdInvalidError

if TYPE_CHECKING:
    from airflow_durable.core.model import Parent

MAX_LENGTH = 248
"""Longer ones pass the API, but the folder of the child's logs cannot be made: ``run_id=`` and the id are one name,
of at most 255 bytes (seen on Airflow 3.0 to 3.3)."""

_DIGEST_LENGTH = 12
"""60 bits: of all children that start with the same date, this many tell one from another."""

MICROSECONDS = 1_000_000
"""In a second: a tag is below it."""

_BEGINNING = r"manual__\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?\+00:00_[a-z2-7]{12}"
_GENERATED = re.compile(
    _BEGINNING + r"(_e[1-9]\d*)?(_c[1-9]\d*)?(_n\d+|_i[A-Za-z0-9.-]{1,60})?(_r[1-9]\d*)?"
    r"|manual__durable_([0-9a-f]{24}|[0-9a-f]{32})_\d+"
)
_CHILD = re.compile(_BEGINNING + r"(?:_e(\d+))?(?:_c\d+)?(?:_r\d+)?")
_ITEM_PART = re.compile(r"_((?:n\d+|i[A-Za-z0-9.-]{1,60})(?:_r[1-9]\d*)?)\Z")
_UNSHOWN = re.compile(r"[^A-Za-z0-9.-]|\.{2,}")
"""What is not shown of a key. Airflow refuses a run id with ``..``, unless ``[core] allow_double_dot_in_ids`` is set
(3.3 and later, ``serialization/definitions/dag.py``, ``create_dagrun``)."""
_SHOWN_LENGTH = 60
_TOLD_BY_DIGEST = re.compile(r".*-[a-z2-7]{12}")
"""The form of a key that cannot be shown whole: its beginning, and what tells it from others."""

_MANGLED = re.compile(r"[#?/\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
"""What ends the path or is refused (httpx 0.27 and 0.28), and what the server takes for one character. Others arrive, a
space among them: whether they may be in a run id is for the site's own pattern to say."""

_DOTS = frozenset({".", ".."})


def check_run_id(dag_id: str, run_id: str, *, allowed_pattern: str = "") -> None:
    """
    Refuse a run id that Airflow would refuse, or take for another one.

    Airflow's client does not quote it in the request's path (3.0 to 3.3, ``sdk/api/client.py``): ``a#b`` makes a run
    called ``a``, and ``a%41`` one called ``aA``. What httpx quotes by itself is no trouble.

    :param allowed_pattern: ``[scheduler] allowed_run_id_pattern``, a regular expression that must match from the
        start, as the server matches it. Empty: not checked.
    :raises RunIdInvalidError: with the reason.
    """
    if found := _MANGLED.search(run_id):
        reason = f"it contains {found.group()!r}, which Airflow's client does not quote in the request's path"
    elif run_id in _DOTS:
        reason = "it is a relative path in the request's address"
    elif len(run_id.encode(errors="surrogatepass")) > MAX_LENGTH:
        reason = f"it has more than {MAX_LENGTH} bytes, with which the run's log folder cannot be made"
    elif allowed_pattern and not re.match(allowed_pattern, run_id):
        reason = f"it does not match [scheduler] allowed_run_id_pattern ({allowed_pattern})"
    else:
        return
    raise RunIdInvalidError(dag_id, run_id, reason)


def child_run_id(parent: Parent, *, epoch: int, call: int, generation: int) -> str:
    """
    Return the run id of one child of this parent: the same for the same arguments, forever.

    It starts like the stock operator's, with the type and a date, the ``run_after`` of the parent's Dag run. Then comes
    the part that makes it unique; then, readable, which child of the parent it is::

        manual__2026-11-26T03:00:00+00:00_k3v9xq2m4wfa          the first child of the parent
        manual__2026-11-26T03:00:00+00:00_b7m2c5xh6tqd_r1       the run after one failed run
        manual__2026-11-26T03:00:00+00:00_z4u6yf3n2kpa_c2       the second call of the try
        manual__2026-11-26T03:00:00+00:00_p5e7wd4j3sqb_e3       after a clear of try 3

    :param epoch: the try whose clear asked for the work again; 0: none yet.
    :param call: which child of the try it is, from 1.
    :param generation: how many runs of this epoch and call came before: they failed, or belong to another life of a
        parent of this name.
    """
    digest = _digest([_identity(parent), epoch, call, generation])
    parts = (("e", epoch), ("c", call - 1 and call), ("r", generation))
    position = "".join(f"_{letter}{part}" for letter, part in parts if part)
    return f"manual__{_in_utc(parent.run_after)}_{digest}{position}"


def epoch_in(run_id: str) -> int | None:
    """
    Return the epoch that a run id shows, if it has the form that :func:`child_run_id` gives it; else None.

    This proves nothing: whether the run id follows from a parent, only that function can say.
    """
    found = _CHILD.fullmatch(run_id)
    return None if found is None else int(found.group(1) or 0)


def items_prefix(parent: Parent, epoch: int) -> str:
    """
    Return how the run ids of all children of a task with many begin, and those of no other task.

    They hold 60 bits of a digest of the parent and the epoch. So the parent and a run id are enough to know whether the
    run is one of these, whatever its item is, and a database can find them all.
    """
    digest = _digest([_identity(parent), epoch, "items"])
    return f"manual__{_in_utc(parent.run_after)}_{digest}{f'_e{epoch}' if epoch else ''}_"


def item_run_id(prefix: str, key: str | None, index: int, generation: int) -> str:
    """
    Return the run id of one child of an item.

    ::

        manual__2026-11-26T03:00:00+00:00_h4t6mc2v5xka_iwest                         the item with the key west
        manual__2026-11-26T03:00:00+00:00_h4t6mc2v5xka_iwest_r1                      its run after one that failed
        manual__2026-11-26T03:00:00+00:00_h4t6mc2v5xka_n17                           the 18th item of those without keys
        manual__2026-11-26T03:00:00+00:00_h4t6mc2v5xka_iwest-coast-p5e7wd4j3sqb      the item with the key "west coast"

    A key of up to 60 letters, digits, ``.`` and ``-`` without ``..`` is shown whole. Of any other key the beginning is
    shown, followed by a digest of the key, and so it is with a key that itself looks like that. No two keys have the
    same run id.

    :param prefix: :func:`items_prefix`.
    :param key: None: the item has none, and its position is what identifies it.
    """
    if key is None:
        shown = f"n{index}"
    elif _UNSHOWN.search(key) or len(key) > _SHOWN_LENGTH or _TOLD_BY_DIGEST.fullmatch(key):
        told = _UNSHOWN.sub("-", key)[: _SHOWN_LENGTH - _DIGEST_LENGTH - 1]
        shown = f"i{told}-{_digest([key])}"
    else:
        shown = f"i{key}"
    return f"{prefix}{shown}{f'_r{generation}' if generation else ''}"


def item_part(run_id: str) -> str:
    """Return which item's run it is, and which of them: what follows :func:`items_prefix`; empty: it is none."""
    found = _ITEM_PART.search(run_id)
    return found.group(1) if found else ""


def _identity(parent: Parent) -> list[object]:
    loop = [] if parent.loop_index is None else [parent.loop_index]
    return [parent.dag_id, parent.run_id, parent.task_id, parent.map_index, *loop]


def is_generated(run_id: str) -> bool:
    """Return whether a run id has the form of a generated one, of this release or of 0.1.0; no stock one has."""
    return _GENERATED.fullmatch(run_id) is not None


def date_in(run_id: str) -> datetime | None:
    """Return the ``run_after`` of the parent's Dag run, which a generated run id of this release holds; else None."""
    date = run_id.removeprefix("manual__").partition("_")[0]
    if not is_generated(run_id) or date == "durable":
        return None
    try:
        return datetime.fromisoformat(date)
    except ValueError:
        return None


def tag_of_life(parent: Parent, call: int) -> int:
    """
    Return the microseconds of the logical date of a generated child.

    They distinguish a run that this task instance started from one that was started by an earlier Dag run of the same
    name, or by an earlier pass of a task loop: there the record is lost, and the run ids are equal. One run in a
    million has the same microseconds by chance.
    """
    started_at = _in_utc(parent.started_at) if parent.started_at else ""
    return _tag([*_key(parent), parent.region, started_at, call])


def tag_of_parent(parent: Parent, call: int) -> int:
    """
    Return the microseconds of the date that is ours in a child with a fixed run id.

    They differ for parents that contend for one run id, and stay the same over clears.
    """
    return _tag([*_key(parent), call])


def legacy_run_id(parent: Parent, max_tries: int, generation: int) -> str:
    """Return the run id that release 0.1.0 gave a child where Airflow has no task state store (3.0 to 3.2)."""
    started_at = parent.started_at.isoformat() if parent.started_at else ""
    text = json.dumps(
        [parent.dag_id, parent.run_id, parent.task_id, str(parent.map_index), started_at, max_tries],
        separators=(",", ":"),
    )
    return f"manual__durable_{hashlib.sha256(text.encode()).hexdigest()[:24]}_{generation}"


def _in_utc(date: datetime) -> str:
    """Return the same string for the same moment, whatever time zone Airflow gives it in."""
    return date.astimezone(timezone.utc).isoformat()


def _key(parent: Parent) -> list[object]:
    return [parent.dag_id, parent.run_id, parent.task_id, parent.map_index, parent.loop_index]


def _tag(key: list[object]) -> int:
    return int.from_bytes(_hash(key)[:8], "big") % MICROSECONDS


def _digest(key: list[object]) -> str:
    return base64.b32encode(_hash(key)).decode().lower()[:_DIGEST_LENGTH]


def _hash(key: list[object]) -> bytes:
    return hashlib.sha256(json.dumps(key, separators=(",", ":")).encode()).digest()
