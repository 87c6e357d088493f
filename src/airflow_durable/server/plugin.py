"""
How Airflow learns of the page: a plugin, found by the entry point ``airflow.plugins``.

Every Airflow process loads the plugins, each task's too, so nothing but this module may be imported here: the page
itself comes with the first request for it. Only the Dag processor imports the operator as well
(:func:`preload_operator`).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any

from airflow_durable.compat import AirflowPlugin, conf

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

URL_PREFIX = "/durable-waits"
_HERE = URL_PREFIX.removeprefix("/")

# Addresses are relative to Airflow's <base>, so that they hold under a path prefix ([api] base_url). Airflow 3.1.8
# puts the run id into them as it is, 3.2 and 3.3 quoted (ui/src/pages/Iframe.tsx): in a path, both come to the same.
_ICONS = {"icon": f"{_HERE}/static/icon.svg", "icon_dark_mode": f"{_HERE}/static/icon-dark.svg"}
_NAVIGATION = {
    "name": "Durable waits",
    "href": f"{_HERE}/",
    "url_route": "durable-waits",
    "destination": "nav",
    "category": "browse",
    **_ICONS,
}
_TAB_OF_RUN = {
    "name": "Durable waits",
    "href": f"{_HERE}/run/{{DAG_ID}}/{{RUN_ID}}",
    "url_route": "durable-waits-of-run",
    "destination": "dag_run",
    **_ICONS,
}


async def serve(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Serve the page: an ASGI application that is imported when it is first asked for something."""
    from airflow_durable.server.app import get_app

    await get_app(URL_PREFIX)(scope, receive, send)


_OFF = "as_is"


def is_enabled() -> bool:
    """Return whether there is to be a page: ``[durable] waits_page``, and Airflow 3.1, the first with such pages."""
    return hasattr(AirflowPlugin, "external_views") and conf.getboolean("durable", "waits_page", fallback=True)


def is_reconciler_enabled() -> bool:
    """Return whether the API server runs the reconciler, as far as the configuration says: ``[durable] reconciler``."""
    return bool(conf.getboolean("durable", "reconciler", fallback=True))


def preload_operator() -> None:
    """
    Import the operator where the Dag processor forks from, so that not every parse of a Dag file has to.

    Before it forks the process that parses a file, the Dag processor imports the ``airflow.*`` modules that the file
    names at its top level (``processor.py``, ``_pre_import_airflow_modules``), and no other package's. So the stock
    operator would be imported once, and this one, often with the stock one, again in each parse: a fifth of the time
    that a file with 200 of them takes. As there, ``[dag_processor] parsing_pre_import_modules`` turns it off.

    The same goes for the switch ``[durable] stock_operators``, where it is on.

    The Dag processor is told by its manager's module, which it has imported by the time it loads the plugins, and no
    other process imports. With ``[core] lazy_load_plugins = False`` the plugins come first, and this does nothing.
    """
    if "airflow.dag_processing.manager" not in sys.modules:
        return
    with contextlib.suppress(Exception):  # The Dag files report what is wrong: it is none of the page's errors.
        if conf.getboolean("dag_processor", "parsing_pre_import_modules", fallback=True):
            importlib.import_module("airflow_durable.operators.trigger_dagrun")
            if conf.get("durable", "stock_operators", fallback=_OFF) != _OFF:
                importlib.import_module("airflow_durable.switch.apply")


def warn_if_untested() -> None:
    """
    Log a line if this Airflow is newer than any that this release was tested with.

    In the API server alone, which is told by the module that its command names (3.0 to 3.4,
    ``cli/commands/api_server_command.py``): elsewhere the line would be in the log of each task and of each Dag file.
    """
    if "airflow.api_fastapi.main" not in sys.modules:
        return
    with contextlib.suppress(Exception):  # The page is there whatever the versions are.
        from airflow_durable.server import versions

        versions.warn_if_untested()


class ReconcilerMiddleware:
    """
    Runs the reconciler for the lifespan of the API server (3.3 and later). Requests pass through untouched.

    :param app: the ASGI application behind it.
    """

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - an ASGI application
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        """Pass on; around the lifespan, start the reconciler and stop it."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        stop = _start_reconciler()
        try:
            await self._app(scope, receive, send)
        finally:
            stop()


def _start_reconciler() -> Callable[[], None]:
    """Start it; return what stops it. Whatever goes wrong is logged: the server must start all the same."""
    try:
        from airflow_durable.server import hosting

        return hosting.start().set
    except Exception:
        logging.getLogger("airflow_durable.reconciler").exception("The reconciler could not be started.")
        return lambda: None


_APPLICATION = {"app": serve, "url_prefix": URL_PREFIX, "name": "Durable waits"}


_MIDDLEWARE = {"middleware": ReconcilerMiddleware, "name": "Durable reconciler"}


class DurableWaitsPlugin(AirflowPlugin):
    """The page in the navigation, the tab on each Dag run's page, and the application behind both."""

    name = "durable_waits"
    fastapi_apps: list[Any] = [_APPLICATION] if is_enabled() else []
    fastapi_root_middlewares: list[Any] = [_MIDDLEWARE] if is_reconciler_enabled() else []
    external_views: list[Any] = [_NAVIGATION, _TAB_OF_RUN] if is_enabled() else []

    @classmethod
    def on_load(cls, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Airflow's own
        """Do what each process does once that loads the plugins."""
        preload_operator()
        warn_if_untested()
