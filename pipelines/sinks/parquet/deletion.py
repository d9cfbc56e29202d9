"""The points of a corpus in a folder of Parquet files, and which rows of a file are of points that were deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from pipelines.hashing import xxh3_64
from pipelines.sinks.base import POINT_SCHEMA
from pipelines.sinks.parquet.files import FileRows


def read_points(
    filesystem: fs.FileSystem,
    folder: str,
    current: Mapping[str, npt.NDArray[np.bool_]],
    documents: Sequence[str] | None,
) -> Iterator[pa.Table]:
    """Read the ids of files' current rows, those of some documents or all, a table of POINT_SCHEMA a file."""
    wanted = None if documents is None else pa.array(documents, pa.string())
    for name, kept in current.items():
        path = f"{folder}/{name}"
        table = pq.read_table(path, columns=POINT_SCHEMA.names, filesystem=filesystem, partitioning=None)
        table = table.filter(pa.array(kept)).select(POINT_SCHEMA.names).cast(POINT_SCHEMA)
        yield table if wanted is None else table.filter(pc.is_in(table["document_id"], value_set=wanted))


def without_points(
    filesystem: fs.FileSystem,
    folder: str,
    files: Mapping[str, FileRows],
    current: Mapping[str, npt.NDArray[np.bool_]],
    deleted: pa.ChunkedArray,
) -> dict[str, npt.NDArray[np.bool_]]:
    """Take deleted points, by their ids, from the current rows of files.

    Ids are compared where 64-bit hashes of them say that a file has some.
    """
    keys = xxh3_64(deleted)

    def left(name: str, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        if not np.isin(files[name].ids, keys).any():
            return kept
        ids = pq.read_table(f"{folder}/{name}", columns=["id"], filesystem=filesystem, partitioning=None)["id"]
        gone: npt.NDArray[np.bool_] = pc.is_in(ids, value_set=deleted).to_numpy()
        return kept & ~gone

    return {name: left(name, kept) for name, kept in current.items()}
