"""The stock operator's own unit tests, on operators that the switch has made durable: ``make test-upstream``."""
