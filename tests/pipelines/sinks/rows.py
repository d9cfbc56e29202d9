"""Rows with synthetic vectors: a vector is drawn from its text, so that a test can tell which text a point has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import SPARSE_TYPE, dense_array, dense_type, sparse_array
from embedders.base import VectorSpec
from pipelines.identity import identify
from pipelines.rows import CHUNK_SCHEMA
from pipelines.sinks.base import Held, JobFacts

DIM = 4
DENSE = VectorSpec("dense", dense_type(DIM), DIM)
HALF = VectorSpec("dense", dense_type(DIM, np.float16), DIM, distance="dot")
MULTI = VectorSpec("multivector", pa.list_(dense_type(DIM)), DIM)
SPARSE = VectorSpec("sparse", SPARSE_TYPE, idf=True)
ALL_KINDS = {"dense": DENSE, "half": HALF, "tokens": MULTI, "terms": SPARSE}


def job(vectors: Mapping[str, VectorSpec] | None = None, **facts: Any) -> JobFacts:
    """Facts of a job; one dense vector unless said otherwise."""
    chosen = dict(vectors or {"dense": DENSE})
    given: dict[str, Any] = {
        "corpus": "library",
        "fingerprint": "f1",
        "models": {name: f"org/{name}-model" for name in chosen},
        "fingerprints": {name: f"{name}-f1" for name in chosen},
    }
    return JobFacts(vectors=chosen, **{**given, **facts})


def dense_of(text: str) -> npt.NDArray[np.float32]:
    """The unit vector that a text has here."""
    vector = np.random.default_rng(list(text.encode())).standard_normal(DIM).astype(np.float32)
    unit: npt.NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


def column_of(spec: VectorSpec, texts: list[str]) -> pa.Array:
    """One synthetic vector a text, of the kind wanted; a multivector has a token a word."""
    matrix = np.stack([dense_of(text) for text in texts]) if texts else np.empty((0, DIM), np.float32)
    if spec.kind == "dense":
        return dense_array(matrix.astype(spec.arrow_type.value_type.to_pandas_dtype()))
    counts = [len(text.split()) for text in texts]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    if spec.kind == "sparse":
        terms = [index for count in counts for index in range(count)]
        return sparse_array(offsets, np.array(terms, np.uint32), np.ones(len(terms), np.float32))
    words = [dense_of(word) for text in texts for word in text.split()]
    tokens = dense_array(np.stack(words) if words else np.empty((0, DIM), np.float32))
    return pa.ListArray.from_arrays(pa.array(offsets), tokens)


def table(facts: JobFacts, documents: Iterable[tuple[str, str, str | None]], chunks: int | None = None) -> pa.Table:
    """Rows for a sink from (document id, text, payload JSON); with ``chunks``, each document is cut so often."""
    rows = [
        {
            "document_id": name,
            "text": text if chunks is None else f"{text} part {chunk}",
            "payload": payload,
            "origin": f"{name}.jsonl:1",
            "chunk_no": chunk,
            "chunk_start": 100 * chunk,
            "chunk_end": 100 * chunk + 90,
            "chunk_count": chunks or 1,
        }
        for name, text, payload in documents
        for chunk in range(chunks or 1)
    ]
    base = pa.Table.from_pylist(rows, schema=CHUNK_SCHEMA)
    done = identify(base, facts.corpus, chunked=facts.chunked)
    for name, spec in facts.vectors.items():
        done = done.append_column(name, column_of(spec, base["text"].to_pylist()))
    return done


def documents(count: int, text: str = "text", first: int = 0) -> list[tuple[str, str, str | None]]:
    """Numbered documents with a payload."""
    return [(f"d{n}", f"{text} number {n}", f'{{"n": {n}, "tag": "t{n % 3}"}}') for n in range(first, first + count)]


def held(writer: Any, rows: pa.Table) -> list[bool]:
    """Tell which rows of a table a writer holds unchanged."""
    return [bool(code == Held.SAME) for code in writer.held(rows)]
