"""The whole job: real MiniLM, real text, every kind of sink; in this process, and where it matters on a real Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from embedders import SparseTextEmbedding, TextEmbedding
from pipelines import EmbeddingPipeline
from pipelines.errors import SinkError
from pipelines.sinks.qdrant.client import open_folder
from tests.e2e.jobs import MINILM, ON_BOTH, ON_RAY, Job, Row, parquet_points, qdrant_points
from tests.qdrant_server import Fault, QdrantTestServer


class Place:
    """One kind of sink, and how its points are read back."""

    def __init__(self, kind: str, folder: Path, url: str | None) -> None:
        self.kind, self._folder, self._url = kind, folder, url

    @property
    def sink(self) -> dict[str, Any]:
        if self.kind == "parquet":
            return {"type": "parquet", "path": str(self._folder / "out")}
        place = {"path": str(self._folder / "qdrant")} if self.kind == "folder" else {"url": self._url}
        return {"type": "qdrant", "collection": self._folder.name, **place}

    def points(self) -> dict[str, Row]:
        if self.kind == "parquet":
            return parquet_points(self._folder / "out")
        client = QdrantClient(url=self._url) if self.kind == "http" else open_folder(str(self._folder / "qdrant"))
        try:
            return qdrant_points(client, self._folder.name)
        finally:
            client.close()


@pytest.fixture(params=["parquet", "folder", pytest.param("http", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    url = request.getfixturevalue("qdrant_url") if request.param == "http" else None
    return Place(request.param, tmp_path, url)


@pytest.fixture
def make_job(tmp_path: Path, minilm: Path, engine: str) -> Callable[..., Job]:
    return lambda *sinks, **extra: Job(tmp_path, minilm, list(sinks), extra, engine)


@ON_BOTH
def test_every_document_arrives_with_the_embedders_own_vectors_and_later_runs_embed_only_what_is_new_or_changed(
    place: Place, make_job: Callable[..., Job], docstrings: list[Row], minilm: Path
) -> None:
    job = make_job(place.sink)
    first, *others, new = docstrings
    old, count = [first, *others], len(docstrings) - 1
    job.write(old)
    report = job.run()
    assert report.exit_code == 0
    assert report.rows == {
        "read": count,
        "chunked": count,
        "skipped": 0,
        "embedded": count,
        "copied": 0,
        "payload_only": 0,
        "written": count,
        "deleted": 0,
        "dead": 0,
    }
    assert_the_report_names_models_stages_and_counts(job.report, count)
    before = place.points()
    assert before.keys() == {row["id"] for row in old}
    assert_points_are_the_embedders_own(before, old, minilm)

    again = job.run()
    assert (again.rows["embedded"], again.rows["skipped"]) == (0, count)
    job.write([{**first, "text": "A new text about zebras."}, *others, new])
    third = job.run()
    assert (third.rows["embedded"], third.rows["written"]) == (2, 2)
    after = place.points()
    assert after.keys() == before.keys() | {new["id"]}
    assert after[first["id"]]["text"] == "A new text about zebras."
    assert not np.allclose(after[first["id"]]["dense"], before[first["id"]]["dense"])
    for row in others:
        np.testing.assert_array_equal(after[row["id"]]["dense"], before[row["id"]]["dense"])


def assert_points_are_the_embedders_own(points: dict[str, Row], rows: list[Row], minilm: Path) -> None:
    dense = TextEmbedding(MINILM, specific_model_path=str(minilm), cuda=False)
    sparse = SparseTextEmbedding("Qdrant/bm25")
    texts = [row["text"] for row in rows]
    for row, vector, terms in zip(rows, dense.embed(texts), sparse.embed(texts), strict=True):
        point = points[row["id"]]
        assert point["payload"] == {"kind": row["kind"], "module": row["module"]}
        assert point["text"] == row["text"]
        np.testing.assert_allclose(point["dense"], vector, atol=1e-5)
        assert point["bm25"] == pytest.approx(terms.as_dict(), abs=1e-6)


def assert_the_report_names_models_stages_and_counts(report: dict[str, Any], documents: int) -> None:
    assert report["status"] == "complete"
    assert report["documents"] == documents
    assert {"read", "skip", "dense", "bm25"} < report["stages"].keys()
    assert 0 <= report["stages"]["dense"]["padding_waste"] < 0.5
    assert len(report["models"]["dense"]["fingerprint"]) == 64
    assert report["tokens"] > 0


def test_two_sinks_embed_once_and_hold_the_same(
    make_job: Callable[..., Job], docstrings: list[Row], tmp_path: Path
) -> None:
    folder, parquet = Place("folder", tmp_path, None), Place("parquet", tmp_path, None)
    job = make_job(folder.sink, parquet.sink)
    job.write(docstrings)
    assert job.run().rows["embedded"] == len(docstrings)
    ours, theirs = folder.points(), parquet.points()
    assert ours.keys() == theirs.keys()
    for name, point in ours.items():
        assert point["id"] == theirs[name]["id"]
        np.testing.assert_allclose(point["dense"], theirs[name]["dense"], atol=1e-6)
        assert point["bm25"] == pytest.approx(theirs[name]["bm25"])


@pytest.mark.slow
def test_a_sink_added_later_is_filled_without_doubling_the_other(
    make_job: Callable[..., Job], docstrings: list[Row], tmp_path: Path
) -> None:
    folder, parquet = Place("folder", tmp_path, None), Place("parquet", tmp_path, None)
    first = make_job(parquet.sink)
    first.write(docstrings)
    first.run()
    make_job(folder.sink, parquet.sink).run()
    assert folder.points().keys() == parquet.points().keys() == {row["id"] for row in docstrings}


@pytest.mark.slow
def test_another_model_is_refused_and_changes_nothing(
    make_job: Callable[..., Job], docstrings: list[Row], tmp_path: Path
) -> None:
    place = Place("parquet", tmp_path, None)
    job = make_job(place.sink)
    job.write(docstrings)
    job.run()
    before = place.points()
    job.extra = {"embeddings": [{**job.config()["embeddings"][0], "max_length": 16}, job.config()["embeddings"][1]]}
    with pytest.raises(SinkError, match="with other files or settings"):
        job.run()
    assert job.report["status"] == "failed"
    assert place.points().keys() == before.keys()


@pytest.mark.slow
def test_chunks_cover_long_documents_and_stale_ones_go(
    place: Place, make_job: Callable[..., Job], docstrings: list[Row], minilm: Path
) -> None:
    long = {**docstrings[0], "text": " ".join(f"Sentence number {n} is here." for n in range(120))}
    chunking = {"tokenizer": str(minilm), "max_tokens": 64, "overlap": 8}
    job = make_job(place.sink, chunking=chunking)
    job.write([long, *docstrings[1:4]])
    first = job.run()
    assert first.rows["chunked"] > 10 and first.rows["written"] == first.rows["chunked"]
    job.write([{**long, "text": "Short now."}, *docstrings[1:4]])
    second = job.run()
    assert place.points()[long["id"]]["text"] == "Short now."
    assert second.sinks[0]["points"] == second.rows["chunked"] < first.rows["chunked"]


def test_plan_tells_and_changes_nothing(make_job: Callable[..., Job], docstrings: list[Row], tmp_path: Path) -> None:
    place = Place("parquet", tmp_path, None)
    job = make_job(place.sink)
    job.write(docstrings)
    before = sorted(tmp_path.rglob("*"))
    plan = EmbeddingPipeline.from_config(job.config()).plan()
    assert plan.files == 1 and plan.bytes == job.corpus.stat().st_size
    assert plan.models["dense"]["dim"] == 384
    assert sorted(tmp_path.rglob("*")) == before


def test_preview_embeds_a_few_rows_into_a_frame(
    make_job: Callable[..., Job], docstrings: list[Row], tmp_path: Path
) -> None:
    job = make_job(Place("parquet", tmp_path, None).sink)
    job.write([{"id": "null", "text": None}, *docstrings])
    frame = EmbeddingPipeline.from_config(job.config()).preview(3)
    assert list(frame["document_id"]) == ["null", docstrings[0]["id"], docstrings[1]["id"]]
    assert frame["error"].notna().tolist() == [True, False, False]
    assert frame["dense"].isna().tolist() == [True, False, False]
    assert len(frame["dense"].iloc[1]) == 384
    assert not (tmp_path / "out").exists()


@ON_RAY
def test_embeddings_in_pools_of_their_own_give_the_same_points_as_in_one(
    make_job: Callable[..., Job], docstrings: list[Row], tmp_path: Path
) -> None:
    place = Place("parquet", tmp_path, None)
    together, apart = make_job(place.sink), make_job({"type": "parquet", "path": str(tmp_path / "apart")})
    apart.extra["compute"] = {"engine": "ray", "pools": {"wörter": ["bm25"], "network": ["dense"]}}
    together.write(docstrings)
    for job in (together, apart):
        assert job.run().rows["written"] == len(docstrings)
    ours, theirs = place.points(), parquet_points(tmp_path / "apart")
    assert ours.keys() == theirs.keys()
    for name, point in ours.items():
        np.testing.assert_allclose(point["dense"], theirs[name]["dense"], atol=1e-5)
        assert point["bm25"] == pytest.approx(theirs[name]["bm25"])


@pytest.mark.server
@ON_RAY
def test_a_server_with_every_kind_of_passing_fault_ends_with_every_point_there_once(
    make_job: Callable[..., Job], docstrings: list[Row], tmp_path: Path, qdrant_server: QdrantTestServer
) -> None:
    place = Place("http", tmp_path, qdrant_server.url)
    job = make_job({**place.sink, "batch_points": 4, "timeout": 2})
    job.write(docstrings)
    qdrant_server.faults(
        [
            Fault("429_wait", skip=1),
            Fault("429_split", skip=2),
            Fault("400_too_large", skip=1),
            Fault("408", skip=1),
            Fault("500", skip=1, applied="half"),
            Fault("503", skip=1),
            Fault("wait_timeout", skip=1),
            Fault("drop", skip=1),
            Fault("drop", applied="all", skip=1),
            Fault("stall", skip=1, seconds=3),
        ]
    )
    report = job.run()
    assert (report.exit_code, report.rows["written"]) == (0, len(docstrings))
    assert place.points().keys() == {row["id"] for row in docstrings}
    hit = {request.fault for request in qdrant_server.requests("PUT", "/points")} - {None}
    assert len(hit) >= 8
