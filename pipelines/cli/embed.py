"""``fleetembed embed``: embed a corpus as a YAML job says."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.app import App

if TYPE_CHECKING:
    from pipelines import EmbeddingPipeline

app = App()


@app.command()
def embed_corpus(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The job's YAML file.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set compute.block_rows=256."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would happen and do nothing.")] = False,
    preview: Annotated[
        int, typer.Option("--preview", metavar="N", min=0, help="Embed N rows, print them, write nothing.")
    ] = 0,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a job.")] = False,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Embed a corpus into Qdrant collections or Parquet files. Run it again to go on, or to add what is new.

    Exit codes: 0 all well; 1 failed or interrupted; 2 bad usage or configuration; 3 done but with dead letters (0 where
    the job says errors.exit_code_on_dead: 0), or with more points to delete than a sink's max_delete allows.
    """
    # What --help does without is imported by need: it takes a second.
    if schema:
        from pipelines.config.job import JobConfig

        print(json.dumps(JobConfig.model_json_schema(), indent=2))
        return
    if config is None:
        raise typer.BadParameter("is missing; name the job's YAML file", param_hint="--config")
    from pipelines.cli.job import start_logging

    start_logging(log_level)
    raise typer.Exit(_act(config, overrides or [], plan, preview))


def _act(config: Path, overrides: list[str], plan: bool, preview: int) -> int:
    if plan or preview:
        # At once: the imports take a second. A run says so itself.
        logging.getLogger("fleetembed").info("reading the job %s", config)
    from pipelines.cli.consoles import make_console
    from pipelines.cli.job import exit_code, run_job, show_plan, show_preview

    def pipeline() -> EmbeddingPipeline:
        from pipelines import EmbeddingPipeline

        return EmbeddingPipeline.from_config(config, overrides)

    errors = make_console(stderr=True)

    def planned() -> None:
        job = pipeline()
        job.config.refuse_without_sink()
        show_plan(job.plan(), make_console())

    if plan:
        return exit_code(planned, errors)
    if preview:
        return exit_code(lambda: show_preview(pipeline().preview(preview), make_console()), errors)
    return run_job(config, overrides, errors)
