"""How a test tells the auth manager of its Airflow who may read what."""

SCOPES = "DURABLE_TEST_SCOPES"
"""
The variable: a JSON object of user names, each with the Dags that alone they may read. Others may read all.

It does not begin with ``AIRFLOW``: a scratch Airflow is given nothing that does.
"""
