"""A job's models: from the catalog or one's own, with prompts, dimensions and licences."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedders.catalog import find_card
from embedders.factory import family_options
from embedders.families import FAMILIES
from embedders.model_options import Runtime
from embedders.session_settings import SessionSettings
from pipelines import EmbeddingPipeline
from pipelines.config.embeddings import CustomModelConfig, EmbeddingConfig
from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.embed.checked import checked_embedder, remembered
from pipelines.embed.row_embedder import build_embedder
from pipelines.errors import ConfigError
from tests.model_fixtures import MINILM, write_synthetic_model

E5 = "intfloat/multilingual-e5-large"


def job(*embeddings: dict[str, Any], path: str = "x.jsonl") -> dict[str, Any]:
    return {"source": {"path": path}, "embeddings": list(embeddings), "sink": {"type": "parquet", "path": "out"}}


def refusal(embedding: dict[str, Any]) -> str:
    with pytest.raises(ConfigError, match=r"^configuration is not a valid job") as refused:
        load_config(job({"name": "e", **embedding}))
    return str(refused.value)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_model(tmp_path_factory.mktemp("own") / "my-model")


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        ({"model": {"path": "x", "poling": "mean"}}, "embeddings.0.model.poling: unknown key; did you mean 'pooling'?"),
        ({"model": {"path": "x"}}, "embeddings.0.model: pooling is needed"),
        ({"model": {"path": "x", "hf": "a/b", "pooling": "cls"}}, "exactly one of path (a folder) and hf"),
        ({"model": {"path": "x", "family": "splade", "dim": 7}}, "dim means nothing for a splade model; leave it out"),
        ({"model": {"path": "x", "pooling": "max"}}, "embeddings.0.model.pooling: input should be 'cls', 'mean'"),
        ({"model": {"path": "x", "pooling": "cls"}, "path": "y"}, "write it inside of model"),
        (
            {"model": "Qdrant/bm25", "precision": "int8"},
            "precision: Qdrant/bm25 runs no neural network; leave precision",
        ),
        (
            {"model": E5, "precision": "fp16"},
            "embeddings.0.precision: input should be 'float32', 'bfloat16', 'float16' or 'int8'",
        ),
        ({"model": E5, "options": {"precision": "int8"}}, "precision is no option: write precision beside model"),
        ({"model": E5, "prompts": "on"}, "embeddings.0.prompts: input should be 'auto' or 'none' (got 'on')"),
        ({"model": E5, "prompts": {"document": "d"}}, "prompts.document: unknown key; known here: query, passage"),
    ],
)
def test_what_is_wrong_about_a_model_is_said_with_its_key(embedding: dict[str, Any], message: str) -> None:
    assert message in refusal(embedding)


# Keys that only some families know, and which of those families a job may have a user's model of.
FACTS = {
    "pooling": ("dense", "image"),
    "prompts": ("dense",),
    "matryoshka": ("dense", "bge_m3"),
    "normalize": ("dense", "static", "image"),
    "dim": ("dense", "static", "late_interaction", "bge_m3", "image"),
    "output": ("dense", "splade", "neural_sparse", "bm42", "minicoil", "late_interaction", "image"),
    "requires_idf": ("splade", "neural_sparse", "bm42", "minicoil"),
}
VALUES = {
    "pooling": "cls",
    "prompts": {"query": "q "},
    "matryoshka": [4],
    "normalize": False,
    "dim": 8,
    "output": 1,
    "requires_idf": True,
}
CUSTOM_FAMILIES = [
    "dense",
    "static",
    "splade",
    "neural_sparse",
    "bm42",
    "minicoil",
    "late_interaction",
    "bge_m3",
    "image",
]


@pytest.mark.parametrize("family", CUSTOM_FAMILIES)
def test_a_family_takes_the_keys_that_it_knows_and_refuses_all_others(family: str) -> None:
    for key, families in FACTS.items():
        pooling = {"pooling": "cls"} if family == "dense" else {}
        model = {"path": "x", "family": family, **pooling, key: VALUES[key]}
        if family in families:
            (embedding,) = load_config(job({"name": "e", "model": model})).embeddings
            assert not isinstance(embedding.model, str)
            assert key in embedding.model.model_fields_set
        else:
            assert f"model: {key} means nothing for a {family} model; leave it out" in refusal({"model": model})


def test_a_sparse_models_idf_is_its_familys_unless_it_is_said() -> None:
    def asked(family: str, **more: Any) -> bool:
        model = {"hf": "a/b", "family": family, **more}
        return EmbeddingConfig(name="e", model=model).card.requires_idf  # type: ignore[arg-type]

    defaults = {family: asked(family) for family in FACTS["requires_idf"]}
    assert defaults == {"splade": False, "neural_sparse": False, "bm42": True, "minicoil": True}
    assert asked("splade", requires_idf=True)
    assert not asked("bm42", requires_idf=False)


def test_the_schema_of_a_job_shows_the_families_of_users_models() -> None:
    assert CustomModelConfig.model_json_schema()["properties"]["family"] == {
        "default": "dense",
        "description": "What the graph gives, and how vectors are made of it",
        "enum": CUSTOM_FAMILIES,
        "title": "Family",
        "type": "string",
    }
    expected = ", ".join(f"{family!r}" for family in CUSTOM_FAMILIES[:-1]) + f" or {CUSTOM_FAMILIES[-1]!r}"
    for family in ("bm25", "rerank", "denser"):
        message = f"embeddings.0.model.family: input should be {expected}"
        assert message in refusal({"model": {"path": "x", "family": family}})


def test_the_schema_of_a_job_tells_of_options_that_models_take() -> None:
    schema = JobConfig.model_json_schema()["$defs"]["EmbeddingConfig"]["properties"]["options"]
    assert (schema["type"], schema["additionalProperties"]) == ("object", True)
    assert {"cuda", "providers", "session_options"} <= schema["properties"].keys()
    known = {field.name for field in fields(Runtime)}.union(*map(family_options, FAMILIES))
    for name, about in schema["properties"].items():
        assert name in known
        assert about["description"]


def test_an_embeddings_own_device_and_session_options_go_before_its_pools(
    synthetic: Path,
) -> None:
    own = {"path": str(synthetic), "pooling": "mean"}

    def settings(options: dict[str, Any], runtime: dict[str, Any]) -> SessionSettings:
        (embedding,) = load_config(job({"name": "e", "model": own, "options": options})).embeddings
        model: Any = build_embedder(embedding, runtime)
        found: SessionSettings = model.text_model.settings
        return found

    assert settings({}, {"cuda": True}).cuda is True
    assert settings({"cuda": False}, {"cuda": True, "threads": 3}) == SessionSettings(threads=3, cuda=False)
    providers = ["CPUExecutionProvider"]
    assert settings({"providers": providers}, {"cuda": True}) == SessionSettings(providers=providers)
    arena = {"enable_cpu_mem_arena": False}
    assert settings({"session_options": arena}, {"cuda": "auto"}) == SessionSettings(session_options=arena)
    (embedding,) = load_config(job({"name": "e", "model": own, "options": {"cuda": "gpu"}})).embeddings
    with pytest.raises(
        ConfigError, match=r"^embeddings\.0: cuda must be True, False, 'auto', 'cpu' or 'cuda', got 'gpu'"
    ):
        checked_embedder("embeddings.0", embedding)


def test_options_of_the_session_are_not_kept_for_searches() -> None:
    options = {"cuda": True, "session_options": {"enable_mem_pattern": True}, "alpha": 0.4}
    (embedding,) = load_config(job({"name": "e", "model": "Qdrant/bm25", "options": options})).embeddings
    assert remembered(embedding) == {"name": "e", "model": "Qdrant/bm25", "options": {"alpha": 0.4}}
    (plain,) = load_config(job({"name": "e", "model": "Qdrant/bm25", "options": {"cuda": True}})).embeddings
    assert remembered(plain) == {"name": "e", "model": "Qdrant/bm25"}


def vector_names(**embedding: Any) -> list[str]:
    return load_config(job({"name": "e", **embedding})).vector_names


def test_vectors_are_named_after_their_embedding_and_their_kind_where_there_are_several() -> None:
    m3 = "BAAI/bge-m3"
    own: dict[str, Any] = {"path": "no-such-folder", "family": "bge_m3"}
    for model in (m3, m3.lower(), own):
        assert vector_names(model=model) == ["e_dense", "e_sparse"]
        for outputs, names in (
            (["sparse", "dense"], ["e_dense", "e_sparse"]),
            (["multivector", "sparse"], ["e_sparse", "e_multivector"]),
            (["multivector"], ["e"]),
            (["dense"], ["e"]),
        ):
            assert vector_names(model=model, options={"outputs": outputs}) == names
        every = {"outputs": ["dense", "sparse", "multivector"]}
        assert vector_names(model=model, options=every) == ["e_dense", "e_sparse", "e_multivector"]
        assert vector_names(model=model, options=every, muvera={}) == ["e", "e_dense", "e_sparse"]
        kept = {"keep_multivector": True}
        assert vector_names(model=model, options=every, muvera=kept) == ["e", "e_dense", "e_sparse", "e_multivector"]
        alone = {"outputs": ["multivector"]}
        assert vector_names(model=model, options=alone, muvera=kept) == ["e", "e_multivector"]
    for model in (E5, "Qdrant/bm25", "colbert-ir/colbertv2.0", "nobody/knows-this"):
        assert vector_names(model=model) == ["e"]
        assert vector_names(model=model, muvera={"keep_multivector": True}) == ["e", "e_multivector"]


@pytest.mark.parametrize(
    ("other", "kinds"),
    [("m3_dense", "dense vectors"), ("m3_sparse", "sparse vectors"), ("m3_multivector", "multivectors")],
)
def test_names_of_several_vectors_meet_no_other(other: str, kinds: str) -> None:
    m3 = {"name": "m3", "model": "BAAI/bge-m3", "options": {"outputs": ["dense", "sparse", "multivector"]}}
    with pytest.raises(ConfigError, match=f"'{other}' is the name of m3's {kinds}; choose another for the embedding"):
        load_config(job(m3, {"name": other, "model": "Qdrant/bm25"}))
    assert load_config(job({**m3, "options": {"outputs": ["dense"]}}, {"name": other, "model": "Qdrant/bm25"}))


@pytest.mark.parametrize("outputs", [[], ["dens"], "dense", ["dense", "dense"], None], ids=str)
def test_outputs_that_are_no_choice_are_refused_with_their_key(outputs: Any) -> None:
    if outputs is None:
        assert vector_names(model="BAAI/bge-m3", options={"outputs": None}) == ["e_dense", "e_sparse"]
        return
    said = refusal({"model": "BAAI/bge-m3", "options": {"outputs": outputs}})
    assert "embeddings.0: options.outputs must be a list of some of dense, sparse, multivector, each once; got" in said


def test_a_static_models_file_is_its_table_unless_another_is_named() -> None:
    def model_file(**more: Any) -> str:
        return CustomModelConfig(hf="a/b", family="static", **more).card().model_file

    assert model_file() == "model.safetensors"
    assert model_file(model_file="other.safetensors") == "other.safetensors"


def test_synthetic_model_of_ones_own_embeds_as_its_card_says(synthetic: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "hello world"}\n{"text": "paris"}\n')
    own = {"path": str(synthetic), "pooling": "mean", "normalize": False}
    pipeline = EmbeddingPipeline.from_config(
        job({"name": "e", "model": own}, path=str(tmp_path / "in.jsonl")), [f"sink.path={tmp_path / 'out'}"]
    )
    plan = pipeline.plan()
    assert (plan.models["e"]["model"], plan.models["e"]["dim"]) == ("my-model", 24)
    frame = pipeline.preview(2)
    normalized = EmbeddingPipeline.from_config(
        job({"name": "e", "model": {**own, "normalize": True}}, path=str(tmp_path / "in.jsonl"))
    ).preview(2)
    for raw, unit in zip(frame["e"], normalized["e"], strict=True):
        np.testing.assert_allclose(np.array(raw) / np.linalg.norm(raw), unit, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "none"}, "pooling 'none' takes (texts, dim); the graph's outputs are last_hidden_state"),
        ({"dim": 25}, "gives 24 numbers, and dim says 25"),
        ({"output": "pooler"}, "has no output 'pooler'; its outputs are last_hidden_state"),
        ({"model_file": "other.onnx"}, "lacks other.onnx; it holds config.json, model.onnx"),
        ({"family": "late_interaction", "options": {"marker": 1}}, "late_interaction has no option 'marker'"),
        ({"family": "bm42"}, "BM42 takes attention of (texts, heads, tokens, tokens)"),
    ],
)
def test_a_synthetic_model_that_does_not_fit_is_refused_before_ray_starts(
    synthetic: Path, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    pooling = {} if "family" in change else {"pooling": "mean"}
    model = {"path": str(synthetic), **pooling, **change}
    pipeline = EmbeddingPipeline.from_config(job({"name": "e", "model": model}, path=str(tmp_path / "in.jsonl")))
    with pytest.raises(ValueError, match=r"embeddings\.0|my-model") as refused:
        pipeline.plan()
    assert message in str(refused.value)


def test_a_job_applies_the_cards_prompts_unless_it_is_told_otherwise(synthetic: Path) -> None:
    def vectors(prompts: Any, text: str, *, query: bool = False) -> list[float]:
        model = {"path": str(synthetic), "pooling": "mean", "prompts": {"query": "hello ", "passage": "paris "}}
        config = load_config(job({"name": "e", "model": model, "prompts": prompts})).embeddings[0]
        embedder = build_embedder(config)
        column = embedder.embed_queries_arrow([text]) if query else embedder.embed_arrow([text])
        return list(column.to_pylist()[0])

    assert vectors("auto", "fox") == vectors("none", "paris fox")
    assert vectors("auto", "fox", query=True) == vectors("none", "hello fox")
    assert vectors({"passage": "world "}, "fox") == vectors(None, "world fox")
    assert vectors(False, "fox", query=True) == vectors("none", "fox")


def test_a_catalog_models_prompts_are_its_cards() -> None:
    assert find_card(E5).prompts == {"query": "query: ", "passage": "passage: "}
    assert load_config(job({"name": "e", "model": E5})).embeddings[0].prompts == "auto"


def test_a_dimension_that_the_card_does_not_allow_is_refused(minilm: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    embedding = {"name": "e", "model": MINILM, "path": str(minilm), "dim": 100}
    with pytest.raises(ConfigError, match=r"embeddings\.0: the vectors of .*MiniLM.* cannot be cut"):
        EmbeddingPipeline.from_config(job(embedding, path=str(tmp_path / "in.jsonl"))).plan()


def test_a_reranker_is_refused_with_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    embedding = {"name": "e", "model": "BAAI/bge-reranker-base"}
    with pytest.raises(ConfigError, match=r"embeddings\.0\.model: .* is a reranker: it scores pairs"):
        EmbeddingPipeline.from_config(job(embedding, path=str(tmp_path / "in.jsonl"))).plan()


def test_synthetic_model_with_a_licence_against_commercial_use_is_shown_in_the_plan(
    synthetic: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    model = {"path": str(synthetic), "pooling": "mean", "license": "cc-by-nc-4.0"}
    plan = EmbeddingPipeline.from_config(
        job({"name": "e", "model": model}, path=str(tmp_path / "in.jsonl")), [f"sink.path={tmp_path / 'out'}"]
    ).plan()
    assert plan.notices == ["my-model is licensed cc-by-nc-4.0: its vectors are not for commercial use"]
    assert plan.models["e"]["license"] == "cc-by-nc-4.0"


def test_options_that_a_family_lacks_are_named() -> None:
    embedding = EmbeddingConfig(name="e", model="Qdrant/bm25", max_length=12)
    with pytest.raises(TypeError, match="'Qdrant/bm25' takes no 'max_length'"):
        build_embedder(embedding)
