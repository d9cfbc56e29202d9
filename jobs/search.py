"""Ask the collection that a job filled: ``python jobs/search.py --config configs/quickstart.yaml "your question"``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.command import exit_code
from pipelines.config_file import load_config
from pipelines.contact_sheet import write_sheet
from pipelines.errors import ConfigError
from pipelines.search import Searcher, show_hits

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def search(
    config: Annotated[Path, typer.Option("--config", "-c", help="The job's YAML file.")],
    query: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[Path | None, typer.Option("--image", help="An image to look for, in place of a text.")] = None,
    sheet: Annotated[
        Path | None, typer.Option("--image-sheet", help="Write the images found to this .html or .png file.")
    ] = None,
    using: Annotated[
        list[str] | None,
        typer.Option("--using", help="An embedding's name; several (a,b) are fused. Default: all."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Hits to print.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print hits as JSON.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")] = None,
) -> None:
    """Search with the job's own models: one embedding, or several fused by reciprocal rank."""

    def act() -> None:
        job = load_config(config, overrides or [])
        if (query is None) == (image is None):
            raise ConfigError("give a text to look for, or --image")
        wanted = image if image is not None else query or ""
        with Searcher(job) as searcher:
            hits = searcher.search(wanted, [name for names in using or () for name in names.split(",")], limit)
        if sheet is not None:
            write_sheet(sheet, wanted, hits, job.source)
        if as_json:
            print(json.dumps([asdict(hit) for hit in hits], ensure_ascii=False, indent=2))
        else:
            show_hits(hits, Console())

    raise typer.Exit(exit_code(act, Console(stderr=True)))


if __name__ == "__main__":
    app()
