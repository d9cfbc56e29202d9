"""``fleetembed reindex``: fill a new collection, let an alias name it, and go back."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pipelines.cli.app import App
from pipelines.cli.consoles import make_console
from pipelines.cli.reindexing import (
    act_on,
    addition_of,
    described,
    errors,
    exit_code_of,
    nothing_to,
    opened,
    print_lines,
    read_job,
    say,
    teller,
)

if TYPE_CHECKING:
    from pipelines.cli.reindexing import Opened
    from pipelines.config.job import JobConfig

# Imported by need below: --help does without models, Arrow and Qdrant, which take seconds.
app = App(no_args_is_help=True)

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

        job = read_job(config, overrides)
        if job.adds_vectors:
            show_plan(EmbeddingPipeline(job).plan(), make_console())
            return print_lines(described(job), make_console())
        with opened(job) as reindexing:
            show_plan(reindexing.plan(), make_console())
            print_lines(reindexing.describe(), make_console())

    raise typer.Exit(exit_code_of(act))


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

        job = read_job(config, overrides)
        if job.adds_vectors:
            code = EmbeddingPipeline(job).run(console=errors).exit_code
            print_lines(described(job), errors)
            return code
        with opened(job, say) as reindexing:
            return reindexing.run(errors).exit_code

    raise typer.Exit(exit_code_of(act, JOB_STOPPED))


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

        job = read_job(config, overrides)
        if job.adds_vectors:
            print_lines([nothing_to("verify"), *described(job)], errors)
            return 0
        with opened(job) as reindexing, errors.status("verifying") as status:

            def on_check(title: str, seconds: float) -> None:
                status.update(f"verifying: {title}")
                # A log has no status; a terminal keeps what was looked at.
                say(f"{seconds:6.1f} s  verifying: {title}")

            found = reindexing.verify(on_check)
        show_verification(found, make_console())
        for place in write_verification(job.report, found):
            errors.print(Text(without_credentials(place)), soft_wrap=True)
        return 0 if found.passed else 1

    raise typer.Exit(exit_code_of(act))


@app.command()
def switch(
    config: Config,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    unverified: Annotated[bool, typer.Option("--unverified", help="Do without a verification that passed.")] = False,
) -> None:
    """Let the alias name the new collection, which must be complete, and verified since its last run."""

    def act(reindexing: Opened) -> None:
        print_lines(reindexing.switch(dry_run=dry_run, unverified=unverified), make_console())

    act_on(config, overrides, act, teller("switch"))


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

        addition, console = addition_of(job), make_console()
        if dry_run or (not yes and not is_rolled_back(addition)):
            print_lines(roll_back(addition, dry_run=True), console)
            if dry_run:
                return
            _confirm("rollback", "vectors", f"delete the vectors of {' and '.join(addition.vectors)}")
        print_lines(roll_back(addition, dry_run=False), console)

    act_on(
        config,
        overrides,
        lambda reindexing: print_lines(reindexing.rollback(dry_run=dry_run), make_console()),
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
            print_lines([f"nothing to clean: {reindexing.why_none_left()}"], console)
        print_lines((f"keeps {one.describe()}: {one.kept}" for one in found if one.kept is not None), console)
        going = [one for one in found if one.kept is None]
        if dry_run or not yes:
            print_lines((f"would drop {one.describe()}" for one in going), console)
        if dry_run:
            return
        if going and not yes:
            what = "this collection" if len(going) == 1 else f"these {len(going)} collections"
            _confirm("clean", "a collection", f"drop {what}")
        print_lines(reindexing.clean(found), console)

    act_on(config, overrides, act, teller("clean"))


def nobody_to_ask() -> bool:
    """Whether standard input is no terminal."""
    return not sys.stdin.isatty()


def _confirm(command: str, dropped: str, question: str) -> None:
    """Ask before something is dropped; raises Abort for a no, ConfigError where nobody can be asked."""
    if nobody_to_ask():
        from pipelines.errors import ConfigError

        raise ConfigError(f"{command} asks before it drops {dropped}, and nobody can be asked here; give --yes")
    typer.confirm(f"{question} for good?", abort=True)


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

    act_on(config, overrides, show, teller("status"))
