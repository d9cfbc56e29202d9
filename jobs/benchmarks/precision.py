"""What bfloat16 and int8 cost and gain: speed, nDCG@10 on a BEIR data set and cosines, beside float32."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.table import Table

from benchmarks import family_models
from benchmarks.measuring import MINILM, console, minilm_folder
from embedders.arrow import SPARSE_TYPE
from embedders.factory import make_embedder
from embedders.fingerprint import facts_digest
from embedders.session_settings import ModelPrecision
from pipelines.evaluation.beir import BeirDataset, read_dataset
from pipelines.evaluation.metrics import measure_run

PRECISIONS: tuple[ModelPrecision, ...] = get_args(ModelPrecision)
FOLDER = Path("build/precision")
# Documents that the precisions take turns on, and after which what was measured is kept.
BLOCK = 128
# What sentence-transformers gives all-MiniLM-L6-v2; twice as many take four times as long.
MAX_LENGTH = 256
DEPTH = 10
# Models of real weights: by its name the folder, and the catalog's name.
MODELS: dict[str, tuple[str, Callable[[], Path]]] = {
    "minilm": (MINILM, minilm_folder),
    # SPLADE-tiny's weights; the catalog's name says how the output is read.
    "splade": ("prithivida/Splade_PP_en_v1", family_models.splade_folder),
}


@dataclass(frozen=True)
class Judged:
    """One precision on a data set: scores (documents, queries), cosines (documents,) and CPU seconds (blocks,)."""

    scores: npt.NDArray[np.float32]
    cosines: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.float64]


def precision(
    beir: Annotated[Path, typer.Argument(help="Folder of a BEIR data set, such as SciFact.")],
    only: Annotated[list[str] | None, typer.Option("--only", help=f"Of {', '.join(MODELS)}.")] = None,
    documents: Annotated[
        int | None, typer.Option(min=1, help="First documents alone, and the judgements of these.")
    ] = None,
    threads: int = 1,
) -> None:
    """bfloat16 and int8 against float32; what an interrupted run measured is kept in build/precision."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        dataset = read_dataset(beir, "test", corpus)
        ids, texts = _documents(corpus, documents)
    table = Table(title=f"{dataset.name}: {len(ids):,} documents, {threads} threads", title_justify="left")
    for column in ("model", "precision", "speed", "nDCG@10", "same top 10", "cosine: mean", "least"):
        table.add_column(column, justify="left" if column in ("model", "precision") else "right")
    for name in only or MODELS:
        judged = _judge(name, texts, list(dataset.queries.values()), threads)
        for kind, one in judged.items():
            table.add_row(name, kind, *_figures(one, judged["float32"], ids, dataset))
    console.print(table)


def _documents(corpus: Path, count: int | None) -> tuple[list[str], list[str]]:
    import orjson

    rows = [orjson.loads(line) for line in corpus.read_bytes().splitlines()[:count]]
    return [row["id"] for row in rows], [row["text"] for row in rows]


def _judge(name: str, texts: Sequence[str], queries: Sequence[str], threads: int) -> dict[str, Judged]:
    """Embed in blocks, each with every precision in turn; what was measured before is read."""
    if name not in MODELS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(MODELS)}", param_hint="--only")
    model, folder = MODELS[name][0], MODELS[name][1]()
    settings: dict[str, Any] = {
        "specific_model_path": folder,
        "threads": threads,
        "cuda": False,
        "max_length": MAX_LENGTH,
    }
    models = {kind: make_embedder(model, precision=kind, **settings) for kind in PRECISIONS}
    asked = {kind: _matrix(one.embed_queries_arrow(list(queries))) for kind, one in models.items()}
    about = [one.fingerprint for one in models.values()] + [list(queries), threads]
    kept = FOLDER / f"{name}-{facts_digest(about)[:12]}"
    kept.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, npt.NDArray[Any]]] = []
    for start in range(0, len(texts), BLOCK):
        block = list(texts[start : start + BLOCK])
        path = kept / f"{facts_digest(block)[:16]}.npz"
        if not path.exists():
            np.savez(path, allow_pickle=False, **_measure(models, asked, block))
        with np.load(path) as measured:
            parts.append({key: measured[key] for key in measured.files})
    return {
        kind: Judged(
            *(np.concatenate([part[f"{kind}_{what}"] for part in parts]) for what in ("scores", "cosines", "seconds"))
        )
        for kind in PRECISIONS
    }


def _measure(
    models: dict[Any, Any], asked: dict[Any, npt.NDArray[Any]], block: list[str]
) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {}
    exact = None
    for kind, model in models.items():
        started = time.process_time()
        column = model.embed_arrow(block)
        seconds = time.process_time() - started
        vectors = _matrix(column)
        exact = vectors if exact is None else exact
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(exact, axis=1)
        found[f"{kind}_scores"] = vectors @ asked[kind].T
        found[f"{kind}_cosines"] = (vectors * exact).sum(axis=1) / np.maximum(lengths, 1e-12)
        found[f"{kind}_seconds"] = np.array([seconds])
    return found


def _matrix(column: pa.Array) -> npt.NDArray[np.float32]:
    """Vectors as rows; sparse ones with all the words of BERT's vocabulary."""
    if column.type != SPARSE_TYPE:
        return np.stack(column.to_numpy(zero_copy_only=False)).astype(np.float32)
    rows = np.zeros((len(column), 30522), np.float32)
    counts = pc.list_value_length(pc.struct_field(column, "indices")).to_numpy()
    places = pc.struct_field(column, "indices").flatten().to_numpy()
    rows[np.repeat(np.arange(len(column)), counts), places] = pc.struct_field(column, "values").flatten().to_numpy()
    return rows


def _figures(judged: Judged, exact: Judged, ids: Sequence[str], dataset: BeirDataset) -> list[str]:
    speed = float(np.median(exact.seconds / judged.seconds))
    best, first = (np.argsort(-one.scores, axis=0, kind="stable")[:DEPTH] for one in (judged, exact))
    same = np.mean([len(set(mine) & set(theirs)) / DEPTH for mine, theirs in zip(best.T, first.T, strict=True)])
    run = {query: [ids[row] for row in best[:, at]] for at, query in enumerate(dataset.queries)}
    there = set(ids)
    judgements = {
        query: {document: grade for document, grade in grades.items() if document in there}
        for query, grades in dataset.judgements.items()
    }
    metrics = measure_run({query: grades for query, grades in judgements.items() if grades}, run)
    cosines = judged.cosines
    return [f"{speed:.2f}", f"{metrics['nDCG@10']:.4f}", f"{same:.3f}", f"{cosines.mean():.5f}", f"{cosines.min():.4f}"]
