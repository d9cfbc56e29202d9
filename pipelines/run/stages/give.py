"""The stages of a job whose vectors nobody writes: nothing is held of its rows, and they are given as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from embedders.base import VectorSpec
from pipelines.rows import ERROR_TYPE
from pipelines.run.stages.held import HELD_COLUMN, with_codes
from pipelines.run.stages.read import ON_READERS
from pipelines.run.stages.stage import Resources, Work
from pipelines.sinks.base import Held

# As a Parquet sink names them.
CHUNK_FIELDS = (
    ("chunk_no", pa.int32()),
    ("chunk_start", pa.int64()),
    ("chunk_end", pa.int64()),
    ("chunk_count", pa.int32()),
)


def given_schema(vectors: Mapping[str, VectorSpec], *, chunked: bool) -> pa.Schema:
    """Columns of rows with vectors: id, document, with ``chunked`` its part, text, payload, a vector each, error."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("document_id", pa.string()),
            *(CHUNK_FIELDS if chunked else ()),
            ("text", pa.string()),
            ("payload", pa.string()),
            *((name, spec.arrow_type) for name, spec in vectors.items()),
            ("error", ERROR_TYPE),
        ]
    )


@dataclass(frozen=True)
class UnheldStage:
    """Says of all rows that nothing is held of them, where there is no sink to ask."""

    name: str = "all"
    takes: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset([HELD_COLUMN])
    keeps: bool = True
    resources: Resources = ON_READERS

    @contextmanager
    def open(self) -> Iterator[Work]:
        """See Stage."""
        yield lambda tables: (with_codes(table, np.full((table.num_rows, 1), Held.LACKS, np.uint8)) for table in tables)


@dataclass(frozen=True)
class GiveStage:
    """Leaves of each row what ``schema`` names, live or dead; where it stands behind a model, it shares its worker."""

    schema: pa.Schema
    resources: Resources
    name: str = "give"
    keeps: bool = False

    @property
    def takes(self) -> frozenset[str]:
        """What it gives."""
        return self.gives

    @property
    def gives(self) -> frozenset[str]:
        """The columns of the schema."""
        return frozenset(self.schema.names)

    @contextmanager
    def open(self) -> Iterator[Work]:
        """See Stage."""
        yield lambda tables: (table.select(self.schema.names).cast(self.schema) for table in tables)
