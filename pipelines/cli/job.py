"""Running a job from a command line: one message for an error, an exit code, no traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from embedders.errors import FleetembedError
from pipelines.errors import ConfigError
from pipelines.planned import told_fingerprint, told_model, told_sink, told_source

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.job_plan import JobPlan

FAILED, BAD_CONFIG = 1, 2
JOB_STOPPED = "stopped; what was written stays, run the job again to go on from there"


def start_logging(level: str) -> None:
    """Let the job's messages of this level and above reach the terminal; raises BadParameter for another word."""
    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise typer.BadParameter("must be DEBUG, INFO, WARNING or ERROR", param_hint="--log-level")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("fleetembed").setLevel(level.upper())


def exit_code(action: Callable[[], int | None], console: Console, *, stopped: str = "stopped") -> int:
    """Carry an action out; a user's error becomes one red message, and 1, or 2 where the configuration is wrong.

    ``stopped`` is what is said after Ctrl-C.
    """
    try:
        return action() or 0
    except FleetembedError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return BAD_CONFIG if isinstance(error, ConfigError) else FAILED
    except KeyboardInterrupt:
        console.print(stopped, style="yellow", markup=False, highlight=False)
        return FAILED


def run_job(config: Path, overrides: Sequence[str], console: Console) -> int:
    """Run a job; 0 all well, 1 failed or interrupted, 2 bad configuration, 3 done but with dead letters.

    3 also where deletions were refused.
    """

    # At once: the imports take a second.
    logging.getLogger("fleetembed").info("reading the job %s", config)

    def run() -> int:
        # Imported by need: what shows a plan, an error or a search does without Arrow and models.
        from pipelines.pipeline import EmbeddingPipeline
        from pipelines.run.report.startup import process_began

        job = EmbeddingPipeline.from_config(config, overrides)
        return job.run(console=console, began=process_began()).exit_code

    return exit_code(run, console, stopped=JOB_STOPPED)


def show_plan(plan: JobPlan, console: Console) -> None:
    """Print what a run would do."""
    console.print(Text(f"would read {told_source(plan)}"), soft_wrap=True)
    models = Table("embedding", "model", "kind", "dimension", "precision", "fingerprint", box=None)
    # Else a narrow terminal cuts the end of a name, which no reader can guess.
    models.columns[1].overflow = "fold"
    for name, facts in plan.models.items():
        models.add_row(name, *told_model(facts))
    console.print(models)
    for notice in plan.notices:
        console.print(Text(notice, style="yellow"), soft_wrap=True)
    for sink in plan.sinks:
        console.print(Text(f"would write to {sink['type']} {told_sink(sink)}"), soft_wrap=True)
    console.print(Text(f"report: {plan.report}"), soft_wrap=True)
    console.print(Text(f"dead letters: {plan.dead_letters}"), soft_wrap=True)
    for line in [*plan.deletions, *plan.placement]:
        console.print(Text(line), soft_wrap=True)
    console.print(f"job fingerprint {told_fingerprint(plan.fingerprint)}; nothing was changed")


def show_preview(frame: pd.DataFrame, console: Console) -> None:
    """Print a preview's rows, one below the other, long values cut; an error where there is one."""
    # Imported by need: it takes NumPy, which a plan does without.
    from pipelines.cli.values import shown_value
    from pipelines.sources.memory.plain import is_missing

    for _, row in frame.iterrows():
        table = Table("column", "value", box=None, show_header=False)
        for name, value in row.items():
            # Images have no text, and few rows an error.
            if name not in ("error", "text") or not is_missing(value):
                # As Text: brackets in a document are no markup.
                table.add_row(str(name), Text(shown_value(value)))
        console.print(table)
        console.print()
