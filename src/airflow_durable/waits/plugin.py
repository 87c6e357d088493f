"""
How Airflow learns of the page: a plugin, found by the entry point ``airflow.plugins``.

Every Airflow process loads the plugins, each task's too, so nothing but this module may be imported here: the page
itself comes with the first request for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowPlugin, conf

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
    from airflow_durable.waits.app import get_app

    await get_app()(scope, receive, send)


def is_wanted() -> bool:
    """Tell whether the page is to be there: ``[durable] waits_page``, and Airflow 3.1, the first with such pages."""
    return hasattr(AirflowPlugin, "external_views") and conf.getboolean("durable", "waits_page", fallback=True)


class DurableWaitsPlugin(AirflowPlugin):
    """The page in the navigation, the tab on each Dag run's page, and the application behind both."""

    name = "durable_waits"
    fastapi_apps: list[Any] = [{"app": serve, "url_prefix": URL_PREFIX, "name": "Durable waits"}] if is_wanted() else []
    external_views: list[Any] = [_NAVIGATION, _TAB_OF_RUN] if is_wanted() else []
