"""The switch ``[durable] stock_operators``: stock operators made durable where Dag files are parsed, no Dag edited."""
