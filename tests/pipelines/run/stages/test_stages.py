from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from embedders.arrow import dense_array, dense_type
from embedders.base import VectorSpec
from embedders.text_model import PROBES
from embedders.tokenization import TextTokenizer
from embedders.tokenized_texts import TokenizedTexts
from pipelines import EmbeddingPipeline
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.file import load_config
from pipelines.embed.row_embedder import build_embedder
from pipelines.errors import WorkerError
from pipelines.identity import identify
from pipelines.rows import CHUNK_SCHEMA, IMAGE_COLUMN, RowError, add_errors
from pipelines.run.placement.pools import Pool
from pipelines.run.scan import scan
from pipelines.run.stages.job_stages import TASK_COLUMN, EmbedStage, ReadStage, SkipStage, WriteStage, document_shares
from pipelines.run.stages.stage import Resources, Stage
from pipelines.run.tally import Tally
from pipelines.sinks.base import JobFacts
from pipelines.sinks.factory import make_sink
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sources import plan_source

DENSE = VectorSpec("dense", dense_type(2), dim=2)


def through(stage: Stage, table: pa.Table) -> pa.Table:
    """What a stage makes of one table."""
    with stage.open() as work:
        return pa.concat_tables(work(iter([table])))


def rows(texts: Sequence[str], **changes: Any) -> pa.Table:
    blank = {"chunk_no": 0, "chunk_start": 0, "chunk_end": 1, "chunk_count": 1, "payload": "{}", "origin": "here"}
    named = [{**blank, "document_id": f"d{n}", "text": text, **changes} for n, text in enumerate(texts)]
    return identify(pa.Table.from_pylist(named, schema=CHUNK_SCHEMA), "corpus", chunked=False)


def test_real_minilm_leaves_dead_rows_null_and_counts_the_live(minilm: Path) -> None:
    tally = Tally()
    embedding = EmbeddingConfig(name="dense", model="sentence-transformers/all-MiniLM-L6-v2", path=str(minilm))
    stage = EmbedStage(Pool("dense", (embedding,), Resources(threads=2)), tally)
    table = add_errors(rows(["one", "two", "three"]), {1: RowError("read", "Test", "dead before")})
    out = through(stage, table)
    assert [vector is None for vector in out["dense"].to_pylist()] == [False, True, False]
    figures = tally.read()["dense"]
    assert figures["rows"] == 2
    assert figures["tokens"] == 6


LONG = "a harbour and its boats, seen from the hill above the town " * 5


def pieces_of(embedding: dict[str, Any], table: pa.Table, block_bytes: int) -> list[pa.Table]:
    """What the stage of one embedding gives for a table."""
    stage = EmbedStage(
        Pool("p", (EmbeddingConfig(**embedding),), Resources(threads=2)), Tally(), block_bytes=block_bytes
    )
    with stage.open() as work:
        return list(work(iter([table])))


def test_a_block_of_real_minilms_token_vectors_is_given_in_pieces_of_bounded_bytes(minilm: Path) -> None:
    embedding = {"name": "tokens", "model": {"path": str(minilm), "family": "late_interaction"}}
    texts = [LONG[: 20 * number] for number in range(1, 15)]
    table = add_errors(rows([*texts, "dead"]), {14: RowError("read", "Test", "dead before")})
    (whole,) = pieces_of(embedding, table, 1 << 30)
    pieces = pieces_of(embedding, table, 200_000)
    assert len(pieces) > 2 and max(piece["tokens"].nbytes for piece in pieces) <= 200_000
    joined = pa.concat_tables(pieces)
    assert joined.drop_columns(["tokens"]).equals(whole.drop_columns(["tokens"]))
    for given, expected in zip(joined["tokens"].to_pylist()[:-1], whole["tokens"].to_pylist(), strict=False):
        np.testing.assert_allclose(given, expected, atol=1e-5)
    assert joined["tokens"].null_count == 1


def test_pieces_that_muvera_has_made_small_are_one_block_again(minilm: Path) -> None:
    model = {"path": str(minilm), "family": "late_interaction"}
    embedding = {"name": "tokens", "model": model, "muvera": {"k_sim": 2, "dim_proj": 4, "r_reps": 2}}
    (block,) = pieces_of(embedding, rows([LONG] * 8), 150_000)
    assert block.num_rows == 8 and block["tokens"].type.list_size == 32


def test_a_chunk_counts_as_its_share_of_a_document() -> None:
    table = pa.concat_tables([rows(["a"], chunk_count=4), rows(["b"])])
    assert document_shares(table).tolist() == [0.25, 1.0]


def test_written_rows_are_held_and_dead_rows_are_dead_letters(tmp_path: Path) -> None:
    sink = make_sink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
    facts = JobFacts("corpus", "0" * 64, {"dense": DENSE}, {"dense": "m"}, {"dense": "0" * 64})
    sink.open(facts)
    table = rows(["good", "bad", "fine"], **{IMAGE_COLUMN: b"an image"})
    vectors = dense_array(np.ones((3, 2), np.float32))
    table = add_errors(table.append_column("dense", vectors), {1: RowError("dense", "ValueError", "no")})
    tally = Tally()
    receipt = through(WriteStage([sink], str(tmp_path / "dead"), "r", ["dense"], tally), table).to_pylist()[0]
    assert (receipt["written"], receipt["dead"], receipt["documents"]) == (2, 1, 3)
    assert "'d1'" in receipt["samples"][0] and "ValueError: no" in receipt["samples"][0]
    dead = pq.read_table(next((tmp_path / "dead").glob("*.parquet"))).to_pylist()
    assert [(row["document_id"], row["text"]) for row in dead] == [("d1", "bad")]
    sink.finish(completed=True)
    again = make_sink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
    again.open(facts)
    assert not [path for path in tmp_path.rglob("*.parquet") if b"an image" in path.read_bytes()]
    left = through(SkipStage([again], tally), rows(["good", "bad", "changed"], **{IMAGE_COLUMN: b"an image"}))
    assert left["document_id"].to_pylist() == ["d1", "d2"]
    assert tally.read()["skip"]["rows"] == 1


@pytest.mark.slow
def test_real_minilm_in_several_embeddings_tokenizes_each_block_of_a_job_once(
    minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"text number {number}" for number in range(5)]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    own = {"path": str(minilm), "pooling": "mean", "matryoshka": [128]}
    tokens = {"path": str(minilm), "family": "late_interaction"}
    embeddings = [
        {"name": "whole", "model": own},
        {"name": "cut", "model": own, "dim": 128},
        {"name": "tokens", "model": tokens},
        {"name": "shorter", "model": own, "max_length": 4},
        {"name": "bm25", "model": "Qdrant/bm25"},
    ]
    calls: list[list[Any]] = []
    encode = TextTokenizer.encode

    def counted(tokenizer: TextTokenizer, some: Sequence[str]) -> TokenizedTexts:
        calls.append([tokenizer.max_length, *some])
        return encode(tokenizer, some)

    monkeypatch.setattr(TextTokenizer, "encode", counted)
    job = {"source": {"path": str(source)}, "embeddings": embeddings, "report": str(tmp_path / "report.json")}
    job |= {"sink": {"type": "parquet", "path": str(tmp_path / "out")}, "compute": {"engine": "local", "block_rows": 3}}
    report = EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))
    assert report.exit_code == 0
    blocks = [call for call in calls if call[1:] != list(PROBES)]
    assert blocks == [[limit, *some] for some in (texts[:3], texts[3:]) for limit in (512, 4)]
    table = pads.dataset(tmp_path / "out", format="parquet").to_table()
    for embedding in load_config(job).embeddings[:4]:
        expected = build_embedder(embedding).embed_arrow(table["text"].to_pylist())
        assert table[embedding.name].to_pylist() == expected.to_pylist()
    counted_tokens = {name: report.stages[name]["tokens"] for name in ("whole", "cut", "tokens", "shorter")}
    assert counted_tokens == {"whole": 25, "cut": 25, "tokens": 25, "shorter": 20}
    assert [report.stages[name]["truncated"] for name in counted_tokens] == [0, 0, 0, 5]


def test_one_stage_embeds_all_embeddings_of_its_pool_and_counts_each(minilm: Path) -> None:
    tally = Tally()
    dense = EmbeddingConfig(name="dense", model="sentence-transformers/all-MiniLM-L6-v2", path=str(minilm))
    bm25 = EmbeddingConfig(name="bm25", model="Qdrant/bm25")
    stage = EmbedStage(Pool("dense, bm25", (dense, bm25), Resources(threads=2)), tally)
    assert stage.gives == {"dense", "bm25"}
    out = through(stage, rows(["one", "two words", "three"]))
    assert out["dense"].null_count == out["bm25"].null_count == 0
    assert {name: figures["rows"] for name, figures in tally.read().items()} == {"dense": 3, "bm25": 3}


class RunAgain(Tally):
    """A tally of tasks that are run again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.decided: dict[str, bytes] = {}

    def decide(self, question: str, answer: bytes) -> tuple[bytes, bool]:
        new = question not in self.decided
        return self.decided.setdefault(question, answer), new


def test_a_task_that_runs_again_drops_what_it_dropped_before_and_not_what_the_run_has_written_since(
    tmp_path: Path,
) -> None:
    facts = JobFacts("corpus", "0" * 64, {"dense": DENSE}, {"dense": "m"}, {"dense": "0" * 64})

    def opened() -> Any:
        sink = make_sink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
        sink.open(facts)
        return sink

    def write(table: pa.Table) -> None:
        sink = opened()
        with closing(sink.connect()) as writer:
            writer.write(table.append_column("dense", dense_array(np.ones((table.num_rows, 2), np.float32))))
        sink.finish(completed=True)

    table, tally = rows(["held before", "new", "new too"], **{IMAGE_COLUMN: None}), RunAgain()
    write(table.slice(0, 1).drop_columns([IMAGE_COLUMN]))
    first = through(SkipStage([opened()], tally), table)
    assert first["text"].to_pylist() == ["new", "new too"]
    write(table.slice(1, 1).drop_columns([IMAGE_COLUMN]))
    assert through(SkipStage([opened()], tally), table).equals(first)
    figures = tally.read()["skip"]
    assert (figures["rows"], figures["documents"]) == (1, 1)
    assert (figures["reread_documents"], figures["reread_rows"]) == (3, 3)


def test_a_task_whose_workers_die_ends_the_job_and_names_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text('{"text": "one"}\n')
    config = load_config(
        {
            "source": {"path": str(tmp_path / "docs.jsonl")},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
            "sink": {"type": "parquet", "path": str(tmp_path / "out")},
            "compute": {"max_retries": 2},
        }
    )
    tasks = scan(plan_source(config.source).splits, config.source, map).tasks
    stage = ReadStage(config, Tally())
    for _ in range(3):
        assert through(stage, pa.table({TASK_COLUMN: tasks})).num_rows == 1
    with pytest.raises(
        WorkerError, match=r"workers that read docs\.jsonl and 0 other splits died 3 times.*run the job"
    ):
        through(stage, pa.table({TASK_COLUMN: tasks}))
