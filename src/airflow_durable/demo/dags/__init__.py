"""The Dags of the demonstration."""
