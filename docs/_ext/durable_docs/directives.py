"""The site's directives."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import typer
from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from typer.testing import CliRunner

from airflow_durable import cli
from airflow_durable.get_provider_info import get_provider_info
from durable_docs import diagram, messages, scenarios, signature, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

    from airflow_durable.core.model import Decision

_TABLES = {
    "record": tables.record_table,
    "retry": tables.retry_table,
    "failure": tables.failure_table,
    "clear": tables.clear_table,
    "clear-fixed": tables.clear_fixed_table,
}


class DecisionTable(SphinxDirective):
    """``{decision-table} <name>``: what the decision function answers, condition by condition."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        table = _TABLES[self.arguments[0]]()
        is_short = len(table.columns) > 1
        lines = [f"| | {' | '.join(table.columns)} |", f"| --- |{' --- |' * len(table.columns)}"]
        for answer in table.answers:
            shown = " | ".join(_show(decision, is_short=is_short) for decision in answer.decisions)
            lines.append(f"| {answer.condition} | {shown} |")
        return self.parse_text_to_nodes("\n".join(lines))


def _show(decision: Decision | None, *, is_short: bool) -> str:
    if decision is None:
        return tables.LOOK_UP
    link = f"[`{decision.value}`](#{decision.value})"
    return link if is_short else f"{tables.PHRASES[decision]}: {link}."


class Sequence(SphinxDirective):
    """``{sequence} <scenario>``: the real protocol's calls in that scenario."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Return the picture, and its text."""
        scenario = scenarios.SCENARIOS[self.arguments[0]]
        events = scenarios.events_of(self.arguments[0])
        lines = "".join(f"<li>{escape(line)}</li>" for line in diagram.describe(events))
        html = (
            f'<figure class="seq-figure"><figcaption>{escape(scenario.title)}</figcaption>'
            f"{diagram.draw(scenario.title, events)}"
            f"<details><summary>The same as text</summary><ol>{lines}</ol></details></figure>"
        )
        return [nodes.raw("", html, format="html")]


class ErrorMessage(SphinxDirective):
    """``{error-message} <class>``: its message with sample values, and what Airflow makes of it."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Return the message."""
        error = messages.find(self.arguments[0])
        said = messages.message_of(error)
        quote = nodes.literal_block(said, said, classes=["error-message"], language="text")
        name = nodes.literal(error.__name__, error.__name__)
        return [quote, nodes.paragraph("", "", name, nodes.Text(f": {messages.outcome_of(error)}"))]


class ConfigOptions(SphinxDirective):
    """``{config-options}``: the options that the provider's metadata declares."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Return a table of them."""
        lines = ["| option | type | default | |", "| --- | --- | --- | --- |"]
        for section, described in get_provider_info()["config"].items():
            for name, option in described["options"].items():
                told = " ".join(option["description"].split()).replace("|", "\\|")
                lines.append(f"| `[{section}] {name}` | {option['type']} | `{option['default']}` | {told} |")
        return self.parse_text_to_nodes("\n".join(lines))


class CommandHelp(SphinxDirective):
    """``{command-help}``: the help of each command, as a terminal of 80 columns shows it."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Return a block of text for each."""
        shown: list[nodes.Node] = []
        for called, text in helps():
            name = nodes.strong("", "", nodes.literal(called, called))
            shown += [nodes.paragraph("", "", name), nodes.literal_block(text, text, language="text")]
        return shown


def helps() -> Iterator[tuple[str, str]]:
    """Yield how each command is called, and its help."""
    names = sorted(getattr(typer.main.get_command(cli.app), "commands", {}))
    for arguments in ([], *([name] for name in names)):
        ended = CliRunner().invoke(cli.app, [*arguments, "--help"], prog_name="airflow-durable", env={"COLUMNS": "80"})
        yield " ".join(["airflow-durable", *arguments]), ended.stdout.rstrip()


def setup(app: Sphinx) -> ExtensionMetadata:
    """Add them."""
    known: dict[str, Any] = {
        "decision-table": DecisionTable,
        "sequence": Sequence,
        "error-message": ErrorMessage,
        "config-options": ConfigOptions,
        "command-help": CommandHelp,
    }
    for name, directive in known.items():
        app.add_directive(name, directive)
    signature.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
