"""A job with a cache of embeddings: texts seen before take their vectors from there, and the model sees the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest

from pipelines import EmbeddingPipeline
from pipelines.errors import ConfigError
from tests.e2e.jobs import ON_BOTH, Job
from tests.model_fixtures import write_synthetic_model

ROWS = [{"id": f"d{n}", "text": f"text number {n % 15}"} for n in range(40)]


def job(folder: Path, name: str, engine: str = "local", **embedding: Any) -> Job:
    """A job that writes to a folder of its own name, with a synthetic dense model and BM25."""
    model = folder / "model"
    if not model.exists():
        write_synthetic_model(model)
    dense = {"name": f"dense_{name}", "model": {"path": str(model), "pooling": "mean"}, **embedding}
    more: dict[str, Any] = {
        "embeddings": [dense, {"name": "bm25", "model": "Qdrant/bm25"}],
        "cache": {"path": str(folder / "cache")},
    }
    more["errors"] = {"max_rate": 1}
    made = Job(folder, model, [{"type": "parquet", "path": str(folder / name)}], more, engine)
    made.write(ROWS)
    return made


def vectors(job: Job) -> dict[str, list[float]]:
    table = pads.dataset(job.sinks[0]["path"], format="parquet").to_table()
    name = next(name for name in table.column_names if name.startswith("dense_"))
    return dict(zip(table["document_id"].to_pylist(), table[name].to_pylist(), strict=True))


@ON_BOTH
def test_a_second_run_takes_vectors_from_the_cache_byte_for_byte(tmp_path: Path, engine: str) -> None:
    first = job(tmp_path, "first", engine)
    report = first.run()
    # Blocks of 16 rows, and a text each 15: what the first block had is there for the others.
    assert (report.exit_code, report.rows["embedded"]) == (0, 40)
    assert report.rows["cached"] == (24 if engine == "local" else pytest.approx(20, abs=10))

    again = job(tmp_path, "again", engine)
    report = again.run()
    assert (report.exit_code, report.rows["cached"], report.rows["written"]) == (0, 40, 40)
    assert again.report["stages"]["dense_again"]["cached"] == 40
    assert "cached" not in again.report["stages"]["bm25"]
    assert report.stages["dense_again"]["tokens"] == 0
    assert vectors(again) == vectors(first)


def test_other_texts_and_other_settings_go_through_the_model(tmp_path: Path) -> None:
    job(tmp_path, "first").run()
    other = job(tmp_path, "other", max_length=4)
    assert other.run().rows["cached"] == 24
    changed = job(tmp_path, "changed")
    changed.write([*ROWS[:5], {"id": "new", "text": "a new text"}, {"id": "broken", "text": None}, *ROWS[5:8]])
    report = changed.run()
    assert (report.rows["cached"], report.rows["written"], report.rows["dead"]) == (8, 9, 1)
    (tmp_path / "alone").mkdir()
    alone = job(tmp_path / "alone", "alone")
    alone.write([{"id": "new", "text": "a new text"}])
    alone.run()
    assert vectors(changed)["new"] == pytest.approx(vectors(alone)["new"], abs=1e-6)


def test_a_job_does_not_read_its_cache_as_documents(tmp_path: Path) -> None:
    made = job(tmp_path, "first")
    config = made.config()
    config["source"] = {"path": str(tmp_path / "cache"), "id": "id"}
    made.run()
    with pytest.raises(ConfigError, match=r"is, or lies in, cache\.path"):
        EmbeddingPipeline.from_config(config).plan()
