"""The same Airflow home as for the tests of the adapters, before Airflow is imported."""

from __future__ import annotations

import tests.adapters.conftest  # noqa: F401 - it sets the home
