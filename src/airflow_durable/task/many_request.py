"""From the rendered parameters of a task with many children to the protocol's words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_durable import task_sdk
from airflow_durable.compat import conf as airflow_conf
from airflow_durable.core.errors import ConfInvalidError, DagIdInvalidError, RequestInvalidError
from airflow_durable.core.items import Items
from airflow_durable.core.many import Goal
from airflow_durable.core.many_errors import ItemsInvalidError
from airflow_durable.core.model import Mode, OnClear, Request
from airflow_durable.core.run_ids import check_run_id
from airflow_durable.task.conf import parse_conf
from airflow_durable.task.request import policies_of, read_states, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_durable.core.model import Attempt
    from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

ON_CLEAR = {"auto": OnClear.AUTO, "failed": OnClear.ADOPT, "all": OnClear.FRESH}


class Hidden:
    """
    The rendered items, which show nothing of themselves: Airflow's view of rendered templates has their number alone.

    :ivar given: what the parameter was rendered to; a list, where that can be read only once (a Jinja filter's result).
    """

    def __init__(self, given: Any) -> None:  # noqa: ANN401 - it is for the user to get wrong
        self.given = list(given) if isinstance(given, Iterator) else given

    def __str__(self) -> str:
        """Say how many there are. Airflow stores this text (3.0 to 3.4, ``serialize_template_field``)."""
        try:
            return f"{len(self.given):,} items (not shown: each child run has its own conf)"
        except TypeError:
            return "items (not shown: each child run has its own conf)"

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class Confs:
    """What the children are given. It may hold secrets, so it never shows itself, and nothing of it is kept."""

    dag_id: str
    confs: Sequence[Any]

    def conf(self, index: int) -> Any:  # noqa: ANN401 - JSON
        """Return one item's conf as the server will see it."""
        return parse_conf(self.dag_id, self.confs[index])


def read_items(operator: TriggerDagRunsOperator) -> tuple[Items, Confs]:
    """
    Return the items and what identifies them, checked before anything is recorded or sent.

    :raises DagIdInvalidError: ``trigger_dag_id`` was rendered to nothing.
    :raises ItemsInvalidError: they are no list and no dict; an item is no dict; a key is missing, or no text or
        number, or there twice. The message names positions, never a value.
    :raises ConfInvalidError: an item has something that Airflow cannot send.
    """
    dag_id: Any = operator.trigger_dag_id
    if dag_id is None or not str(dag_id).strip():
        raise DagIdInvalidError("it is None" if dag_id is None else "it is empty")
    given = operator.items.given if isinstance(operator.items, Hidden) else operator.items
    keys, confs = _split(_read_text(given), operator.key)
    for position, conf in enumerate(confs):
        if not isinstance(conf, dict):
            raise ItemsInvalidError(
                f"The item at position {position} (from 0) is of type {type(conf).__name__}, not a dict: each item is "
                f"the conf of one run."
            )
        _check_conf(str(dag_id), position, conf)
    if keys is None and operator.key is not None:
        keys = [_key_of(operator.key, position, conf) for position, conf in enumerate(confs)]
    items = Items(len(confs)) if keys is None else Items.of_keys(keys)
    return items, Confs(str(dag_id), confs)


def build_goal(operator: TriggerDagRunsOperator, items: Items, attempt: Attempt, *, has_store: bool) -> Goal:
    """
    Return what the user asks for.

    :param has_store: a ledger is kept. ``dag.test()`` keeps none.
    :raises RequestInvalidError: a state that Airflow does not know.
    :raises RunIdInvalidError: the deployment's ``allowed_run_id_pattern`` admits no such run ids.
    """
    request = Request(
        dag_id=str(operator.trigger_dag_id),
        run_id=None,
        logical_date=None,
        # The port gives each run the present moment, as the stock operator does. What is ours is run_after.
        is_date_ours=False,
        is_run_after_ours=task_sdk.can_send_run_after(),
        mode=_mode(operator),
        allowed_states=read_states("allowed_states", operator.allowed_states),
        failed_states=read_states("failed_states", operator.failed_states),
        on_clear=ON_CLEAR[operator.on_clear],
        **policies_of(operator, _mode(operator), has_store=has_store),
        start_timeout_seconds=seconds_of(operator, "start_timeout"),
    )
    pattern = airflow_conf.get("scheduler", "allowed_run_id_pattern", fallback="").strip()
    for index in range(items.count):
        run_id = items.run_id(attempt.parent, index, epoch=0, generation=0)
        check_run_id(request.dag_id, run_id, allowed_pattern=pattern)
    tolerated = count_tolerated(operator.tolerated_failures, items.count)
    return Goal(request, items, operator.max_active, tolerated, operator.child_tries)


def count_tolerated(given: Any, count: int) -> int:  # noqa: ANN401 - it is for the user to get wrong
    """
    Return how many of so many items may fail: a share is rounded down.

    :param given: a number, or a share as ``"2%"``.
    :raises RequestInvalidError: it is neither.
    """
    share: float | None = None
    if isinstance(given, str) and given.strip().endswith("%"):
        try:
            share = float(given.strip()[:-1]) / 100
        except ValueError:
            share = None
    elif type(given) is int and given >= 0:
        return given
    if share is None or not 0 <= share <= 1:
        raise RequestInvalidError(
            f"tolerated_failures is a number, 0 or more, or a share from '0%' to '100%', not {given!r}."
        )
    # 2 % of 100 is 2, whatever binary fractions make of it.
    return math.floor(share * count + 1e-9)


def _mode(operator: TriggerDagRunsOperator) -> Mode:
    if not operator.wait_for_completion:
        return Mode.FIRE_AND_FORGET
    return Mode.DEFER if operator.deferrable else Mode.WAIT


def _read_text(given: Any) -> Any:  # noqa: ANN401 - see read_items
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        message = "items is a string that is not JSON."
    # Out of the except block: no link to a cause remains, which could hold a value.
    raise ItemsInvalidError(message)


def _split(given: Any, key: object) -> tuple[list[str] | None, list[Any]]:  # noqa: ANN401 - see read_items
    if isinstance(given, Mapping):
        if key is not None:
            raise ItemsInvalidError("items is a dict, whose keys identify the items: leave the parameter key out.")
        return [_as_key(name, position) for position, name in enumerate(given)], list(given.values())
    if isinstance(given, Iterable) and not isinstance(given, (bytes, bytearray)):
        return None, list(given)
    raise ItemsInvalidError(f"items is of type {type(given).__name__}, not a list of confs or a dict of them by key.")


def _check_conf(dag_id: str, position: int, conf: Any) -> None:  # noqa: ANN401 - JSON
    reason = ""
    try:
        parse_conf(dag_id, conf)
    except ConfInvalidError as error:
        reason = str(error)
    if reason:
        raise ItemsInvalidError(f"Of the item at position {position} (from 0): {reason}")


def _key_of(key: str | Callable[[Any], Any], position: int, conf: dict[str, Any]) -> str:
    if callable(key):
        return _as_key(key(conf), position)
    if key not in conf:
        raise ItemsInvalidError(f"The item at position {position} (from 0) has no field {key!r}, which key names.")
    return _as_key(conf[key], position)


def _as_key(found: Any, position: int) -> str:  # noqa: ANN401 - it is for the user to get wrong
    if type(found) in {str, int} and str(found):
        return str(found)
    kind = "an empty text" if found == "" else f"of type {type(found).__name__}"
    raise ItemsInvalidError(
        f"The key of the item at position {position} (from 0) is {kind}: a key is a string or an integer."
    )
