"""A payload in typed columns of its own: which there are, and a row's payload cut into them and put together again.

Types come from rows that are looked at before the first file is written, and all files of a folder have the same. What
a column does not take as it is stays in the column ``payload``, a JSON object: nothing is lost or bent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any

import pyarrow as pa

from pipelines.rows import IDENTIFIED_SCHEMA, set_column

REST = "payload"
PREFIX = "payload_"
KEY = "payload_columns"
MOST_COLUMNS = 500
UTC_TIME = pa.timestamp("us", "UTC")
LOCAL_TIME = pa.timestamp("us")
# Up to here a double holds every whole number.
MOST_EXACT = 2**53
# As sources write payloads, so that one that is put together again is the same text.
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False).encode


class MisfitError(Exception):
    """A value that its column does not take as it is."""


@dataclass(frozen=True)
class PayloadColumn:
    """A key of payloads and its column.

    ``null_is_there``: an entry that is null stands for a key whose value is null, else for a key that is missing.
    ``ends_in_z``: times are written with a Z, and not with +00:00.
    """

    key: str
    name: str
    type: pa.DataType
    null_is_there: bool = False
    ends_in_z: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """All but the type, which the file's schema tells, as JSON."""
        return {"key": self.key, "column": self.name, "null": self.null_is_there, "z": self.ends_in_z}

    @classmethod
    def of(cls, facts: Mapping[str, Any], schema: pa.Schema) -> PayloadColumn:
        """Read what ``facts`` gave."""
        kind = schema.field(facts["column"]).type
        return cls(facts["key"], facts["column"], kind, facts["null"], facts["z"])

    def put(self, value: Any) -> Any:
        """Give a value of a payload the form that its column takes; raises MisfitError."""
        return _put(value, self.type, ends_in_z=self.ends_in_z)

    def read(self, value: Any) -> Any:
        """Turn an entry of the column into the value that it was in the payload."""
        if isinstance(value, datetime):
            text = value.isoformat()
            return text.replace("+00:00", "Z") if self.ends_in_z else text
        return value.isoformat() if isinstance(value, date) else value


def columns_of(provenance: Mapping[str, Any], schema: pa.Schema) -> tuple[PayloadColumn, ...] | None:
    """Read which columns of a file its payloads are in; None where they are JSON alone."""
    facts = provenance.get(KEY)
    return None if facts is None else tuple(PayloadColumn.of(one, schema) for one in facts)


def learn_columns(payloads: Iterable[str | None], taken: Collection[str]) -> tuple[list[PayloadColumn], list[str]]:
    """Choose columns by the payloads of some rows, and say what does not fit into them.

    ``taken`` are names of other columns. A key whose name is one of these, whatever the letter case, gets PREFIX before
    it; where that is taken too, or its values have no type, it stays in REST.
    """
    rows = [json.loads(payload or "{}") for payload in payloads]
    counts = Counter(key for row in rows for key in row)
    # Of two keys for one name, the one that more rows have gets it.
    keys = sorted(counts, key=lambda key: (-counts[key], key))
    names = {name.lower() for name in (*taken, *IDENTIFIED_SCHEMA.names, "error")}
    columns: list[PayloadColumn] = []
    notices: list[str] = []
    left: list[str] = []
    for key in keys:
        values = [row[key] for row in rows if row.get(key) is not None]
        name = next((one for one in (key, f"{PREFIX}{key}") if one and one.lower() not in names), None)
        kind = _kind_of(values)
        if name is None or kind is None or len(columns) >= MOST_COLUMNS:
            left += [key] if values else []
            continue
        always = counts[key] == len(rows)
        z = kind == UTC_TIME and all(str(value).endswith("Z") for value in values if _fits(value, kind, ends_in_z=True))
        z = z and any(str(value).endswith("Z") for value in values)
        column = PayloadColumn(key, name, kind, always, z)
        names.add(name.lower())
        columns.append(column)
        if misfits := sum(not _fits(value, kind, ends_in_z=z) for value in values):
            notices.append(
                f"the payload's {key!r} is a column of {kind}: {misfits:,} of {len(values):,} values that were looked "
                f"at are not, and stay in the JSON column {REST}"
            )
    if left:
        shown = ", ".join(sorted(left)[:10]) + (f" and {len(left) - 10} more" if len(left) > 10 else "")
        notices.append(f"no column for what has no one type, or no free name, and stays in {REST}: {shown}")
    return sorted(columns, key=lambda column: column.key), notices


def cut_payloads(table: pa.Table, columns: Sequence[PayloadColumn]) -> pa.Table:
    """Put rows' payloads into columns, and what these do not take into REST, which is null where nothing is left."""
    entries: list[list[Any]] = [[] for _ in columns]
    rests = []
    for payload in table[REST].to_pylist():
        values = json.loads(payload or "{}")
        for column, taken in zip(columns, entries, strict=True):
            taken.append(_take(values, column))
        rests.append(_to_json(values))
    table = set_column(table, REST, pa.array(rests, pa.string()))
    for column, taken in zip(columns, entries, strict=True):
        table = table.append_column(column.name, pa.array(taken, column.type))
    return table


def joined_payloads(table: pa.Table, columns: Sequence[PayloadColumn]) -> pa.Array:
    """Put payloads together again, as JSON; null where a row has none."""
    rows = [json.loads(rest or "{}") for rest in table[REST].to_pylist()]
    for column in columns:
        for row, value in zip(rows, table[column.name].to_pylist(), strict=True):
            if value is not None or (column.null_is_there and column.key not in row):
                row[column.key] = column.read(value)
    return pa.array([_to_json(row) for row in rows], pa.large_string())


def _to_json(values: dict[str, Any]) -> str | None:
    if not values:
        return None
    text = _encode(values)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair, which UTF-8 cannot hold, as its escape.
        return json.dumps(values, sort_keys=True)
    return text


def _take(values: dict[str, Any], column: PayloadColumn) -> Any:
    value = values.get(column.key)
    if value is None:
        if column.null_is_there:
            values.pop(column.key, None)
        return None
    try:
        put = column.put(value)
    except MisfitError:
        return None
    del values[column.key]
    return put


def _fits(value: Any, kind: pa.DataType, *, ends_in_z: bool = False) -> bool:
    try:
        _put(value, kind, ends_in_z=ends_in_z)
    except MisfitError:
        return False
    return True


def _put(value: Any, kind: pa.DataType, *, ends_in_z: bool = False) -> Any:
    if value is None:
        return None
    if pa.types.is_list(kind) and isinstance(value, list):
        return [_put(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind) and isinstance(value, dict) and list(value) == [field.name for field in kind]:
        return {field.name: _put(value[field.name], field.type) for field in kind}
    if isinstance(value, str) and pa.types.is_string(kind):
        return _utf8(value)
    if isinstance(value, str) and pa.types.is_temporal(kind):
        return _time(value, kind, ends_in_z=ends_in_z)
    if isinstance(value, bool | int | float) and _is_number_of(value, kind):
        return value
    raise MisfitError


def _is_number_of(value: bool | int | float, kind: pa.DataType) -> bool:
    if isinstance(value, bool) or pa.types.is_boolean(kind):
        return isinstance(value, bool) and bool(pa.types.is_boolean(kind))
    if pa.types.is_integer(kind):
        return isinstance(value, int) and -(2**63) <= value < 2**63
    return bool(pa.types.is_floating(kind)) and (isinstance(value, float) or abs(value) <= MOST_EXACT)


def _utf8(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MisfitError from None
    return value


def _time(value: str, kind: pa.DataType, *, ends_in_z: bool) -> date | datetime:
    """Read a date or time that is written just as ``isoformat`` writes it, or with a Z."""
    try:
        if pa.types.is_date(kind):
            day = date.fromisoformat(value)
            fits = day.isoformat() == value
            found: date | datetime = day
        else:
            plain = value.removesuffix("Z") + "+00:00" if ends_in_z and value.endswith("Z") else value
            found = datetime.fromisoformat(plain)
            in_utc = found.tzinfo is not None and found.utcoffset() == timezone.utc.utcoffset(None)
            zone_fits = in_utc if kind == UTC_TIME else found.tzinfo is None
            fits = zone_fits and found.isoformat() == plain and (not ends_in_z or plain != value)
    except ValueError:
        raise MisfitError from None
    if not fits:
        raise MisfitError
    return found


def _kind_of(values: Sequence[Any], *, times: bool = True) -> pa.DataType | None:
    """Choose the type that most of some values have; None where they have none, as empty lists."""
    kinds = Counter(_sort_of(value) for value in values)
    if not kinds:
        return None
    (sort, _), *_ = kinds.most_common(1)
    some = [value for value in values if _sort_of(value) == sort]
    makers: dict[str, Callable[[], pa.DataType | None]] = {
        "bool": pa.bool_,
        "number": lambda: pa.int64() if all(isinstance(value, int) for value in some) else pa.float64(),
        "text": lambda: _kind_of_texts(some) if times else pa.string(),
        "list": lambda: _kind_of_lists(some),
        "object": lambda: _kind_of_objects(some),
    }
    return makers[sort]()


def _sort_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else "object"


def _kind_of_texts(values: Sequence[str]) -> pa.DataType:
    for kind, z in ((pa.date32(), False), (LOCAL_TIME, False), (UTC_TIME, False), (UTC_TIME, True)):
        if all(_fits(value, kind, ends_in_z=z) for value in values):
            return kind
    return pa.string()


def _kind_of_lists(values: Sequence[list[Any]]) -> pa.DataType | None:
    inner = _kind_of([item for value in values for item in value if item is not None], times=False)
    return None if inner is None else pa.list_(inner)


def _kind_of_objects(values: Sequence[dict[str, Any]]) -> pa.DataType | None:
    """Make a struct of the keys that most objects have; objects with others do not fit."""
    ((keys, _),) = Counter(tuple(value) for value in values).most_common(1)
    some = [value for value in values if tuple(value) == keys]
    fields = [(key, _kind_of([value[key] for value in some if value[key] is not None], times=False)) for key in keys]
    if not fields or any(kind is None for _, kind in fields):
        return None
    return pa.struct(fields)
