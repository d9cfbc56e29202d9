"""``fleetembed search``: search a collection with the models that filled it.

``--config job.yaml`` opens the collection of that job; ``--url`` or ``--path`` with ``--collection`` any other, whose
job wrote down its models there.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipelines.cli.app import App
from pipelines.cli.hits import show_hits
from pipelines.cli.job import exit_code
from pipelines.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.search import Searcher

app = App()


@app.command()
def search(
    query: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The job's YAML file.")] = None,
    collection: Annotated[str | None, typer.Option("--collection", help="A collection, instead of --config.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Its server.")] = None,
    path: Annotated[Path | None, typer.Option("--path", help="Its folder, where it is on no server.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="VECTOR=MODEL", help="Model of a vector, where the collection names none."),
    ] = None,
    model_path: Annotated[
        list[str] | None,
        typer.Option("--model-path", metavar="VECTOR=FOLDER", help="Where the files of a vector's model are."),
    ] = None,
    image: Annotated[Path | None, typer.Option("--image", help="An image to look for, in place of a text.")] = None,
    sheet: Annotated[
        Path | None, typer.Option("--image-sheet", help="Write the images found to this .html or .png file.")
    ] = None,
    way: Annotated[str | None, typer.Option("--way", help="One of the job's searches, by name.")] = None,
    using: Annotated[
        list[str] | None,
        typer.Option("--using", metavar="VECTOR,...", help="A vector's name; several (a,b) are fused. Default: all."),
    ] = None,
    fusion: Annotated[str | None, typer.Option("--fusion", help="rrf (the default) or dbsf.")] = None,
    rrf_k: Annotated[
        int | None, typer.Option("--rrf-k", min=1, help="k of rrf: larger, and the first ranks outweigh others less.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="W,W", help="Weights of rrf, in the order of --using.")
    ] = None,
    rescore: Annotated[
        str | None, typer.Option("--rescore", metavar="VECTOR", help="Order the candidates by this vector (MaxSim).")
    ] = None,
    candidates: Annotated[int | None, typer.Option("--candidates", help="Candidates a stage passes on.")] = None,
    rerank: Annotated[
        str | None, typer.Option("--rerank", metavar="MODEL", help="Order the hits by this cross encoder.")
    ] = None,
    rerank_path: Annotated[Path | None, typer.Option("--rerank-path", help="Folder of its files.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every point, without the index.")] = False,
    hnsw_ef: Annotated[int | None, typer.Option("--hnsw-ef", help="Size of the index's beam.")] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="KEY=VALUE", help="Only such points; also !=, <, >=, a|b, or Qdrant's JSON."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Hits to print.")] = 5,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Hits to leave out at the beginning.")] = 0,
    payload: Annotated[str | None, typer.Option("--payload", metavar="KEY,KEY", help="Keys to show.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print hits as JSON.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the job.")
    ] = None,
) -> None:
    """Search one vector, fuse several, or search in stages, with the models that filled the collection.

    Exit codes: 0 all well, also where nothing is found; 1 failed; 2 bad usage.
    """

    # Imported by need: --help does without.
    from pipelines.config.file import load_config

    def act() -> None:
        if (query is None) == (image is None):
            raise ConfigError("give a text to look for, or --image")
        if query is not None and not query.strip():
            raise ConfigError("the text to look for is empty")
        wanted = image if image is not None else query or ""
        job = None if config is None else load_config(config, overrides or [])
        if rerank_path is not None and rerank is None:
            raise ConfigError("--rerank-path needs --rerank: the model whose files are there")
        if sheet is not None and job is None:
            raise ConfigError("--image-sheet needs --config: the images are read from the job's source")
        settings: dict[str, Any] = {
            "fusion": fusion,
            "rrf_k": rrf_k,
            "weights": _numbers(weights),
            "rescore": rescore,
            "candidates": candidates,
            "rerank": {"model": rerank, "path": rerank_path and str(rerank_path)} if rerank else None,
            "exact": exact or None,
            "hnsw_ef": hnsw_ef,
        }
        keys = [key for key in (payload or "").split(",") if key]
        with _open() as searcher:
            hits = searcher.search(
                wanted,
                [name.strip() for names in using for name in names.split(",")] if using else None,
                limit,
                way=way,
                offset=offset,
                filter=filter or None,
                with_payload=["document_id", "chunk_no", *keys] if as_json and keys else True,
                **{key: value for key, value in settings.items() if value is not None},
            )
        if sheet is not None and job is not None:
            # Imported late: only a sheet needs Pillow.
            from pipelines.search.contact_sheet import write_sheet

            write_sheet(sheet, wanted, hits, job.source)
        if as_json:
            print(json.dumps([asdict(hit) for hit in hits], ensure_ascii=False, indent=2))
        else:
            show_hits(hits, Console(), keys=keys)

    def _open() -> Searcher:
        from pipelines.search import Searcher

        if (config is None) == (collection is None):
            raise ConfigError("give the job's --config, or a --collection with --url or --path")
        if config is not None:
            _refuse_beside("--config", {"--url": url, "--path": path, "--model": model, "--model-path": model_path})
            return Searcher.from_config(config, overrides or [])
        _refuse_beside("--collection", {"--set": overrides, "--way": way})
        models: dict[str, Any] = {name: {"model": value} for name, value in _pairs(model, "--model")}
        for name, folder in _pairs(model_path, "--model-path"):
            models.setdefault(name, {})["path"] = folder
        return Searcher.open(collection or "", url=url, path=path, models=models)

    raise typer.Exit(exit_code(act, Console(stderr=True)))


def _refuse_beside(option: str, others: dict[str, Any]) -> None:
    for name, value in others.items():
        if value:
            raise ConfigError(f"{name} means nothing beside {option}; leave it out")


def _pairs(options: list[str] | None, name: str) -> list[tuple[str, str]]:
    """Split ``VECTOR=VALUE``; the name is empty for a collection's unnamed vector."""
    for option in options or ():
        if "=" not in option:
            raise ConfigError(f"{name} {option!r}: write VECTOR=..., with the name of a vector of the collection")
    return [(vector, value) for vector, _, value in (option.partition("=") for option in options or ())]


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--weights {text!r}: write numbers with commas between, as 2,1") from None
