"""The metrics of a real Airflow in a real Prometheus: the scrape, the dashboard's queries, the alert rules."""
