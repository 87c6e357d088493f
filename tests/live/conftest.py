"""One Airflow for the whole session, and all scenarios on it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .lab import open_lab, running_scenarios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


@pytest.fixture(autouse=True)
def _described(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """Write into the results what the test shows, for the matrix of versions."""
    for name, described in (("story", request.module), ("promise", request.function)):
        record_property(name, " ".join((described.__doc__ or "").strip().split("\n\n")[0].split()))
