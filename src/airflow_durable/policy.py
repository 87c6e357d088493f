"""
Airflow's entry point of the switch ``[durable] stock_operators``: a ``dag_policy`` (group ``airflow.policy``).

Airflow imports this module when each of its processes starts (``settings.initialize``, 3.0 to 3.4), before the folder
of the Dags can be imported, and lets an error of the import end that process. So it imports next to nothing: a policy
that imported operators pulled in Airflow's Sentry module, whose ``before_send`` was in that folder, and Airflow did not
start (astronomer-cosmos issue 2620). An error in the hook would fail the import of a Dag, so the hook raises none.

A ``dag_policy``, and not a ``task_policy``: Airflow calls the policies of a Dag before those of its tasks
(``DagBag.bag_dag``, 3.0 to 3.4), so each ``task_policy`` of the deployment runs after this one, and has the last word.
Its ``dag_policy`` runs before this one (``trylast``), so that a tag that it sets is seen.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

if TYPE_CHECKING:
    from airflow_durable.switch.settings import Switch

_STOCK_MODULE = "airflow.providers.standard.operators.trigger_dagrun"
_OFF = "as_is"


@HookimplMarker("airflow.policy")(trylast=True)
def dag_policy(dag: Any) -> None:  # noqa: ANN401 - Airflow's Dag, of any version
    """Make the Dag's stock operators durable, or report it, as the options say."""
    # Without the stock operator's module there is no task of its class.
    if _STOCK_MODULE not in sys.modules:
        return
    try:
        switch = _read_options()
        if switch is not None:
            from airflow_durable.switch.apply import apply_switch

            apply_switch(dag, switch)
    except Exception:  # noqa: BLE001 - the Dag is parsed all the same
        _warn("Dag %r stays as it is: [durable] stock_operators failed.", getattr(dag, "dag_id", None), exc_info=True)


@cache
def _read_options() -> Switch | None:
    """Return the options as they are when the process needs them first; None: the switch is off."""
    from airflow.configuration import conf

    def get(name: str) -> str | None:
        value: str | None = conf.get("durable", name, fallback=None)
        return value

    # All of it that a process needs where the switch is off.
    if not _is_off(get):
        from airflow_durable.switch.settings import Mode, read_switch

        switch = read_switch(get)
        for problem in switch.problems:
            _warn("%s", problem)
        return None if switch.mode is Mode.AS_IS else switch
    return None


def _is_off(get: Any) -> bool:  # noqa: ANN401 - see above
    try:
        return (get("stock_operators") or _OFF) == _OFF
    except Exception:  # noqa: BLE001 - whatever a configuration file can do; read_switch reports it
        return False


def _warn(message: str, *values: object, exc_info: bool = False) -> None:
    import logging

    logging.getLogger(__name__).warning(message, *values, exc_info=exc_info)
