"""``fleetembed reindex``: fill a new collection, let an alias name it, and go back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pipelines.cli.app import App
from pipelines.cli.consoles import make_console

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.config.job import JobConfig
    from pipelines.reindex.add_vector import Addition
    from pipelines.reindex.commands import Reindexing
    from pipelines.reindex.folders import FolderReindexing

    Opened = Reindexing | FolderReindexing

# Imported by need below: --help does without models, Arrow and Qdrant, which take seconds.
app = App(no_args_is_help=True)
errors = make_console(stderr=True)

Config = Annotated[Path, typer.Option("--config", "-c", help="The job's YAML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the job.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen and do nothing.")]


@app.callback()
def reindex() -> None:
    """Replace the collection that searchers ask, by the sink's alias, without a gap.

    Exit codes: 0 all well; 1 failed, refused or interrupted; 2 bad usage or configuration; 3 run with dead letters or
    refused deletions.
    """


@app.command()
def plan(config: Config, overrides: Overrides = None) -> None:
    """Say what a run would do: which collection it would fill, and what becomes of the alias. Changes nothing."""

    def act() -> None:
        from pipelines import EmbeddingPipeline
        from pipelines.cli.job import show_plan

        job = _job(config, overrides)
        if job.adds_vectors:
            show_plan(EmbeddingPipeline(job).plan(), make_console())
            return _print(_described(job), make_console())
        with _opened(job) as reindexing:
            show_plan(reindexing.plan(), make_console())
            _print(reindexing.describe(), make_console())

    raise typer.Exit(_exit_code(act))


@app.command()
def run(
    config: Config,
    overrides: Overrides = None,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Fill the new collection, or go on with it. An alias that names a collection stays as it is.

    Where the job reads a collection of the alias's server, which lives on, further passes copy what changed meanwhile.
    The first run of any other job makes the alias, unless source.limit is given.
    """
    from pipelines.cli.job import JOB_STOPPED, start_logging

    start_logging(log_level)

    def act() -> int:
        from pipelines import EmbeddingPipeline

        job = _job(config, overrides)
        if job.adds_vectors:
            code = EmbeddingPipeline(job).run(console=errors).exit_code
            _print(_described(job), errors)
            return code
        with _opened(job, _say) as reindexing:
            return reindexing.run(errors).exit_code

    raise typer.Exit(_exit_code(act, JOB_STOPPED))


@app.command()
def verify(config: Config, overrides: Overrides = None) -> None:
    """Check the new collection: counts, ids, payloads, vectors, the index, and old against new. Exit code 1: failed.

    What was found is printed, kept as reindex-verify.json and .html beside the report, and written down in the
    collection, by which switch knows.
    """

    def act() -> int:
        from pipelines.reindex.verify.files import write_verification
        from pipelines.reindex.verify.table import show_verification
        from pipelines.urls import without_credentials

        job = _job(config, overrides)
        if job.adds_vectors:
            _print([_nothing_to("verify"), *_described(job)], errors)
            return 0
        with _opened(job) as reindexing, errors.status("verifying") as status:

            def on_check(title: str, seconds: float) -> None:
                status.update(f"verifying: {title}")
                # A log has no status; a terminal keeps what was looked at.
                _say(f"{seconds:6.1f} s  verifying: {title}")

            found = reindexing.verify(on_check)
        show_verification(found, make_console())
        for place in write_verification(job.report, found):
            errors.print(Text(without_credentials(place)), soft_wrap=True)
        return 0 if found.passed else 1

    raise typer.Exit(_exit_code(act))


@app.command()
def switch(
    config: Config,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    unverified: Annotated[bool, typer.Option("--unverified", help="Do without a verification that passed.")] = False,
) -> None:
    """Let the alias name the new collection, which must be complete, and verified since its last run."""

    def act(reindexing: Opened) -> None:
        _print(reindexing.switch(dry_run=dry_run, unverified=unverified), make_console())

    _act(config, overrides, act, _teller("switch"))


@app.command()
def rollback(
    config: Config,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Of mode add_vector: delete the vectors that it added.")] = False,
) -> None:
    """Let the alias name again what it named before the switch. Of mode add_vector: delete the vectors it added."""

    def of_addition(job: JobConfig) -> None:
        from pipelines.reindex.add_vector import is_rolled_back, roll_back

        addition, console = _addition(job), make_console()
        if dry_run or (not yes and not is_rolled_back(addition)):
            _print(roll_back(addition, dry_run=True), console)
            if dry_run:
                return
            _confirm("rollback", "vectors", f"delete the vectors of {' and '.join(addition.vectors)}")
        _print(roll_back(addition, dry_run=False), console)

    _act(
        config,
        overrides,
        lambda reindexing: _print(reindexing.rollback(dry_run=dry_run), make_console()),
        of_addition,
    )


@app.command()
def clean(
    config: Config,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", help="Drop without asking.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Drop the alias's old collections that no alias names, but for reindex.keep of them and those of keep_days.

    They are listed with points and age, and it is asked before they go.
    """

    def act(reindexing: Opened) -> None:
        found, console = reindexing.leftovers(), make_console()
        if not found:
            _print([f"nothing to clean: {reindexing.why_none_left()}"], console)
        _print((f"keeps {one.describe()}: {one.kept}" for one in found if one.kept is not None), console)
        going = [one for one in found if one.kept is None]
        if dry_run or not yes:
            _print((f"would drop {one.describe()}" for one in going), console)
        if dry_run:
            return
        if going and not yes:
            what = "this collection" if len(going) == 1 else f"these {len(going)} collections"
            _confirm("clean", "a collection", f"drop {what}")
        _print(reindexing.clean(found), console)

    _act(config, overrides, act, _teller("clean"))


def nobody_to_ask() -> bool:
    """Whether standard input is no terminal."""
    return not sys.stdin.isatty()


def _confirm(command: str, dropped: str, question: str) -> None:
    """Ask before something is dropped; raises Abort for a no, ConfigError where nobody can be asked."""
    if nobody_to_ask():
        from pipelines.errors import ConfigError

        raise ConfigError(f"{command} asks before it drops {dropped}, and nobody can be asked here; give --yes")
    typer.confirm(f"{question} for good?", abort=True)


def _nothing_to(command: str) -> str:
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


@app.command()
def status(
    config: Config,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show the collections of the alias, and what a switch or a rollback would do."""

    def show(reindexing: Opened) -> None:
        from pipelines.cli.reindex_status import show_status

        found = reindexing.status()
        if as_json:
            print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        else:
            show_status(found, make_console())

    _act(config, overrides, show, _teller("status"))


def _act(
    config: Path,
    overrides: list[str] | None,
    action: Callable[[Opened], None],
    of_addition: Callable[[JobConfig], None],
) -> None:
    """Act on an alias; where the job adds vectors in place, there is none, and ``of_addition`` acts."""

    def act() -> None:
        job = _job(config, overrides)
        if job.adds_vectors:
            return of_addition(job)
        with _opened(job, _say) as reindexing:
            action(reindexing)

    raise typer.Exit(_exit_code(act))


def _opened(job: JobConfig, say: Callable[[str], None] = lambda line: None) -> Opened:
    """Open the alias of a job, or the folder that it fills, which has none."""
    from pipelines.reindex.commands import Reindexing
    from pipelines.reindex.folders import FolderReindexing, folder_sink

    sink = folder_sink(job)
    return Reindexing(job, say) if sink is None else FolderReindexing(job, sink, say)


def _teller(command: str) -> Callable[[JobConfig], None]:
    """Make what a command does where vectors are added in place: it tells of them, and does nothing."""
    return lambda job: _print([_nothing_to(command), *_described(job)], make_console())


def _say(line: str) -> None:
    errors.print(Text(line), soft_wrap=True)


def _job(config: Path, overrides: list[str] | None) -> JobConfig:
    from pipelines.config.file import load_config

    return load_config(config, overrides or [])


def _exit_code(act: Callable[[], int | None], stopped: str = "stopped") -> int:
    from pipelines.cli.job import exit_code

    return exit_code(act, errors, stopped=stopped)


def _addition(job: JobConfig) -> Addition:
    from pipelines.embed.checked import JobEmbedders
    from pipelines.reindex.add_vector import prepare_addition

    return prepare_addition(job, JobEmbedders())


def _described(job: JobConfig) -> list[str]:
    from pipelines.reindex.add_vector import describe_addition

    return describe_addition(_addition(job))


def _print(lines: Iterable[str], console: Console) -> None:
    for line in lines:
        console.print(Text(line), soft_wrap=True)
