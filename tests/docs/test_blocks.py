"""Every code block of the README and of the site is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from . import executors
from .blocks import Block, blocks

if TYPE_CHECKING:
    from pathlib import Path

ALL = list(blocks())
_NAMESPACES: dict[Path, dict[str, Any]] = {}


@pytest.mark.parametrize("block", ALL, ids=str)
def test_block(block: Block, tmp_path: Path) -> None:
    """A block is executed as its language says, or says why not."""
    if block.reason is not None or block.is_output:
        return
    match block.language:
        case "python":
            executors.run_python(block.text, tmp_path, _NAMESPACES.setdefault(block.page, {}))
        case "bash" | "sh":
            executors.run_shell(block.text, tmp_path)
        case "ini":
            executors.check_configuration(block.text)
        case "yaml":
            executors.check_yaml(block.text)
        case "dockerfile":
            executors.check_dockerfile(block.text, tmp_path)
        case "json":
            executors.check_json(block.text)
        case _:
            pytest.fail(f"Nothing executes {block}. Give it a language that has an executor, or say why not.")


def test_blocks_are_found() -> None:
    """The parser sees the blocks: the README has some, and each kind of block is somewhere."""
    assert any(block.page.name == "README.md" and block.language == "python" for block in ALL)
    assert {"python", "bash", "ini", "yaml", "json"} <= {block.language for block in ALL}


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (executors.check_configuration, "[workers]\nexecution_api_retrys = 5\n"),
        (executors.check_configuration, "[scheduler]\ntask_instance_heartbeat_timeout = soon\n"),
        (executors.check_yaml, "groups: [{rules: [{expr: sum(airflow_resumable_job_reconnects)}]}]"),
        (
            executors.check_yaml,
            "images: {airflow: {repository: x, tag: y}}\nconfig: {durable: {no_such_option: 'True'}}",
        ),
        (executors.check_json, '{"version": 1, "attempts": []}'),
    ],
)
def test_executors_can_fail(run: Any, text: str) -> None:  # noqa: ANN401 - any executor
    """A block that is wrong fails."""
    with pytest.raises(Exception, match=r".*"):
        run(text)


def test_python_executor_can_fail(tmp_path: Path) -> None:
    """A Dag file that Airflow cannot import fails."""
    with pytest.raises(AssertionError):
        executors.run_python("from airflow.sdk import DAG\nDAG('x', no_such_argument=1)\n", tmp_path, {})


@pytest.mark.parametrize(
    "line", ["make no-such-target", "airflow-durable no-such-command", "airflow dags delete x", "rm -r x"]
)
def test_shell_executor_can_fail(line: str, tmp_path: Path) -> None:
    """A command that is not there, or may do more than read, fails."""
    with pytest.raises(Exception, match=r".*"):
        executors.run_shell(line, tmp_path)
