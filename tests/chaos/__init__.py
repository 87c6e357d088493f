"""Random kills on the distributed engine, counted in its database."""
