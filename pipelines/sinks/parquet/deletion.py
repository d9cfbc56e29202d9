"""The points of a corpus in a folder of Parquet files, and which rows of a file are of points that were deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from pipelines.sinks.base import POINT_SCHEMA
from pipelines.sinks.parquet.current import CurrentRows, Mask


def read_points(
    filesystem: fs.FileSystem, folder: str, current: Iterable[tuple[str, Mask]], documents: Sequence[str] | None
) -> Iterator[pa.Table]:
    """Read the ids of files' current rows, those of some documents or all, a table of POINT_SCHEMA a file."""
    wanted = None if documents is None else pa.array(documents, pa.string())
    for name, kept in current:
        path = f"{folder}/{name}"
        table = pq.read_table(path, columns=POINT_SCHEMA.names, filesystem=filesystem, partitioning=None)
        table = table.filter(pa.array(kept)).select(POINT_SCHEMA.names).cast(POINT_SCHEMA)
        yield table if wanted is None else table.filter(pc.is_in(table["document_id"], value_set=wanted))


def leave_out_points(
    filesystem: fs.FileSystem, folder: str, names: Sequence[str], current: CurrentRows, deleted: pa.ChunkedArray
) -> None:
    """Take deleted points, by their ids, from the current rows of those files that may have some."""
    for name in names:
        ids = pq.read_table(f"{folder}/{name}", columns=["id"], filesystem=filesystem, partitioning=None)["id"]
        gone = np.flatnonzero(pc.is_in(ids, value_set=deleted).to_numpy())
        current.leave_out(current.start(name) + gone)
