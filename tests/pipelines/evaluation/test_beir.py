"""Reading BEIR folders: the three real ones, and every fault a user's may have."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders.errors import FleetembedError
from pipelines.errors import ConfigError, SourceError
from pipelines.evaluation.beir import BeirDataset, read_dataset
from tests.pipelines.evaluation.beir_folders import DOCUMENTS, QUERIES, lines, write_beir

FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")


def read(folder: Path, split: str = "test", limit: int | None = None) -> BeirDataset:
    return read_dataset(folder, split, folder / "out" / "corpus.jsonl", limit)


def test_documents_are_title_and_text_and_queries_those_that_are_judged(tmp_path: Path) -> None:
    dataset = read(write_beir(tmp_path / "mine"))
    rows = [json.loads(line) for line in (tmp_path / "mine" / "out" / "corpus.jsonl").read_text().splitlines()]
    assert rows == [
        {"id": "d1", "text": "Snakes Pythons squeeze their prey.", "title": "Snakes"},
        {"id": "d2", "text": "Java is an island.", "title": ""},
        {"id": "d 3", "text": "The third letter.", "title": ""},
    ]
    assert dataset.queries == {"q1": "reptiles", "q2": "islands"}
    assert dataset.judgements == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert (dataset.name, dataset.documents, dataset.notices) == ("mine", 3, ())


@pytest.mark.parametrize(
    ("name", "documents", "queries", "judgements"),
    [("scifact", 5183, 300, 339), ("scifact-mini", 500, 60, 60), ("limit-small", 46, 1000, 2000)],
)
def test_real_data_sets(
    shared_data: Path, tmp_path: Path, name: str, documents: int, queries: int, judgements: int
) -> None:
    summary = read_dataset(shared_data / name, "test", tmp_path / "corpus.jsonl").summary
    assert (summary["documents"], summary["queries"], summary["judgements"]) == (documents, queries, judgements)


def test_a_limit_keeps_the_first_judged_queries(tmp_path: Path) -> None:
    folder = write_beir(tmp_path, judgements=["q2\td2\t1", "q1\td1\t1"])
    assert list(read(folder, limit=1).queries) == ["q1"]
    assert read(folder, limit=1).queries_digest != read(folder).queries_digest


def test_documents_that_the_corpus_lacks_stay_judged_and_are_counted(tmp_path: Path) -> None:
    dataset = read(write_beir(tmp_path, judgements=["q1\td1\t1", "q1\tgone\t1", "q2\tlost\t1", "q9\td1\t1"]))
    assert dataset.judgements == {"q1": {"d1": 1, "gone": 1}, "q2": {"lost": 1}}
    assert (dataset.summary["judgements"], dataset.summary["judgements_missing_from_corpus"]) == (3, 2)
    assert dataset.notices == (
        "1 judged query (the first: 'q9') not in queries.jsonl: left out",
        "2 judgements name documents (the first: 'gone') not in corpus.jsonl: counted as not found, as trec_eval "
        "counts them",
    )


def test_a_limit_counts_the_missing_documents_of_its_own_queries_alone(tmp_path: Path) -> None:
    first, second = ["q1\td1\t1", "q2\tlost\t1"], ["q1\tlost\t1", "q2\td2\t1"]
    assert read(write_beir(tmp_path / "a", judgements=first), limit=1).missing == 0
    dataset = read(write_beir(tmp_path / "b", judgements=second), limit=1)
    assert (dataset.missing, dataset.judgements, len(dataset.notices)) == (1, {"q1": {"lost": 1}}, 1)


def test_a_query_without_a_relevant_document_is_asked_and_said(tmp_path: Path) -> None:
    dataset = read(write_beir(tmp_path, judgements=["q1\td1\t0", "q1\td2\t-1", "q2\td2\t1"]))
    assert list(dataset.queries) == ["q1", "q2"]
    assert dataset.notices == (
        "1 query has (the first: 'q1') no relevant document, only grades of 0 or less: it scores 0 in every metric, as "
        "in trec_eval",
    )


def test_judgements_of_another_corpus_are_refused(tmp_path: Path) -> None:
    folder = write_beir(tmp_path, judgements=["q1\tx1\t1", "q2\tx2\t1"])
    with pytest.raises(SourceError, match=r"test\.tsv: no judged document is in corpus\.jsonl \(the first: 'x1'\)"):
        read(folder)


@pytest.mark.parametrize(
    ("part", "rows", "message"),
    [
        ("corpus.jsonl", [], "corpus.jsonl has no documents"),
        ("corpus.jsonl", [*DOCUMENTS, DOCUMENTS[0]], r"corpus.jsonl line 4: the _id 'd1' is that of line 1 already"),
        ("corpus.jsonl", [DOCUMENTS[0], "{"], "corpus.jsonl line 2: is not JSON"),
        ("corpus.jsonl", ["[1]"], "line 1: must be an object"),
        ("corpus.jsonl", [{"text": "a"}], "line 1: _id must be text"),
        ("corpus.jsonl", [{"_id": "a\tb", "text": "a"}], "line 1: _id must be text without a tab"),
        ("corpus.jsonl", [{"_id": "a"}], "line 1: text must be text, got nothing"),
        ("corpus.jsonl", [{"_id": "a", "title": 7, "text": "a"}], "line 1: title must be text, got int"),
        ("queries.jsonl", [], "queries.jsonl has no queries"),
        ("queries.jsonl", [*QUERIES, QUERIES[1]], "queries.jsonl line 4: the _id 'q2' is that of line 2"),
        ("queries.jsonl", [{"_id": "q1", "text": "\ud800"}], "queries.jsonl line 1: the text has a lone surrogate"),
        ("queries.jsonl", [{"_id": "x", "text": "none of them"}], "no query is left to ask; 2 judged queries"),
        ("qrels/test.tsv", ["q1\td1\t1"], "test.tsv line 1: the header must be query-id corpus-id score"),
        ("qrels/test.tsv", [], r"qrels/test.tsv line 1: the file is empty; it needs the header query-id"),
        ("qrels/test.tsv", ["query-id\tcorpus-id\tscore"], r"qrels/test.tsv line 1: the file ends without a judgement"),
        ("qrels/test.tsv", ["query-id\tcorpus-id\tscore", "", ""], "test.tsv line 3: the file ends without a judg"),
        ("qrels/test.tsv", ["query-id\tcorpus-id\tscore", "q1 d1 1"], "line 2: needs a query's id"),
        ("qrels/test.tsv", ["query-id\tcorpus-id\tscore", "q1\td1\t0.5"], "line 2: the grade must be a whole number"),
        ("qrels/test.tsv", ["query-id\tcorpus-id\tscore", "q1\td1\t1", "q1\td1\t2"], "line 3: .* judged 1 further up"),
    ],
)
def test_a_fault_is_named_with_file_and_line(tmp_path: Path, part: str, rows: list[Any], message: str) -> None:
    folder = write_beir(tmp_path)
    (folder / part).write_bytes(lines(rows))
    with pytest.raises(SourceError, match=message):
        read(folder)
    assert not list((folder / "out").glob(".*")), "half of a corpus is left"


def test_missing_parts_and_splits_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        read(tmp_path / "nowhere")
    folder = write_beir(tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"--split dev: .* has no such split; qrels has test"):
        read(folder, split="dev")
    (folder / "queries.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"queries\.jsonl is missing"):
        read(folder)


@settings(max_examples=150, deadline=None)
@given(part=st.sampled_from(FILES), data=st.data())
def test_whatever_is_in_the_files_the_error_is_a_clear_one(part: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write_beir(Path(name))
        content = (folder / part).read_bytes()
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, len(content)))
        changed = content[:start] + data.draw(
            st.binary(max_size=8) | st.sampled_from([b"null", b"\n\n", b"\t", b"[" * 5000])
        )
        (folder / part).write_bytes(changed + content[end:])
        try:
            dataset = read(folder)
        except FleetembedError as error:
            assert part.rpartition("/")[2].split(".")[0] in str(error) or "left to ask" in str(error)
        else:
            assert dataset.queries.keys() == dataset.judgements.keys()
            assert all(dataset.judgements.values())
