"""Columns of vectors as files may have them, and what Qdrant's models hold of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.arrow import SPARSE_TYPE
from embedders.base import VectorSpec
from pipelines.sinks.qdrant.points import vector_lists
from pipelines.sources.vectors.columns import checked_vectors
from tests.pipelines.sinks.rows import DENSE, DIM, HALF, MULTI, SPARSE

LISTS = pa.list_(pa.float32())
numbers = st.floats(-8, 8, width=16)
dense = st.lists(numbers, min_size=DIM, max_size=DIM)
sparse = st.dictionaries(st.integers(0, 2**32 - 1), numbers, max_size=5).map(
    lambda terms: {"indices": list(terms), "values": list(terms.values())}
)


@pytest.mark.parametrize("spec", [DENSE, HALF, MULTI, SPARSE], ids=["dense", "half", "multi", "sparse"])
@given(data=st.data())
def test_lists_of_an_export_become_columns_that_hold_the_same_and_are_left_as_they_are_afterwards(
    spec: VectorSpec, data: Any
) -> None:
    kind, one = {
        "dense": (LISTS, dense),
        "multivector": (pa.list_(LISTS), st.lists(dense, max_size=4)),
        "sparse": (SPARSE_TYPE, sparse),
    }[spec.kind]
    rows = data.draw(st.lists(st.none() | one, max_size=8))
    column, faults = checked_vectors(pa.chunked_array([pa.array(rows, kind)]), spec)
    assert (column.type, faults) == (spec.arrow_type, {})
    column.validate(full=True)
    assert column.is_valid().to_pylist() == [row is not None for row in rows]
    there = [row for row in rows if row is not None]
    held = vector_lists(pa.chunked_array([column.drop_null()]), spec)
    if spec.kind == "sparse":
        held = [dict(zip(vector.indices, vector.values, strict=True)) for vector in held]
        there = [dict(sorted(zip(row["indices"], row["values"], strict=True))) for row in there]
        assert [list(vector) for vector in held] == [list(row) for row in there]
    assert held == there
    again, faults = checked_vectors(column, spec)
    assert again.equals(column) and faults == {}


@pytest.mark.parametrize(
    ("spec", "kind", "bad", "why"),
    [
        (DENSE, LISTS, [1.0, 2.0], "numbers, not 4"),
        (DENSE, DENSE.arrow_type, [1.0, 2.0, float("nan"), 4.0], "not finite"),
        (DENSE, LISTS, [1.0, 2.0, None, 4.0], "not finite"),
        (MULTI, MULTI.arrow_type, [[1.0] * 4, [float("inf")] * 4], "not finite"),
        (MULTI, pa.list_(LISTS), [[1.0] * 4, [1.0] * 3], "not 4 numbers"),
        (SPARSE, SPARSE_TYPE, {"indices": [3, 3], "values": [1.0, 2.0]}, "comes twice"),
        (SPARSE, SPARSE_TYPE, {"indices": [3], "values": [1.0, 2.0]}, "not as many indices"),
        (SPARSE, SPARSE_TYPE, {"indices": [3], "values": [float("nan")]}, "not finite"),
    ],
)
def test_a_vector_that_cannot_be_used_costs_no_other(spec: VectorSpec, kind: pa.DataType, bad: Any, why: str) -> None:
    good: Any = {
        "dense": [1.0] * DIM,
        "multivector": [[1.0] * DIM, [2.0] * DIM],
        "sparse": {"indices": [1, 7], "values": [0.5, 1.0]},
    }[spec.kind]
    column, faults = checked_vectors(pa.array([good, bad, None, good], kind), spec)
    assert list(faults) == [1] and why in faults[1]
    assert column.type == spec.arrow_type
    assert column.to_pylist() == [good, None, None, good]
    assert np.array_equal(column.is_valid().to_numpy(zero_copy_only=False), [True, False, False, True])
