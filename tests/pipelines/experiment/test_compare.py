from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from pipelines import EmbeddingPipeline, Experiment, compare
from pipelines.config.file import load_config
from pipelines.errors import ConfigError, SourceError
from tests.pipelines.evaluation.beir_folders import write_beir

TEXTS = {
    "copy": "Recursively copy an entire directory tree to another place.",
    "remove": "Delete a whole directory tree and everything in it.",
    "median": "The median is the middle value of sorted data.",
    "spread": "The standard deviation tells how spread out numbers are.",
    "json": "Serialize an object to a JSON formatted string.",
    "threads": "Wait until a thread terminates.",
}
DOCUMENTS = [{"id": name, "text": text} for name, text in TEXTS.items()]
QUERIES = {
    "q1": "duplicate a folder with all its files",
    "q2": "middle value of sorted data",
    "q3": "store things in JavaScript notation",
}
QRELS = {"q1": {"copy": 1}, "q2": ["median"], "q3": "json"}
BM25 = {"model": "Qdrant/bm25"}


@pytest.fixture
def model(minilm: Path) -> dict[str, Any]:
    return {"model": "sentence-transformers/all-MiniLM-L6-v2", "path": str(minilm)}


def bm25(**arguments: Any) -> Experiment:
    return compare([BM25], QUERIES, QRELS, **{"documents": DOCUMENTS, "progress": False, **arguments})


def test_settings_are_measured_side_by_side_and_a_bad_one_costs_no_other(
    model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [model, {**model, "max_length": 5}, BM25, [{**model, "name": "dense"}, "Qdrant/bm25"], "no/model", 7]
    given: dict[str, Any] = {"documents": DOCUMENTS, "folder": tmp_path / "kept"}
    found = compare(settings, QUERIES, QRELS, **given)
    hybrid = "dense+bm25"
    assert list(found.frame.index) == [
        "all-MiniLM-L6-v2",
        "all-MiniLM-L6-v2 max_length=5",
        "bm25",
        *(f"{hybrid}: {way}" for way in ("dense", "bm25", "fused")),
        "model",
        "int",
    ]
    frame = found.frame
    assert frame.loc["all-MiniLM-L6-v2", "nDCG@10"] == 1.0
    assert frame.loc["all-MiniLM-L6-v2", "bytes/doc"] == 384 * 4
    assert frame.loc["all-MiniLM-L6-v2 max_length=5", "cut texts"] == len(TEXTS)
    assert frame.loc["all-MiniLM-L6-v2", "cut texts"] == 0
    # Its terms are in none of two questions' documents: the metric's own mean of 1, 0 and 0.
    assert frame.loc["bm25", "MRR@10"] == pytest.approx(1 / 3)
    assert frame.loc[f"{hybrid}: dense", "nDCG@10"] == frame.loc["all-MiniLM-L6-v2", "nDCG@10"]
    assert frame.loc[f"{hybrid}: bm25", "nDCG@10"] == frame.loc["bm25", "nDCG@10"]
    assert frame.loc[f"{hybrid}: fused", "bytes/doc"] == pytest.approx(
        frame.loc["bm25", "bytes/doc"] + frame.loc["all-MiniLM-L6-v2", "bytes/doc"]
    )
    assert "'no/model' is not in the catalog" in frame.loc["model", "error"]
    assert "got int" in found.errors["int"]
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == [f"{number}/6" for number in range(1, 7)]

    won = found.queries("bm25", "all-MiniLM-L6-v2")
    assert set(won["difference"].head(2)) == {1.0}
    assert won.loc["q3", "first of all-MiniLM-L6-v2"] == "json"
    mean, low, high = found.difference("bm25", "all-MiniLM-L6-v2")
    assert (mean, high) == pytest.approx((2 / 3, 1.0))
    assert 0 <= low < mean
    with pytest.raises(ConfigError, match="there is no 'bm26' that was measured; there are all-MiniLM-L6-v2, "):
        found.queries("bm25", "bm26")

    page = found._repr_html_()
    assert "<b>1.000</b>" in page
    assert "settings that could not be measured" in page
    assert "do not tell the best nDCG@10 apart" in repr(found)
    pytest.importorskip("vl_convert")
    found.chart.save(tmp_path / "chart.png", format="png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("this was embedded before")

    monkeypatch.setattr(EmbeddingPipeline, "run", refuse)
    again = compare(settings, QUERIES, QRELS, **given)
    pd.testing.assert_frame_equal(again.frame, frame)
    # Other questions are asked, and the vectors are those that were made.
    other = compare(settings[:1], ["a thread ends"], **given)
    assert other.frame.loc["all-MiniLM-L6-v2", "embed s"] == frame.loc["all-MiniLM-L6-v2", "embed s"]
    assert other.queries("all-MiniLM-L6-v2", "all-MiniLM-L6-v2").iloc[0]["first of all-MiniLM-L6-v2"] == "threads"


def test_without_judgements_settings_are_compared_by_what_they_find() -> None:
    texts = [f"word{number} word{number // 2} common" for number in range(40)]
    short = {"model": "Qdrant/bm25", "options": {"avg_len": 1.0, "b": 1.0}, "name": "short"}
    found = compare({"a": BM25, "b": short}, ["word3 common", "word7 word9"], documents=texts, progress=False)
    assert not found.judged
    overlap = found.overlap
    assert np.allclose(np.diag(overlap), 1)
    assert np.allclose(overlap, overlap.T)
    assert found.frame.loc["b", "agreement"] == overlap.loc["a", "b"]
    assert "nDCG@10" not in found.frame
    assert "first ten as a" in repr(found)
    assert list(found.queries("a", "b")["in common"]) == sorted(found.queries("a", "b")["in common"])
    with pytest.raises(ConfigError, match="give qrels"):
        found.difference("a", "b")


def test_sizes_and_seconds_need_no_queries() -> None:
    found = compare([BM25], documents=DOCUMENTS, progress=False)
    assert found.frame.loc["bm25", "bytes/doc"] > 0
    assert "encode ms" not in repr(found)


def test_documents_are_taken_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS))
    frame = pd.DataFrame(DOCUMENTS)
    renamed = frame.rename(columns={"id": "key", "text": "body"})
    forms: list[dict[str, Any]] = [
        {"documents": DOCUMENTS},
        {"documents": iter(DOCUMENTS)},
        {"documents": TEXTS},
        {"documents": frame},
        {"documents": renamed, "id": "key", "text": "body"},
        {"documents": pa.Table.from_pylist(DOCUMENTS)},
        {"documents": path},
        {"documents": [*DOCUMENTS, {"id": "more", "text": "median median"}], "limit": len(DOCUMENTS)},
    ]
    found = [bm25(**form) for form in forms]
    assert [list(one.frame["nDCG@10"]) for one in found] == [list(found[0].frame["nDCG@10"])] * len(forms)
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in TEXTS.items():
        (texts / f"{name}.txt").write_text(text)
    (texts / "odd.txt").write_bytes(b"\xff\xfe\xff")
    named = {"q1": "copy.txt", "q2": "median.txt", "q3": "json.txt"}
    files = compare([BM25], QUERIES, named, documents=texts, progress=False)
    assert list(files.frame["nDCG@10"]) == list(found[0].frame["nDCG@10"])
    assert bm25(documents=[*DOCUMENTS, {"id": "x", "text": None}]).notices == [
        "1 document has no text that can be read: left out"
    ]
    # Ids of a frame with a gap are floats there.
    gap = pd.DataFrame({"id": [3.0, 8.0, None], "text": [*list(TEXTS.values())[:1], "a median", "more"]})
    series = pd.Series(["copy a folder"], index=["q"])
    assert compare([BM25], series, {"q": [3]}, documents=gap, progress=False).frame["nDCG@10"].tolist() == [1.0]
    by_place = compare([BM25], list(QUERIES.values()), [[0], [2], [4]], documents=list(TEXTS.values()), progress=False)
    assert list(by_place.frame["nDCG@10"]) == list(found[0].frame["nDCG@10"])


def test_a_beir_folder_brings_queries_and_judgements(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "beir")
    found = compare([BM25], documents=folder, progress=False)
    assert found.title == "3 documents, 2 queries"
    assert found.notices == ["1 query has no judgement here: left out"]
    given = compare([BM25], folder / "queries.jsonl", folder / "qrels" / "test.tsv", documents=folder, progress=False)
    assert list(given.frame["nDCG@10"]) == list(found.frame["nDCG@10"])


def test_whole_jobs_count_with_their_chunks_and_searches_and_bring_the_documents(
    tmp_path: Path, model: dict[str, Any]
) -> None:
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS))
    sink = {"type": "qdrant", "url": "http://nowhere.invalid", "collection": "x"}
    job = {
        "corpus": "theirs",
        "source": {"path": str(tmp_path / "docs.jsonl"), "id": "id"},
        "chunking": {"tokenizer": model["path"], "max_tokens": 8, "overlap": 0},
        "embeddings": [{**BM25, "name": "one"}, {**BM25, "name": "two", "options": {"avg_len": "measure"}}],
        "searches": {"mine": {"using": ["one", "two"], "fusion": "dbsf"}},
        "sink": sink,
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    named = {"yaml": tmp_path / "job.yaml", "dict": job, "config": load_config(job), "whole": {**BM25, "name": "one"}}
    found = compare(named, QUERIES, QRELS, progress=False)
    frame = found.frame
    assert found.errors == {}
    for name in ("yaml", "dict", "config"):
        assert [label for label in frame.index if label.startswith(f"{name}:")] == [
            f"{name}: {way}" for way in ("one", "two", "fused", "mine")
        ]
        assert list(frame.loc[[f"{name}: one", f"{name}: mine"], "nDCG@10"]) == list(
            frame.loc[["yaml: one", "yaml: mine"], "nDCG@10"]
        )
    assert frame.loc["yaml: one", "bytes/doc"] != frame.loc["whole", "bytes/doc"]
    every = compare({"job": job}, QUERIES, QRELS, ways="all", progress=False)
    assert {"job: one+two rrf", "job: one+two dbsf", "job: mine"} <= set(every.labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"documents": None}, "documents: give those to compare on"),
        ({"documents": []}, "documents: there are none"),
        ({"documents": [None]}, "documents: number 0 must be a text or a dict; got NoneType"),
        ({"documents": [{"id": 1, "body": "x"}]}, r"number 0 has no 'text' \(text=...\); its keys are id, body"),
        ({"documents": [{"id": 1, "text": 5}]}, "'text' of number 0 must be a text; got int"),
        ({"documents": [*DOCUMENTS, DOCUMENTS[0]]}, "the id 'copy' comes twice"),
        ({"documents": pd.DataFrame({"a": [1]})}, "there is no column 'text'"),
        ({"documents": 7}, "or a path; got int"),
        ({"documents": pd.DataFrame([["a", "b"]], columns=["text", "text"])}, "the column 'text' stands twice"),
        ({"queries": pd.DataFrame({"q": ["how"]})}, "that of 'q' must be a text that is not empty; got"),
        ({"queries": []}, "queries: there are none"),
        ({"queries": {"q1": ""}}, "that of 'q1' must be a text that is not empty"),
        ({"queries": "how"}, "queries: give a list of texts"),
        ({"queries": {1: "a", "1": "b"}}, "queries: the id '1' comes twice"),
        ({"qrels": {"other": ["copy"]}}, "none of the 3 queries is judged; ids of queries begin with 'q1', .* 'other'"),
        ({"qrels": {"q1": ["gone"]}}, "no relevant document is among the documents; ids .* 'gone'"),
        ({"qrels": {"q1": {"copy": "yes"}}}, "the grade of document 'copy' for query 'q1' must be a whole number"),
        ({"qrels": {"q1": [["copy"]]}}, r"query 'q1' needs \{document id: grade\} or a list of ids; got"),
        ({"queries": ["a\ud800"]}, "that of 0 has a lone surrogate"),
        ({"qrels": [["copy"]]}, "there are 3 queries, and 1 here"),
        ({"qrels": 5}, "qrels: give a dict of query id"),
        ({"settings": []}, "settings: there are none"),
        ({"settings": "Qdrant/bm25"}, "settings: give a list"),
        ({"ways": "some"}, "ways must be 'main' or 'all'"),
        ({"limit": 0}, "limit must be a whole number"),
        ({"compute": {"engin": "local"}}, "engin"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_told_at_once(change: dict[str, Any], message: str) -> None:
    given = {"settings": [BM25], "queries": QUERIES, "qrels": QRELS, "documents": DOCUMENTS, "progress": False}
    with pytest.raises((ConfigError, SourceError), match=message):
        compare(**{**given, **change})


def test_without_altair_there_is_the_table_and_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bm25()
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ConfigError, match=r"pip install 'fleetembed\[evaluate\]'"):
        _ = found.chart
    assert "a chart of it needs altair" in found._repr_html_()
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(ConfigError, match=r"evaluation needs ir_measures: pip install 'fleetembed\[evaluate\]'"):
        bm25()
