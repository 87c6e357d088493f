"""Example Dags; the live tests run them."""
