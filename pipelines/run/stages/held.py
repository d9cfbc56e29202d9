"""What sinks hold of the rows on their way: a column of codes, one of ``Held`` a sink, and the copying of vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.rows import HASHES, add_errors, is_dead, set_column
from pipelines.run.stages.moved import brings_vectors, without_moved
from pipelines.sinks.base import VECTORS_GONE, Held, SinkWriter

HELD_COLUMN = "_held"
# What a sink is asked by.
ASKED = ("id", *HASHES)
Codes = npt.NDArray[np.uint8]


def with_codes(table: pa.Table, codes: Codes) -> pa.Table:
    """Add codes, (rows, sinks) uint8, as a column."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(codes.reshape(-1)), codes.shape[1])
    return set_column(table, HELD_COLUMN, lists)


def codes_of(table: pa.Table) -> Codes:
    """Read the column of codes, (rows, sinks) uint8."""
    column = table[HELD_COLUMN].combine_chunks()
    codes: Codes = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return codes


def has_vectors(codes: Codes) -> npt.NDArray[np.bool_]:
    """Mark the rows of whose text some sink had the vectors when it was asked."""
    marks: npt.NDArray[np.bool_] = (codes != Held.LACKS).any(axis=1)
    return marks


def lacking(codes: Codes) -> npt.NDArray[np.bool_]:
    """Mark the rows that some sink is to be given with vectors."""
    return np.asarray(is_whole(codes).any(axis=1), np.bool_)


def is_whole(codes: Codes) -> npt.NDArray[np.bool_]:
    """Mark what a sink is to be given with vectors; the marks have the shape of the codes."""
    marks: npt.NDArray[np.bool_] = (codes == Held.LACKS) | (codes == Held.MOVED)
    return marks


def needs_models(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Mark the rows whose vectors models have to make, unless they are dead.

    The vectors of a row that moved may be gone when its task is run again: then it does not bring them.
    """
    codes = codes_of(table)
    gone = _has_moved(codes) & ~brings_vectors(table)
    return ~has_vectors(codes) | gone


def _has_moved(codes: Codes) -> npt.NDArray[np.bool_]:
    marks: npt.NDArray[np.bool_] = (codes == Held.MOVED).any(axis=1)
    return marks


def pack_codes(codes: Codes) -> bytes:
    """Write codes down in two bits each."""
    return np.packbits(np.stack([codes & 1, codes >> 1])).tobytes()


def unpack_codes(data: bytes, shape: tuple[int, ...]) -> Codes:
    """Undo ``pack_codes``."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=2 * int(np.prod(shape)))
    low, high = bits.reshape(2, *shape)
    return np.asarray(low | high << 1, np.uint8)


def copy_vectors(table: pa.Table, writers: Sequence[SinkWriter], vectors: Sequence[str]) -> pa.Table:
    """Fill in the vectors of live rows that some sinks lack from the first sink that has them.

    Rows that bring theirs keep these. A row whose vectors are gone meanwhile gets an error.
    """
    codes = codes_of(table)
    wanted = ~is_dead(table) & has_vectors(codes) & lacking(codes) & ~_has_moved(codes)
    bringing = np.flatnonzero(brings_vectors(table))
    table, brought = without_moved(table)
    parts, filled = ([brought], [bringing]) if brought is not None and len(bringing) else ([], [])
    for number, writer in enumerate(writers):
        asked = np.flatnonzero(wanted & (codes[:, number] != Held.LACKS))
        if not len(asked):
            continue
        found = writer.vectors(table.select(ASKED).take(asked))
        there = found.column(0).is_valid().to_numpy()
        parts.append(found.filter(pa.array(there)))
        filled.append(asked[there])
        wanted[asked[there]] = False
    if parts:
        at = np.concatenate(filled)
        # Behind the rows' own, and then taken in the places of theirs, which are null.
        positions = np.arange(table.num_rows)
        positions[at] = table.num_rows + np.arange(len(at))
        for name in vectors:
            column = pa.chunked_array([chunk for part in (table, *parts) for chunk in part[name].chunks])
            table = set_column(table, name, column.combine_chunks().take(pa.array(positions)))
    return add_errors(table, dict.fromkeys(map(int, np.flatnonzero(wanted)), VECTORS_GONE))
