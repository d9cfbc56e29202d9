"""Average lengths: what counts, where they come from, and what a plan and a preview say of them. Without Ray."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders import SparseTextEmbedding
from pipelines import EmbeddingPipeline
from pipelines.config.file import load_config
from pipelines.embed.average_length import (
    Held,
    Lengths,
    averages,
    held_lengths,
    length_embedders,
    measure_splits,
    measuring,
    total,
    with_lengths,
)
from pipelines.embed.checked import JobEmbedders
from pipelines.errors import ConfigError, SinkError
from pipelines.identity import identify
from pipelines.rows import CHUNK_SCHEMA
from pipelines.sinks.factory import make_sink
from pipelines.sources import plan_source, scan_split
from tests.model_fixtures import write_tokenizer
from tests.pipelines.sources.reading import duplicates_of

BM25 = {"name": "bm25", "model": "Qdrant/bm25", "options": {"avg_len": "measure"}}
MINICOIL = "Qdrant/minicoil-v1"
# Words that BM25 keeps: 3, 1 and 0; a dead row; one that repeats an id.
ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": "The pythons are squeezing their prey."},
    {"id": "b", "text": "Alphabet!"},
    {"id": "c", "text": "the of and"},
    {"id": "d", "text": None},
    {"id": "a", "text": "words words words words words words words words"},
]

MakeJob = Callable[..., dict[str, Any]]


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def make(*embeddings: dict[str, Any], **extra: Any) -> dict[str, Any]:
        base = {
            "source": {"path": str(tmp_path / "corpus.jsonl"), "id": "id"},
            "embeddings": list(embeddings or (BM25,)),
            "sink": [{"type": "parquet", "path": str(tmp_path / "out")}],
        }
        return {**base, **extra}

    return make


def measured(job: dict[str, Any]) -> dict[str, Lengths]:
    """Measure as the tasks of a run do, with repeated ids found before."""
    config = load_config(job)
    splits = plan_source(config.source).splits
    duplicates = duplicates_of([scan_split(split, config.source) for split in splits])
    parts = [(split, duplicates.of_split(number)) for number, split in enumerate(duplicates.splits)]
    return total(measure_splits([part], config) for part in parts)


def fill(job: dict[str, Any], avg_len: float | None) -> None:
    """Embed the rows into all sinks of a job, as a run does that takes this average, or the model's own."""
    options = {} if avg_len is None else {"avg_len": avg_len}
    config = load_config({**job, "embeddings": [{**one, "options": options} for one in job["embeddings"]]})
    embedders = JobEmbedders()
    facts = embedders.facts(config)
    live = [{**row, "document_id": row["id"], "payload": "{}", "chunk_no": 0, "chunk_count": 1} for row in ROWS[:3]]
    table = identify(pa.Table.from_pylist(live, schema=CHUNK_SCHEMA), config.corpus, chunked=False)
    for embedder in embedders.load(config):
        table = embedder.embed(table)
    for sink in map(make_sink, config.sink):
        sink.open(facts)
        sink.connect().write(table)
        sink.finish(completed=True)


def held(job: dict[str, Any]) -> dict[str, Held]:
    config = load_config(job)
    return held_lengths(config, [make_sink(sink) for sink in config.sink])


@given(st.lists(st.lists(st.integers(0, 10_000), max_size=5), max_size=8), st.randoms())
def test_the_average_does_not_depend_on_how_rows_are_parted_or_ordered(parts: list[list[int]], random: Any) -> None:
    lengths = [Lengths.of(np.array(part, np.int64)) for part in parts]
    whole = [length for part in parts for length in part if length]
    random.shuffle(lengths)
    found = total({"e": part} for part in lengths).get("e", Lengths())
    assert (found.words, found.texts) == (sum(whole), len(whole))
    if whole:
        assert found.average == pytest.approx(sum(whole) / len(whole), abs=0.00501) and found.average >= 1
        assert json.loads(json.dumps(found.average)) == found.average == float(f"{found.average:.2f}")


def test_only_rows_that_will_be_embedded_and_have_words_count(make_job: MakeJob) -> None:
    assert measured(make_job()) == {"bm25": Lengths(words=4, texts=2)}
    limited = make_job(source={**make_job()["source"], "limit": 1})
    assert measured(limited) == {"bm25": Lengths(words=3, texts=1)}


def test_a_file_of_dead_rows_has_nothing_to_measure(make_job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "d", "text": null}\n')
    assert measured(make_job()) == {"bm25": Lengths()}


def test_chunks_are_measured_where_documents_are_cut(make_job: MakeJob, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"id": "a", "text": "hello world. " * 12}) + "\n")
    cut = {"tokenizer": str(tmp_path / "tokenizer"), "max_tokens": 9, "overlap": 0}
    assert measured(make_job(chunking=cut))["bm25"] == Lengths(words=24, texts=4)


def test_images_are_not_fetched_to_measure_their_captions(make_job: MakeJob, tmp_path: Path) -> None:
    lines = [{"image": "nowhere.png", "text": "two pythons"}, {"image": "nowhere.png", "text": ""}]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = {"path": str(tmp_path / "corpus.jsonl"), "image": "image"}
    assert measured(make_job(source=source))["bm25"] == Lengths(words=2, texts=1)


def test_synthetic_minicoil_and_bm25_measure_side_by_side(
    make_job: MakeJob, synthetic_model: Callable[[str], Path]
) -> None:
    own = {"name": "minicoil", "model": MINICOIL, "path": str(synthetic_model(MINICOIL)), "options": BM25["options"]}
    job = make_job(BM25, own)
    config = load_config(job)
    assert measuring(config) == ["bm25", "minicoil"]
    found = measured(job)
    (embedder,) = length_embedders(load_config(make_job(own)))
    texts = [row["text"] for row in ROWS[:3]]
    lengths = embedder.model.scored_lengths(texts)  # type: ignore[attr-defined]
    assert found == {"bm25": Lengths(4, 2), "minicoil": Lengths.of(lengths)}
    settled = with_lengths(config, averages(config, found))
    assert measuring(settled) == [] and settled.embeddings[0].options == {"avg_len": 2.0}


def test_a_corpus_without_words_is_an_error_with_the_key(make_job: MakeJob) -> None:
    with pytest.raises(ConfigError, match=r"embeddings\.0\.options\.avg_len: nothing can be measured.*give a number"):
        averages(load_config(make_job()), {"bm25": Lengths()})


@pytest.mark.parametrize("value", ["mesure", "180", None, True, [1]])
def test_what_is_neither_a_number_nor_the_word_is_refused(make_job: MakeJob, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"embeddings\.0\.options: avg_len is a number of words, or measure"):
        load_config(make_job({**BM25, "options": {"avg_len": value}}))


def test_a_model_that_knows_no_average_length_is_refused_before_anything_is_looked_at(make_job: MakeJob) -> None:
    job = make_job({**BM25, "model": "sentence-transformers/all-MiniLM-L6-v2"})
    with pytest.raises(ConfigError, match=r"embeddings\.0: .* takes no 'avg_len'"):
        EmbeddingPipeline.from_config(job).run()


@pytest.fixture(params=["parquet", "folder", "server"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "parquet":
        return {"type": "parquet", "path": str(tmp_path / "out")}
    if request.param == "folder":
        return {"type": "qdrant", "collection": "docs", "path": str(tmp_path / "store")}
    return {"type": "qdrant", "collection": tmp_path.name, "url": request.getfixturevalue("qdrant_url")}


@pytest.mark.parametrize("number", [12.34, 12.0])
def test_a_filled_place_says_its_average(make_job: MakeJob, sink: dict[str, Any], number: float) -> None:
    job = make_job(sink=[sink])
    assert held(job) == {}
    fill(job, number)
    (found,) = held(job).values()
    assert found.avg_len == number and sink["type"] in found.place
    plan = EmbeddingPipeline.from_config(job).plan()
    said = EmbeddingPipeline.from_config(make_job({**BM25, "options": {"avg_len": number}}, sink=[sink])).plan()
    assert plan.fingerprint == said.fingerprint and plan.models == said.models
    assert plan.notices == [f"bm25: average length {number:g} words, which {found.place} was filled with"]


def test_a_place_that_was_filled_with_the_models_own_average_is_refused(
    make_job: MakeJob, sink: dict[str, Any]
) -> None:
    job = make_job(sink=[sink])
    fill(job, None)
    with pytest.raises(ConfigError, match=r"options\.avg_len: .* filled with the model's own average .* Leave the opt"):
        EmbeddingPipeline.from_config(job).run()


def test_places_with_different_averages_are_refused(make_job: MakeJob, tmp_path: Path) -> None:
    sinks = [{"type": "parquet", "path": str(tmp_path / name)} for name in ("x", "y")]
    for sink, number in zip(sinks, (10.5, 11.0), strict=True):
        fill(make_job(sink=[sink]), number)
    with pytest.raises(SinkError, match=r"x was filled with an average length of 10\.5, parquet .*y with 11;"):
        held(make_job(sink=sinks))


def test_a_place_that_is_added_later_takes_the_average_of_the_first(make_job: MakeJob, tmp_path: Path) -> None:
    sinks = [{"type": "parquet", "path": str(tmp_path / name)} for name in ("x", "y")]
    fill(make_job(sink=sinks[1:]), 10.5)
    assert held(make_job(sink=sinks))["bm25"].avg_len == 10.5


def test_a_place_of_another_job_is_refused_by_its_difference_before_anything_is_measured(make_job: MakeJob) -> None:
    fill(make_job({"name": "other", "model": "Qdrant/bm25"}), None)
    with pytest.raises(SinkError, match="it lacks the vector 'bm25'"):
        EmbeddingPipeline.from_config(make_job()).run()


def test_a_server_that_keeps_no_facts_is_told_of(make_job: MakeJob, qdrant_url: str) -> None:
    sink = {"type": "qdrant", "collection": "old", "url": qdrant_url}
    job = make_job(sink=[sink])
    fill(job, 12.5)
    made = make_sink(load_config(job).sink[0])
    with made._collection() as collection:  # type: ignore[attr-defined]
        collection.remember({"fleetembed": None})
    with pytest.raises(ConfigError, match=r"does not say which average length .* number from the first run's report"):
        held(job)


@pytest.mark.parametrize(
    "facts",
    [
        "damaged",
        ["bm25"],
        {"embeddings": "bm25"},
        {"embeddings": {"bm25": None}},
        {"embeddings": {"bm25": "Qdrant/bm25"}},
        {"embeddings": {"bm25": {"options": None}}},
        {"embeddings": {"bm25": {"options": ["avg_len"]}}},
        {"embeddings": {"bm25": {"options": {"avg_len": "12"}}}},
        {"embeddings": {"bm25": {"options": {"avg_len": True}}}},
        {"embeddings": {"bm25": {"options": {"avg_len": float("nan")}}}},
        {"embeddings": {"bm25": {"options": {"avg_len": -1}}}},
    ],
    ids=str,
)
def test_damaged_facts_do_not_say_which_average_it_was(make_job: MakeJob, tmp_path: Path, facts: Any) -> None:
    job = make_job()
    fill(job, 12.5)
    (path,) = (tmp_path / "out").rglob("*.parquet")
    table = pq.read_table(path)
    (key,) = [key for key, value in table.schema.metadata.items() if b'"avg_len"' in value]
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, key: json.dumps(facts).encode()}), path)
    with pytest.raises(ConfigError, match=r"embeddings\.0\.options\.avg_len: parquet .* does not say which average"):
        held(job)


def test_a_plan_tells_what_will_be_measured_and_that_fingerprints_are_not_known(make_job: MakeJob) -> None:
    plan = EmbeddingPipeline.from_config(make_job()).plan()
    assert plan.fingerprint is None and plan.models["bm25"]["fingerprint"] is None
    assert plan.notices == ["bm25: its average length is measured over the corpus before anything is embedded"]


@pytest.mark.parametrize(("number", "expected"), [(None, 2.0), (7.5, 7.5)])
def test_a_preview_takes_the_average_of_the_place_else_of_its_rows(
    make_job: MakeJob, number: float | None, expected: float
) -> None:
    job = make_job()
    if number is not None:
        fill(job, number)
    frame = EmbeddingPipeline.from_config(job).preview(3)
    vectors = SparseTextEmbedding("Qdrant/bm25", avg_len=expected).embed([row["text"] for row in ROWS[:3]])
    for shown, vector in zip(frame["bm25"], vectors, strict=True):
        assert dict(zip(shown["indices"], shown["values"], strict=True)) == pytest.approx(vector.as_dict(), abs=1e-6)


def test_a_preview_does_without_a_server(make_job: MakeJob, caplog: pytest.LogCaptureFixture) -> None:
    sink = {"type": "qdrant", "collection": "c", "url": "http://127.0.0.1:9", "retry_seconds": 0}
    assert len(EmbeddingPipeline.from_config(make_job(sink=[sink])).preview(2)) == 2
    assert "the average length is that of the rows shown, because" in caplog.text
