"""What a user has in memory -> rows of Arrow where they have its types, else of Python.

Libraries are known by the names of their classes: what the user has not imported is not imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from embedders.errors import FleetembedError
from pipelines.config.shown import shown
from pipelines.errors import ConfigError, SourceError
from pipelines.hashing import text_column
from pipelines.rows import RowError
from pipelines.sources.arrow_rows import name_that_stands_twice
from pipelines.sources.memory.data import Block, Data, HeldRows
from pipelines.sources.memory.plain import is_missing
from pipelines.sources.memory.plain_columns import NO_TYPE, plain_column
from pipelines.sources.records import STAGE

TAKES = (
    "a ray.data.Dataset, a pyarrow Table, RecordBatch or RecordBatchReader, a pandas or polars DataFrame, a Hugging "
    "Face Dataset, or a list of dicts or of texts"
)
# So many rows of Python are measured, and the others taken to be alike.
SAMPLED = 1000
# Bytes of an object beside its text.
OBJECT_BYTES = 16
# Of values that are nested, so many levels are measured.
MEASURED_LEVELS = 20


def is_ray_dataset(source: Any) -> bool:
    """Whether it is a Dataset of Ray Data, which only a Ray can read."""
    return _is(source, "ray", "Dataset")


def to_data(source: Any, text: str) -> Data:
    """Take what a user gives as the source of a job; ``text`` names the column of a list of texts.

    Raises ConfigError for what holds no rows, and SourceError for what fails while its rows are read.
    """
    if isinstance(source, str | bytes) or hasattr(source, "__fspath__"):
        raise ConfigError("source: a path is no data in memory; name it in the job, as source.path")
    if _is(source, "datasets", "DatasetDict") or _is(source, "datasets", "IterableDatasetDict"):
        raise ConfigError(f"source: choose one of the {_title(source)}'s parts: {', '.join(map(repr, source))}")
    if isinstance(source, Mapping):
        raise ConfigError(
            f"source: it takes {TAKES}; for a dict of columns give pyarrow.table(it), for one document [it], and keys "
            "of the job's section source belong into the job"
        )
    try:
        table = _table(source)
        rows = None if table is not None else _listed(source)
    except FleetembedError:
        raise
    except NO_TYPE as error:
        raise ConfigError(f"source: the {_title(source)} has no form in Arrow: {str(error)[:300]}") from None
    # Of a reader, a generator or a query of the user's, which may fail in any way.
    except Exception as error:
        line = next(iter(str(error).splitlines()), "")[:300]
        raise SourceError(f"source: the {_title(source)} could not be read: {type(error).__name__}: {line}") from error
    if table is not None:
        return _of_block(_title(source), table)
    if rows is not None:
        return _of_objects(rows, _title(source), text)
    raise ConfigError(f"source: it takes {TAKES}, not a {_title(source)}")


def to_block(block: Any) -> Block:
    """Make rows of a block of Ray Data's, which is a table or a frame."""
    return _arrow_block(block) if isinstance(block, pa.Table) else _frame_block(block)


def _table(source: Any) -> Block | None:
    """Make a table of what has columns; rows of Python of a frame whose columns mix types; None of what has none."""
    if isinstance(source, pa.Table):
        return _arrow_block(source)
    if isinstance(source, pa.RecordBatch):
        return _arrow_block(pa.Table.from_batches([source]))
    if isinstance(source, pa.RecordBatchReader):
        return _arrow_block(source.read_all())
    if _is(source, "pandas", "DataFrame"):
        return _frame_block(source)
    if _is(source, "pandas", "Series") or _is(source, "polars", "Series"):
        return None
    if _is(source, "polars", "LazyFrame"):
        source = source.collect()
    if _is(source, "polars", "DataFrame"):
        return _arrow_block(source.to_arrow())
    if _is(source, "datasets", "Dataset"):
        return _arrow_block(source.with_format("arrow")[:])
    if _is(source, "datasets", "IterableDataset"):
        return _arrow_block(pa.concat_tables(source.with_format("arrow").iter(batch_size=SAMPLED)))
    if isinstance(source, pa.Array | pa.ChunkedArray):
        return None
    # Of DuckDB, Ibis, cuDF and others: https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html
    if hasattr(source, "__arrow_c_stream__"):
        return _arrow_block(pa.table(source))
    return None


def _listed(source: Any) -> list[Any] | None:
    """List what is no table; None of what is no list either."""
    if isinstance(source, np.ndarray):
        return list(source.tolist()) if source.ndim else None
    if isinstance(source, pa.Array | pa.ChunkedArray):
        return list(source.to_pylist())
    return list(source) if isinstance(source, Iterable) else None


def _is(source: Any, package: str, name: str) -> bool:
    return any(kind.__name__ == name and kind.__module__.partition(".")[0] == package for kind in type(source).__mro__)


def _title(source: Any) -> str:
    package = type(source).__module__.partition(".")[0]
    name = type(source).__name__
    return name if package == "builtins" else f"{package}.{name}"


def _of_block(title: str, block: Block) -> Data:
    if isinstance(block, pa.Table):
        return Data(title, HeldRows(block), ((block.num_rows, block.nbytes),), tuple(block.column_names))
    sizes = [_weight(row) for row in block[:SAMPLED]]
    mean = sum(sizes) / max(1, len(sizes))
    return Data(title, HeldRows(block), ((len(block), int(mean * len(block))),))


def _of_objects(rows: list[Any], title: str, text: str) -> Data:
    first = next((row for row in rows if not is_missing(row)), None)
    if isinstance(first, str):
        return _of_block(f"{title} of texts", _texts(rows, text))
    if first is not None and not isinstance(first, Mapping):
        raise ConfigError(f"source: it takes {TAKES}, not a {title} of {_title(first)}; make a dict of each")
    return _of_block(f"{title} of dicts", [_row(row) for row in rows])


def _texts(texts: list[Any], column: str) -> Block:
    if set(map(type, texts)) <= {str}:
        try:
            return pa.table({column: text_column(texts)})
        # A lone surrogate, which costs its own row alone.
        except UnicodeEncodeError:
            pass
    return [{column: None if is_missing(text) else text} for text in texts]


def _row(row: Any) -> dict[str, Any] | RowError:
    if isinstance(row, Mapping):
        return row if type(row) is dict else dict(row)
    return RowError(STAGE, "InvalidRow", f"the row is a {_title(row)}, not a dict")


def _weight(value: Any, levels: int = MEASURED_LEVELS) -> int:
    """About how many bytes a value has; what is nested more deeply, or in itself, counts as one object."""
    if isinstance(value, str | bytes):
        return OBJECT_BYTES + len(value)
    if not levels or not isinstance(value, dict | list | tuple):
        return OBJECT_BYTES
    if isinstance(value, dict):
        names = sum(OBJECT_BYTES + (len(key) if isinstance(key, str) else 0) for key in value)
        return names + sum(_weight(its, levels - 1) for its in value.values())
    return sum(_weight(its, levels - 1) for its in value)


def _frame_block(frame: Any) -> Block:
    """Make a table of a pandas frame, its named indexes among the columns; rows of Python where one mixes types."""
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    others = [name for name in frame.index.names if name not in named]
    if named:
        frame = frame.reset_index(level=others, drop=True) if others else frame
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    _refuse_twice(names)
    _refuse_no_columns(names, len(frame))
    columns: dict[str, Any] = {}
    mixed: set[str] = set()
    for place, name in enumerate(names):
        series = frame.iloc[:, place]
        if series.dtype.kind == "O" and str(series.dtype).startswith("period"):
            # As a year or a month, and not as the number of these since 1970.
            series = series.astype(str).where(series.notna(), None)
        try:
            columns[name] = pa.array(series, from_pandas=True)
        except NO_TYPE:
            mixed.add(name)
            values = zip(series.tolist(), series.isna(), strict=True)
            columns[name] = [None if missing else value for value, missing in values]
    if not mixed:
        return _arrow_block(pa.table(columns))
    return _python_rows({name: its if name in mixed else its.to_pylist() for name, its in columns.items()})


def _arrow_block(table: pa.Table) -> Block:
    """Give columns types that are read by columns; of Python objects without a type in common, rows of Python."""
    _refuse_twice(table.column_names)
    _refuse_no_columns(table.column_names, table.num_rows)
    columns: dict[str, pa.ChunkedArray | list[Any]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        # As a file of such tensors is read.
        is_canonical = isinstance(column.type, pa.FixedShapeTensorType)
        columns[name] = column.cast(column.type.storage_type) if is_canonical else plain_column(column)
    if not any(isinstance(column, list) for column in columns.values()):
        return pa.table(columns)
    return _python_rows(
        {name: column if isinstance(column, list) else column.to_pylist() for name, column in columns.items()}
    )


def _python_rows(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    def rows() -> Iterator[dict[str, Any]]:
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    return list(rows())


def _refuse_twice(names: Sequence[str]) -> None:
    if (twice := name_that_stands_twice(names)) is not None:
        raise ConfigError(f"source: the column {shown(twice)} stands twice; rename one")


def _refuse_no_columns(names: Sequence[str], rows: int) -> None:
    if rows and not names:
        raise ConfigError(f"source: there are {rows:,} rows without a column, and so no texts")
