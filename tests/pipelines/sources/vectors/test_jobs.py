"""Jobs whose source brings the vectors: what they write is what the job that made the vectors would have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from qdrant_client import QdrantClient
from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers

from pipelines import EmbeddingPipeline
from pipelines.errors import ConfigError, SourceError
from pipelines.run.report.report import RunReport
from pipelines.search.searcher import Searcher

BM25 = {"name": "bm25", "model": "Qdrant/bm25"}
LONG = {"name": "long", "model": "Qdrant/bm25", "options": {"avg_len": 400}}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [
        {"id": f"d{n}", "text": f"the heron number{n} waits by river{n % 7}. It fishes word{n}.", "n": n, "text_": "x"}
        for n in range(60)
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def job(folder: Path, source: dict[str, Any], sink: Any, **keys: Any) -> EmbeddingPipeline:
    base: dict[str, Any] = {"source": source, "sink": sink, "compute": {"engine": "local", "block_rows": 32}}
    return EmbeddingPipeline.from_config({**base, "report": str(folder / "report.json"), **keys})


def run(folder: Path, source: dict[str, Any], sink: Any, **keys: Any) -> RunReport:
    return job(folder, source, sink, **keys).run(console=Console(quiet=True))


def words(folder: Path) -> str:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder / "tokenizer.json")


def points(client: QdrantClient, name: str) -> dict[Any, Any]:
    found, _ = client.scroll(name, limit=10_000, with_payload=True, with_vectors=True)
    return {point.id: (point.payload, point.vector) for point in found}


def timeless(metadata: dict[str, Any] | None) -> dict[str, Any]:
    """Metadata but for the time at which a run was done."""
    return {name: value for name, value in (metadata or {}).items() if name != "fleetembed_state_at"}


@pytest.mark.parametrize("chunked", [False, True])
def test_vectors_that_were_written_to_parquet_are_loaded_as_the_job_would_have_written_them(
    tmp_path: Path,
    corpus: Path,
    qdrant_client: QdrantClient,
    qdrant_address: tuple[str, str | None],
    chunked: bool,
) -> None:
    documents = {"path": str(corpus), "id": "id"}
    chunking = {"tokenizer": words(tmp_path), "max_tokens": 8, "overlap": 0} if chunked else None
    keys: dict[str, Any] = {"embeddings": [BM25], "corpus": "birds", "chunking": chunking}
    direct = {"type": "qdrant", "url": qdrant_address[0], "collection": "direct"}
    loaded = {"type": "qdrant", "url": qdrant_address[0], "collection": "loaded"}
    run(tmp_path, documents, direct, **keys)
    run(tmp_path, documents, {"type": "parquet", "path": str(tmp_path / "out")}, **keys)
    source = {"vectors": str(tmp_path / "out")}

    plan = job(tmp_path, source, loaded).plan()
    report = run(tmp_path, source, loaded)
    assert plan.fingerprint == report.fingerprint
    assert plan.models["bm25"]["model"] == "Qdrant/bm25"
    assert (report.rows["embedded"], report.rows["dead"]) == (0, 0)
    assert report.rows["written"] >= 60
    assert points(qdrant_client, "loaded") == points(qdrant_client, "direct")
    first, second = (qdrant_client.get_collection(name).config for name in ("direct", "loaded"))
    assert timeless(first.metadata) == timeless(second.metadata)
    assert first.params == second.params

    again = run(tmp_path, source, loaded)
    assert (again.rows["written"], again.rows["skipped"]) == (0, report.rows["written"])
    later = run(tmp_path, documents, loaded, **keys)
    assert (later.rows["embedded"], later.rows["skipped"]) == (0, report.rows["written"])

    config = job(tmp_path, source, loaded).config
    with Searcher.from_config(config) as searcher:
        assert searcher.search("number17", limit=1)[0].payload["document_id"] == "d17"
    assert len(job(tmp_path, source, loaded).preview(3)["bm25"].dropna()) == 3
    with pytest.raises(ConfigError, match=r"corpus: .* of the corpus birds"):
        run(tmp_path, source, loaded, corpus="fish")


def test_folders_with_vectors_of_the_same_rows_are_joined_as_if_one_job_had_made_all(
    tmp_path: Path, corpus: Path, qdrant_client: QdrantClient, qdrant_address: tuple[str, str | None]
) -> None:
    documents = {"path": str(corpus), "id": "id"}
    both = {"type": "qdrant", "url": qdrant_address[0], "collection": "both"}
    joined = {"type": "qdrant", "url": qdrant_address[0], "collection": "joined"}
    run(tmp_path, documents, both, embeddings=[BM25, LONG])
    for embedding, rows in ((BM25, 32), (LONG, 20)):
        place = {"type": "parquet", "path": str(tmp_path / str(embedding["name"]))}
        run(tmp_path, documents, place, embeddings=[embedding], compute={"engine": "local", "block_rows": rows})
    source = {"vectors": [str(tmp_path / "bm25"), str(tmp_path / "long")]}
    assert run(tmp_path, source, joined).rows["written"] == 60
    assert points(qdrant_client, "joined") == points(qdrant_client, "both")
    assert run(tmp_path, documents, joined, embeddings=[BM25, LONG]).rows["skipped"] == 60

    lines = corpus.read_text().splitlines(keepends=True)
    corpus.write_text("".join([*lines[:-2], lines[-1].replace("fishes", "sleeps")]))
    place = {"type": "parquet", "path": str(tmp_path / "other")}
    run(tmp_path, documents, place, embeddings=[LONG])
    source = {"vectors": [str(tmp_path / "bm25"), str(tmp_path / "other")]}
    with pytest.raises(SourceError, match=r"2 rows of .*bm25 are not in .*other \(the first: .*1 rows of .*other are"):
        job(tmp_path, source, joined).plan()
    with pytest.raises(SourceError, match="both have the vector 'long'"):
        job(tmp_path, {"vectors": [str(tmp_path / "long"), str(tmp_path / "other")]}, joined).plan()


def test_a_folder_that_is_not_whole_or_says_nothing_of_its_vectors_is_refused(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    run(tmp_path, {"path": str(corpus), "id": "id"}, {"type": "parquet", "path": str(out)}, embeddings=[BM25])
    (out / "_SUCCESS").unlink()
    target = {"type": "parquet", "path": str(tmp_path / "target")}
    with pytest.raises(SourceError, match=r"has no _SUCCESS: .* Run its job to the end first"):
        run(tmp_path, {"vectors": str(out)}, target)
    (out / "_SUCCESS").touch()
    with pytest.raises(ConfigError, match=r"source\.vectors .* which this job writes"):
        run(tmp_path, {"vectors": str(out)}, {"type": "parquet", "path": str(out)})
    part = next(out.glob("part-*.parquet"))
    plain = tmp_path / "plain.parquet"
    pq.write_table(pq.read_table(part).replace_schema_metadata(None), plain)
    with pytest.raises(SourceError, match="does not say what made its vectors"):
        run(tmp_path, {"vectors": str(plain)}, target)
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"cannot be read .* if it is damaged, delete it"):
        run(tmp_path, {"vectors": str(out)}, target)


def test_the_vectors_of_files_that_know_no_text_are_replaced_where_the_content_changed(
    tmp_path: Path, corpus: Path, qdrant_client: QdrantClient, qdrant_address: tuple[str, str | None]
) -> None:
    documents = {"path": str(corpus), "id": "id"}
    sinks = [
        {"type": "qdrant", "url": qdrant_address[0], "collection": "textless"},
        {"type": "parquet", "path": str(tmp_path / "loaded")},
    ]
    for day in ("one", "two"):
        corpus.write_text(corpus.read_text().replace("heron", f"heron of day {day}"))
        place = tmp_path / day
        run(tmp_path, documents, {"type": "parquet", "path": str(place), "store_text": False}, embeddings=[BM25])
        for part in place.glob("part-*.parquet"):
            # As files of the version before were, of which nothing but the content hash tells the text.
            pq.write_table(pq.read_table(part).drop_columns(["text_hash", "payload_hash"]), part)
        assert run(tmp_path, {"vectors": str(place)}, sinks).rows["written"] == 60
    wanted = {row["id"]: row["bm25"] for part in place.glob("part-*") for row in pq.read_table(part).to_pylist()}
    loaded = {row["id"]: row["bm25"] for part in (tmp_path / "loaded").glob("part-*") for row in read_rows(part)}
    assert loaded == wanted
    found = {name: vector["bm25"] for name, (_, vector) in points(qdrant_client, "textless").items()}
    assert {name: sorted(vector.indices) for name, vector in found.items()} == {
        name: sorted(vector["indices"]) for name, vector in wanted.items()
    }


def read_rows(part: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(part, partitioning=None).to_pylist()
    return rows


def export(folder: Path, first: list[float]) -> str:
    """An export of a collection that no job filled: of three points, one lacks a vector."""
    folder.mkdir()
    dense = pa.list_(pa.float32())
    params = {"vectors": {name: {"size": 2, "distance": "Dot"} for name in ("a", "b")}}
    metadata = {"qdrant.collection_config": json.dumps({"params": params})}
    schema = pa.schema([("id", pa.string()), ("vector_a", dense), ("vector_b", dense), ("payload", pa.string())])
    columns = [["1", "2", "3"], [first, [0, 1], [1, 1]], [[2, 0], None, [0, 2]], ['{"text":"t"}', '{"text":"t"}', "{}"]]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema.with_metadata(metadata)), folder / "export.parquet")
    return str(folder)


def test_points_of_a_foreign_export_go_into_each_sink_as_they_are_and_again_when_their_vectors_changed(
    tmp_path: Path, qdrant_client: QdrantClient, qdrant_address: tuple[str, str | None]
) -> None:
    one, two = ({"type": "qdrant", "url": qdrant_address[0], "collection": name} for name in ("one", "two"))
    before, after = export(tmp_path / "before", [3, 4]), export(tmp_path / "after", [4, 3])
    run(tmp_path, {"vectors": before}, one)
    report = run(tmp_path, {"vectors": before}, [one, two])
    assert (report.rows["written"], report.rows["copied"], report.rows["dead"]) == (3, 0, 0)
    assert points(qdrant_client, "one") == points(qdrant_client, "two")
    assert points(qdrant_client, "two")[2][1] == {"a": [0, 1]}

    # The text is that of before, and which model made the vectors nobody knows.
    report = run(tmp_path, {"vectors": after}, [one, two])
    assert (report.rows["written"], report.rows["skipped"]) == (1, 2)
    assert points(qdrant_client, "one")[1][1] == points(qdrant_client, "two")[1][1] == {"a": [4, 3], "b": [2, 0]}
