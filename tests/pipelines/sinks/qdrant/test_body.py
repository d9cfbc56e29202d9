"""Upserts written from columns: the same points as qdrant-client's models make, whatever is in them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import models
from qdrant_client.http.api.points_api import jsonable_encoder

from embedders.arrow import dense_array, multivector_array, sparse_array
from embedders.base import VectorSpec
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.batches import IN_JSON, IN_MESSAGES, NumberBytes, Points, batches
from pipelines.sinks.qdrant.points import RESERVED
from tests.pipelines.sinks import rows

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some, max_size=3),
    max_leaves=3,
)
PAYLOADS = st.none() | st.dictionaries(st.text() | st.sampled_from(sorted(RESERVED)), JSON, max_size=4).map(json.dumps)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
FACTS = [
    rows.job(),
    rows.job(chunked=True),
    rows.job(copied_from="old"),
]


def only_points(table: pa.Table, facts: JobFacts, *, store_text: bool = True) -> Points:
    (points,) = batches(table, facts, points=1000, megabytes=100, store_text=store_text)
    return points


def by_models(points: Points) -> Any:
    """What the client sends: the oracle."""
    return json.loads(jsonable_encoder(models.PointsBatch.model_construct(batch=points.batch())))["batch"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(), PAYLOADS), min_size=1, max_size=4), st.sampled_from(FACTS), st.booleans())
def test_payloads_and_ids_are_those_of_the_models(
    documents: list[tuple[str, str | None]], facts: JobFacts, store_text: bool
) -> None:
    named = [(str(number), text, payload) for number, (text, payload) in enumerate(documents)]
    points = only_points(rows.table(facts, named), facts, store_text=store_text)
    written, expected = json.loads(points.json)["batch"], by_models(points)
    assert (written["ids"], written["payloads"]) == (expected["ids"], expected["payloads"])


@pytest.mark.parametrize(
    "payload",
    [
        "{}",
        " { } ",
        '{"te\\u0078t": 1, "a": "\\ud83d\\ude00"}',
        '{"text": {"text": 1}}',
        '{"a": "\\"text\\": NaN"}',
        '{"a": NaN, "b": 1e999, "c": -Infinity, "d": 100000000000000000000000000000}',
        '{"a": 1.5,\n "b": [{"_fleetembed": 2}]} ',
        '{"a": 1, "a": 2}',
    ],
)
def test_odd_payloads_are_those_of_the_models(payload: str) -> None:
    points = only_points(rows.table(FACTS[0], [("d", "text", payload), *rows.documents(1)]), FACTS[0])
    assert json.loads(points.json)["batch"]["payloads"] == by_models(points)["payloads"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(FLOATS, min_size=4, max_size=4), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
def test_every_float_is_read_back_as_it_was(numbers: list[list[float]], seed: int) -> None:
    matrix, rng = np.array(numbers, np.float32), np.random.default_rng(seed)
    half = np.clip(matrix, -60000, 60000).astype(np.float16)
    lengths = rng.integers(0, 3, len(matrix))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = rng.standard_normal((offsets[-1], 4)).astype(np.float32)
    indices = rng.integers(0, 2**32, offsets[-1], np.uint32)
    columns = {
        "dense": dense_array(matrix),
        "half": dense_array(half),
        "tokens": multivector_array(offsets, tokens),
        "terms": sparse_array(offsets, indices, tokens[:, 0]),
    }
    facts = rows.job(rows.ALL_KINDS)
    table = rows.table(rows.job(), rows.documents(len(matrix))).drop_columns(["dense"])
    for name, column in columns.items():
        table = table.append_column(name, column)
    # A part begins inside the columns' buffers.
    part = only_points(table, facts).part(1, len(matrix))
    read = json.loads(part.json)["batch"]["vectors"]
    assert np.array_equal(np.array(read["dense"], np.float32), matrix[1:])
    assert np.array_equal(np.array(read["half"], np.float16), half[1:])
    for row, (start, end) in enumerate(pairwise(offsets[1:])):
        assert np.array_equal(np.array(read["tokens"][row], np.float32).reshape(-1, 4), tokens[start:end])
        assert read["terms"][row]["indices"] == indices[start:end].tolist()
        assert np.array_equal(np.array(read["terms"][row]["values"], np.float32), tokens[start:end, 0])


def test_a_number_that_is_not_finite_is_one_that_no_server_takes() -> None:
    table = rows.table(rows.job(), rows.documents(2)).drop_columns(["dense"])
    table = table.append_column("dense", dense_array(np.array([[1, 2, np.nan, 4], [np.inf, 1, 1, 1]], np.float32)))
    points = only_points(table, rows.job())
    written = json.loads(points.json)["batch"]["vectors"]
    assert written == by_models(points)["vectors"]
    assert written["dense"] == [[1, 2, None, 4], [None, 1, 1, 1]]


@pytest.mark.parametrize("way", [IN_JSON, IN_MESSAGES])
@pytest.mark.parametrize("name", ["dense", "tokens", "terms"])
def test_requests_are_about_as_large_as_they_may_be(way: NumberBytes, name: str) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((300, 384)).astype(np.float32) / np.float32(384**0.5)
    numbers = {
        "dense": dense_array(matrix),
        "tokens": multivector_array(np.arange(0, 301, 3), matrix),
        "terms": sparse_array(np.arange(301) * 64, rng.integers(0, 2**31, 300 * 64, np.uint32), matrix.ravel()[:19200]),
    }[name]
    kind = {"dense": "dense", "tokens": "multivector", "terms": "sparse"}[name]
    facts = rows.job({name: VectorSpec(kind, numbers.type, None if name == "terms" else 384)})
    plain = rows.table(rows.job(), [(f"d{n}", "some text " * 20, '{"price": 5}') for n in range(len(numbers))])
    table = plain.drop_columns(["dense"]).append_column(name, numbers)
    made = list(batches(table, facts, points=1000, megabytes=0.1, store_text=True, numbers=way))
    sizes = [len(one.json if way == IN_JSON else one.message) for one in made[:-1]]
    assert sizes and min(sizes) > 0.7e5 and max(sizes) <= 1e5
