"""How a test tells the auth manager of its Airflow who may read what."""

SCOPES = "AIRFLOW_DURABLE_TEST_SCOPES"
"""The variable: a JSON object of user names, each with the Dags that alone they may read. Others may read all."""
