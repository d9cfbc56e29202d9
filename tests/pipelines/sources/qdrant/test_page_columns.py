"""Pages of points read by columns: the same tables as their points make one by one."""

from __future__ import annotations

import uuid
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from qdrant_client import models

from pipelines.sources.qdrant.page_columns import page_table
from pipelines.sources.qdrant.rows import point_row, to_table
from tests.pipelines.sources.qdrant.test_rows import PAYLOADS, named, written

TITLE = "collection books at x"
IDS = st.integers(0, 2**64 - 1) | st.uuids() | st.uuids().map(str) | st.uuids().map(lambda one: str(one).upper())


def one_by_one(ids: list[Any], payloads: list[Any], key: str) -> pa.Table:
    records = [models.Record.model_construct(id=name, payload=one) for name, one in zip(ids, payloads, strict=True)]
    return to_table([point_row(one, key) for one in records], TITLE)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(IDS, PAYLOADS, st.none() | st.text()), min_size=1, max_size=4), st.booleans())
@example([(1, {"price": 2**64}, "a"), (2, {"price": 1.5}, "b")], False)
@example([(1, {"_fleetembed": {}, "document_id": "d"}, "a")], False)
@example([(1, {"_fleetembed": {}, "document_id": "d", "chunk_no": True}, "a")], False)
@example([(1, {"price": "\ud800"}, "a")], False)
def test_any_page_is_read_as_its_points_are(points: list[tuple[Any, dict[str, Any], str | None]], other: bool) -> None:
    key = "content" if other else "text"
    ids = [name for name, _, _ in points]
    payloads = [payload if text is None else {**payload, key: text} for _, payload, text in points]
    found = page_table(ids, payloads, key, TITLE)
    assert found is None or found.equals(one_by_one(ids, payloads, key))


@pytest.mark.parametrize("chunked", [False, True])
def test_points_of_ours_and_of_others_come_as_columns(chunked: bool) -> None:
    rows = [named({"price": n, "tags": ["a", {"b": n}]}, f"wörds {n}", chunked=chunked, number=n) for n in range(5)]
    ours = [written(row, chunked=chunked) for row in rows]
    others = [{"text": f"words {n}", "kind": None if n else "x", **({"n": 0.5} if n else {})} for n in range(5)]
    for payloads in ([one.payload for one in ours], others):
        ids = [str(uuid.uuid5(uuid.NAMESPACE_URL, str(n))) for n in range(5)]
        found = page_table(ids, payloads, "text", TITLE)
        assert found is not None and found.equals(one_by_one(ids, payloads, "text"))
    # One that was changed since is hashed anew, and read alone.
    changed = [dict(one.payload or {}, price=-1) for one in ours]
    assert page_table([1, 2, 3, 4, 5], changed, "text", TITLE) is None
