"""Whether the job's models still make the vectors that are stored: texts of sampled points are embedded again here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from more_itertools import chunked

from embedders.base import VectorSpec
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.reindex.ids import SHOWN, PointId
from pipelines.reindex.verify.mending import find_what_differs
from pipelines.reindex.verify.result import Check, judged, skipped
from pipelines.reindex.verify.sample import SampledPoint, Sparse, Vector, read_vector
from pipelines.reindex.verify.subject import Subject
from pipelines.rows import ERROR_TYPE, IMAGE_COLUMN, is_dead
from pipelines.sinks.qdrant.points import vector_lists

LEAST, LEAST_QUANTIZED = 0.999, 0.99
# Texts that are embedded at once.
BLOCK = 64


def check_reembedding(subject: Subject) -> list[Check]:
    """Embed texts of sampled points again and compare each vector with the stored one: a check an embedding.

    Dense vectors and the rows of multivectors by cosine, as a server may have normalized them; sparse ones, whose
    values count, by `agreement`.
    """
    texts = [(point, text) for point in subject.sampled if (text := subject.text_of(point)) is not None]
    texts = [(point, text) for point, text in texts if point.vectors][: subject.limits.reembed]
    return [_check(subject, embedder, texts) for embedder in subject.embedders]


def _check(subject: Subject, embedder: RowEmbedder, texts: list[tuple[SampledPoint, str]]) -> Check:
    name = f"re-embedded {embedder.name}"
    if embedder.images:
        return skipped(name, "the model embeds images, which the points do not hold")
    if not texts:
        return skipped(name, "no sampled point keeps its text (sink.store_text)")
    least = subject.limits.min_cosine
    if least is None:
        least = LEAST_QUANTIZED if embedder.config.varies_with_batch else LEAST
    lowest, samples = 1.0, []
    below: dict[PointId, None] = {}
    points = iter([point for point, _ in texts])
    for vectors, errors in embed_texts(embedder, [text for _, text in texts]):
        for row, (error, point) in enumerate(zip(errors, points, strict=False)):
            for vector in embedder.vectors:
                value = agreement(vectors[vector][row], point.vectors.get(vector)) if error is None else -1.0
                lowest = min(lowest, value)
                if value < least:
                    samples.append(f"point {point.id}, {vector}: {error['message'] if error else f'{value:.4f}'}")
                    below[point.id] = None
    figures = {"points": len(texts), "lowest": round(lowest, 6), "below": len(samples)}
    found = f"the lowest {lowest:.4f}, {len(texts):,} points"
    mend = find_what_differs(subject, [*below], len(texts))
    return judged(name, not samples, found, f">= {least:g}", figures, samples[:SHOWN], mend)


def embed_texts(
    embedder: RowEmbedder, texts: list[str]
) -> Iterator[tuple[dict[str, list[Vector | str]], list[dict[str, Any] | None]]]:
    """Embed texts a block at a time; yields each block's vectors by name, and an error or None a text."""
    for some in chunked(texts, BLOCK):
        made = embedder.embed(_rows(some))
        yield _vectors(embedder, made), made["error"].to_pylist()


def agreement(made: Vector | str, stored: Vector | str | None) -> float:
    """Compare two vectors: 1 where they are alike, whatever their kind.

    The cosine of dense vectors; the lowest of the rows' of multivectors; of sparse ones 2ab / (aa + bb), which is 1
    only where all values are equal too.
    """
    if stored is None or isinstance(made, str) or isinstance(stored, str):
        return -1.0
    if isinstance(made, Sparse) or isinstance(stored, Sparse):
        if not (isinstance(made, Sparse) and isinstance(stored, Sparse)):
            return -1.0
        _, here, there = np.intersect1d(made.indices, stored.indices, assume_unique=True, return_indices=True)
        both = float(made.values[here] @ stored.values[there])
        norms = float(made.values @ made.values) + float(stored.values @ stored.values)
        return 2 * both / norms if norms else 1.0
    if made.shape != stored.shape:
        return -1.0
    return float(_cosines(np.atleast_2d(made), np.atleast_2d(stored)).min(initial=1.0))


def _cosines(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a64, axis=1) * np.linalg.norm(b64, axis=1)
    dots = np.einsum("ij,ij->i", a64, b64)
    # Two zero vectors are alike.
    alike = (a64 == b64).all(axis=1).astype(np.float64)
    cosines: npt.NDArray[np.float64] = np.divide(dots, norms, out=alike, where=norms > 0)
    return cosines


def _rows(texts: list[str]) -> pa.Table:
    rows = len(texts)
    return pa.table(
        {
            "text": pa.array(texts, pa.large_string()),
            IMAGE_COLUMN: pa.nulls(rows, pa.large_binary()),
            "error": pa.nulls(rows, ERROR_TYPE),
        }
    )


def _vectors(embedder: RowEmbedder, made: pa.Table) -> dict[str, list[Vector | str]]:
    live = np.flatnonzero(~is_dead(made))
    found: dict[str, list[Vector | str]] = {}
    for name, spec in embedder.vectors.items():
        column: list[Vector | str] = ["is missing"] * made.num_rows
        for row, vector in zip(live, _lists(made[name].take(pa.array(live)), spec), strict=True):
            column[row] = read_vector(vector, spec)
        found[name] = column
    return found


def _lists(column: pa.ChunkedArray, spec: VectorSpec) -> list[Any]:
    return vector_lists(column, spec) if len(column) else []
