"""
The protocol: pure, no Airflow, no clock, no randomness, no I/O.

Read in this order: :mod:`.model` (the words), :mod:`.record` (what survives a crash), :mod:`.decide` (the whole
decision table), :mod:`.protocol` (the order of calls, with the crash argument of each), :mod:`.sending` (which run id
and dates, record and send), :mod:`.recovery` (without a record), :mod:`.waiting` (until the child has ended). Beside
them: :mod:`.port` (what the protocol needs from the world), :mod:`.run_ids`, :mod:`.stored` (the record's stored form),
:mod:`.errors`.

The child's life: :mod:`.timeouts`, :mod:`.asks` (what the reconciler is asked for), :mod:`.resuming` and
:mod:`.resetting` (how a task asks), :mod:`.reconcile` (what the reconciler then decides). Many children of one task:
:mod:`.items`, :mod:`.ledger`, :mod:`.survey`, :mod:`.many`.
"""
