"""``python -m airflow_durable`` is the command ``airflow-durable``."""

from airflow_durable.cli import app

if __name__ == "__main__":
    app(prog_name="airflow-durable")
