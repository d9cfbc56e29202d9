"""Rows of any dataset as points: which columns are what, ids, vectors of every kind, payloads, and bad rows."""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.data.block import BlockAccessor

from pipelines.errors import ConfigError
from pipelines.identity import point_id
from pipelines.ray_data.arrow_blocks import to_table
from pipelines.ray_data.columns import find_columns, given_vectors, specs_of
from pipelines.ray_data.ids import point_ids
from pipelines.ray_data.points import PointRows, document_ids, point_rows
from pipelines.ray_data.report import TaskFigures
from pipelines.rows import ERROR_TYPE
from pipelines.sources.memory.plain_columns import plain_type

UUID = uuid.UUID("0b2d7a3e-58c6-4f6b-9a43-3f1f8f3f2a11")


def points(table: pa.Table, **arguments: Any) -> PointRows:
    """The points of a table, with the vectors' lengths as the table has them."""
    columns = find_columns(
        table.schema,
        arguments.pop("id", "id"),
        given_vectors(arguments.pop("vectors", None)),
        arguments.pop("payload", None),
    )
    specs = specs_of(columns, table.schema, {}, table)
    assert specs is not None
    return point_rows(table, columns, specs, "default")


def errors(rows: PointRows) -> dict[int, str]:
    return {row: one["message"] for row, one in enumerate(rows.letters["error"].to_pylist()) if one is not None}


def test_tensors_of_ray_become_lists_of_arrow() -> None:
    block = BlockAccessor.batch_to_arrow_block(
        {
            "one": np.arange(6, dtype=np.float32).reshape(2, 3),
            "two": np.arange(12, dtype=np.float32).reshape(2, 2, 3),
            "ragged": np.array([np.ones((1, 3)), np.ones((2, 3))], object),
            "lengths": np.array([np.ones(1), np.ones(2)], object),
            "u": np.array([UUID, None], object),
        }
    )
    table = to_table(block)
    assert table.schema.field("one").type == pa.list_(pa.float32(), 3)
    assert table.schema.field("two").type == pa.list_(pa.list_(pa.float32(), 3))
    assert table["one"].to_pylist() == [[0, 1, 2], [3, 4, 5]]
    assert table["two"].to_pylist() == np.arange(12).reshape(2, 2, 3).tolist()
    assert table["ragged"].to_pylist() == [[[1, 1, 1]], [[1, 1, 1], [1, 1, 1]]]
    assert table["lengths"].to_pylist() == [[1], [1, 1]]
    assert table["u"].to_pylist() == [str(UUID), None]
    assert [plain_type(block.schema.field(name).type) for name in ("one", "two")] == table.schema.types[:2]
    # Pictures of one size: of more dimensions than vectors have, and each row with its own numbers.
    pictures = np.arange(36, dtype=np.uint8).reshape(2, 2, 3, 3)
    held = BlockAccessor.batch_to_arrow_block({"picture": pictures})["picture"].combine_chunks()
    gap = pa.ExtensionArray.from_storage(held.type, pa.nulls(1, held.type.storage_type))
    column = to_table(pa.table({"picture": pa.chunked_array([held, gap])}))["picture"]
    assert column.to_pylist() == [*pictures.tolist(), None]
    assert column.type == plain_type(held.type) == pa.list_(pa.list_(pa.list_(pa.uint8(), 3)))
    assert to_table(pa.table({"picture": held.slice(1)}))["picture"].to_pylist() == [pictures[1].tolist()]
    # Objects, among which one is missing, keep the type of their numbers.
    some = np.array([np.ones((2, 3), np.float32), None], object)
    objects = to_table(BlockAccessor.batch_to_arrow_block({"some": some, "none": np.ones((2, 0), np.float32)}))
    assert objects["some"].to_pylist() == [[[1, 1, 1], [1, 1, 1]], None]
    assert objects.schema.types == [pa.list_(pa.list_(pa.float32())), pa.list_(pa.float32())]
    frame = pd.DataFrame({"id": [1, 2], "v": [np.ones(3), np.zeros(3)]})
    assert to_table(frame).schema.field("v").type == pa.list_(pa.float64(), 3)


def test_columns_are_told_by_their_types() -> None:
    table = pa.table(
        {
            "id": [1, 2],
            "dense": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float16(), 2)),
            "loose": pa.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]),
            "tokens": pa.array([[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]]),
            "terms": pa.array([{"indices": [9, 3], "values": [1.0, 2.0]}, {"indices": [], "values": []}]),
            "tags": [["a"], ["b"]],
            "numbers": [[1], [2]],
            "error": pa.nulls(2, ERROR_TYPE),
        }
    )
    columns = find_columns(table.schema, "id", None, None)
    assert dict(columns.kinds) == {"dense": "dense", "loose": "dense", "tokens": "multivector", "terms": "sparse"}
    assert (columns.kept, columns.spread, columns.error) == (("tags", "numbers"), None, "error")
    assert specs_of(columns, table.schema, {}) is None
    specs = specs_of(columns, table.schema, {}, table)
    assert specs is not None
    assert [spec.dim for spec in specs.values()] == [2, 3, 2, None]
    rows = points(table)
    assert rows.points["terms"].to_pylist()[0] == {"indices": [3, 9], "values": [2.0, 1.0]}
    assert rows.points["dense"].type == pa.list_(pa.float16(), 2)
    named = points(table, vectors={"numbers": {"name": "", "distance": "dot"}, "dense": "d"}, payload=[])
    assert named.points.column_names[-2:] == ["", "d"] and set(named.points["payload"].to_pylist()) == {"{}"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": "idd"}, "id: the dataset has no column 'idd'; did you mean 'id'. It has"),
        ({"vectors": "text"}, "vectors: the column 'text' is string, which are no such vectors"),
        ({"vectors": ["v", "w"]}, "vectors: the dataset has no column 'w'"),
        ({"vectors": {"v": {"distanse": "dot"}}}, r"vectors\['v'\]: distanse: Extra inputs are not permitted"),
        ({"vectors": {"v": {"kind": "sparse"}}}, "'v' is .*, which are no sparse vectors"),
        ({"payload": "n"}, r"the column 'n' is int64; it must hold JSON objects.*payload=\['n'\]"),
        ({"payload": ["m"]}, "payload: the dataset has no column 'm'"),
        ({"id": "n", "vectors": "n"}, "which are no such vectors"),
    ],
)
def test_columns_that_do_not_fit_are_told(arguments: dict[str, Any], message: str) -> None:
    table = pa.table({"id": [1], "v": [[1.0]], "text": ["a"], "n": [1]})
    with pytest.raises(ConfigError, match=message.replace("'id'.", r"'id'\?")):
        points(table, **arguments)
    with pytest.raises(ConfigError, match="no column holds vectors"):
        points(table.select(["id", "text"]))


@settings(max_examples=25)
@given(st.lists(st.one_of(st.integers(-3, 2**64 + 3).map(str), st.uuids().map(str), st.text(max_size=9), st.none())))
def test_every_text_names_one_point(names: list[str | None]) -> None:
    ids, made, faults = point_ids(pa.chunked_array([pa.array(names, pa.string())]), "library")
    for row, name in enumerate(names):
        if name is None or name == "":
            assert ids[row].as_py() is None and row in faults
        elif made[row]:
            assert ids[row].as_py() == point_id("library", name, 0, chunked=False)
        else:
            assert ids[row].as_py() == name
    assert set(faults) == {row for row, name in enumerate(names) if not name}


@pytest.mark.parametrize(
    ("value", "kind", "named"),
    [
        (7, pa.int64(), "7"),
        (2**64 - 1, pa.uint64(), str(2**64 - 1)),
        (7.0, pa.float64(), "7"),
        (str(UUID).upper(), pa.string(), str(UUID)),
        (UUID.hex, pa.large_string(), str(UUID)),
        (UUID.bytes, pa.binary(16), str(UUID)),
        ("007", pa.string(), point_id("default", "007", 0, chunked=False)),
        (-1, pa.int64(), "the id -1 is not from 0"),
        (7.5, pa.float64(), "no whole number"),
        (float("nan"), pa.float64(), "the id is null"),
        (b"abc", pa.binary(), "3 bytes, not 16"),
        (2**53 + 1, pa.int64(), str(2**53 + 1)),
        (2.0**53, pa.float64(), "the id 9007199254740992 is a float, and ids next to it are not told apart"),
    ],
)
def test_ids_of_other_types(value: Any, kind: pa.DataType, named: str) -> None:
    ids, _, faults = point_ids(pa.chunked_array([pa.array([value], kind)]), "default")
    assert ids[0].as_py() == named if not faults else named in faults[0]
    # Views come as the types that they are of, out of polars for instance.
    if pa.types.is_string(kind):
        view = to_table(pa.table({"id": pa.array([value], pa.string_view())}))["id"]
        assert point_ids(view, "default")[0][0].as_py() == named
    with pytest.raises(ConfigError, match="id: the column is bool"):
        point_ids(pa.chunked_array([pa.array([True])]), "default")


def test_bad_rows_cost_no_others() -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5)
    made = [
        {
            "id": f"doc-{n}",
            "v": [float(n), 1.0],
            "s": {"indices": [n, n + 9], "values": [1.0, 2.0]},
            "at": when,
            "x": 0.5,
        }
        for n in range(9)
    ]
    made[1]["v"] = [1.0]
    made[2]["v"] = [float("nan"), 1.0]
    made[3]["id"] = None
    made[4]["s"] = {"indices": [3, 3], "values": [1.0, 2.0]}
    made[5]["s"] = {"indices": [-1], "values": [1.0]}
    made[6]["x"] = float("inf")
    made[7] |= {"v": [1e300, 0.0], "s": None}
    made[8] |= {"v": None}
    table = pa.Table.from_pylist(made)
    rows = points(table)
    told = errors(rows)
    assert list(told) == [1, 2, 3, 4, 5, 6, 7]
    for row, words in enumerate(
        ["has 1 numbers, not 2", "not finite", "id is null", "twice", "from 0 to", "x", "not finite"], 1
    ):
        assert words in told[row]
    assert rows.points["v"].to_pylist()[0] == [0.0, 1.0] and rows.points["v"].to_pylist()[8] is None
    assert json.loads(rows.points["payload"][0].as_py()) == {
        "document_id": "doc-0",
        "at": "2026-01-02T03:04:05",
        "x": 0.5,
    }


def test_payloads_are_spread_and_errors_taken_over() -> None:
    table = pa.table(
        {
            "id": [1, 2, 3, 4],
            "text": ["a", "b", None, "d"],
            "payload": ['{"lang": "de", "text": "old"}', None, "[1]", "{"],
            "v": [[1.0], [2.0], [3.0], [4.0]],
            "error": pa.array([None, {"stage": "embed", "type": "T", "message": "m"}, None, None], ERROR_TYPE),
        }
    )
    rows = points(table)
    assert [json.loads(one) for one in rows.points["payload"].to_pylist()[:2]] == [
        # As a job keeps a row's own key that is called as one of a point's.
        {"lang": "de", "payload": {"text": "old"}, "text": "a"},
        {"text": "b"},
    ]
    assert list(errors(rows)) == [1, 2, 3] and errors(rows)[1] == "m"
    assert "is a JSON list" in errors(rows)[2] and "is no JSON" in errors(rows)[3]
    maps = table.append_column("map", pa.array([[("k", 1)]] * 4, pa.map_(pa.string(), pa.int64())))
    assert json.loads(points(maps).points["payload"][1].as_py()) == {"text": "b", "map": {"k": 1}}
    twice = table.append_column("map", pa.array([[("k", 1), ("k", 2)]] * 4, pa.map_(pa.string(), pa.int64())))
    for one in (twice, twice.drop_columns(["payload"])):
        assert "duplicate key was 'k'" in errors(points(one))[0]
    unread = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 7, 8], np.int32).tobytes()), pa.py_buffer(b'{"a":1}\xff')]
    )
    halves = points(table.slice(0, 2).set_column(2, "payload", unread).drop_columns(["error"]))
    assert list(errors(halves)) == [1] and "the column 'payload' cannot be read: 'utf-8'" in errors(halves)[1]
    struct = table.set_column(2, "payload", pa.array([{"lang": "de"}] * 4))
    assert json.loads(points(struct, payload="payload").points["payload"][0].as_py()) == {"lang": "de"}
    assert json.loads(points(table, payload=["text"]).points["payload"][0].as_py()) == {"text": "a"}
    assert points(table).live().tolist() == [0]


def test_a_row_without_a_point_id_is_named_by_its_document_else_by_its_place() -> None:
    error = pa.array([{"stage": "read", "type": "InvalidText", "message": "text is null"}] * 2)
    rows = pa.table({"id": pa.nulls(2, pa.string()), "document_id": ["a49", None], "error": error})
    assert document_ids(rows, "id").to_pylist() == ["a49", None]
    assert document_ids(rows.select(["error"]), None).to_pylist() == [None, None]
    figures = TaskFigures(rows=2)
    letters = pa.table({"document_id": document_ids(rows, "id"), "error": error})
    figures.keep_dead(letters, None, "run", 3)
    why = "InvalidText: text is null"
    assert figures.samples == [f"row 'a49': {why}", f"row 1 of task 3: {why}"]


@pytest.mark.parametrize("vectors", [None, "v"])
@pytest.mark.parametrize("twice", ["id", "v", "note"])
def test_a_name_of_two_columns_is_told_whichever_it_is(twice: str, vectors: str | None) -> None:
    columns = {"id": pa.array([1]), "v": pa.array([[0.5, 0.5]]), "note": pa.array(["a"])}
    names = [*columns, twice]
    table = pa.Table.from_arrays([columns[name] for name in names], names)
    with pytest.raises(ConfigError, match=rf"^the dataset has two columns '{twice}'; rename one of them$"):
        points(table, vectors=vectors)
