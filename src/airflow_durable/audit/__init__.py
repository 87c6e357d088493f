"""
What stock has cost a deployment so far: the child runs that retries started beside healthy ones.

Read in this order: :mod:`.model` (the words), :mod:`.rules` (what a duplicate is, and how sure that is; pure),
:mod:`.search` (what is asked of the deployment, in which order). :mod:`.database` and :mod:`.rest` answer it.
"""
