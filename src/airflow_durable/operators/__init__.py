"""The durable operator."""
