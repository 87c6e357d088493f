"""
The page *Durable waits* in Airflow's own UI, and the plugin by which Airflow's API server learns of it.

Read in this order: :mod:`.model` (what is shown, and the definition of each number), :mod:`.access` (to whom),
:mod:`.queries` and :mod:`.totals` (from which rows), :mod:`.timeline` (where the bars stand), :mod:`.rendering` (the
HTML), :mod:`.app` (the routes), :mod:`.plugin` (how Airflow learns of it).
"""
