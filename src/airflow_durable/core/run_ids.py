"""Run ids: which of them Airflow would mangle, and how one is derived where there is no journal."""

from __future__ import annotations

import hashlib
import json
import re

from airflow_durable.core.errors import RunIdInvalidError

MAX_LENGTH = 248
"""Longer ones pass the API, but the folder of the child's logs cannot be made: ``run_id=`` and the id are one name,
of at most 255 bytes (seen on Airflow 3.0 to 3.3)."""

_MANGLED = re.compile(r"[#?/\\%\x00-\x20\x7f]")
_DOTS = frozenset({".", ".."})


def check_run_id(dag_id: str, run_id: str, *, allowed_pattern: str = "") -> None:
    """
    Refuse a run id that Airflow would refuse, or take for another one.

    Airflow's client does not quote it in the request's path (3.0 to 3.3, ``sdk/api/client.py``): ``a#b`` makes a run
    called ``a``.

    :param allowed_pattern: ``[scheduler] allowed_run_id_pattern``, a regular expression that must match from the
        start, as the server matches it. Empty: not checked.
    :raises RunIdInvalidError: with the reason.
    """
    if found := _MANGLED.search(run_id):
        reason = f"it contains {found.group()!r}, which Airflow's client does not quote in the request's path"
    elif run_id in _DOTS:
        reason = "it is a relative path in the request's address"
    elif len(run_id.encode()) > MAX_LENGTH:
        reason = f"it has {len(run_id.encode())} bytes, and over {MAX_LENGTH} the run's log folder cannot be made"
    elif allowed_pattern and not re.match(allowed_pattern, run_id):
        reason = f"it does not match [scheduler] allowed_run_id_pattern ({allowed_pattern})"
    else:
        return
    raise RunIdInvalidError(dag_id, run_id, reason)


def generate_run_id(task_instance_id: str, generation: int) -> str:
    """
    Return the run id of a parent's n-th child, this parent's alone.

    It follows from the task instance's id, which is new and random in every try, and is not random beside that: a try
    may be executed twice (a workload that is delivered again to a process of the same host and pid, a task that was
    taken for stuck in the queue while it started: 3.0 to 3.3, ``execution_api/routes/task_instances.py``, ``ti_run``,
    and ``jobs/scheduler_job_runner.py``, ``_reschedule_stuck_task``). Both executions then ask for the same run.

    :param generation: how many run ids the parent had before.
    """
    return f"manual__durable_{task_instance_id.replace('-', '')}_{generation}"


def derive_run_id(parent: tuple[str, ...], max_tries: int, generation: int) -> str:
    """
    Return the run id of a parent's n-th child where nothing can be recorded.

    The same for the same arguments, so that every attempt since the last clear asks for the same run, and another for
    any other. The digest keeps it within :data:`MAX_LENGTH` and the allowed characters.

    :param parent: what tells this parent from every other: its Dag run, in this life of it, task and map index.
    :param max_tries: moves when a person clears the task, and so begins a new series.
    :param generation: how many children of this series have failed.
    """
    text = json.dumps([*parent, max_tries], separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    return f"manual__durable_{digest}_{generation}"


def digest_request(parent: tuple[str, ...], request: object) -> str:
    """
    Return the digest by which one request is told from another.

    :param parent: makes the digests of equal requests of two parents differ, so that they tell nothing.
    :param request: JSON-serializable. Only its digest is ever kept.
    """
    text = json.dumps([*parent, request], sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
