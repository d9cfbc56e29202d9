"""Sparse vectors that points lack: right for a text that gives no terms, and a fault for any other."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.embed.row_embedder import RowEmbedder
from pipelines.reindex.ids import PointId
from pipelines.reindex.verify.reembedding import embed_texts
from pipelines.reindex.verify.sample import SampledPoint, Sparse
from pipelines.reindex.verify.subject import Subject


def lost_vectors(subject: Subject) -> dict[PointId, list[str]]:
    """Embed the texts of the points sampled that lack sparse vectors; returns the faults of those that lost some.

    Points that do not keep their text are left out, since nothing tells of them.
    """
    faults: dict[PointId, list[str]] = {}
    for embedder in subject.embedders:
        lacking = [
            (point, text)
            for point in subject.sampled
            if set(point.empty) & set(embedder.vectors) and (text := subject.text_of(point)) is not None
        ]
        for point, fault in _faults(embedder, lacking):
            faults.setdefault(point.id, []).append(fault)
    return faults


def _faults(embedder: RowEmbedder, lacking: Sequence[tuple[SampledPoint, str]]) -> list[tuple[SampledPoint, str]]:
    found, row = [], 0
    for vectors, errors in embed_texts(embedder, [text for _, text in lacking]):
        for number, error in enumerate(errors):
            point = lacking[row][0]
            row += 1
            if error is not None:
                found.append((point, f"{embedder.name}: is missing, and its text is refused: {error['message']}"))
                continue
            for name in set(point.empty) & set(embedder.vectors):
                made = vectors[name][number]
                if isinstance(made, Sparse) and len(made.indices):
                    terms = f"{len(made.indices)} term{'s'[: len(made.indices) > 1]}"
                    found.append((point, f"{name}: is missing, and its text has {terms}"))
    return found
