"""One embedding of a job: bad rows, and MUVERA behind MiniLM's token vectors (no package carries a ColBERT)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders import Muvera
from embedders.arrow import dense_array, dense_matrix, dense_type, multivector_array
from embedders.base import EmbedStats, Texts, VectorSpec
from embedders.errors import ModelFilesError
from pipelines import EmbeddingPipeline
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.file import load_config
from pipelines.embed.row_embedder import RowEmbedder, embed_rows, fold_table
from pipelines.errors import ConfigError
from pipelines.identity import identify
from pipelines.rows import CHUNK_SCHEMA, RowError, add_errors
from tests.model_fixtures import MINILM


class SyntheticEmbedder:
    """Gives each text a vector of its length; cannot stand texts that contain a bad word."""

    spec = VectorSpec("dense", dense_type(2), dim=2)
    fingerprint = "0" * 64

    def __init__(self, bad: str = "poison") -> None:
        self.bad, self.stats, self.calls = bad, EmbedStats(), 0

    def embed_arrow(self, texts: Texts) -> pa.Array:
        self.calls += 1
        values = list(texts.to_pylist() if isinstance(texts, pa.Array) else texts)
        if any(self.bad in text for text in values):
            raise ValueError("cannot embed this")
        return dense_array(np.array([[len(text), np.nan if text == "nan" else 1] for text in values], np.float32))

    embed_queries_arrow = embed_arrow


def rows(texts: Sequence[str]) -> pa.Table:
    blank = {"chunk_no": 0, "chunk_start": 0, "chunk_end": 1, "chunk_count": 1, "payload": "{}", "origin": "here"}
    named = [{**blank, "document_id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    return identify(pa.Table.from_pylist(named, schema=CHUNK_SCHEMA), "corpus", chunked=False)


def folding(minilm: Path, **muvera: Any) -> EmbeddingConfig:
    tokens: Any = {"path": str(minilm), "family": "late_interaction"}
    return EmbeddingConfig(name="colbert", model=tokens, dtype="float16", muvera=muvera)


@given(st.lists(st.sampled_from(["good", "poison", "a poison pill", "nan", ""]), max_size=40))
def test_synthetic_rows_that_cannot_be_embedded_cost_no_others(texts: list[str]) -> None:
    column, errors = embed_rows(SyntheticEmbedder(), pa.array(texts, pa.large_string()), "dense")
    assert len(column) == len(texts)
    assert errors.keys() == {n for n, text in enumerate(texts) if "poison" in text or text == "nan"}
    for number, (text, vector) in enumerate(zip(texts, column.to_pylist(), strict=True)):
        if number not in errors:
            assert vector == [len(text), 1]


def test_a_synthetic_bad_row_among_many_is_found_by_halving() -> None:
    embedder = SyntheticEmbedder()
    embed_rows(embedder, pa.array(["good"] * 512 + ["poison"] + ["good"] * 511), "dense")
    assert embedder.calls <= 2 * 10 + 1


def test_a_broken_model_is_no_rows_fault() -> None:
    class Broken(SyntheticEmbedder):
        def embed_arrow(self, texts: Texts) -> pa.Array:
            raise ModelFilesError("model.onnx is damaged")

    with pytest.raises(ModelFilesError, match="damaged"):
        embed_rows(Broken(), pa.array(["a", "b"]), "dense")


def test_minilms_token_vectors_are_folded_and_dropped_or_kept(minilm: Path) -> None:
    table = add_errors(rows(["one", "two words", "three"]), {0: RowError("read", "Test", "dead before")})
    alone = RowEmbedder(folding(minilm, k_sim=3, dim_proj=8, r_reps=4))
    kept = RowEmbedder(folding(minilm, k_sim=3, dim_proj=8, r_reps=4, keep_multivector=True))
    assert {name: (spec.kind, spec.dim, spec.distance) for name, spec in kept.vectors.items()} == {
        "colbert": ("dense", 256, "dot"),
        "colbert_multivector": ("multivector", 384, "cosine"),
    }
    assert alone.vectors == {"colbert": kept.vectors["colbert"]}
    both, one = kept.embed(table), alone.embed(table)
    assert "colbert_multivector" not in one.column_names
    assert one["colbert"].equals(both["colbert"])
    for name, spec in kept.vectors.items():
        assert both[name].type == spec.arrow_type and both[name].is_valid().to_pylist() == [False, True, True]
    muvera = Muvera(384, 3, 8, 4)
    expected = muvera.encode_documents(both["colbert_multivector"].slice(1))
    np.testing.assert_allclose(dense_matrix(both["colbert"].slice(1)), expected, atol=2e-3)
    # Whether the multivectors stay does not change what is made.
    assert alone.fingerprint == kept.fingerprint


def test_each_parameter_and_the_seed_are_in_the_fingerprint(minilm: Path) -> None:
    given: list[dict[str, int]] = [{}, {"k_sim": 4}, {"dim_proj": 8}, {"r_reps": 10}, {"seed": 1}, {"final_dim": 512}]
    plain = RowEmbedder(folding(minilm).model_copy(update={"muvera": None}))
    assert len({plain.fingerprint, *(RowEmbedder(folding(minilm, **one)).fingerprint for one in given)}) == 7


def test_multivectors_that_cannot_be_folded_cost_no_other_row() -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(9, 4)).astype(np.float32)
    vectors[4, 2], vectors[8, 0] = np.nan, np.inf
    column = multivector_array(np.array([0, 3, 3, 4, 6, 8, 9]), vectors).take(pa.array([0, 1, 2, 3, 4, 5, None]))
    table = rows(["full", "empty", "single", "nan", "full", "inf", "dead"]).append_column("tokens", column)
    muvera = Muvera(4, 2, 2, 3)
    spec = VectorSpec("dense", dense_type(muvera.embedding_size), dim=muvera.embedding_size)
    folded = fold_table(muvera, table, "tokens", "fde", spec)
    assert folded["fde"].is_valid().to_pylist() == [True, False, True, False, True, False, False]
    expected = muvera.encode_documents(column.take(pa.array([0, 2, 4])))
    np.testing.assert_array_equal(dense_matrix(folded["fde"].drop_null()), expected)
    errors = {row: error["type"] for row, error in enumerate(folded["error"].to_pylist()) if error}
    assert errors == {1: "NotFoldable", 3: "NotFoldable", 5: "NotFoldable"}


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        ({"name": "e", "model": MINILM, "muvera": {}}, r"embeddings\.0\.muvera: .*multivectors"),
        ({"name": "e", "model": "Qdrant/bm25", "muvera": {}}, r"embeddings\.0\.muvera: .*multivectors"),
        ({"muvera": {"dim_proj": 400}}, r"embeddings\.0\.muvera: dim_proj is 400"),
        ({"muvera": {"k_sim": 9, "r_reps": 40}}, "has 327,680 numbers, and Qdrant takes 65,536 at most; .*final_dim"),
        ({"muvera": {"r_reps": 10**12}}, r"embeddings\.0\.muvera: a vector's numbers are 512,000,000,000,000, "),
        ({"muvera": {"final_dim": 20_000}}, r"embeddings\.0\.muvera: final_dim is 20000"),
        ({"muvera": {"k_sim": 0}}, r"muvera\.k_sim: input should be greater than or equal to 1"),
        ({"muvera": {"ksim": 4}}, r"muvera\.ksim: unknown key; did you mean 'k_sim'"),
    ],
    ids=range(8),
)
def test_a_muvera_that_cannot_be_is_refused_with_its_key(
    minilm: Path, tmp_path: Path, embedding: dict[str, Any], message: str
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    tokens = {"name": "e", "model": {"path": str(minilm), "family": "late_interaction"}, **embedding}
    if embedding.get("model") == MINILM:
        tokens["path"] = str(minilm)
    sink = {"type": "qdrant", "path": str(tmp_path / "q"), "collection": "c"}
    job = {"source": {"path": str(tmp_path / "in.jsonl")}, "embeddings": [tokens], "sink": sink}
    with pytest.raises(ConfigError, match=message):
        EmbeddingPipeline.from_config(job).plan()


def test_names_of_kept_multivectors_meet_no_other(minilm: Path) -> None:
    embeddings = [
        {"name": "colbert", "model": "colbert-ir/colbertv2.0", "muvera": {"keep_multivector": True}},
        {"name": "colbert_multivector", "model": "Qdrant/bm25"},
    ]
    with pytest.raises(ConfigError, match="'colbert_multivector' is the name of colbert's multivectors"):
        load_config({"source": {"path": "x"}, "embeddings": embeddings, "sink": {"type": "parquet", "path": "y"}})


def test_a_plan_tells_both_vectors(minilm: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a snake"}\n')
    embedding = folding(minilm, keep_multivector=True).model_dump(exclude_defaults=True)
    sink = {"type": "parquet", "path": str(tmp_path / "out")}
    job = {"source": {"path": str(tmp_path / "in.jsonl")}, "embeddings": [embedding], "sink": sink}
    pipeline = EmbeddingPipeline.from_config(job)
    kinds = {name: (facts["kind"], facts["dim"]) for name, facts in pipeline.plan().models.items()}
    assert kinds == {"colbert": ("dense", 10_240), "colbert_multivector": ("multivector", 384)}
    frame = pipeline.preview(1)
    assert len(frame["colbert"][0]) == 10_240 and len(frame["colbert_multivector"][0]) == 4
