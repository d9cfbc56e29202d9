"""``fleetembed models``: the catalog of models, and the cache of their files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from embedders.catalog import ModelCard, families, find_card, list_cards
from pipelines.cli.app import App
from pipelines.cli.catalog import download_models, show_model, show_models, verify_models
from pipelines.cli.job import exit_code

app = App(no_args_is_help=True)
errors = Console(stderr=True)
Family = Annotated[
    str | None,
    typer.Option("--family", help="The family, where two have a model of that name (jina-clip-v1, siglip2)."),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        callback=lambda path: _folder(path),
        help="The cache; else FLEETEMBED_CACHE_DIR or ~/.cache/fleetembed.",
    ),
]


def _folder(cache_dir: Path | None) -> Path | None:
    if cache_dir is not None and cache_dir.exists() and not cache_dir.is_dir():
        raise typer.BadParameter(f"{cache_dir} is a file, not a folder")
    return cache_dir


@app.callback()
def main() -> None:
    """Look at the catalog of models and at the cache of their files.

    Exit codes: 0 all well; 1 a model is missing or damaged; 2 bad usage.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")


def _card(model: str, family: str | None) -> ModelCard:
    return find_card(model, among=None if family is None else (_known(family),))


def _known(family: str) -> str:
    if family not in families():
        errors.print(f"no family {family!r}; there are {', '.join(families())}", style="red", markup=False)
        raise typer.Exit(2)
    return family


@app.command("list")
def list_models(
    family: Annotated[list[str] | None, typer.Option("--family", help="Only this family.")] = None,
    cache_dir: CacheDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a table of the models: family, dimension, tokens, size, licence."""
    chosen = [_known(name) for name in family or families()]
    raise typer.Exit(exit_code(lambda: show_models(list_cards(*chosen), cache_dir, Console(), as_json=as_json), errors))


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    family: Family = None,
    cache_dir: CacheDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print all that the catalog knows of one model, and what the cache holds of it."""
    raise typer.Exit(exit_code(lambda: show_model(_card(model, family), cache_dir, Console(), as_json=as_json), errors))


@app.command()
def download(
    models: Annotated[list[str] | None, typer.Argument(help="Names of models.")] = None,
    family: Family = None,
    cache_dir: CacheDir = None,
    every: Annotated[bool, typer.Option("--all", help="Every model of the catalog (some 40 GB).")] = False,
) -> None:
    """Fill the cache with models' files; what is there already is not fetched again."""
    if bool(models) == every:
        errors.print("name some models, or give --all", style="red")
        raise typer.Exit(2)

    def act() -> int:
        cards = list_cards(*families()) if every else [_card(model, family) for model in models or ()]
        return download_models(cards, cache_dir, Console())

    raise typer.Exit(exit_code(act, errors))


@app.command()
def verify(
    models: Annotated[list[str] | None, typer.Argument(help="Names of models; all that the cache holds.")] = None,
    cache_dir: CacheDir = None,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch damaged files again.")] = False,
) -> None:
    """Compare every cached file with the sha256 recorded at its download."""

    def act() -> int:
        cards = [find_card(model) for model in models] if models else list_cards(*families())
        return verify_models(cards, cache_dir, Console(), repair=repair, named=bool(models))

    raise typer.Exit(exit_code(act, errors))
