"""Points of one request, cut from a table into batches that a server takes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from more_itertools import constrained_batches
from qdrant_client import models

from embedders.base import VectorSpec
from pipelines.rows import HASHES
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.body import upsert_json
from pipelines.sinks.qdrant.message import points_message
from pipelines.sinks.qdrant.plain import PlainFacts, plain_payloads
from pipelines.sinks.qdrant.points import (
    FLOAT_BYTES,
    INDEX_BYTES,
    PAYLOAD_COLUMNS,
    POINT_BYTES,
    PointId,
    payload,
    provenance,
    row_ids,
    vector_lists,
    with_ids,
)


class NumberBytes(NamedTuple):
    """Bytes that one number of a vector, and one index of a sparse vector, have in a request."""

    number: int
    term: int


IN_JSON = NumberBytes(FLOAT_BYTES, INDEX_BYTES)
# The client writes a float32 as the float64 that it equals.
IN_MODELS = NumberBytes(22, INDEX_BYTES)
IN_MESSAGES = NumberBytes(4, 5)


@dataclass(frozen=True)
class Points:
    """Rows that are points of one request; ``first`` is the row of the first in the table they come from.

    ``specs`` are of the vectors that the points have, None for points that are to have only their payloads replaced.
    What a request is made of is made when it is asked for, and kept.
    """

    first: int
    rows: pa.Table
    job: JobFacts
    specs: Mapping[str, VectorSpec] | None
    store_text: bool

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def part(self, start: int, stop: int) -> Points:
        """Take the points [start, stop)."""
        if start == 0 and stop == len(self):
            return self
        return replace(self, first=self.first + start, rows=self.rows.slice(start, stop - start))

    def first_copied(self) -> Points:
        """Take the first point, without what keeps the others in memory."""
        return replace(self, rows=self.rows.take([0]))

    @cached_property
    def ids(self) -> list[PointId]:
        """Qdrant's ids."""
        return row_ids(self.rows)

    @cached_property
    def json(self) -> bytes:
        """The JSON of an upsert, an object with the one key ``batch``."""
        return upsert_json(self.rows, self.job, self.specs or {}, store_text=self.store_text)

    @cached_property
    def message(self) -> bytes:
        """The field ``points`` of an upsert over gRPC."""
        return points_message(self.rows, self.job, self.specs or {}, store_text=self.store_text)

    @cached_property
    def vectors(self) -> dict[str, list[Any]]:
        """Columns of vectors as Qdrant's models hold them."""
        return {name: vector_lists(self.rows[name], spec) for name, spec in (self.specs or {}).items()}

    @cached_property
    def payloads(self) -> list[dict[str, Any]]:
        """The whole payloads; see ``payload``."""
        if isinstance(self.job, PlainFacts):
            return plain_payloads(self.rows)
        rows = self.rows.select(PAYLOAD_COLUMNS).to_pylist()
        return [payload(row, self.job, store_text=self.store_text) for row in rows]

    @property
    def provenances(self) -> list[dict[str, Any]]:
        """What the payloads say of where the points come from."""
        return [provenance(row, self.job) for row in self.rows.select(HASHES).to_pylist()]

    def overwrites(self, only: models.Filter | None = None) -> list[models.UpdateOperation]:
        """Make an operation a point that replaces its payload; with ``only``, where the point matches that."""
        pairs = zip(self.ids, self.payloads, strict=True)
        return [
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(payload=payload, points=[name])
                if only is None
                else models.SetPayload(payload=payload, filter=with_ids(only, [name]))
            )
            for name, payload in pairs
        ]

    def batch(self) -> models.Batch:
        """Make the client's batch, unchecked: its lists are well-typed, and to check each float takes long."""
        return models.Batch.model_construct(ids=self.ids, vectors=self.vectors, payloads=self.payloads)


def batches(
    table: pa.Table,
    job: JobFacts,
    *,
    points: int,
    megabytes: float,
    store_text: bool,
    vectors: bool = True,
    numbers: NumberBytes = IN_JSON,
) -> Generator[Points, None, None]:
    """Cut a table into batches of at most so many points and, about, megabytes; a larger row goes alone.

    ``vectors`` False makes points that are to have only their payloads replaced.
    """
    specs = job.vectors if vectors else {}
    sizes: list[int] = _sizes(table, specs, numbers, store_text=store_text).tolist()
    limit = max(1, int(megabytes * 1e6))
    for start, stop in _alike(table, specs):
        positions = range(start, stop)
        for rows in constrained_batches(positions, limit, points, get_len=sizes.__getitem__, strict=False):
            some = table.slice(rows[0], len(rows))
            held = {name: spec for name, spec in specs.items() if not some[name].null_count}
            yield Points(rows[0], some, job, held if vectors else None, store_text)


def _alike(table: pa.Table, specs: Mapping[str, VectorSpec]) -> Iterator[tuple[int, int]]:
    """Cut a table where other vectors than before are missing (null): points of one request have the same vectors."""
    columns = [table[name] for name in specs if table[name].null_count]
    if not columns:
        yield 0, table.num_rows
        return
    there = np.stack([column.is_valid().to_numpy() for column in columns], axis=1)
    cuts = np.flatnonzero((there[1:] != there[:-1]).any(axis=1)) + 1
    yield from pairwise([0, *cuts.tolist(), table.num_rows])


def _sizes(
    table: pa.Table, specs: Mapping[str, VectorSpec], numbers: NumberBytes, *, store_text: bool
) -> npt.NDArray[np.int64]:
    """Estimate each row's bytes in a request."""
    sizes = np.full(table.num_rows, POINT_BYTES)
    for name in ("payload", "text") if store_text else ("payload",):
        sizes += pc.binary_length(table[name]).fill_null(0).to_numpy()
    for name, spec in specs.items():
        if spec.kind == "dense":
            sizes += numbers.number * (spec.dim or 0)
        elif spec.kind == "multivector":
            sizes += numbers.number * (spec.dim or 0) * pc.list_value_length(table[name]).fill_null(0).to_numpy()
        else:
            terms = pc.list_value_length(pc.struct_field(table[name], "values")).fill_null(0).to_numpy()
            sizes += (numbers.number + numbers.term) * terms
    return sizes
