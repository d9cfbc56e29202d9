"""A row whose text a sink holds under another id takes its vectors from there, where that is asked for."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from qdrant_client import QdrantClient

from pipelines.sinks.qdrant.client import open_folder
from tests.e2e.jobs import Job, Row
from tests.model_fixtures import write_synthetic_model

BM25 = {"embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}]}


@pytest.fixture(params=[pytest.param("server", marks=pytest.mark.server), "folder", "parquet"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "parquet":
        return {"type": "parquet", "path": str(tmp_path / "files")}
    if request.param == "folder":
        return {"type": "qdrant", "path": str(tmp_path / "store"), "collection": "docs"}
    return {"type": "qdrant", "url": request.getfixturevalue("qdrant_server").url, "collection": "docs"}


def counts(job: Job) -> dict[str, int]:
    """What one run did with its rows, beside those that were read."""
    report = job.run()
    assert report.exit_code == 0, (report.error, report.dead_samples)
    return {name: report.rows[name] for name in ("skipped", "embedded", "copied", "payload_only") if report.rows[name]}


def stored(sink: dict[str, Any]) -> list[tuple[str, int, str, str, Any]]:
    """Document, chunk, text, payload and terms of all points of a sink, sorted."""
    if sink["type"] == "parquet":
        rows = ds.dataset(sink["path"]).to_table().to_pylist()
        found = [(row["document_id"], row["chunk_no"], row["text"], row["payload"], row["bm25"]) for row in rows]
        terms = [dict(zip(bm25["indices"], bm25["values"], strict=True)) for *_, bm25 in found]
    else:
        with closing(open_folder(sink["path"]) if "path" in sink else QdrantClient(url=sink["url"])) as client:
            points, _ = client.scroll("docs", limit=10_000, with_payload=True, with_vectors=True)
        payloads: list[dict[str, Any]] = [dict(point.payload or {}) for point in points]
        vectors: list[Any] = [point.vector for point in points]
        found = [
            (
                row["document_id"],
                row.get("chunk_no", 0),
                row["text"],
                json.dumps({"n": row["n"]}, separators=(",", ":")),
                0,
            )
            for row in payloads
        ]
        terms = [dict(zip(some["bm25"].indices, some["bm25"].values, strict=True)) for some in vectors]
    rounded = [sorted((index, round(weight, 4)) for index, weight in some.items()) for some in terms]
    return sorted((*row[:4], some) for row, some in zip(found, rounded, strict=True))


def document(name: str, text: str, n: int = 0) -> Row:
    return {"id": name, "text": text, "n": n}


TEXTS = [f"text number {number} of a harbour" for number in range(40)]


def test_documents_with_new_ids_are_copied_on_request_and_equal_those_embedded(
    sink: dict[str, Any], tmp_path: Path
) -> None:
    job = Job(tmp_path, tmp_path, [{**sink, "deletions": "sweep", "max_delete": 1}], BM25)
    job.write([document(f"a{n}", text) for n, text in enumerate(TEXTS)])
    assert counts(job) == {"embedded": 40}
    renamed = [document(f"b{n}", text, n) for n, text in enumerate(TEXTS)]
    job.sinks[0]["reuse_moved"] = True
    job.write([*renamed[:38], document("b38", "a text that nobody has"), document("a39", TEXTS[0])])
    assert counts(job) == {"embedded": 1, "copied": 39}
    assert job.report["stages"]["bm25"]["rows"] == 1
    assert [name for name, *_ in stored(sink)] == sorted([*(f"b{n}" for n in range(39)), "a39"])
    # Off by default.
    del job.sinks[0]["reuse_moved"]
    job.write([document(f"c{n}", text, n) for n, text in enumerate(TEXTS)])
    assert counts(job) == {"embedded": 40}
    embedded = [row[1:] for row in stored(sink)]
    job.sinks[0]["reuse_moved"] = True
    job.write(renamed)
    assert counts(job) == {"copied": 40}
    assert [row[1:] for row in stored(sink)] == embedded
    assert counts(job) == {"skipped": 40}


def test_of_a_document_with_a_paragraph_put_in_only_that_one_is_embedded(sink: dict[str, Any], tmp_path: Path) -> None:
    model = write_synthetic_model(tmp_path / "model")
    chunking = {"tokenizer": str(model), "max_tokens": 12, "overlap": 0, "boundary": "paragraph"}
    # In such blocks, what is written first takes the ids whose vectors later rows want.
    compute = {"block_rows": 4, "engine": "local"}
    job = Job(tmp_path, model, [{**sink, "reuse_moved": True}], {**BM25, "chunking": chunking, "compute": compute})
    # Ten tokens each.
    paragraphs = [f"the quick brown fox jumps in the capital of {letter}" for letter in "bcfghjklmnpq"]
    job.write([document("d", "\n\n".join(paragraphs))])
    assert counts(job) == {"embedded": 12}
    paragraphs.insert(3, "hello , the fox is in the capital of embedding")
    job.write([document("d", "\n\n".join(paragraphs))])
    assert counts(job) == {"embedded": 1, "copied": 9, "payload_only": 3}
    after = stored(sink)
    assert [text.strip() for _, _, text, *_ in after] == paragraphs
    # The same as embedded from nothing.
    job.sinks = [{"type": "parquet", "path": str(tmp_path / "fresh")}]
    assert counts(job) == {"embedded": 13}
    assert [(chunk, text, terms) for _, chunk, text, _, terms in stored(job.sinks[0])] == [
        (chunk, text, terms) for _, chunk, text, _, terms in after
    ]
