"""Tests on a real Airflow whose workers are killed."""
