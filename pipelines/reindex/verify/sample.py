"""Points drawn from a collection and read back whole, with what is wrong with their vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from more_itertools import chunked
from qdrant_client import QdrantClient, models

from embedders.base import VectorSpec
from pipelines.reindex.ids import Ask, PointId
from pipelines.sources.qdrant.copied import named_vectors

# Of an answer with vectors. A number takes about 20 bytes in JSON; a multivector is taken to have 256 rows.
ANSWER_BYTES, NUMBER_BYTES, ROWS_A_MULTIVECTOR, NUMBERS_A_SPARSE = 8e6, 20, 256, 256

MISSING = "is missing"

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sparse:
    """A sparse vector: indices, ascending, and a value each."""

    indices: npt.NDArray[np.int64]
    values: Array


# Dense (dim,), multivector (rows, dim), or sparse.
Vector = Array | Sparse


@dataclass(frozen=True)
class SampledPoint:
    """A point: its vectors by name where they were kept, and ``faults`` of all of them in words.

    ``empty`` names the sparse vectors without a term, which the server may not have at all.
    """

    id: PointId
    payload: dict[str, Any]
    vectors: dict[str, Vector] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    @property
    def document_id(self) -> str:
        """The document's id; the point's where it names none."""
        return str(self.payload.get("document_id", self.id))


def draw(client: QdrantClient, collection: str, number: int, ask: Ask) -> list[PointId]:
    """Draw ids of points at random, all where there are no more."""
    query = models.SampleQuery(sample=models.Sample.RANDOM)
    found = ask(
        lambda: client.query_points(collection, query=query, limit=number, with_payload=False), "drawing a sample"
    )
    return [point.id for point in found.points]


def read_points(
    client: QdrantClient,
    collection: str,
    ids: Sequence[PointId],
    vectors: Mapping[str, VectorSpec],
    keep: int,
    ask: Ask,
) -> Iterator[SampledPoint]:
    """Read points with payload and vectors; those that went away meanwhile are left out.

    The first ``keep`` points keep their vectors; of the others only the faults are known afterwards.
    """
    page = max(1, min(256, int(ANSWER_BYTES // (NUMBER_BYTES * sum(map(_numbers, vectors.values())) or 1))))
    retrieve = partial(client.retrieve, with_payload=True, with_vectors=list(vectors))
    for some in chunked(ids, page):
        records = ask(partial(retrieve, collection, some), "reading points back")
        for record in records:
            stored = named_vectors(record.vector)
            read = {name: read_vector(stored.get(name), spec) for name, spec in vectors.items()}
            faults = [f"{name}: {fault}" for name, fault in read.items() if isinstance(fault, str)]
            whole = {name: vector for name, vector in read.items() if not isinstance(vector, str)}
            empty = [name for name, vector in whole.items() if isinstance(vector, Sparse) and not len(vector.indices)]
            yield SampledPoint(record.id, record.payload or {}, whole if keep > 0 else {}, faults, empty)
            keep -= 1


def read_vector(stored: Any, spec: VectorSpec) -> Vector | str:
    """Read a vector as the client gives it; a text says what is wrong with it."""
    if spec.kind == "sparse":
        # A text without terms has no sparse vector.
        return sparse(stored.indices if stored else [], stored.values if stored else [])
    if stored is None:
        return MISSING
    try:
        array = np.asarray(stored, np.float32)
    except ValueError:
        return "has rows of different sizes"
    wanted = 2 if spec.kind == "multivector" else 1
    if array.ndim != wanted or array.shape[-1] != spec.dim:
        return f"has the shape {array.shape}, not {spec.dim} numbers"
    return array if np.isfinite(array).all() else "has NaN or infinity"


def sparse(indices: Sequence[int], values: Sequence[float]) -> Sparse | str:
    """Make a sparse vector; a text says what is wrong with it."""
    at, by = np.asarray(indices, np.int64), np.asarray(values, np.float32)
    if len(at) != len(by):
        return f"has {len(at)} indices and {len(by)} values"
    order = np.argsort(at)
    if len(np.unique(at)) < len(at):
        return "has an index twice"
    return Sparse(at[order], by[order]) if np.isfinite(by).all() else "has NaN or infinity"


def _numbers(spec: VectorSpec) -> int:
    if spec.kind == "sparse":
        return NUMBERS_A_SPARSE
    return (spec.dim or 0) * (ROWS_A_MULTIVECTOR if spec.kind == "multivector" else 1)
