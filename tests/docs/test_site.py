"""The site builds, and needs no other host."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_durable.operators.signature import parameters

from .blocks import DOCS

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT_SECONDS = 1500
"""A build takes a minute of processor time; on a machine that is busy with other things, several times that."""

_LOADED = re.compile(r"""<(?:script|link|img|iframe)[^>]*?(?:src|href)=["'](https?:)?//[^"']+""")


@pytest.mark.timeout(_LIMIT_SECONDS + 60)
def test_site(tmp_path: Path) -> None:
    """It builds without a warning; every page is in the contents; nothing is loaded from elsewhere."""
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    built = subprocess.run(
        [*command, str(DOCS), str(tmp_path)], check=False, capture_output=True, text=True, timeout=_LIMIT_SECONDS
    )
    assert built.returncode == 0, built.stderr
    htmls = list(tmp_path.rglob("*.html"))
    assert len(htmls) > 15
    for html in htmls:
        assert not _LOADED.findall(html.read_text(encoding="utf-8")), html
    reference = (tmp_path / "reference.html").read_text(encoding="utf-8")
    for name in inspect.signature(parameters).parameters.keys() - {"self", "kwargs"}:
        assert f"<strong>{name}</strong>" in reference, f"the reference does not describe {name}"
        assert re.search(rf'<span class="n"><span class="pre">{name}</span></span>', reference), name
    assert "<svg" in (tmp_path / "crash-points.html").read_text(encoding="utf-8")
