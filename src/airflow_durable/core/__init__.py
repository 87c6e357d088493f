"""
The protocol: pure, no Airflow, no clock, no randomness, no I/O.

Read in this order: :mod:`.model` (the words), :mod:`.record` (what survives a crash), :mod:`.decide` (the whole
decision table), :mod:`.protocol` (the order of calls, with the crash argument of each).
"""
