"""
What the site draws from the code itself, so that it cannot drift: decision tables, sequence diagrams, messages.

:mod:`.tables` asks the decision functions, :mod:`.stage` runs the protocol against a small simulated Airflow,
:mod:`.diagram` draws what happened there, :mod:`.messages` makes every error's message, :mod:`.signature` lists the
operator's parameters. Only that and :mod:`.directives` know Sphinx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add the directives."""
    from durable_docs import directives

    return directives.setup(app)
