"""One Airflow for the whole session, and all scenarios on it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .lab import open_lab, running_scenarios

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from .lab import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return the running Airflow."""
    with open_lab(tmp_path_factory.mktemp("airflow")) as opened:
        yield opened


@pytest.fixture(scope="session")
def outcomes(lab: Lab, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    """Return what comes of each scenario that was collected."""
    with running_scenarios(lab, request.session.items) as started:
        yield started
