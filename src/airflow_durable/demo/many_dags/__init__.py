"""The Dag file of ``airflow-durable demo --many``."""
