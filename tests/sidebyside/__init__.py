"""The stock operator and ours in the same situations, under the same task runner: what differs, and why."""
