"""Every schedule up to a bound, exhaustively: the protocol runs in a simulated Airflow that crashes it anywhere."""
