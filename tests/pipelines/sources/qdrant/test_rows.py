"""Points as rows, and back: what a sink writes of a row, a source reads as that row."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models

from pipelines.identity import identify
from pipelines.rows import CHUNK_SCHEMA, IDENTIFIED_SCHEMA
from pipelines.sinks.qdrant.points import payload, to_point_id
from pipelines.sources.qdrant.rows import own_payload, point_row, to_table
from pipelines.sources.rows import parse_payload
from tests.pipelines.sinks.rows import job

NAMES = ["document_id", "text", "chunk_no", "chunk_start", "chunk_end", "payload", "_fleetembed", "price", "ä"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
PAYLOADS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6)


def written(row: dict[str, Any], *, chunked: bool) -> models.Record:
    """A point as a sink writes it, after its way over the wire."""
    made = payload(row, job(chunked=chunked), store_text=True)
    return models.Record(id=to_point_id(row["id"]), payload=json.loads(json.dumps(made)))


def named(own: dict[str, Any], text: str, *, chunked: bool, number: int) -> dict[str, Any]:
    table = CHUNK_SCHEMA.empty_table().from_pylist(
        [
            {
                "document_id": "doc",
                "text": text,
                "payload": parse_payload(own)[0],
                "chunk_no": number if chunked else 0,
                "chunk_start": 10 * number if chunked else 0,
                "chunk_end": 10 * number + 5 if chunked else len(text),
                "chunk_count": 9 if chunked else 1,
            }
        ],
        schema=CHUNK_SCHEMA,
    )
    (row,) = identify(table, "library", chunked=chunked).to_pylist()
    return dict(row)


@given(PAYLOADS, st.text(st.characters(codec="utf-8")), st.booleans(), st.integers(0, 5))
def test_a_point_of_ours_is_read_as_the_row_that_was_written(
    own: dict[str, Any], text: str, chunked: bool, number: int
) -> None:
    row = named(own, text, chunked=chunked, number=number)
    point = written(row, chunked=chunked)
    (found,) = to_table([point_row(point, "text")], "collection books at x").to_pylist()
    unlike = {"origin": f"collection books at x: point {row['id']}", "chunk_count": None, "error": None}
    assert found == {name: row[name] for name in IDENTIFIED_SCHEMA.names} | unlike
    assert written(found, chunked=chunked) == point


@given(PAYLOADS)
def test_the_payload_of_any_other_point_is_kept_but_for_its_text(values: dict[str, Any]) -> None:
    values.pop("_fleetembed", None)
    given = {**values, "text": "words", "content": "more words"}
    row = point_row(models.Record(id=7, payload=given), "text")
    assert (row["id"], row["document_id"], row["chunk_no"]) == ("7", "7", 0)
    assert row["text"] == "words"
    assert json.loads(row["payload"]) == {name: value for name, value in given.items() if name != "text"}
    # Under another key than that of a sink, those who read the collection still look for the text.
    assert own_payload(given, "content") == given


def test_a_content_hash_is_not_believed_where_text_or_payload_changed_since() -> None:
    row = named({"price": 1}, "words", chunked=False, number=0)
    held = {name: row[name] for name in ("content_hash", "text_hash", "payload_hash")}
    stored: dict[str, Any] = {"document_id": "doc", "text": "words", "price": 1, "_fleetembed": held}
    assert point_row(models.Record(id=1, payload=stored), "text")["content_hash"] == row["content_hash"]
    dearer = point_row(models.Record(id=1, payload={**stored, "price": 2}), "text")
    assert dearer["content_hash"] == named({"price": 2}, "words", chunked=False, number=0)["content_hash"]
    # Points of versions without the other two hashes keep the one that they have.
    old = {**stored, "_fleetembed": {"content_hash": "abc"}}
    assert point_row(models.Record(id=1, payload=old), "text")["content_hash"] == "abc"


def test_points_without_a_text_are_dead_and_named() -> None:
    cases: dict[str, dict[str, Any] | None] = {
        "is not there": {"body": "x"},
        "is null": {"text": None},
        "is int, no text": {"text": 5},
    }
    for number, (told, values) in enumerate(cases.items()):
        (row,) = to_table([point_row(models.Record(id=number, payload=values), "text")], "collection x").to_pylist()
        assert row["error"] == {"stage": "read", "type": "NoText", "message": f"the payload's key 'text' {told}"}
        assert row["origin"] == f"collection x: point {number}" and row["document_id"] == str(number)
    assert point_row(models.Record(id=1, payload=None), "text")["error"] is not None
    empty = point_row(models.Record(id=1, payload={"text": ""}), "text")
    assert empty["error"] is None and empty["text"] == ""


@pytest.mark.parametrize("number", [None, 3.5e9, "7", -1, 2**40])
def test_a_chunk_whose_numbers_are_none_is_read_at_once_with_those_of_the_whole_text(number: Any) -> None:
    point = models.Record(id=1, payload={"text": "some text", "chunk_no": 2, "chunk_end": number, "_fleetembed": {}})
    started = time.perf_counter()
    row = point_row(point, "text")
    assert (row["chunk_no"], row["chunk_start"], row["chunk_end"]) == (2, 0, 9)
    assert time.perf_counter() - started < 5
