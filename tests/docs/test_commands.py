"""The commands of the documentation exist, and so do their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

import reference_pages
from tests.docs.pages import NAMES, PAGES, blocks, inline

# Blocks that may hold commands: those of shells, and those without a language, indented ones among them.
SHELL = ("", "sh", "bash", "console", "shell")
# The command that a script of jobs/ is.
SCRIPTS = {
    "embed_corpus": "embed",
    "search": "search",
    "evaluate": "evaluate",
    "models": "models",
    "reindex": "reindex",
}
CALL = re.compile(r"(?:jobs/(\w+)\.py|(?<![\w./-])(?<!import )fleetembed)(?= )")
ENDS = {"|", ">", ">>", "2>", "&&", ";", "&"}
# Options of other programs, as running text names them.
OF_OTHERS = {
    *("--address", "--working-dir", "--head", "--labels", "--metrics-export-port", "--object-store-memory"),
    *("--long", "--entrypoint-num-cpus", "--runtime-env-json", "--rounds", "--seed"),
}


@cache
def commands() -> dict[tuple[str, ...], Any]:
    """All commands by their words, those of jobs/benchmark.py among them."""
    found = dict(reference_pages.command_line())
    benchmark = typer.main.get_command(import_module("benchmark").app)
    return found | {("benchmark",): benchmark} | {("benchmark", name): one for name, one in benchmark.commands.items()}


def options(command: Any) -> set[str]:
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}


def lines(path: Path) -> Iterator[str]:
    """What a reader would type: lines of blocks, those behind a prompt where there are some, and code in the text."""
    for block in blocks(path):
        if block.language in SHELL:
            typed = re.sub(r"\\\n\s*", " ", block.text).splitlines()
            prompted = [line.removeprefix("$ ") for line in typed if line.startswith("$ ")]
            yield from prompted or typed
    for code in inline(path, "code_inline"):
        if not code.content.startswith("--"):
            yield code.content


def wrong(line: str) -> Iterator[str]:
    """What is not so in a line's call of one of our commands."""
    call = CALL.search(line)
    if call is None or line.startswith(("docker ", "cp ", "#")):
        return
    try:
        words = shlex.split(line[call.end() :], comments=True)
    except ValueError:
        return
    words = words[: next((at for at, word in enumerate(words) if word in ENDS), len(words))]
    if call[1] is not None:
        name: tuple[str, ...] = (SCRIPTS.get(call[1], call[1]),)
    elif words and re.fullmatch("[a-z-]+", words[0]):
        name = (words.pop(0),)
    else:
        return
    if name == ("quickstart",):
        return
    if name not in commands():
        yield f"{line}: there is no command {name[0]}"
        return
    inner = getattr(commands()[name], "commands", {})
    if inner and words and re.fullmatch("[a-z][a-z-]+", words[0]):
        name = (*name, words.pop(0))
    if name not in commands():
        yield f"{line}: there is no command {' '.join(name)}"
        return
    known = options(commands()[name])
    for word in words:
        if re.match("--?[a-z]", word) and word.partition("=")[0] not in known:
            yield f"{line}: {' '.join(name)} has no option {word}"


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_commands_and_their_options_exist(path: Path) -> None:
    assert [error for line in lines(path) for error in wrong(line)] == []


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_options_that_the_text_names_exist(path: Path) -> None:
    known = OF_OTHERS.union(*map(options, commands().values()))
    named = (re.match(r"--[a-z][a-z-]*", code.content) for code in inline(path, "code_inline"))
    assert {found[0] for found in named if found} <= known


def test_many_commands_are_looked_at() -> None:
    assert sum(CALL.search(line) is not None for path in PAGES for line in lines(path)) > 60


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("fleetembed embedd --config job.yaml", "no command embedd"),
        ("python jobs/search.py --limt 3 question", "no option --limt"),
        (".venv/bin/python jobs/models.py lost --family dense", "no command models lost"),
        ("fleetembed reindex switch --config job.yaml --dry", "no option --dry"),
    ],
)
def test_a_wrong_command_is_noticed(line: str, error: str) -> None:
    (told,) = wrong(line)
    assert told.endswith(error)
