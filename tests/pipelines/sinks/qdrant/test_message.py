"""Upserts over gRPC written from columns: the same messages as qdrant-client makes of its models."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import RestToGrpc

from embedders.arrow import dense_array, multivector_array, sparse_array
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.batches import Points
from pipelines.sinks.qdrant.points import RESERVED
from pipelines.sinks.qdrant.protobuf import varints
from tests.pipelines.sinks import rows
from tests.pipelines.sinks.qdrant.test_body import FACTS, only_points

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some, max_size=3),
    max_leaves=3,
)
KEYS = st.text() | st.sampled_from(sorted(RESERVED))
PAYLOADS = st.none() | st.dictionaries(KEYS, JSON, max_size=4).map(json.dumps)


def by_models(points: Points) -> Any:
    """What the client sends: the oracle."""
    vectors = RestToGrpc.convert_batch_vector_struct(points.vectors, len(points))
    made = zip(points.ids, vectors, points.payloads, strict=True)
    return messages.UpsertPoints(
        points=[
            messages.PointStruct(
                id=RestToGrpc.convert_extended_point_id(name),
                vectors=vector,
                payload=RestToGrpc.convert_payload(payload),
            )
            for name, vector, payload in made
        ]
    )


def written(points: Points) -> Any:
    return messages.UpsertPoints.FromString(points.message)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(), PAYLOADS), min_size=1, max_size=4), st.sampled_from(FACTS), st.booleans())
@example([("text " * 5000, '{"text": "moved"}')], FACTS[0], True)
def test_payloads_and_ids_are_those_of_the_models(
    documents: list[tuple[str, str | None]], facts: JobFacts, store_text: bool
) -> None:
    named = [(str(number), text, payload) for number, (text, payload) in enumerate(documents)]
    table = rows.table(facts, named)
    points = only_points(table, facts, store_text=store_text)
    assert written(points) == by_models(points)
    # As points of other jobs may be that are copied, and as images without texts are.
    odd = {"content_hash": [None, "é\\"] * len(named), "text": [None, "a"] * len(named)}
    for name, values in odd.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.array(values[: len(named)], table.schema.field(name).type))
    points = only_points(table, facts, store_text=store_text)
    assert written(points) == by_models(points)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_vectors_are_those_of_the_models_to_the_last_bit(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, 2**32, (count, 4), np.uint32).view(np.float32)
    lengths = rng.integers(0, 3, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = rng.standard_normal((offsets[-1], 4)).astype(np.float32)
    indices = rng.integers(0, 2 ** rng.integers(1, 33), offsets[-1], np.uint64).astype(np.uint32)
    columns = {
        "dense": dense_array(np.where(np.isnan(matrix), 0, matrix)),
        "half": dense_array(rng.standard_normal((count, 4)).astype(np.float16)),
        "tokens": multivector_array(offsets, tokens),
        "terms": sparse_array(offsets, indices, rng.standard_normal(offsets[-1]).astype(np.float32)),
    }
    facts = rows.job(rows.ALL_KINDS)
    table = rows.table(rows.job(), rows.documents(count)).drop_columns(["dense"])
    for name, column in columns.items():
        table = table.append_column(name, column)
    # A part begins inside the columns' buffers.
    part = only_points(table, facts).part(1, count)
    found, expected = written(part).points, by_models(part).points
    for one, other in zip(found, expected, strict=True):
        # The client says that a multivector of no tokens is a dense one of no numbers; both are refused.
        if not other.vectors.vectors.vectors["tokens"].multi_dense.vectors:
            other.vectors.vectors.vectors["tokens"].CopyFrom(one.vectors.vectors.vectors["tokens"])
        assert one == other


@pytest.mark.parametrize("number", [0, 127, 128, 2**14 - 1, 2**14, 2**21, 2**28 - 1, 2**28, 2**32 - 1])
def test_an_index_of_any_size_has_the_bytes_of_protobufs_own_library(number: int) -> None:
    found, ends = varints(np.array([number, 5], np.uint32))
    assert messages.SparseIndices.FromString(b"\x0a" + bytes([len(found)]) + found.tobytes()).data == [number, 5]
    assert ends.tolist() == [0, len(found) - 1, len(found)]


def test_a_number_that_a_message_does_not_hold_is_a_value_error() -> None:
    points = only_points(rows.table(FACTS[0], [("d", "text", f'{{"a": {2**63}}}')]), FACTS[0])
    with pytest.raises(ValueError, match="out of range"):
        _ = points.message


@pytest.mark.parametrize(("before", "after"), [('{"a": ', "}"), ("[", "]")], ids=["objects", "lists"])
def test_a_payload_that_is_nested_too_deeply_to_be_read_is_a_value_error(before: str, after: str) -> None:
    fitting = []
    for depth in range(20, 60):
        nested = f'{{"a": {before * depth}1{after * depth}}}'
        points = only_points(rows.table(FACTS[0], [("d", "text", nested)]), FACTS[0])
        try:
            expected = messages.UpsertPoints.FromString(by_models(points).SerializeToString())
        except (DecodeError, EncodeError):
            with pytest.raises(ValueError, match="nested too deeply"):
                _ = points.message
        else:
            fitting.append(depth)
            assert written(points) == expected
    assert 20 in fitting and 59 not in fitting
