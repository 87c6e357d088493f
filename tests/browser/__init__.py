"""The page *Durable waits* in a real browser, in a real Airflow with waits that crashed and recovered."""
