"""Columns in the names of folders, as Hive, Spark and pyarrow write them: ``year=2024/part-0.parquet``.

Types are those that pyarrow's ``HivePartitioning`` infers: 32-bit integers where all values of a key are such, else
strings; ``__HIVE_DEFAULT_PARTITION__`` is null. Keys and values are decoded as URLs are.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Sequence
from urllib.parse import unquote

import pyarrow as pa

NULL = "__HIVE_DEFAULT_PARTITION__"

Value = str | int | None
Partitions = tuple[tuple[str, Value], ...]


def partitions_of(names: Sequence[str], *, texts: Collection[str] = ()) -> list[Partitions]:
    """Read the columns out of the names of a source's files, of each file those of its own folders.

    The keys ``texts`` stay strings. Of a key that stands twice in a name the first counts.
    """
    folders = {posixpath.dirname(name) for name in names if "=" in name}
    raw = {folder: _segments(folder) for folder in folders}
    values: dict[str, set[str]] = {}
    for found in raw.values():
        for key, value in found.items():
            values.setdefault(key, set()).update(() if value is None else (value,))
    typed = {key: _typed(sorted(its), as_text=key in texts) for key, its in values.items()}
    ready: dict[str, Partitions] = {
        folder: tuple((key, None if value is None else typed[key][value]) for key, value in found.items())
        for folder, found in raw.items()
    }
    return [ready.get(posixpath.dirname(name), ()) for name in names]


def _segments(folder: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for segment in folder.split("/"):
        key, equals, value = map(_decoded, segment.partition("="))
        if equals and key:
            found.setdefault(key, None if value == NULL else value)
    return found


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


def _typed(values: Sequence[str], *, as_text: bool) -> dict[str, Value]:
    if not as_text:
        try:
            return dict(zip(values, pa.array(values, pa.string()).cast(pa.int32()).to_pylist(), strict=True))
        except pa.ArrowInvalid:
            pass
    return {value: value for value in values}
