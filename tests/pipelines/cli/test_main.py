"""The command ``fleetembed``: what it offers, and what it loads for that."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import embedders
from pipelines.cli.main import COMMANDS, app

HEAVY = {"ray", "qdrant_client", "pyarrow", "pandas", "numpy", "onnxruntime", "pydantic", "huggingface_hub"}
LOADED = """
import sys
from pipelines.cli.main import app
try:
    app({arguments!r})
except SystemExit as end:
    assert end.code == 0, end.code
print(" ".join(sys.modules), file=sys.stderr)
"""


def loaded_by(*arguments: str) -> set[str]:
    """Modules that a process of its own has loaded when the command is over."""
    script = LOADED.format(arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_that_a_command_needs(option: str) -> None:
    loaded = loaded_by(option)
    assert "pipelines.cli.main" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_loads_no_other_and_its_help_no_ray(command: str) -> None:
    loaded = loaded_by(command, "--help")
    assert f"pipelines.cli.{command}" in loaded
    assert "ray" not in loaded
    assert not {f"pipelines.cli.{other}" for other in COMMANDS if other != command} & loaded


# Typer reads what pydantic has, where it is installed.
@pytest.mark.parametrize(
    "arguments",
    [
        ["embed", "--help"],
        ["embed", "--schema"],
        ["search", "--help"],
        ["evaluate", "--help"],
        ["reindex", "--help"],
        ["reindex", "plan", "--help"],
        ["models", "--help"],
        ["models", "list"],
        ["models", "show", "Qdrant/bm25"],
    ],
    ids=" ".join,
)
def test_what_needs_neither_data_nor_models_loads_no_library_for_them(arguments: list[str]) -> None:
    assert not loaded_by(*arguments) & (HEAVY | {"fsspec", "httpx", "PIL", "yaml", "tokenizers"}) - {"pydantic"}


def test_the_help_names_every_command_and_each_has_its_exit_codes() -> None:
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    for command in COMMANDS:
        assert f" {command} " in told.output
        of_one = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert of_one.exit_code == 0 and "Exit codes: 0 all well" in of_one.output
        # Flags take no value, and what others take is said in a word.
        assert "--help" in of_one.output and not re.search(r"-- *.*<(bool|int|float|path|list|str)", of_one.output)
    of_search = " ".join(CliRunner().invoke(app, ["search", "--help"], env={"COLUMNS": "80"}).output.split())
    assert "--limit -n N [x>=1] Hits to print." in of_search and "Qdrant's JSON. May be" in of_search
    # Lines end where the terminal's do, not where those of the source did.
    of_report = CliRunner().invoke(app, ["report", "--help"], env={"COLUMNS": "80"}).output
    assert "that of two reports x/run_compared.html" in of_report


def test_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"fleetembed {embedders.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage: fleetembed"),
        (["serch"], "No such command 'serch'. Did you mean 'search'?"),
        (["embd"], "No such command 'embd'. Did you mean 'embed'?"),
        (["qqq"], "No such command 'qqq'."),
        (["embed", "--bogus"], "No such option"),
        (["embed"], "name the job's YAML file"),
        (["embed", "--config", "nowhere.yaml"], "cannot read the job's configuration nowhere.yaml"),
        (["models", "list", "--family", "rank"], "no family 'rank'"),
    ],
)
def test_bad_usage_ends_with_2(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, arguments, prog_name="fleetembed")
    assert done.exit_code == 2 and message in done.output


def test_the_module_is_the_command_too() -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines.cli.main", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "Usage: fleetembed" in done.stdout
