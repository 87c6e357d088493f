"""An error of the server in each shape in which it reaches the operator."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from airflow.sdk.api.client import ServerResponseError
from airflow.sdk.exceptions import AirflowRuntimeError

from .supervisor import ServerError


def in_a_task(status: int | None, detail: Any = None) -> Exception:  # noqa: ANN401 - JSON
    """Return the error as the supervisor hands it to the task."""
    return AirflowRuntimeError(ServerError(status, detail).response())


def in_dag_test(status: int | None, detail: Any = None) -> Exception:  # noqa: ANN401 - JSON
    """Return the error as the client raises it, where there is no supervisor in between."""
    request = httpx.Request("GET", "http://in-process.invalid/")
    if status is None:
        return httpx.ConnectError("All attempts failed", request=request)
    response = httpx.Response(status, json={"detail": detail}, request=request)
    error = ServerResponseError.from_response(response)
    assert error is not None
    return error


def as_the_client_of_3_0_keeps_it(status: int, detail: Any = None) -> Exception:  # noqa: ANN401 - JSON
    """Return the error of the client of 3.0 and 3.1: its ``detail`` is the whole body (``sdk/api/client.py``)."""
    request = httpx.Request("GET", "http://in-process.invalid/")
    response = httpx.Response(status, json={"detail": detail}, request=request)
    error = ServerResponseError("Server returned error", request=request, response=response)
    error.detail = {"detail": detail}
    return error


each_shape = pytest.mark.parametrize("shape", [in_a_task, in_dag_test])
