"""
The page *Durable waits* in Airflow's own UI.

Read in this order: :mod:`.model` (what is shown, and the definition of each number), :mod:`.access` (to whom),
:mod:`.queries` and :mod:`.totals` (from which rows), :mod:`.timeline` (where the bars stand), :mod:`.app` (the routes),
:mod:`.plugin` (how Airflow learns of it).
"""
