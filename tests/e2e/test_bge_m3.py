"""A synthetic BGE-M3 in whole jobs: several vectors of each row from one model call, searched alone and together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pads
import pytest
from rich.console import Console

from embedders import HybridTextEmbedding
from embedders.session import OnnxSession
from pipelines import EmbeddingPipeline
from pipelines.errors import ConfigError, SinkError
from pipelines.search import Searcher
from pipelines.sinks.qdrant.client import open_folder
from tests.e2e.jobs import Job, Row
from tests.pipelines.evaluation.beir_folders import write_beir

pytestmark = pytest.mark.slow

ALL = ["dense", "sparse", "multivector"]
NAMES = ["m3_dense", "m3_sparse", "m3_multivector"]
MODEL = "BAAI/bge-m3"


def job(folder: Path, model: Path, outputs: Sequence[str], **settings: Any) -> Job:
    embedding = {"name": "m3", "model": MODEL, "path": str(model), "options": {"outputs": list(outputs)}, **settings}
    sinks = [
        {"type": "qdrant", "path": str(folder / "qdrant"), "collection": "m3"},
        {"type": "parquet", "path": str(folder / "out")},
    ]
    return Job(folder, model, sinks, {"embeddings": [embedding]})


@pytest.fixture(scope="module")
def model(synthetic_model: Callable[[str], Path]) -> Path:
    return synthetic_model(MODEL)


def run_and_count(job: Job) -> list[list[str]]:
    """Run a job; returns the outputs that each run of a graph was asked for."""
    calls = []
    run = OnnxSession.run_outputs

    def counted(session: OnnxSession, outputs: Sequence[str], feed: Mapping[str, Any]) -> list[Any]:
        calls.append(list(outputs))
        return run(session, outputs, feed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnnxSession, "run_outputs", counted)
        assert job.run().exit_code == 0
    return calls


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, model: Path, docstrings: list[Row]) -> Job:
    filled = job(tmp_path_factory.mktemp("m3"), model, ALL)
    filled.write(docstrings[:24])
    assert filled.run().exit_code == 0
    return filled


def test_all_vectors_take_as_many_model_calls_as_one(tmp_path: Path, model: Path, docstrings: list[Row]) -> None:
    every, dense = job(tmp_path / "every", model, ALL), job(tmp_path / "dense", model, ["dense"])
    for one in (every, dense):
        one.folder.mkdir()
        one.write(docstrings[:24])
    calls = run_and_count(every)
    assert calls == [["dense_vecs", "sparse_vecs", "colbert_vecs"]] * len(calls)
    assert run_and_count(dense) == [["dense_vecs"]] * len(calls)
    assert every.report["tokens"] == dense.report["tokens"]


def test_the_report_counts_rows_and_tokens_once(filled: Job, model: Path) -> None:
    texts = pads.dataset(filled.folder / "out", format="parquet").to_table()["text"].to_pylist()
    report = filled.report
    assert report["stages"]["m3"]["rows"] == report["rows"]["embedded"] == len(texts) == 24
    assert report["tokens"] == HybridTextEmbedding(MODEL, specific_model_path=model).token_count(texts)
    assert report["models"].keys() == set(NAMES)
    assert {facts["embedding"] for facts in report["models"].values()} == {"m3"}
    assert 0 < report["startup_seconds"] <= report["seconds"]


def test_both_sinks_hold_the_models_own_vectors(filled: Job, model: Path) -> None:
    table = pads.dataset(filled.folder / "out", format="parquet").to_table()
    hybrid = HybridTextEmbedding(MODEL, specific_model_path=model, outputs=ALL, cuda=False)
    expected = dict(zip(table["document_id"].to_pylist(), hybrid.embed(table["text"].to_pylist()), strict=True))
    client = open_folder(str(filled.folder / "qdrant"))
    try:
        points, _ = client.scroll("m3", limit=100, with_vectors=True)
    finally:
        client.close()
    stored: dict[str, Any] = {point.payload["document_id"]: point.vector for point in points if point.payload}
    assert len(stored) == table.num_rows == 24
    for row in table.to_pylist():
        own, point = expected[row["document_id"]], stored[row["document_id"]]
        assert own.sparse is not None
        for kind, wanted in (("dense", own.dense), ("multivector", own.multivector)):
            np.testing.assert_allclose(row[f"m3_{kind}"], wanted, atol=1e-5)
            np.testing.assert_allclose(np.array(point[f"m3_{kind}"]), wanted, atol=1e-5)
        assert row["m3_sparse"]["indices"] == sorted(point["m3_sparse"].indices) == own.sparse.indices.tolist()
        np.testing.assert_allclose(row["m3_sparse"]["values"], own.sparse.values, atol=1e-5)


def test_a_document_is_found_by_each_vector_fused_and_rescored(
    filled: Job, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = pads.dataset(filled.folder / "out", format="parquet").to_table()["text"].to_pylist()
    wanted = max(texts, key=lambda text: len(set(text.split())) if len(text) < 200 else 0)
    with Searcher.open("m3", path=filled.folder / "qdrant") as searcher:
        assert searcher.names == ("m3_dense", "m3_sparse") and searcher.description.rescoring == {"m3_multivector"}
        ways: list[dict[str, Any]] = [
            *({"using": name} for name in NAMES),
            {"using": ["m3_dense", "m3_sparse"]},
            {"using": ["m3_dense", "m3_sparse"], "rescore": "m3_multivector", "candidates": 5},
        ]
        searcher.search("warm up", "m3_dense")
        runs: list[Any] = []
        run = OnnxSession.run_outputs
        monkeypatch.setattr(OnnxSession, "run_outputs", lambda *call: runs.append(call) or run(*call))
        for way in ways:
            runs.clear()
            assert searcher.search(wanted, limit=1, **way)[0].payload["text"] == wanted
            assert len(runs) == 1, way


def test_a_second_run_embeds_nothing(filled: Job) -> None:
    again = filled.run()
    assert (again.rows["skipped"], again.rows["embedded"], again.rows["written"]) == (24, 0, 0)


@pytest.mark.parametrize(
    ("outputs", "settings", "message"),
    [
        (ALL[:2], {}, "it has the vector 'm3_multivector', which this job does not make"),
        (ALL[:1], {}, "it lacks the vector 'm3', which this job makes"),
        (
            ALL,
            {"dtype": "float16"},
            r"'m3_dense' was made by the model BAAI/bge-m3 with other files or settings: "
            r"dtype left out there, float16 in this job; vector ",
        ),
        (
            ALL,
            {"muvera": {"keep_multivector": True}},
            r"it lacks the vector 'm3', which this job makes\. Choose ",
        ),
    ],
    ids=range(4),
)
def test_a_place_filled_with_other_vectors_is_refused(
    filled: Job, model: Path, outputs: list[str], settings: dict[str, Any], message: str
) -> None:
    other = job(filled.folder, model, outputs, **settings)
    with pytest.raises(SinkError, match=message):
        EmbeddingPipeline.from_config(other.config()).plan()


def test_a_place_that_lacks_a_vector_is_refused(tmp_path: Path, model: Path, docstrings: list[Row]) -> None:
    first = job(tmp_path, model, ALL[:2])
    first.write(docstrings[:2])
    assert first.run().exit_code == 0
    with pytest.raises(SinkError, match="it lacks the vector 'm3_multivector', which this job makes"):
        job(tmp_path, model, ALL).run()
    with (
        Searcher.from_config(first.config(), ["embeddings.0.max_length=9"]) as searcher,
        pytest.raises(ConfigError, match="'m3' were made with other model files or settings"),
    ):
        searcher.search("a", using="m3_sparse")


def test_folded_token_vectors_have_the_embeddings_name(tmp_path: Path, model: Path, docstrings: list[Row]) -> None:
    muvera = {"k_sim": 3, "dim_proj": 16, "r_reps": 4, "keep_multivector": True}
    folding = job(tmp_path, model, ["dense", "multivector"], muvera=muvera, dtype="float16")
    folding.write(docstrings[:12])
    assert folding.run().exit_code == 0
    table = pads.dataset(tmp_path / "out", format="parquet").to_table()
    assert [name for name in table.column_names if name.startswith("m3")] == ["m3", "m3_dense", "m3_multivector"]
    wanted = min(table["text"].to_pylist(), key=len)
    with Searcher.open("m3", path=tmp_path / "qdrant") as searcher:
        assert searcher.names == ("m3", "m3_dense")
        for way in ({"using": "m3"}, {"using": "m3_dense"}, {"using": ["m3", "m3_dense"], "rescore": "m3_multivector"}):
            assert searcher.search(wanted, limit=1, **way)[0].payload["text"] == wanted


def test_an_evaluation_counts_the_seconds_of_all_vectors_once(tmp_path: Path, model: Path) -> None:
    for package in ("ir_measures", "altair", "vl_convert"):
        pytest.importorskip(package, reason="needs the extra evaluate")
    from pipelines.evaluation.evaluate import Options, evaluate

    config = job(tmp_path, model, ALL).config()
    options = Options(write_beir(tmp_path / "tiny"), config, out=tmp_path / "evaluation")
    results, _ = evaluate(options, Console(quiet=True))
    seconds = {one.way: one.embed_seconds for one in results.measurements if one.index == "exact"}
    assert {*NAMES, "m3_dense+m3_sparse rrf"} <= seconds.keys()
    assert set(seconds.values()) == {results.embedding["m3"].seconds}
    assert results.embedding.keys() == {"m3"}


def test_collections_of_other_software_are_searched_by_the_vector_of_their_kind(
    filled: Job, model: Path, tmp_path: Path
) -> None:
    given = {"model": MODEL, "path": str(model), "options": {"outputs": ALL}}
    client = open_folder(str(filled.folder / "qdrant"))
    metadata = client.get_collection("m3").config.metadata
    client.update_collection("m3", metadata={"fleetembed": {}})
    client.close()
    try:
        for name in NAMES:
            with Searcher.open("m3", path=filled.folder / "qdrant", models={name: given}) as searcher:
                assert searcher.search("the default value of a method", using=name)
        one = {**given, "options": {"outputs": ["dense", "sparse"]}}
        with (
            Searcher.open("m3", path=filled.folder / "qdrant", models={"m3_multivector": one}) as searcher,
            pytest.raises(ConfigError, match="makes dense and sparse vectors here, and no multivector ones"),
        ):
            searcher.search("a", using="m3_multivector")
    finally:
        client = open_folder(str(filled.folder / "qdrant"))
        client.update_collection("m3", metadata=metadata)
        client.close()
