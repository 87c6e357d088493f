"""
The one room that knows Airflow's tables. Whatever reads a metadata database reads it through here.

Read in this order: :mod:`.model` (what a row is to us), :mod:`.tables` (which tables and columns each Airflow has; a
new Airflow is a new branch there), :mod:`.records` (what a stored record says), :mod:`.reads` (typed reads),
:mod:`.record_rows` (the records as rows, for the page), :mod:`.connections` and :mod:`.scratch` (how a database is
opened).
"""
