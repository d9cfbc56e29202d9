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
from pipelines.search import Searcher, show_hits

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The job's YAML file.")],
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
        with Searcher(load_config(config, overrides or [])) as searcher:
            hits = searcher.search(query, [name for names in using or () for name in names.split(",")], limit)
        if as_json:
            print(json.dumps([asdict(hit) for hit in hits], ensure_ascii=False, indent=2))
        else:
            show_hits(hits, Console())

    raise typer.Exit(exit_code(act, Console(stderr=True)))


if __name__ == "__main__":
    app()
