"""A job's vectors without a sink: as a table, a frame, arrays, and as a Ray dataset; in the source's order, lazily."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from embedders import SparseMatrix
from embedders.arrow import SPARSE_TYPE, dense_matrix, dense_type, multivector_type
from embedders.token_vectors import TokenVectors
from pipelines import ConfigError, EmbeddingPipeline, TooManyErrorsError
from pipelines.rows import ERROR_TYPE
from pipelines.run.stages.give import CHUNK_FIELDS

MODELS = {"dense": "sentence-transformers/all-MiniLM-L6-v2", "terms": "Qdrant/bm25", "tokens": "colbert-ir/colbertv2.0"}
ROWS = 60
BAD = 7


@pytest.fixture
def job(synthetic_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A job without a sink over several files, one row of which has no text."""
    monkeypatch.chdir(tmp_path)
    for part in range(3):
        numbers = range(part * ROWS // 3, (part + 1) * ROWS // 3)
        lines = [
            json.dumps({"id": f"d{row}", "text": None if row == BAD else f"the river bank {row} " * (1 + row % 5)})
            for row in numbers
        ]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines))
    return {
        "source": {"path": "*.jsonl", "id": "id"},
        "embeddings": [
            {"name": name, "model": model, "path": str(synthetic_model(model))} for name, model in MODELS.items()
        ],
        "compute": {"engine": "local", "block_rows": 8},
        "errors": {"max_rate": 0.05},
    }


def test_synthetic_vectors_come_as_table_frame_and_arrays_in_order_and_nothing_is_written(
    job: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = sorted(tmp_path.iterdir())
    pipeline = EmbeddingPipeline.from_config(job)
    with caplog.at_level(logging.WARNING, logger="fleetembed"):
        table = pipeline.to_arrow()
    assert "1 of 60 rows have an error" in caplog.text and "document 'd7': read: InvalidText" in caplog.text
    texts = [("id", pa.string()), ("document_id", pa.string()), ("text", pa.string()), ("payload", pa.string())]
    vectors = [("dense", dense_type(384)), ("terms", SPARSE_TYPE), ("tokens", multivector_type(128))]
    assert table.schema == pa.schema([*texts, *vectors, ("error", ERROR_TYPE)])
    assert table["document_id"].to_pylist() == [f"d{row}" for row in range(ROWS)]
    assert [row for row, error in enumerate(table["error"].to_pylist()) if error] == [BAD]

    dense = pipeline.to_numpy("dense")
    assert isinstance(dense, np.ndarray) and np.isnan(dense[BAD]).all()
    good = pa.array(np.arange(ROWS) != BAD)
    np.testing.assert_array_equal(dense[good.to_numpy(zero_copy_only=False)], dense_matrix(table.filter(good)["dense"]))
    terms, tokens = pipeline.to_numpy("terms"), pipeline.to_numpy("tokens")
    assert isinstance(terms, SparseMatrix) and isinstance(tokens, TokenVectors)
    assert terms.rows == len(tokens) == ROWS and terms.indptr[BAD] == terms.indptr[BAD + 1]
    for row in (0, BAD + 1, ROWS - 1):
        own = slice(terms.indptr[row], terms.indptr[row + 1])
        assert terms.indices[own].tolist() == table["terms"][row].as_py()["indices"]
        np.testing.assert_array_equal(list(tokens)[row], np.array(table["tokens"][row].as_py(), np.float32))
    with pytest.raises(ValueError, match="no vector 'dens': name one of 'dense', 'terms', 'tokens'"):
        pipeline.to_numpy("dens")
    with pytest.raises(ValueError, match="several vectors are there: name one of"):
        pipeline.to_numpy()
    frame = pipeline.to_pandas()
    np.testing.assert_array_equal(frame["dense"][3], dense[3])
    assert pipeline.plan().sinks == [] and sorted(tmp_path.iterdir()) == before


def test_repeated_ids_are_told_and_their_rows_are_given(caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"key": key, "text": text} for key, text in (("a", "one"), ("b", "two"), ("b", "three"), ("b", "four"))]
    job = {"source": {"id": "key"}, "embeddings": [{"name": "bm25", "model": MODELS["terms"]}]}
    with caplog.at_level(logging.WARNING, logger="fleetembed"):
        table = EmbeddingPipeline.from_config(job, source=rows).to_arrow()
    assert "2 repeated ids (document 'b', for instance): all rows are given" in caplog.text
    assert table["text"].to_pylist() == ["one", "two", "three", "four"] and not table["bm25"].null_count
    caplog.clear()
    EmbeddingPipeline.from_config(job, source=rows[:2]).to_arrow()
    assert "repeated" not in caplog.text


def test_synthetic_a_notebook_shows_what_is_done_and_how_far_it_is(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def show(content: dict[str, str], **_: object) -> SimpleNamespace:
        shown.append(content["text/plain"])
        return SimpleNamespace(update=show)

    monkeypatch.setattr("IPython.display.display", show)
    EmbeddingPipeline.from_config(job).to_numpy("terms", console=Console(force_jupyter=True))
    assert shown[0].startswith("looking at 1 model and the source") and "loading the models" in "".join(shown)
    assert "60/? documents" in shown[-1]


def test_synthetic_run_and_command_without_a_sink_say_what_to_do(job: dict[str, Any]) -> None:
    pipeline = EmbeddingPipeline.from_config(job)
    with pytest.raises(ConfigError, match=r"sink: is missing.*embed\(\) as a Ray dataset, to_arrow\(\)"):
        pipeline.run()
    with pytest.raises(ConfigError, match=r"engine: local runs in this process alone.*to_arrow\(\)"):
        pipeline.embed()
    # A configuration that was checked is taken again, with overrides too.
    other = EmbeddingPipeline.from_config(pipeline.config, ["errors.max_rate=0.5"])
    assert other.config.sink == [] and other.config.errors.max_rate == 0.5


def test_synthetic_too_many_errors_stop_it(job: dict[str, Any], tmp_path: Path) -> None:
    strict = EmbeddingPipeline.from_config({**job, "errors": {"max_rate": 0}})
    with pytest.raises(
        TooManyErrorsError, match=r"1 of 60 rows have an error, more than errors.max_rate 0.*d7.*InvalidT"
    ):
        strict.to_arrow()
    (tmp_path / "0.jsonl").write_text("")
    (tmp_path / "1.jsonl").write_text("")
    (tmp_path / "2.jsonl").write_text("")
    assert EmbeddingPipeline.from_config(job).to_numpy("dense").shape == (0, 384)  # type: ignore[union-attr]


def test_synthetic_chunks_and_measured_lengths_and_a_source_that_brings_its_vectors(
    job: dict[str, Any], tmp_path: Path
) -> None:
    folder = job["embeddings"][0]["path"]
    terms = {**job["embeddings"][1], "options": {"avg_len": "measure"}}
    chunked = {**job, "embeddings": [terms], "chunking": {"tokenizer": folder, "max_tokens": 8, "overlap": 0}}
    table = EmbeddingPipeline.from_config(chunked).to_arrow()
    names = [name for name, _ in CHUNK_FIELDS]
    assert table.column_names == ["id", "document_id", *names, "text", "payload", "terms", "error"]
    rows = table.select(["document_id", "chunk_no"]).to_pylist()
    assert len(rows) > ROWS and [row["document_id"] for row in rows if row["chunk_no"] == 0] == [
        f"d{row}" for row in range(ROWS)
    ]
    plain = {**job, "embeddings": [{**job["embeddings"][1], "options": {"avg_len": 3.0}}]}
    measured = EmbeddingPipeline.from_config({**job, "embeddings": [terms]}).to_numpy()
    given = EmbeddingPipeline.from_config(plain).to_numpy()
    assert isinstance(measured, SparseMatrix) and isinstance(given, SparseMatrix)
    np.testing.assert_array_equal(measured.indices, given.indices)
    assert not np.allclose(measured.data, given.data)

    sink = {"type": "parquet", "path": str(tmp_path / "vectors")}
    written = {**job, "embeddings": job["embeddings"][:1], "sink": sink}
    assert EmbeddingPipeline.from_config(written).run().exit_code == 3
    brought = {"source": {"vectors": sink["path"]}, "compute": job["compute"]}
    again = EmbeddingPipeline.from_config(brought)
    assert sorted(again.to_arrow()["document_id"].to_pylist()) == sorted(f"d{row}" for row in range(ROWS) if row != BAD)
    assert again.to_numpy().shape == (ROWS - 1, 384)  # type: ignore[union-attr]


def test_synthetic_preview_shows_what_embed_gives_and_the_rest_on_request(job: dict[str, Any]) -> None:
    pipeline = EmbeddingPipeline.from_config(job)
    frame = pipeline.preview(2)
    assert list(frame.columns) == ["id", "document_id", "text", "payload", *MODELS, "error"]
    everything = pipeline.preview(2, all_columns=True)
    assert {"content_hash", "origin", "chunk_no", *frame.columns} <= set(everything.columns)


@pytest.mark.usefixtures("ray_local")
def test_synthetic_dataset_is_lazy_and_executed_each_time_that_it_is_consumed(
    job: dict[str, Any], tmp_path: Path
) -> None:
    import ray

    table = EmbeddingPipeline.from_config(job).to_arrow()
    on_ray = EmbeddingPipeline.from_config({**job, "compute": {"block_rows": 8, "max_retries": 1}})
    options = vars(ray.data.DataContext.get_current().copy())
    dataset = on_ray.embed()
    assert {name: repr(value) for name, value in vars(ray.data.DataContext.get_current()).items()} == {
        name: repr(value) for name, value in options.items()
    }
    # What is read is what is there when the dataset is consumed: nothing was read before.
    changed = (tmp_path / "2.jsonl").read_text().replace("bank 59", "bank 95")
    (tmp_path / "2.jsonl").write_text(changed)
    for _ in range(2):
        given = pa.concat_tables(dataset.iter_batches(batch_format="pyarrow", batch_size=None))
        assert given.schema == table.schema
        rows = {row["document_id"]: row for row in given.to_pylist()}
        assert len(rows) == ROWS == given.num_rows and rows["d7"]["error"]["type"] == "InvalidText"
        assert rows["d59"]["text"].startswith("the river bank 95") and rows["d7"]["dense"] is None
    wanted = {row["document_id"]: row["dense"] for row in table.to_pylist()}
    np.testing.assert_allclose(rows["d3"]["dense"], wanted["d3"], atol=1e-6)
    dataset.select_columns(["id", "dense"]).write_parquet(str(tmp_path / "out"))
    assert pq.read_table(tmp_path / "out").schema.field("dense").type.list_size == 384
    # A Ray that runs takes the job, and order stays.
    assert on_ray.to_arrow()["document_id"].to_pylist() == [f"d{row}" for row in range(ROWS)]
