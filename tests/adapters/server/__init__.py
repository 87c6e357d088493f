"""The page *Durable waits*, in Airflow's own application on a scratch database."""
