"""Rows that a job embedded and did not write, from data in memory, on to datasinks: as its own sink writes them."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import EmbeddingPipeline, ParquetDatasink, QdrantDatasink, Searcher, SinkError, SourceError, read_qdrant

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
DENSE, TOKENS = "sentence-transformers/all-MiniLM-L6-v2", "colbert-ir/colbertv2.0"
ROWS: list[dict[str, Any]] = [
    # A key of the payload is called as one of a point's own.
    {"id": f"d{n}", "body": None if n == 7 else "the river bank " * (1 + n % 4) + str(n), "text": f"own {n}", "n": n}
    for n in range(30)
]


@pytest.fixture(autouse=True)
def _no_bars(ray_local: None) -> None:
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False


@pytest.fixture
def job(synthetic_model: Callable[[str], Path], tmp_path: Path) -> dict[str, Any]:
    muvera = {"k_sim": 2, "dim_proj": 4, "r_reps": 2, "keep_multivector": True}
    return {
        "source": {"id": "id", "text": "body", "payload": ["n", "text"]},
        "embeddings": [
            {"name": "dense", "model": DENSE, "path": str(synthetic_model(DENSE))},
            {"name": "terms", "model": "Qdrant/bm25", "options": {"avg_len": 4}},
            {"name": "tokens", "model": TOKENS, "path": str(synthetic_model(TOKENS)), "muvera": muvera},
        ],
        "compute": {"block_rows": 8},
        "errors": {"max_rate": 0.1, "path": str(tmp_path / "dead-of-run")},
        "report": str(tmp_path / "report.json"),
    }


def plain(value: Any) -> Any:
    """A value of a row as lists and numbers."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | np.ndarray) else value


def by_document(path: Path, collection: str = "docs") -> dict[str, dict[str, Any]]:
    rows = [{**plain(row), **json.loads(row["payload"])} for row in read_qdrant(collection, path=str(path)).take_all()]
    return {row["document_id"]: row for row in rows}


def test_synthetic_rows_of_every_source_are_given_to_ray_as_often_as_they_are_asked_for(
    job: dict[str, Any], tmp_path: Path
) -> None:
    import ray

    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    job = {**job, "embeddings": job["embeddings"][1:2]}
    wanted = EmbeddingPipeline.from_config({**job, "compute": {"engine": "local"}}, source=ROWS).to_arrow()
    assert wanted.num_rows == len(ROWS) and wanted["terms"].null_count == 1
    lazy = ray.data.from_items(ROWS, override_num_blocks=3).map_batches(lambda table: table, batch_format="pyarrow")
    reader = {"ray": "read_parquet", "arguments": {"paths": str(tmp_path / "rows.parquet")}, **job["source"]}
    for source in (pd.DataFrame(ROWS), pa.Table.from_pylist(ROWS), lazy):
        local = EmbeddingPipeline.from_config({**job, "compute": {"engine": "local"}}, source=source)
        assert local.to_arrow().equals(wanted)
    for name, given, times in (
        ("list", EmbeddingPipeline.from_config(job, source=ROWS), 1),
        ("dataset", EmbeddingPipeline.from_config(job, source=lazy), 2),
        ("reader", EmbeddingPipeline.from_config({**job, "source": reader}), 1),
    ):
        dataset = given.embed()
        gc.collect()
        for _ in range(times):
            rows = sorted(dataset.take_all(), key=lambda row: int(row["document_id"][1:]))
            assert plain(rows) == plain(wanted.to_pylist()), name
    assert given.to_arrow().equals(wanted)


def test_synthetic_rows_are_written_by_datasinks_as_the_jobs_own_sink_writes_them(
    job: dict[str, Any], tmp_path: Path
) -> None:
    sink = {"type": "qdrant", "path": str(tmp_path / "run"), "collection": "docs"}
    EmbeddingPipeline.from_config({**job, "compute": {"engine": "local"}, "sink": sink}, source=ROWS).run()
    dataset = EmbeddingPipeline.from_config(job, source=ROWS).embed().materialize()
    path, dead = str(tmp_path / "given"), tmp_path / "dead"
    datasink = QdrantDatasink("docs", path=path, dead_letters=str(dead), max_error_rate=0.1)
    dataset.write_datasink(datasink)
    assert datasink.report is not None and (datasink.report.total, datasink.report.dead) == (29, 1)
    (letter,) = pq.read_table(dead).to_pylist()
    assert (letter["document_id"], letter["error"]["type"]) == ("d7", "InvalidText")

    expected, found = by_document(tmp_path / "run"), by_document(tmp_path / "given")
    assert found.keys() == expected.keys()
    for name, row in found.items():
        its = expected[name]
        assert (row["id"], row["n"], row["text"], row["terms"]) == (its["id"], its["n"], its["text"], its["terms"])
        # What of a row's own has the name of a key of the point's.
        assert row["payload"] == its["payload"] == {"text": f"own {row['n']}"}
        for vector in ("dense", "tokens", "tokens_multivector"):
            np.testing.assert_allclose(row[vector], its[vector], atol=1e-4)

    # Nobody says which models: the collection does, and how its vectors are compared.
    scores = []
    for place in ("run", "given"):
        with Searcher.open("docs", path=str(tmp_path / place)) as searcher:
            ways = (searcher.search("bank 12", using=using, limit=5) for using in ("dense", "terms", "tokens"))
            scores.append([[hit.score for hit in hits] for hits in ways])
    np.testing.assert_allclose(scores[0][0], scores[1][0], rtol=1e-4)
    np.testing.assert_allclose(scores[0][1], scores[1][1], rtol=1e-4)
    np.testing.assert_allclose(scores[0][2], scores[1][2], rtol=1e-4)
    read_qdrant("docs", path=path, with_vectors=["terms"]).write_datasink(QdrantDatasink("some", path=path))
    with Searcher.open("some", path=path) as searcher:
        assert searcher.search("bank 12")[0].payload["n"] == 12

    # Other models' vectors of the same sizes do not join them, and a job does not go on with what tells nothing.
    other = {**job, "embeddings": [{**job["embeddings"][0], "max_length": 4}, *job["embeddings"][1:]]}
    with pytest.raises(SinkError, match="was filled by a fleetembed job"):
        EmbeddingPipeline.from_config(other, source=ROWS).embed().write_datasink(QdrantDatasink("docs", path=path))
    with pytest.raises(SinkError, match="was not made by this tool"):
        EmbeddingPipeline.from_config({**job, "sink": {**sink, "path": path}}, source=ROWS).plan()
    files = str(tmp_path / "files")
    dataset.write_parquet(files)
    dataset.drop_columns(["error"]).write_datasink(ParquetDatasink(files))
    assert pq.read_table(files).num_rows == 2 * len(ROWS)
    with pytest.raises(SourceError, match=r"rows that embed\(\) or to_arrow\(\) gave"):
        EmbeddingPipeline.from_config({"source": {"vectors": files}}).plan()
