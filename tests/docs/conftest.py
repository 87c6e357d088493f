"""Nothing here touches an Airflow of the machine's."""

from __future__ import annotations

import os
import tempfile

# Airflow reads it when it is imported first.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-durable-docs-")
