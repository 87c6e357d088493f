"""How a block of each language is executed."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml
from airflow.cli import cli_parser
from airflow.configuration import retrieve_configuration_description
from airflow.dag_processing.dagbag import DagBag
from packaging.requirements import Requirement

from airflow_durable import cli
from airflow_durable.core.stored import dump, load
from airflow_durable.server.attention import Snapshot
from airflow_durable.server.metrics import PATH, write_metrics
from airflow_durable.server.pending import Pending
from airflow_durable.server.plugin import URL_PREFIX

from .blocks import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTERS = frozenset(
    {"fresh_submit", "reconnect_attempt", "reconnect_success", "already_succeeded", "terminal_resubmit"}
)
_VARIABLE = re.compile(r"AIRFLOW__([A-Z0-9_]+?)__([A-Z0-9_]+)")
_METRIC = re.compile(r"airflow_resumable_job_([a-z_]+)")
_GAUGE = re.compile(r"airflow_durable_[a-z_]+")
_READ_ONLY_COMMANDS = {("providers", "list"), ("config", "get-value")}
_PARSED_COMMANDS = {("dags", "unpause"), ("dags", "trigger"), ("dags", "list-runs")}
"""They need a running Airflow: only that there is such a command, with such arguments, is checked."""
_LIMIT_SECONDS = 120


def gauge_names() -> set[str]:
    """Return the names of all gauges."""
    return set(re.findall(r"^(airflow_durable_[a-z_]+) ", write_metrics(Snapshot(), Pending()), re.MULTILINE))


def run_python(text: str, folder: Path, namespace: dict[str, Any]) -> None:
    """Import it as Airflow imports a Dag file, if it has a Dag; else run it, after the blocks before it on its page."""
    if "DAG(" not in text and "@dag" not in text:
        exec(compile(text, "<block>", "exec"), namespace)  # noqa: S102 - our own pages
        return
    (folder / "block.py").write_text(text, encoding="utf-8")
    bag = DagBag(dag_folder=str(folder), safe_mode=False)
    assert bag.import_errors == {}
    assert bag.dags, "the block has a Dag, and Airflow finds none"


def run_shell(text: str, folder: Path) -> None:
    """Run what only reads; check of anything else that there is such a command, with such options."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            _run_command(words, folder)


def check_configuration(text: str) -> None:
    """Check every option against the installed Airflow and its providers, and every value against its type."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.read_string(text)
    assert parser.sections()
    for section in parser.sections():
        for option, value in parser.items(section):
            _check_option(section, option, value)


def check_yaml(text: str) -> None:
    """Check a pod template, chart values, a mapping of the statsd_exporter, or rules or targets of Prometheus."""
    document = yaml.safe_load(text)
    if "images" in document:
        assert set(document["images"]["airflow"]) == {"repository", "tag"}
        for section, options in document["config"].items():
            for option, value in options.items():
                assert isinstance(value, str), "the chart writes the value into airflow.cfg as it is"
                _check_option(section, option, value)
    elif document.get("kind") == "Pod":
        spec = document["spec"]
        assert isinstance(spec["terminationGracePeriodSeconds"], int)
        assert spec["restartPolicy"] == "Never"
        assert spec["containers"][0]["name"] == "base", "Airflow's template needs the first container to be called so"
    elif "mappings" in document:
        (mapping,) = document["mappings"]
        pattern = re.escape(mapping["match"]).replace(r"\*", r"([^.]+)")
        for counter in COUNTERS:
            found = re.fullmatch(pattern, f"airflow.resumable_job.{counter}")
            assert found is not None
            assert mapping["name"].replace("$1", found.group(1)) == f"airflow_resumable_job_{counter}"
    elif "scrape_configs" in document:
        (scrape,) = document["scrape_configs"]
        assert scrape["metrics_path"] == f"{URL_PREFIX}{PATH}"
    else:
        for group in document["groups"]:
            for rule in group["rules"]:
                metrics, gauges = _METRIC.findall(rule["expr"]), _GAUGE.findall(rule["expr"])
                assert metrics or gauges
                assert set(metrics) <= COUNTERS
                assert set(gauges) <= gauge_names()


def check_dockerfile(text: str, folder: Path) -> None:
    """Check that it begins with Airflow's image, and the requirements that it installs."""
    first, *others = text.splitlines()
    assert re.fullmatch(r"FROM apache/airflow:\d+\.\d+\.\d+", first)
    for line in others:
        instruction, _, rest = line.partition(" ")
        assert instruction in {"COPY", "RUN"}, f"nothing checks {instruction}"
        if instruction == "RUN":
            run_shell(rest.replace("${AIRFLOW_VERSION}", "3.3.2"), folder)


def check_json(text: str) -> None:
    """Load it; a record has to be one that this release understands, and writes so."""
    document = json.loads(text)
    if "attempts" in document:
        assert {**dump(load(document)), "root": document["root"]} == document


def _run_command(words: list[str], folder: Path) -> None:
    program, *arguments = words
    runners: dict[str, Callable[[list[str], Path], None]] = {
        "make": _check_make,
        "airflow": _run_airflow,
        "airflow-durable": _check_own_command,
        "pip": _check_pip,
        "export": _check_export,
    }
    assert program in runners, f"nothing checks {program!r}"
    runners[program](arguments, folder)


def _check_make(arguments: list[str], _: Path) -> None:
    subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True, capture_output=True, timeout=_LIMIT_SECONDS)  # noqa: S607 - make is found where it is


def _run_airflow(arguments: list[str], folder: Path) -> None:
    if tuple(arguments[:2]) in _PARSED_COMMANDS:
        cli_parser.get_parser().parse_args(arguments)
        return
    assert tuple(arguments[:2]) in _READ_ONLY_COMMANDS, f"airflow {shlex.join(arguments)} may do more than read"
    _run_once(tuple(arguments), folder)


_RAN: set[tuple[str, ...]] = set()


def _run_once(arguments: tuple[str, ...], folder: Path) -> None:
    """Run it, unless another page has it as well: Airflow's command takes seconds to start."""
    if arguments in _RAN:
        return
    environment = {**os.environ, "AIRFLOW_HOME": str(folder)}
    command = [sys.executable, "-m", "airflow", *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=_LIMIT_SECONDS)
    _RAN.add(arguments)


def _check_own_command(arguments: list[str], _: Path) -> None:
    name, *rest = arguments
    command = getattr(typer.main.get_command(cli.app), "commands", {})[name]
    command.make_context(name, rest)


def _check_pip(arguments: list[str], _: Path) -> None:
    assert arguments[0] == "install"
    words = iter(arguments[1:])
    for wanted in words:
        if wanted == "--constraint":
            assert next(words).endswith(".txt")
        elif wanted == "--no-cache-dir":
            continue
        elif wanted.endswith(".whl"):
            assert Path(wanted).name.startswith("airflow_durable-")
        elif wanted == ".":
            assert (ROOT / "pyproject.toml").is_file()
        else:
            Requirement(wanted)


def _check_export(arguments: list[str], _folder: Path) -> None:
    for assignment in arguments:
        name, _, value = assignment.partition("=")
        match = _VARIABLE.fullmatch(name)
        assert match, f"{name} sets no option of Airflow"
        _check_option(match.group(1).lower(), match.group(2).lower(), value)


def _check_option(section: str, option: str, value: str) -> None:
    known = retrieve_configuration_description(include_providers=True)
    assert section in known, f"Airflow has no section [{section}]"
    assert option in known[section]["options"], f"Airflow has no option [{section}] {option}"
    kind = known[section]["options"][option]["type"]
    if kind == "boolean":
        assert value in {"True", "False"}
    elif kind == "integer":
        int(value)
    elif kind == "float":
        float(value)
