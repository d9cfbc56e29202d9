"""What the commands of ``fleetembed reindex`` share: opening the alias or folder of a job, and telling of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from pipelines.cli.consoles import make_console

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.config.job import JobConfig
    from pipelines.reindex.add_vector import Addition
    from pipelines.reindex.commands import Reindexing
    from pipelines.reindex.folders import FolderReindexing

    Opened = Reindexing | FolderReindexing

# Imported by need: --help does without models, Arrow and Qdrant, which take seconds.
errors = make_console(stderr=True)


def act_on(
    config: Path,
    overrides: list[str] | None,
    action: Callable[[Opened], None],
    of_addition: Callable[[JobConfig], None],
) -> None:
    """Act on an alias; where the job adds vectors in place, there is none, and ``of_addition`` acts."""

    def act() -> None:
        job = read_job(config, overrides)
        if job.adds_vectors:
            return of_addition(job)
        with opened(job, say) as reindexing:
            action(reindexing)

    raise typer.Exit(exit_code_of(act))


def opened(job: JobConfig, say: Callable[[str], None] = lambda line: None) -> Opened:
    """Open the alias of a job, or the folder that it fills, which has none."""
    from pipelines.reindex.commands import Reindexing
    from pipelines.reindex.folders import FolderReindexing, folder_sink

    sink = folder_sink(job)
    return Reindexing(job, say) if sink is None else FolderReindexing(job, sink, say)


def teller(command: str) -> Callable[[JobConfig], None]:
    """Make what a command does where vectors are added in place: it tells of them, and does nothing."""
    return lambda job: print_lines([nothing_to(command), *described(job)], make_console())


def say(line: str) -> None:
    """Tell a line on standard error."""
    errors.print(Text(line), soft_wrap=True)


def read_job(config: Path, overrides: list[str] | None) -> JobConfig:
    """Read a job's configuration; raises ConfigError."""
    from pipelines.config.file import load_config

    return load_config(config, overrides or [])


def exit_code_of(act: Callable[[], int | None], stopped: str = "stopped") -> int:
    """Carry an action out and return the exit code; errors are told on standard error."""
    from pipelines.cli.job import exit_code

    return exit_code(act, errors, stopped=stopped)


def addition_of(job: JobConfig) -> Addition:
    """Look at the collection that a job adds vectors to."""
    from pipelines.embed.checked import JobEmbedders
    from pipelines.reindex.add_vector import prepare_addition

    return prepare_addition(job, JobEmbedders())


def described(job: JobConfig) -> list[str]:
    """Tell how far the vectors are that a job adds."""
    from pipelines.reindex.add_vector import describe_addition

    return describe_addition(addition_of(job))


def print_lines(lines: Iterable[str], console: Console) -> None:
    """Print lines as they are, however wide."""
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def nothing_to(command: str) -> str:
    """Say what a command that is about an alias has to do where vectors are added in place."""
    why = {
        "verify": "nothing was verified: verify holds a new collection against an old one, and reindex.mode add_vector "
        "fills none; what it can tell is how many points lack the vectors",
        "switch": "nothing was switched: no other collection is filled (reindex.mode add_vector), and searchers ask "
        "the one that gets the vectors",
        "status": "there is no alias to tell of (reindex.mode add_vector)",
        "clean": "nothing was cleaned: no other collection is filled (reindex.mode add_vector); rollback deletes the "
        "vectors that were added",
    }
    return why[command]
