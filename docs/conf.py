"""How the site is built. See README.md beside this file."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import airflow_durable

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent

sys.path.insert(0, str(HERE / "_ext"))

project = "airflow-durable"
author = "The airflow-durable maintainers"
project_copyright = author
version = release = airflow_durable.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "durable_docs"]
exclude_patterns = ["README.md", "dashboards/*"]
source_suffix = {".md": "markdown"}
language = "en"
nitpicky = False

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
# Pages that other commands write: a link to one that is not there yet is shown as text, and is no fault.
_WRITTEN_LATER = ("chaos-report", "benchmarks", "matrix", "waits-page", "audit")
nitpick_ignore_regex = [
    ("myst", rf"(\.\./)*{name}\.md(#.*)?") for name in _WRITTEN_LATER if not (HERE / f"{name}.md").exists()
]
# Quotes and ellipses, but no dashes: an option's two hyphens stay two.
smartquotes_action = "qe"

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
# What Airflow's own classes bring is described by Airflow.
autodoc_inherit_docstrings = False
autodoc_mock_imports: list[str] = []

html_theme = "furo"
html_title = f"airflow-durable {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_permalinks_icon = "#"
_ADDRESSES = dict(
    address.split(", ", 1) for address in importlib.metadata.metadata("airflow-durable").get_all("Project-URL") or []
)
html_theme_options = {
    "footer_icons": [
        {"name": name, "url": _ADDRESSES[name], "html": name, "class": "project-link"}
        for name in ("Source", "Changelog", "Issues")
        if name in _ADDRESSES
    ],
    "light_css_variables": {"color-brand-primary": "#0b6e6e", "color-brand-content": "#0b6e6e"},
    "dark_css_variables": {"color-brand-primary": "#5fc9c9", "color-brand-content": "#5fc9c9"},
}
pygments_style = "friendly"
pygments_dark_style = "monokai"


def setup(app: Sphinx) -> None:
    """Leave out of the contents the pages that other commands write, as long as they are not there."""

    def leave_out(_: Sphinx, name: str, source: list[str]) -> None:
        if name == "index":
            lines = source[0].splitlines()
            source[0] = "\n".join(line for line in lines if not line.endswith("*") or any(HERE.glob(f"{line}.md")))

    app.connect("source-read", leave_out)
