"""Reads of the public REST API, version 2: paged, repeated where that may help, and not too many a second."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from airflow_durable.audit.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = 100
"""As ``[api] maximum_page_limit`` has it by default. The server may give less; then so be it."""

OVERLAP = 5
"""How many items the next page shows again: rows that go away meanwhile give those after them an earlier place."""

_NAMES = ("id", "event_log_id", "import_error_id", "dag_id", "dag_run_id", "run_id", "task_id", "map_index", "key")
"""Which of an item's fields tell it from others, of whatever kind they are."""

_TIMEOUT_SECONDS = 60.0
_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0)
_LONGEST_PAUSE_SECONDS = 60.0
_PASSING_STATUSES = frozenset({429, 502, 503, 504})
_MISSING = 404
_FORBIDDEN = 403
_ADVICE = {
    401: "The token is wrong or has expired; ask Airflow for a new one.",
    # What Airflow answers to a token that is none, too (3.3).
    403: (
        "The token is wrong, or its user may not read that. The audit reads Dags, Dag runs, task instances and XCom, "
        "of all Dags."
    ),
}


class ApiMissingError(SourceError):
    """What was asked for is not there."""


class ApiForbiddenError(SourceError):
    """The user of the token may not read it."""


class ApiClient:
    """
    A client that only ever sends GET.

    :param url: of Airflow, as a browser has it: ``https://airflow.example.com``, with a path if it has one.
    :param token: a bearer token, as ``POST /auth/token`` gives.
    :param requests_per_second: never more than that.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        requests_per_second: float,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/api/v2")
        self._pause_seconds = 1 / requests_per_second
        self._sleep = sleep
        self._next_at = 0.0
        self._client = httpx.Client(
            base_url=f"{self.url}/api/v2",
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=_TIMEOUT_SECONDS,
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, *path: str, **query: Any) -> Any:  # noqa: ANN401 - JSON
        """
        Return what is there.

        :param path: its segments; they are quoted here.
        :raises ApiMissingError: nothing is.
        :raises SourceError: it cannot be read.
        """
        address = "/" + "/".join(quote(segment, safe="~") for segment in path)
        for pause_seconds in (*_PAUSES_SECONDS, None):
            response = self._send(address, query, pause_seconds)
            if response is not None:
                return self._read(response, address)
        message = f"{self.url}{address} did not answer."
        raise SourceError(message)

    def pages(self, *path: str, key: str, **query: str | list[str] | None) -> Iterator[dict[str, Any]]:
        """
        Yield the items of a collection, page by page, each once.

        Each page starts with the last items of the page before it. If none of those is there, rows have gone meanwhile
        and others may have been missed, so the next request goes further back.
        """
        offset, overlap = 0, 0
        seen: set[str] = set()
        while True:
            start = max(0, offset - overlap)
            page = self.get(*path, **query, limit=PAGE, offset=start)
            items = {_identity(item): item for item in page.get(key, [])}
            if start and overlap and not items.keys() & seen:
                overlap *= 2
                continue
            yield from (item for name, item in items.items() if name not in seen)
            seen |= items.keys()
            offset = start + len(items)
            if not items or offset >= (page.get("total_entries") or 0):
                return
            # Of a server that gives little, less: each page goes beyond the one before.
            overlap = min(OVERLAP, len(items) // 2)

    def _send(self, address: str, query: dict[str, Any], pause_seconds: float | None) -> httpx.Response | None:
        """Return the answer; None if the request is to be repeated, which it is not after the last pause."""
        self._keep_pace()
        given = {name: value for name, value in query.items() if value}
        try:
            response = self._client.get(address, params=given)
        except httpx.LocalProtocolError:
            # Its text quotes the header that cannot be sent: that with the token.
            message = f"A request to {self.url} could not be sent: the token or the address is no part of one."
            raise SourceError(message) from None
        except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            if pause_seconds is None:
                message = (
                    f"{self.url} could not be reached: {type(error).__name__}: {error}. Is the address right, and "
                    f"can this machine reach it?"
                )
                raise SourceError(message) from error
            self._sleep(pause_seconds)
            return None
        if response.status_code in _PASSING_STATUSES and pause_seconds is not None:
            self._sleep(_asked_pause(response) or pause_seconds)
            return None
        return response

    def _keep_pace(self) -> None:
        now = time.monotonic()
        if now < self._next_at:
            self._sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + self._pause_seconds

    def _read(self, response: httpx.Response, address: str) -> Any:  # noqa: ANN401 - JSON
        status = response.status_code
        where = f"GET {self.url}/api/v2{address}"
        if status == _MISSING:
            message = f"{where}: HTTP 404. There is nothing."
            raise ApiMissingError(message)
        if status == _FORBIDDEN:
            message = f"{where}: HTTP 403{_said(response)}. {_ADVICE[403]}"
            raise ApiForbiddenError(message)
        if not response.is_success:
            message = f"{where}: HTTP {status}{_said(response)}. {_ADVICE.get(status, '')}".rstrip()
            raise SourceError(message)
        try:
            return response.json()
        except ValueError:
            message = f"{where}: the answer is not JSON. Is that the address of an Airflow?"
            raise SourceError(message) from None


def _identity(item: dict[str, Any]) -> str:
    return json.dumps({name: item[name] for name in _NAMES if name in item} or item, sort_keys=True)


def read_options(client: ApiClient) -> dict[str, str]:
    """Return the deployment's configuration, ``section.option`` to value; empty if it is not shown (the default)."""
    try:
        sections = client.get("config").get("sections", [])
    except SourceError:
        return {}
    return {
        f"{section['name']}.{option['key']}": str(option["value"])
        for section in sections
        for option in section.get("options", [])
    }


def _said(response: httpx.Response) -> str:
    """Return the server's own words, if it has any."""
    try:
        detail = response.json().get("detail")
    except (ValueError, AttributeError):
        return ""
    return f" ({detail[:200]})" if isinstance(detail, str) else ""


def _asked_pause(response: httpx.Response) -> float | None:
    """Return the pause in seconds that the server asks for, within reason."""
    asked = response.headers.get("Retry-After")
    if not asked:
        return None
    try:
        seconds = float(asked)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(asked).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), _LONGEST_PAUSE_SECONDS)
