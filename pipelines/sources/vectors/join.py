"""Rows of several folders, which have one document's vectors each, brought together by their ids.

The driver holds 8 bytes a row of each folder; whoever reads holds the rows of one split, and one file beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from more_itertools import constrained_batches

from pipelines.errors import SourceError
from pipelines.identity import keys64
from pipelines.sources.files import FoundFile
from pipelines.sources.split import SPLIT_BYTES, Split, whole_file
from pipelines.sources.vectors.files import content_of, opened
from pipelines.sources.vectors.sets import READERS, VectorSet

KEYS = ["id", "content_hash"]
Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class _Rows:
    """Keys of a set's rows: sorted, and for each the number of its file."""

    keys: Keys
    files: npt.NDArray[np.int32]
    of_files: Sequence[Keys]


def joined_splits(sets: Sequence[VectorSet], format_name: str) -> Iterator[Split]:
    """Cut the files of the first set into splits, each with the files of the others that have its rows.

    Raises SourceError where a set lacks rows of another, or has them with other contents.
    """
    rows = [_read_keys(one) for one in sets]
    for number in range(1, len(sets)):
        _refuse_others(sets[0], rows[0], sets[number], rows[number])
    first = sets[0].files
    numbers = range(len(first))
    for group in constrained_batches(numbers, SPLIT_BYTES, get_len=lambda at: first[at].bytes, strict=False):
        keys = np.concatenate([rows[0].of_files[at] for at in group])
        beside = tuple(
            tuple(one.files[at] for at in np.unique(its.files[np.searchsorted(its.keys, keys)]).tolist())
            for one, its in zip(sets[1:], rows[1:], strict=True)
        )
        files = tuple(first[at] for at in group)
        size = sum(file.bytes for file in files)
        yield replace(whole_file(files[0], format_name), bytes=size, rows=len(keys), joined=(files, *beside))


def with_joined(table: pa.Table, files: Sequence[FoundFile]) -> pa.Table:
    """Add the columns of vectors that files have to a table, by its ids; null where a row is not there any more.

    Raises READ_ERRORS, and SourceError for a file that is another one by now.
    """
    found: list[pa.Table] = []
    for file in files:
        with opened(file.root, file.path) as parquet:
            names = list(content_of(parquet, file.name).columns.values())
            for batch in parquet.iter_batches(batch_size=8192, columns=[*KEYS, *names], use_threads=False):
                rows = pa.Table.from_batches([batch])
                found.append(rows.filter(pc.is_in(rows["id"], table["id"].combine_chunks())))
    beside = pa.concat_tables(found)
    at = pc.index_in(table["id"], beside["id"].combine_chunks())
    same = pc.equal(beside["content_hash"].take(at), table["content_hash"])
    at = pc.if_else(pc.fill_null(same, False), at, pa.scalar(None, at.type))
    for name in beside.column_names:
        if name not in KEYS:
            table = table.append_column(name, beside[name].take(at))
    return table


def _read_keys(one: VectorSet) -> _Rows:
    def read(file: FoundFile) -> Keys:
        with opened(file.root, file.path) as parquet:
            table = parquet.read(KEYS)
        return keys64(table["id"], table["content_hash"])

    try:
        with ThreadPoolExecutor(READERS) as pool:
            of_files = list(pool.map(read, one.files))
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"source.vectors: the ids in {one.shown} cannot be read: {error}") from None
    keys = np.concatenate(of_files)
    numbers = np.repeat(np.arange(len(of_files), dtype=np.int32), [len(part) for part in of_files])
    order = np.argsort(keys, kind="stable")
    return _Rows(keys[order], numbers[order], of_files)


def _refuse_others(first: VectorSet, its: _Rows, second: VectorSet, others: _Rows) -> None:
    if np.array_equal(its.keys, others.keys):
        return
    told = []
    for one, rows, other, there in ((first, its, second, others), (second, others, first, its)):
        lacking = ~np.isin(rows.keys, there.keys)
        if lacking.any():
            number, name = int(lacking.sum()), _id_of(one, rows, rows.keys[lacking][0])
            told.append(f"{number:,} rows of {one.shown} are not in {other.shown} (the first: {name})")
    raise SourceError(
        f"source.vectors: the folders do not hold the same rows, by id and content: {'; '.join(told)}. Run the jobs "
        "that made them over the same documents, to the end"
    )


def _id_of(one: VectorSet, rows: _Rows, key: np.uint64) -> str:
    for file, keys in zip(one.files, rows.of_files, strict=True):
        if len(at := np.flatnonzero(keys == key)):
            with opened(file.root, file.path) as parquet:
                return str(parquet.read(["id"])["id"][int(at[0])].as_py())
    raise KeyError(key)
