"""Vectors as the client gives them: put into Arrow columns, and how large they are in an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import dense_array, multivector_array, number_type, sparse_array
from embedders.base import VectorSpec
from pipelines.sinks.qdrant.points import FLOAT_BYTES, INDEX_BYTES

# Of an answer whose sizes the question does not know: so many tokens and terms are taken for granted.
TOKENS_A_POINT, TERMS_A_POINT = 256, 256


def vector_column(vectors: Sequence[Any], spec: VectorSpec) -> pa.Array:
    """Make a column of vectors as the client gives them; numbers become those of the type of ``spec``."""
    if spec.kind == "sparse":
        indices = np.fromiter(chain.from_iterable(vector.indices for vector in vectors), np.uint32)
        values = np.fromiter(chain.from_iterable(vector.values for vector in vectors), np.float32)
        return sparse_array(_offsets(len(vector.indices) for vector in vectors), indices, values)
    dtype = number_type(spec.arrow_type).to_pandas_dtype()
    if not vectors:
        return pa.array([], spec.arrow_type)
    if spec.kind == "dense":
        return dense_array(np.array(vectors, dtype))
    tokens = [np.array(vector, dtype).reshape(-1, spec.dim or 0) for vector in vectors]
    return multivector_array(_offsets(map(len, tokens)), np.concatenate(tokens))


def _offsets(lengths: Iterator[int]) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *lengths])


def usual_bytes(spec: VectorSpec) -> int:
    """Estimate the bytes in JSON of one vector, before any is seen."""
    if spec.kind == "sparse":
        return (FLOAT_BYTES + INDEX_BYTES) * TERMS_A_POINT
    return FLOAT_BYTES * (spec.dim or 0) * (TOKENS_A_POINT if spec.kind == "multivector" else 1)


def bytes_of(vector: Any) -> int:
    """Estimate the bytes in JSON of one vector, which is None where it is missing."""
    if vector is None:
        return 0
    if isinstance(vector, list):
        numbers = len(vector) * (len(vector[0]) if vector and isinstance(vector[0], list) else 1)
        return FLOAT_BYTES * numbers
    return (FLOAT_BYTES + INDEX_BYTES) * len(vector.indices)
