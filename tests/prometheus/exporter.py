"""
A stand-in for the statsd_exporter, which neither Debian nor PyPI has.

It takes what Airflow's own StatsD client sends, in InfluxDB's form, and serves it as the exporter's documentation says:
dots in a name become underscores, tags become labels. Each counter is also served under the name that OpenTelemetry's
translation to Prometheus gives it, with ``_total`` at the end.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_COUNTER = re.compile(r"(?P<name>[\w.]+)(?P<tags>(?:,\w+=[^,:]+)*):(?P<by>\d+)\|c")
_BUFFER_BYTES = 1 << 20


class StatsdStandIn:
    """Listens on a UDP port, and serves an HTTP one, both on the loopback interface. A context manager."""

    def __init__(self) -> None:
        self._totals: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind(("127.0.0.1", 0))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._threads = [
            threading.Thread(target=self._listen, daemon=True),
            threading.Thread(target=self._server.serve_forever, daemon=True),
        ]

    @property
    def udp_port(self) -> int:
        """Where StatsD's lines go."""
        return int(self._socket.getsockname()[1])

    @property
    def http_address(self) -> str:
        """Where Prometheus reads."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Start."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and close both ports."""
        self._server.shutdown()
        self._server.server_close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()

    def expose(self) -> str:
        """Return all counters in Prometheus' text format."""
        with self._lock:
            totals = dict(self._totals)
        return "".join(
            f"{name}{suffix}{labels} {total}\n" for (name, labels), total in totals.items() for suffix in ("", "_total")
        )

    def _listen(self) -> None:
        while True:
            try:
                line = self._socket.recv(65_536).decode()
            except OSError:
                return
            if not line:
                return
            if match := _COUNTER.fullmatch(line):
                pairs = (tag.partition("=") for tag in match["tags"].split(",") if tag)
                labels = ",".join(f'{name}="{value}"' for name, _, value in pairs)
                with self._lock:
                    self._totals[match["name"].replace(".", "_"), f"{{{labels}}}"] += int(match["by"])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.expose().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        return Handler
