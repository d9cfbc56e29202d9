"""One embedding of a job: bad rows, and MUVERA behind MiniLM's token vectors (no package carries a ColBERT)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders import Muvera
from embedders.arrow import SPARSE_TYPE, dense_array, dense_matrix, dense_type, multivector_array, sparse_array
from embedders.base import EmbedStats, Texts, VectorSpec
from embedders.errors import ImageError, ModelFilesError
from embedders.several_vectors import SeveralVectors
from embedders.tokenization import load_tokenizer
from pipelines import EmbeddingPipeline
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.file import load_config
from pipelines.embed.row_embedder import RowEmbedder, embed_rows, fold_table
from pipelines.errors import ConfigError
from pipelines.identity import identify
from pipelines.rows import CHUNK_SCHEMA, RowError, add_errors
from tests.model_fixtures import MINILM
from tests.synthetic_graphs import M3, Graph, Outputs
from tests.synthetic_models import MULTILINGUAL, Plan, build_network

ALL = ["dense", "sparse", "multivector"]


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


class SyntheticTolerant(SyntheticEmbedder):
    """Tells of unreadable images, and cannot stand a poisonous one at all."""

    def embed_arrow_and_errors(self, contents: pa.Array) -> tuple[pa.Array, dict[int, ImageError]]:
        images = contents.to_pylist()
        if b"poison" in images:
            raise MemoryError("synthetic")
        vectors = dense_array(np.ones((len(images), 2), np.float32))
        unreadable = [image == b"unreadable" for image in images]
        errors = {row: ImageError("cut off") for row, bad in enumerate(unreadable) if bad}
        return vectors.take(pa.array(np.arange(len(images)), mask=np.array(unreadable, bool))), errors


@given(st.lists(st.sampled_from([b"good", b"poison", b"unreadable"]), max_size=20))
def test_synthetic_images_that_a_tolerant_model_fails_at_cost_no_others(images: list[bytes]) -> None:
    column, errors = embed_rows(SyntheticTolerant(), pa.array(images, pa.large_binary()), "photo")
    kinds = {b"poison": "MemoryError", b"unreadable": "ImageError"}
    assert {row: error.type for row, error in errors.items()} == {
        row: kinds[image] for row, image in enumerate(images) if image in kinds
    }
    assert [vector is None for vector in column.to_pylist()] == [row in errors for row in range(len(images))]


def test_what_a_model_counted_of_a_batch_that_failed_is_counted_once() -> None:
    class Counting(SyntheticEmbedder):
        def embed_arrow(self, texts: Texts) -> pa.Array:
            self.stats.tokens += len(texts)
            return super().embed_arrow(texts)

    embedder = Counting()
    embed_rows(embedder, pa.array(["good"] * 40 + ["poison"] + ["good"] * 20), "dense")
    assert embedder.stats.tokens == 60


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


@pytest.fixture(scope="module")
def m3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic BGE-M3 of 24 dimensions."""
    head = M3(normalized=False, first=True)
    folder = tmp_path_factory.mktemp("m3")
    return build_network(folder, Plan(head, **MULTILINGUAL), model_file="model.onnx", dim=24)


def several(m3: Path, outputs: list[str], **settings: Any) -> RowEmbedder:
    model: Any = {"path": str(m3), "family": "bge_m3"}
    return RowEmbedder(EmbeddingConfig(name="m3", model=model, options={"outputs": outputs}, **settings))


def test_synthetic_vectors_of_one_call_are_a_column_each(m3: Path) -> None:
    table = add_errors(rows(["the river", "bat cave", "bat cave", ""]), {0: RowError("read", "Test", "dead before")})
    embedder = several(m3, ALL)
    out = embedder.embed(table)
    assert out.column_names == [*table.column_names, "m3_dense", "m3_sparse", "m3_multivector"]
    assert list(embedder.vectors) == embedder.config.vector_names
    model = embedder.model
    assert isinstance(model, SeveralVectors)
    expected = model.embed_arrow(["bat cave", "bat cave", ""])
    for kind, spec in model.specs.items():
        column = out[f"m3_{kind}"].combine_chunks()
        assert embedder.vectors[f"m3_{kind}"] == spec and column.type == spec.arrow_type
        assert column.is_valid().to_pylist() == [False, True, True, True]
        assert column.slice(1).to_pylist() == expected.field(kind).to_pylist()
    alone = several(m3, ["sparse"])
    assert alone.embed(table).column_names == [*table.column_names, "m3"]
    assert alone.embed(table)["m3"].equals(out["m3_sparse"])


@pytest.mark.parametrize("keep", [False, True])
def test_synthetic_token_vectors_beside_others_are_folded(m3: Path, keep: bool) -> None:
    muvera: Any = {"k_sim": 2, "dim_proj": 4, "r_reps": 3, "keep_multivector": keep}
    table = rows(["the river", "bat cave", ""])
    folding, plain = several(m3, ALL, muvera=muvera), several(m3, ALL)
    out, unfolded = folding.embed(table), plain.embed(table)
    names = ["m3", "m3_dense", "m3_sparse", *(["m3_multivector"] if keep else [])]
    assert list(folding.vectors) == folding.config.vector_names == names
    assert set(out.column_names) == {*table.column_names, *names}
    for name in names[1:]:
        assert out[name].equals(unfolded[name])
    encoded = Muvera(24, 2, 4, 3).encode_documents(unfolded["m3_multivector"])
    np.testing.assert_allclose(dense_matrix(out["m3"]), encoded, atol=1e-5)
    assert folding.vectors["m3"].distance == "dot" and out["m3"].type == dense_type(3 * 4 * 4)


def test_a_query_of_several_vectors_is_one_call(m3: Path) -> None:
    embedder = several(m3, ALL, muvera={"k_sim": 2, "dim_proj": 4, "r_reps": 3, "keep_multivector": True})
    column = embedder.model.embed_queries_arrow(["the river"])
    for name, spec in embedder.vectors.items():
        own = embedder.query_vectors(name, spec.kind, column)
        assert (len(own), own.type) == (1, spec.arrow_type)
    lexical = several(m3, ["sparse", "multivector"], muvera={"k_sim": 2, "dim_proj": 4, "r_reps": 3})
    folded = lexical.query_vectors("m3", "dense", lexical.model.embed_queries_arrow(["the river"]))
    assert folded.equals(embedder.query_vectors("m3", "dense", column))
    assert folded.to_pylist() != embedder.query_vectors("m3_dense", "dense", column).to_pylist()


class SyntheticSeveral(SeveralVectors):
    """Gives each text two vectors; NaN in the dense one of "no dense", in the sparse one of "no sparse"."""

    kinds = ("dense", "sparse")
    specs = MappingProxyType({"dense": SyntheticEmbedder.spec, "sparse": VectorSpec("sparse", SPARSE_TYPE)})
    fingerprints = MappingProxyType({"dense": "0" * 64, "sparse": "1" * 64})
    stats = EmbedStats()

    def load(self) -> None:
        pass

    def token_count(self, texts: Texts) -> int:
        return 0

    def embed_each(self, texts: list[str], *, use: Any = "passage", max_rows: int | None = None) -> dict[str, Any]:
        if any("poison" in text for text in texts):
            raise ValueError("cannot embed this")
        dense = np.array([[1, np.nan if text == "no dense" else 1] for text in texts], np.float32)
        values = np.array([np.nan if text == "no sparse" else 1 for text in texts], np.float32)
        return {"dense": dense, "sparse": sparse_array(np.arange(len(texts) + 1), np.zeros(len(texts)), values)}


@given(st.lists(st.sampled_from(["good", "poison", "no dense", "no sparse"]), max_size=20))
def test_synthetic_rows_fail_with_any_of_their_vectors_and_cost_no_others(texts: list[str]) -> None:
    column, errors = embed_rows(SyntheticSeveral(), pa.array(texts, pa.large_string()), "m3")
    assert (len(column), [field.name for field in column.type]) == (len(texts), ["dense", "sparse"])
    kinds = {"poison": "ValueError", "no dense": "NotFinite", "no sparse": "NotFinite"}
    assert {row: error.type for row, error in errors.items()} == {
        row: kinds[text] for row, text in enumerate(texts) if text in kinds
    }


@pytest.mark.parametrize("outputs", [["sparse"], ["dense", "sparse"]], ids=str)
def test_a_synthetic_graphs_lexical_weight_of_nan_fails_its_row(outputs: list[str], tmp_path: Path) -> None:
    bat = 0

    def broken_at_bat(graph: Graph, dim: int) -> Outputs:
        outputs = M3(("dense", "weights", "colbert"), column=False)(graph, dim)
        at_bat = graph.op("Equal", "input_ids", graph.constant(np.int64(bat)))
        graph.op("Where", at_bat, graph.scalar(np.nan), "weights", out="sparse")
        return {"dense": outputs["dense"], "sparse": outputs["weights"]}

    build_network(tmp_path, Plan(M3(), **MULTILINGUAL), model_file="model.onnx")
    bat = int(load_tokenizer(tmp_path).encode(["bat"]).ids[1])
    build_network(tmp_path, Plan(broken_at_bat, **MULTILINGUAL), model_file="model.onnx")
    embedder = several(tmp_path, outputs)
    out = embedder.embed(rows(["the river", "a bat cave", "money"]))
    errors = [error and error["type"] for error in out["error"].to_pylist()]
    assert errors == [None, "NotFinite", None]


def test_synthetic_fingerprints_of_several_vectors_are_told_apart(m3: Path) -> None:
    def prints(outputs: list[str], **settings: Any) -> dict[str, str]:
        embedder = several(m3, outputs, **settings)
        return {name: embedder.fingerprint_of(name, spec.kind) for name, spec in embedder.vectors.items()}

    plain = prints(ALL)
    assert len(set(plain.values())) == 3
    assert prints(["dense", "sparse"]) == {name: plain[name] for name in ("m3_dense", "m3_sparse")}
    # Alone, a vector has the embedding's name; it is the same vector.
    assert prints(["dense"]) == {"m3": plain["m3_dense"]}
    muvera: Any = {"k_sim": 2, "dim_proj": 4, "keep_multivector": True}
    folded = prints(ALL, muvera=muvera)
    assert {**plain, "m3": folded["m3"]} == folded and folded["m3"] not in plain.values()
    for outputs in (["multivector"], ["sparse", "multivector"]):
        assert prints(outputs, muvera=muvera)["m3"] == folded["m3"]
    whole = [several(m3, outputs).fingerprint for outputs in (ALL, ["dense", "sparse"], ["dense"])]
    assert len({*whole, several(m3, ALL, muvera=muvera).fingerprint}) == 4


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
        ({"name": "e", "model": "BAAI/bge-m3", "muvera": {}}, r"embeddings\.0\.muvera: .*add multivector to options"),
        (
            {"name": "e", "model": "BAAI/bge-m3", "muvera": {}, "options": {"outputs": ["dense"]}},
            r"embeddings\.0\.muvera: BAAI/bge-m3 makes no token vectors here: add multivector to options\.outputs",
        ),
        ({"muvera": {"dim_proj": 400}}, r"embeddings\.0\.muvera: dim_proj is 400"),
        ({"muvera": {"k_sim": 9, "r_reps": 40}}, "has 327,680 numbers, and Qdrant takes 65,536 at most; .*final_dim"),
        ({"muvera": {"r_reps": 10**12}}, r"embeddings\.0\.muvera: a vector's numbers are 512,000,000,000,000, "),
        ({"muvera": {"final_dim": 20_000}}, r"embeddings\.0\.muvera: final_dim is 20000"),
        ({"muvera": {"k_sim": 0}}, r"muvera\.k_sim: input should be greater than or equal to 1"),
        ({"muvera": {"ksim": 4}}, r"muvera\.ksim: unknown key; did you mean 'k_sim'"),
    ],
    ids=range(10),
)
def test_a_muvera_that_cannot_be_is_refused_with_its_key(
    minilm: Path,
    tmp_path: Path,
    embedding: dict[str, Any],
    message: str,
    synthetic_model: Callable[[str], Path],
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    tokens = {"name": "e", "model": {"path": str(minilm), "family": "late_interaction"}, **embedding}
    if embedding.get("model") == MINILM:
        tokens["path"] = str(minilm)
    elif embedding.get("model") == "BAAI/bge-m3":
        tokens["path"] = str(synthetic_model("BAAI/bge-m3"))
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
