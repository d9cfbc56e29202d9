"""Any sequence of runs leaves what a dict would hold, however runs end and writes repeat."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.sinks.base import Held
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.parquet.sink import ParquetSink
from tests.pipelines.sinks import rows

CHUNKED = rows.job(chunked=True)
# A version of a document: its text and how many chunks it has.
versions = st.tuples(st.sampled_from(["red", "green", "blue"]), st.integers(1, 3))
corpora = st.dictionaries(st.sampled_from(["a", "b", "c"]), versions, min_size=1)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(corpora, st.booleans(), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=5))
def test_runs_add_up_like_a_dict(runs: list[tuple[dict[str, tuple[str, int]], bool, int, int]]) -> None:
    expected: dict[tuple[str, int], str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for position, (corpus, completed, block, repeated) in enumerate(runs):
            last = position == len(runs) - 1
            sink = ParquetSink(ParquetSinkConfig(type="parquet", path=folder))
            sink.open(CHUNKED)
            writer = sink.connect()
            tables = [rows.table(CHUNKED, [(name, text, None)], chunks=n) for name, (text, n) in corpus.items()]
            whole = pa.concat_tables(tables)
            fresh = whole.filter(pa.array(writer.held(whole) != Held.SAME))
            blocks = [fresh.slice(start, block) for start in range(0, fresh.num_rows, block)]
            for part in blocks + blocks[:repeated]:
                writer.write(part)
            sink.finish(completed=completed or last)
            for name, (text, n) in corpus.items():
                expected = {key: value for key, value in expected.items() if key[0] != name}
                expected |= {(name, chunk): f"{text} part {chunk}" for chunk in range(n)}
        read = ds.dataset(Path(folder)).to_table(columns=["document_id", "chunk_no", "text"]).to_pylist()
    assert len(read) == len(expected)
    assert {(row["document_id"], row["chunk_no"]): row["text"] for row in read} == expected
