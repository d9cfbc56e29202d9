"""How many of MaxSim's best documents MUVERA's vectors find, by its parameters, on a BEIR data set."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.progress import track
from rich.table import Table

from benchmarks.measuring import console, minilm_folder
from embedders import Muvera
from embedders.catalog import custom_card
from embedders.factory import make_embedder
from embedders.token_vectors import TokenVectors

K_SIM, DIM_PROJ, R_REPS = (4, 5, 6), (8, 16, 32), (10, 20, 40)
DEPTHS = (10, 50, 100, 200, 500, 1000)
TOP = 10
# Cells of a block of dot products of tokens with tokens, 64 MB.
CELLS = 16 << 20
# Documents encoded and compared together: the largest encodings of a block are 84 MB.
BLOCK = 256

Scores = npt.NDArray[np.float32]


def muvera_recall(
    folder: Annotated[Path, typer.Argument(help="BEIR layout: corpus.jsonl and queries.jsonl.")],
    queries: Annotated[int | None, typer.Option(min=1, help="Only the first so many queries.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=2, help="Tokens of a text at most; the model's unless given.")
    ] = None,
    threads: int = 2,
    out: Annotated[Path | None, typer.Option(help="Write the figures there as JSON.")] = None,
) -> None:
    """Share of exact MaxSim's top 10 among the first k by dot products of MUVERA's vectors, nothing reranked.

    The token vectors are MiniLM's, scaled to unit length: a model that was not trained for late interaction stands
    in for ColBERT, whose weights do not come with the project.
    """
    asked, corpus = _texts(folder / "queries.jsonl")[:queries], _texts(folder / "corpus.jsonl")
    documents, questions = _embed(corpus, asked, max_length, threads)
    console.print(f"{len(corpus):,} documents, {len(documents.vectors):,} tokens; {len(asked):,} queries")
    exact = maxsim(questions, documents)
    best = np.argsort(-exact, axis=1, kind="stable")[:, :TOP]
    grid = list(itertools.product(K_SIM, DIM_PROJ, R_REPS))
    rows = []
    for k_sim, dim_proj, r_reps in track(grid, "parameters", console=console, transient=True):
        muvera = Muvera(documents.vectors.shape[1], k_sim, dim_proj, r_reps)
        recall = recalls(encoded_scores(muvera, questions, documents), best)
        rows.append({**muvera.parameters, "size": muvera.embedding_size, "recall": recall})
    _show(rows, f"MUVERA: share of MaxSim's top {TOP} among the first k; {folder.name}, MiniLM's token vectors")
    if out is not None:
        facts = {"documents": len(corpus), "tokens": len(documents.vectors), "queries": len(asked)}
        report = {"data": folder.name, **facts, "top": TOP, "rows": rows}
        out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _texts(path: Path) -> list[str]:
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [f"{line.get('title', '')} {line['text']}".strip() for line in lines]


def _embed(
    corpus: list[str], queries: list[str], max_length: int | None, threads: int
) -> tuple[TokenVectors, TokenVectors]:
    """Token vectors of documents and queries, float16: those of a corpus are by far the largest thing here."""
    card = custom_card(
        "late_interaction",
        model="MiniLM's token vectors",
        sources=minilm_folder(),
        options={"normalize": True, "normalize_queries": True},
    )
    model: Any = make_embedder(card, dtype="float16", max_length=max_length, threads=threads, cuda=False)
    parts = [corpus[start : start + 1024] for start in range(0, len(corpus), 1024)]
    embedded = [model.embed_tokens(part) for part in track(parts, "documents", console=console, transient=True)]
    lengths = np.concatenate([np.diff(part.offsets) for part in embedded])
    vectors = np.concatenate([part.vectors for part in embedded])
    return TokenVectors(vectors, np.concatenate(([0], np.cumsum(lengths)))), model.embed_tokens(queries, use="query")


def maxsim(queries: TokenVectors, documents: TokenVectors) -> Scores:
    """Exact scores, (queries, documents): the sum over a query's tokens of the best dot product with a document's."""
    asked = queries.vectors.astype(np.float32)
    scores = np.empty((len(queries), len(documents)), dtype=np.float32)
    blocks = list(_blocks(documents.offsets, max(1, CELLS // len(asked))))
    for start, stop in track(blocks, "MaxSim", console=console, transient=True):
        begin, end = documents.offsets[start], documents.offsets[stop]
        products = asked @ documents.vectors[begin:end].astype(np.float32).T
        best = np.maximum.reduceat(products, documents.offsets[start:stop] - begin, axis=1)
        scores[:, start:stop] = np.add.reduceat(best, queries.offsets[:-1], axis=0)
    return scores


def _blocks(offsets: npt.NDArray[np.int64], tokens: int) -> Iterator[tuple[int, int]]:
    """Cut documents into runs of about so many tokens."""
    start = 0
    while start < len(offsets) - 1:
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + tokens, side="right")) - 1)
        yield start, stop
        start = stop


def encoded_scores(muvera: Muvera, queries: TokenVectors, documents: TokenVectors) -> Scores:
    """Dot products of the encodings, (queries, documents), without holding all documents' encodings."""
    asked = muvera.encode_queries(queries.vectors, queries.offsets)
    scores = np.empty((len(queries), len(documents)), dtype=np.float32)
    for start in range(0, len(documents), BLOCK):
        offsets = documents.offsets[start : start + BLOCK + 1]
        vectors = documents.vectors[offsets[0] : offsets[-1]]
        scores[:, start : start + BLOCK] = asked @ muvera.encode_documents(vectors, offsets - offsets[0]).T
    return scores


def recalls(scores: Scores, best: npt.NDArray[np.intp]) -> dict[int, float]:
    """Share of each query's ``best`` documents, (queries, top), among its first k, in the mean, by k."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None, :], axis=1)
    found = np.take_along_axis(ranks, best, axis=1)
    return {depth: float((found < depth).mean()) for depth in DEPTHS}


def _show(rows: list[dict[str, Any]], title: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("k_sim", "dim_proj", "r_reps", "size", *(f"k = {depth}" for depth in DEPTHS)):
        table.add_column(column, justify="right")
    for row in sorted(rows, key=lambda row: int(row["size"])):
        facts = [str(row[name]) for name in ("k_sim", "dim_proj", "r_reps", "size")]
        table.add_row(*facts, *(f"{row['recall'][depth]:.3f}" for depth in DEPTHS))
    console.print(table)
