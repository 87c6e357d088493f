"""Runs the tests on every supported Airflow, each in an environment of its own, and tells what came of it."""
