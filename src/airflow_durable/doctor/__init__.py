"""
What keeps the tasks of a deployment from surviving crashes, and what to do about it.

Read in this order: :mod:`.model` (the words), :mod:`.tasks`, :mod:`.options` and :mod:`.components` (the checks; pure),
:mod:`.report`. :mod:`.facts` reads the deployment: its database and this machine's configuration, or the REST API.
"""
