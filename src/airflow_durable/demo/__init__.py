"""A real Airflow of this environment in a scratch home, and the demonstration that runs on it."""
