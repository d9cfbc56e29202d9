"""Any sequence of operations leaves the same points in both engines, which give the same answers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import models

from pipelines.search.filters import build_filter
from tests.pipelines.sinks.qdrant.edge.engines import (
    NAME,
    Engines,
    assert_same_answers,
    assert_same_points,
    engines,
    id_of,
)

FILTERS = ("lang=de", "number>=12", "half<3.5", "odd=true", "tags=t1", "when>=2010-06-01", "nested.deep.n=2", "mark=1")
INDEXES = {
    "lang": "keyword",
    "number": "integer",
    "half": "float",
    "odd": "bool",
    "when": "datetime",
    "tags": "keyword",
    "nested.deep.n": "integer",
    "mark": "integer",
}
numbers = st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True)
chosen = st.sampled_from(FILTERS)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), numbers),
        st.tuples(st.just("delete"), numbers),
        st.tuples(st.just("delete where"), chosen),
        st.tuples(st.just("set payload"), numbers),
        st.tuples(st.just("set payload where"), chosen),
        st.tuples(st.just("overwrite payload"), numbers),
        st.tuples(st.just("update vectors"), numbers),
        st.tuples(st.just("index"), st.sampled_from(sorted(INDEXES))),
        st.tuples(st.just("drop index"), st.sampled_from(sorted(INDEXES))),
        st.tuples(st.just("build"), st.none()),
        st.tuples(st.just("reopen"), st.none()),
    ),
    min_size=4,
    max_size=14,
)


def there(opened: Engines, some: list[int]) -> list[Any]:
    """The ids of those that are there: a server refuses an update of one that is not."""
    found = opened.local.retrieve(NAME, [id_of(number) for number in some])
    return [point.id for point in found]


def act(opened: Engines, name: str, given: Any) -> None:
    edge: Any = opened.edge
    if name == "upsert":
        return opened.write(*given)
    if name == "index":
        return edge.create_payload_index(NAME, given, INDEXES[given])
    if name == "drop index":
        return edge.delete_payload_index(NAME, given)
    if name == "build":
        return edge.build_indexes(NAME)
    if name == "reopen":
        return opened.reopen()
    where = build_filter(given) if name.endswith("where") else None
    ids = [] if where else there(opened, given)
    if not where and not ids:
        return None
    vectors = [models.PointVectors(id=point, vector={"dense": opened.dense()}) for point in ids]
    for client in opened.both:
        if name == "delete":
            client.delete(NAME, ids)
        elif where and name == "delete where":
            client.delete(NAME, where)
        elif name.startswith("set payload"):
            client.set_payload(NAME, {"mark": 1, "lang": "de"}, where or ids)
        elif name == "overwrite payload":
            client.overwrite_payload(NAME, {"mark": 1, "number": 15}, ids)
        else:
            client.update_vectors(NAME, vectors)
    return None


def assert_same(opened: Engines) -> None:
    assert_same_points(*opened.both)
    dense, tokens, sparse = opened.dense(), opened.tokens(), opened.sparse()
    for text in (None, *FILTERS):
        where = None if text is None else build_filter(text)
        counts = [client.count(NAME, where).count for client in opened.both]
        assert counts[0] == counts[1], text
        for query, using in ((dense, "dense"), (tokens, "tokens")):
            answers: list[Any] = [
                client.query_points(NAME, query, using, query_filter=where, limit=40).points for client in opened.both
            ]
            assert_same_answers(*answers)
        # Of a point that was deleted the terms count until its segment is rewritten, so that scores may differ.
        found = [
            {point.id for point in client.query_points(NAME, sparse, "sparse", query_filter=where, limit=40).points}
            for client in opened.both
        ]
        assert found[0] == found[1], text


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations)
def test_any_operations_leave_the_same_points_and_answers(done: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder, engines(Path(folder), points=20) as opened:
        for name, given_ in done:
            act(opened, name, given_)
        assert_same(opened)
        opened.reopen()
        assert_same(opened)
