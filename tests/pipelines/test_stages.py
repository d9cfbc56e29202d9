from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.arrow import dense_array, dense_type
from embedders.base import EmbedStats, Texts, VectorSpec
from embedders.errors import ModelFilesError
from pipelines.config import ParquetSinkConfig
from pipelines.config_models import EmbeddingConfig
from pipelines.embedding import embed_rows
from pipelines.preflight import Placement
from pipelines.schema import CHUNK_SCHEMA, IMAGE_COLUMN, RowError, add_errors, identify
from pipelines.sinks import make_sink
from pipelines.sinks.base import JobFacts
from pipelines.stages import EmbedStage, document_shares, skip_held, write_rows
from pipelines.tally import Figures, Tally


class SyntheticEmbedder:
    """Gives each text a vector of its length; cannot stand texts that contain a bad word."""

    spec = VectorSpec("dense", dense_type(2), dim=2)
    fingerprint = "0" * 64

    def __init__(self, bad: str = "poison") -> None:
        self.bad, self.stats, self.calls = bad, EmbedStats(), 0

    def embed_arrow(self, texts: Texts) -> pa.Array:
        self.calls += 1
        values = list(texts.to_pylist() if isinstance(texts, pa.Array) else texts)
        if any(self.bad in text for text in values):
            raise ValueError("cannot embed this")
        return dense_array(np.array([[len(text), np.nan if text == "nan" else 1] for text in values], np.float32))

    embed_queries_arrow = embed_arrow


def rows(texts: Sequence[str], **changes: Any) -> pa.Table:
    blank = {"chunk_no": 0, "chunk_start": 0, "chunk_end": 1, "chunk_count": 1, "payload": "{}", "origin": "here"}
    named = [{**blank, "document_id": f"d{n}", "text": text, **changes} for n, text in enumerate(texts)]
    return identify(pa.Table.from_pylist(named, schema=CHUNK_SCHEMA), "corpus", chunked=False)


@given(st.lists(st.sampled_from(["good", "poison", "a poison pill", "nan", ""]), max_size=40))
def test_synthetic_rows_that_cannot_be_embedded_cost_no_others(texts: list[str]) -> None:
    column, errors = embed_rows(SyntheticEmbedder(), pa.array(texts, pa.large_string()), "dense")
    assert len(column) == len(texts)
    assert errors.keys() == {n for n, text in enumerate(texts) if "poison" in text or text == "nan"}
    for number, (text, vector) in enumerate(zip(texts, column.to_pylist(), strict=True)):
        if number not in errors:
            assert vector == [len(text), 1]


def test_a_synthetic_bad_row_among_many_is_found_by_halving() -> None:
    embedder = SyntheticEmbedder()
    embed_rows(embedder, pa.array(["good"] * 512 + ["poison"] + ["good"] * 511), "dense")
    assert embedder.calls <= 2 * 10 + 1


def test_a_broken_model_is_no_rows_fault() -> None:
    class Broken(SyntheticEmbedder):
        def embed_arrow(self, texts: Texts) -> pa.Array:
            raise ModelFilesError("model.onnx is damaged")

    with pytest.raises(ModelFilesError, match="damaged"):
        embed_rows(Broken(), pa.array(["a", "b"]), "dense")


def test_real_minilm_leaves_dead_rows_null_and_counts_the_live(minilm: Path) -> None:
    tally = Tally()
    embedding = EmbeddingConfig(name="dense", model="sentence-transformers/all-MiniLM-L6-v2", path=str(minilm))
    stage = EmbedStage(embedding, Placement(workers=1, cpus=1, threads=2), tally.add)
    table = add_errors(rows(["one", "two", "three"]), {1: RowError("read", "Test", "dead before")})
    out = stage(table)
    assert [vector is None for vector in out["dense"].to_pylist()] == [False, True, False]
    figures = tally.read()["dense"]
    assert figures["rows"] == 2
    assert figures["tokens"] == 6


def test_a_chunk_counts_as_its_share_of_a_document() -> None:
    table = pa.concat_tables([rows(["a"], chunk_count=4), rows(["b"])])
    assert document_shares(table).tolist() == [0.25, 1.0]


def test_written_rows_are_held_and_dead_rows_are_dead_letters(tmp_path: Path) -> None:
    sink = make_sink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
    facts = JobFacts("corpus", "0" * 64, {"dense": SyntheticEmbedder.spec}, {"dense": "m"}, {"dense": "0" * 64})
    sink.open(facts)
    table = rows(["good", "bad", "fine"], **{IMAGE_COLUMN: b"an image"})
    vectors = dense_array(np.ones((3, 2), np.float32))
    table = add_errors(table.append_column("dense", vectors), {1: RowError("dense", "ValueError", "no")})
    figures: dict[str, Figures] = {}
    receipt = write_rows(
        table, sinks=[sink], dead_letters=str(tmp_path / "dead"), run_id="r", add=figures.__setitem__
    ).to_pylist()[0]
    assert (receipt["written"], receipt["dead"], receipt["documents"]) == (2, 1, 3)
    assert "'d1'" in receipt["samples"][0] and "ValueError: no" in receipt["samples"][0]
    dead = pq.read_table(next((tmp_path / "dead").glob("*.parquet"))).to_pylist()
    assert [(row["document_id"], row["text"]) for row in dead] == [("d1", "bad")]
    sink.finish(completed=True)
    again = make_sink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
    again.open(facts)
    assert not [path for path in tmp_path.rglob("*.parquet") if b"an image" in path.read_bytes()]
    left = skip_held(
        rows(["good", "bad", "changed"], **{IMAGE_COLUMN: b"an image"}), sinks=[again], add=figures.__setitem__
    )
    assert left["document_id"].to_pylist() == ["d1", "d2"]
    assert figures["skip"]["rows"] == 1
