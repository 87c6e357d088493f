"""Tests of what lies between the core and Airflow, and of the operator as a whole."""
