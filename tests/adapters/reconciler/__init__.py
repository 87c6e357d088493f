"""The reconciler on real databases: SQLite and PostgreSQL."""
