from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from rich.console import Console

from embedders.arrow import SPARSE_TYPE, dense_type
from embedders.base import VectorSpec
from embedders.errors import ModelFilesError
from embedders.text_model import PROBES
from embedders.tokenization import TextTokenizer
from embedders.tokenized_texts import TokenizedTexts
from pipelines import EmbeddingPipeline
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.file import load_config
from pipelines.embed.row_embedder import build_embedder
from pipelines.rows import RowError, add_errors
from pipelines.run.placement.pools import Pool
from pipelines.run.stages.embed import EmbedStage
from pipelines.run.stages.held import with_codes
from pipelines.run.stages.stage import Resources
from pipelines.run.tally import FIRST_BLOCK, Tally
from tests.model_fixtures import write_synthetic_model
from tests.pipelines.run.stages.tables import rows, through

DENSE = VectorSpec("dense", dense_type(24), dim=24)
SPARSE = VectorSpec("sparse", SPARSE_TYPE, idf=True)


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
    counted = {name: figures["rows"] for name, figures in tally.read().items() if name != FIRST_BLOCK}
    assert counted == {"dense": 3, "bm25": 3}


def test_rows_whose_vectors_are_held_pass_by_the_models_in_their_places_and_load_none(tmp_path: Path) -> None:
    folder = write_synthetic_model(tmp_path / "synthetic")
    embedding = EmbeddingConfig(name="dense", model={"path": str(folder), "pooling": "mean"})
    bm25 = EmbeddingConfig(name="bm25", model="Qdrant/bm25")
    pool, specs = Pool("dense, bm25", (embedding, bm25), Resources(threads=2)), {"dense": DENSE, "bm25": SPARSE}
    table = rows(["one", "two", "three", "four", "five"])
    table = add_errors(table, {3: RowError("read", "Test", "dead before")})
    whole = through(EmbedStage(pool, Tally()), table)
    codes = np.array([[0, 0], [0, 1], [0, 0], [0, 0], [2, 1]], np.uint8)
    tally = Tally()
    out = through(EmbedStage(pool, tally, vectors=specs), with_codes(table, codes))
    assert out["id"].equals(whole["id"]) and out["error"].equals(whole["error"])
    for name in specs:
        found, wanted = out[name].to_pylist(), whole[name].to_pylist()
        assert [vector is None for vector in found] == [False, True, False, True, True]
        assert (found[0], found[2]) == (wanted[0], wanted[2])
        assert tally.read()[name]["rows"] == 2
    # Where all pass by, a model that cannot be loaded is none too many.
    (folder / "model.onnx").write_bytes(b"no model")
    stage = EmbedStage(pool, Tally(), {"dense": "0" * 64}, vectors=specs)
    out = through(stage, with_codes(table, np.maximum(codes.max(1, keepdims=True), 1)))
    assert (out["dense"].null_count, out["bm25"].null_count, out["dense"].type) == (5, 5, DENSE.arrow_type)
    with pytest.raises(ModelFilesError, match=r"model\.onnx"):
        through(EmbedStage(pool, Tally(), vectors=specs), with_codes(table, codes))
