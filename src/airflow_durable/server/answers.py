"""What every answer of the page has: its headers; and what an error looks like, to people and to programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from airflow_durable.server.rendering import hash_of_style, render_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import Request

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' {styles}; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}


async def add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Let an answer be shown in Airflow alone, run no script but ours, and be kept by nobody."""
    return _with_headers(await call_next(request))


async def show_error(request: Request, error: Exception) -> Response:
    """Show what a route has raised."""
    status = getattr(error, "status_code", 500)
    detail = str(getattr(error, "detail", "")) or "Something went wrong."
    return _report(request, status, detail, getattr(error, "headers", None))


async def show_bad_request(request: Request, error: Exception) -> Response:
    """Name what is wrong in an address, without its value."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    names = sorted({str(one["loc"][-1]) for one in found})
    return _report(request, 422, f"This address is not valid. Check: {', '.join(names)}.")


async def show_failure(request: Request, _: Exception) -> Response:
    """Say that something has failed here, and not what."""
    # The error's own words may quote a value of the database: they are in the API server's log.
    return _with_headers(_report(request, 500, "The server could not read the waits. Its log has the reason."))


def _with_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value.replace("{styles}", hash_of_style()))
    return response


def _report(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    is_for_program = "/api/" in request.url.path or "/export" in request.url.path
    if is_for_program:
        return JSONResponse({"detail": detail}, status_code=status, headers=headers)
    return render_error(request, status, detail, headers)
