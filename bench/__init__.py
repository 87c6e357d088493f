"""Benchmarks against the stock operator: ``make bench``."""
