"""Copies of chunks go on with the chunking that made them: their fingerprint is that of a job that cuts the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from qdrant_client import QdrantClient, models

from embedders.fingerprint import facts_digest
from pipelines.config.source import SourceConfig
from pipelines.embed.checked import JobEmbedders
from pipelines.errors import SourceError
from pipelines.fingerprints import fingerprint_facts
from pipelines.sinks.qdrant.client import open_folder
from pipelines.sources import plan_source
from tests.pipelines.sources.reading import write_lines
from tests.pipelines.sources.vectors.test_jobs import BM25, LONG, job, run, words
from tests.qdrant_server.process import QdrantTestServer

PROSE = "The heron waits by the river. It fishes at dawn. "
ROWS = [{"id": f"d{n}", "text": f"{PROSE * 4} Number {n}."} for n in range(12)]
GERMAN = {**BM25, "options": {"language": "german"}}


def documents(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"path": str(write_lines(folder / "documents.jsonl", rows)), "id": "id"}


def cut(folder: Path, max_tokens: int = 16) -> dict[str, Any]:
    return {"tokenizer": words(folder), "max_tokens": max_tokens, "overlap": 0}


def place(folder: Path, name: str) -> dict[str, Any]:
    return {"path": str(folder / name), "collection": "docs"}


def sink(folder: Path, name: str) -> dict[str, Any]:
    return {"type": "qdrant", **place(folder, name)}


def metadata(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    """The provenance in a collection, first changed."""
    with closing(open_folder(str(folder / name))) as client:
        held = dict((client.get_collection("docs").config.metadata or {})["fleetembed"])
        for key, value in changes.items():
            held = {**held, key: value} if value is not None else {k: v for k, v in held.items() if k != key}
            client.update_collection("docs", metadata={"fleetembed": held})
    return held


def test_a_job_over_the_files_goes_on_with_a_collection_that_was_embedded_anew(tmp_path: Path) -> None:
    source, old, new = documents(tmp_path, ROWS), sink(tmp_path, "old"), sink(tmp_path, "new")
    keys = {"corpus": "birds", "chunking": cut(tmp_path)}
    first = run(tmp_path, source, old, embeddings=[BM25], **keys)
    assert first.rows["written"] > 3 * len(ROWS)
    anew = {"qdrant": place(tmp_path, "old")}
    copied = run(tmp_path, anew, new, embeddings=[GERMAN], corpus="birds")
    assert copied.rows["embedded"] == first.rows["written"]
    assert (
        metadata(tmp_path, "new")["fingerprinted"]["chunking"] == metadata(tmp_path, "old")["fingerprinted"]["chunking"]
    )

    changed = documents(tmp_path, [*ROWS[:-1], {**ROWS[-1], "text": "Short now."}])
    nightly = run(tmp_path, changed, new, embeddings=[GERMAN], **keys)
    assert nightly.fingerprint == copied.fingerprint
    assert (nightly.rows["embedded"], nightly.rows["written"]) == (1, 1)
    with closing(open_folder(str(tmp_path / "new"))) as client:
        found, _ = client.scroll("docs", limit=1000)
    assert sum((point.payload or {})["document_id"] == "d11" for point in found) == 1

    # And so does a copy of the copy, of its vectors and of its texts.
    assert run(tmp_path, {"qdrant": {**place(tmp_path, "new"), "vectors": True}}, sink(tmp_path, "kept")).rows[
        "written"
    ]
    assert metadata(tmp_path, "kept") == metadata(tmp_path, "new")
    back = job(tmp_path, {"qdrant": place(tmp_path, "kept")}, sink(tmp_path, "b"), embeddings=[BM25], corpus="birds")
    assert back.plan().fingerprint == first.fingerprint


def test_places_that_an_older_version_filled_and_jobs_that_copy_them_keep_their_fingerprints(tmp_path: Path) -> None:
    source, old, new = documents(tmp_path, ROWS), sink(tmp_path, "old"), sink(tmp_path, "new")
    files = {"type": "parquet", "path": str(tmp_path / "files")}
    keys = {"embeddings": [BM25], "corpus": "birds", "chunking": cut(tmp_path)}
    first = run(tmp_path, source, [old, files], **keys)
    metadata(tmp_path, "old", fingerprinted=None)
    for part in (tmp_path / "files").glob("part-*.parquet"):
        table = pq.read_table(part)
        held = json.loads(table.schema.metadata[b"fleetembed"])
        del held["fingerprinted"]
        pq.write_table(table.replace_schema_metadata({"fleetembed": json.dumps(held)}), part)

    def copy() -> Any:
        return job(tmp_path, {"qdrant": place(tmp_path, "old")}, new, embeddings=[BM25], corpus="birds").plan()

    as_before = facts_digest(fingerprint_facts(metadata(tmp_path, "old")["fingerprints"], None))
    assert copy().fingerprint == as_before != first.fingerprint
    # A job that adds to the places is the same as before, too, and does not change what is copied.
    more = run(tmp_path, documents(tmp_path, [*ROWS, {**ROWS[0], "id": "new"}]), [old, files], **keys)
    assert more.fingerprint == first.fingerprint
    assert more.rows["skipped"] == first.rows["written"] and more.rows["written"] > 0
    assert copy().fingerprint == as_before and "fingerprinted" not in metadata(tmp_path, "old")
    written = [json.loads(pq.read_schema(p).metadata[b"fleetembed"]) for p in (tmp_path / "files").glob("part-*")]
    assert len(written) > 1 and not any("fingerprinted" in one for one in written)
    # What does not fit the fingerprint is not believed.
    metadata(tmp_path, "old", fingerprinted={"embeddings": {}, "chunking": {"max_tokens": 9}})
    assert copy().fingerprint == as_before


def test_a_job_whose_collection_is_gone_knows_the_chunking_by_the_copy_that_its_alias_names(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    old, new = ({"type": "qdrant", "url": qdrant_server.url, "collection": name} for name in ("old", "new"))
    keys = {"embeddings": [BM25], "corpus": "birds"}
    first = run(tmp_path, documents(tmp_path, ROWS[:3]), old, chunking=cut(tmp_path), **keys)
    read = {"qdrant": {"url": qdrant_server.url, "collection": "old"}}
    run(tmp_path, read, new, **keys)
    alias = models.CreateAlias(collection_name="new", alias_name="docs")
    qdrant_client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    qdrant_client.delete_collection("old")
    by_alias = {"type": "qdrant", "url": qdrant_server.url, "alias": "docs"}
    assert JobEmbedders().facts(job(tmp_path, read, by_alias, **keys).config).fingerprint == first.fingerprint
    other = job(tmp_path, read, by_alias, **{**keys, "embeddings": [GERMAN]}).config
    assert JobEmbedders().facts(other).fingerprinted["chunking"] is None


def test_a_collection_says_whether_it_has_chunks_whatever_points_are_looked_at(tmp_path: Path) -> None:
    run(tmp_path, documents(tmp_path, ROWS), sink(tmp_path, "old"), embeddings=[BM25], chunking=cut(tmp_path))
    stranger = models.PointStruct(id=1, vector={}, payload={"text": "not ours", "by": "hand"})
    with closing(open_folder(str(tmp_path / "old"))) as client:
        client.upsert("docs", [stranger])
    some = SourceConfig(qdrant={**place(tmp_path, "old"), "filter": "by=hand"})
    assert plan_source(some).of_chunks and plan_source(some).collection.points == 1  # type: ignore[union-attr]
    metadata(tmp_path, "old", chunked=None)
    assert not plan_source(some).of_chunks
    assert plan_source(SourceConfig(qdrant=place(tmp_path, "old"))).of_chunks


def test_folders_of_chunks_are_joined_as_if_one_job_had_made_all(
    tmp_path: Path, synthetic_model: Callable[[str], Path]
) -> None:
    several = {"name": "m3", "model": "BAAI/bge-m3", "path": str(synthetic_model("BAAI/bge-m3"))}
    several["options"] = {"outputs": ["dense", "sparse"]}  # type: ignore[assignment]
    source, keys = documents(tmp_path, ROWS[:4]), {"corpus": "birds", "chunking": cut(tmp_path)}

    def folder(name: str) -> dict[str, Any]:
        return {"type": "parquet", "path": str(tmp_path / name)}

    run(tmp_path, source, folder("m3"), embeddings=[several], **keys)
    run(tmp_path, source, folder("bm25"), embeddings=[BM25], **keys)
    joined = run(tmp_path, {"vectors": [str(tmp_path / "m3"), str(tmp_path / "bm25")]}, sink(tmp_path, "joined"))
    assert joined.rows["written"] > 4
    both = run(tmp_path, source, sink(tmp_path, "joined"), embeddings=[several, BM25], **keys)
    assert both.fingerprint == joined.fingerprint
    assert (both.rows["skipped"], both.rows["embedded"]) == (joined.rows["written"], 0)

    def refused(*names: str) -> str:
        with pytest.raises(SourceError) as error:
            job(tmp_path, {"vectors": [str(tmp_path / name) for name in names]}, sink(tmp_path, "x")).plan()
        return str(error.value)

    run(tmp_path, source, folder("other"), embeddings=[LONG], corpus="birds", chunking=cut(tmp_path, 32))
    told = refused("bm25", "other")
    assert "bm25 (max_tokens 16) than in" in told and "other (max_tokens 32); run both jobs with one chunking" in told
    run(tmp_path, source, folder("again"), embeddings=[{**several, "options": {"outputs": ["multivector"]}}], **keys)
    assert "both have an embedding 'm3', and a search would not know" in refused("m3", "again")


def test_folders_of_an_older_version_are_joined_under_a_fingerprint_of_their_own_as_before(tmp_path: Path) -> None:
    source, keys = documents(tmp_path, ROWS[:4]), {"corpus": "birds", "chunking": cut(tmp_path)}
    prints = []
    for name, embedding in (("bm25", BM25), ("long", LONG)):
        target = {"type": "parquet", "path": str(tmp_path / name)}
        prints.append(run(tmp_path, source, target, embeddings=[embedding], **keys).fingerprint)
        for part in (tmp_path / name).glob("part-*.parquet"):
            table = pq.read_table(part)
            held = {**json.loads(table.schema.metadata[b"fleetembed"]), "fingerprinted": None}
            pq.write_table(table.replace_schema_metadata({"fleetembed": json.dumps(held)}), part)
    both = {"vectors": [str(tmp_path / "bm25"), str(tmp_path / "long")]}
    assert job(tmp_path, both, sink(tmp_path, "x")).plan().fingerprint == facts_digest({"joined": sorted(prints)})
