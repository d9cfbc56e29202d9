"""A job over texts that carry their model's prompt already says so, with the key to set."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedders.catalog import find_card
from pipelines import EmbeddingPipeline
from pipelines.config.file import load_config
from pipelines.embed.doubled_prompts import doubled_prompts
from pipelines.sources import plan_source
from tests.model_fixtures import write_synthetic_model

E5 = "intfloat/multilingual-e5-large"
PLAIN = [f"the capital of country {number} is paris" for number in range(40)]
PREFIXED = [f"passage: {text}" for text in PLAIN]


def job(folder: Path, texts: list[str], *embeddings: dict[str, Any]) -> dict[str, Any]:
    lines = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts)]
    (folder / "in.jsonl").write_text("\n".join(lines))
    sink = {"type": "parquet", "path": str(folder / "out")}
    return {"source": {"path": str(folder / "in.jsonl")}, "embeddings": list(embeddings), "sink": sink}


def said(folder: Path, texts: list[str], **embedding: Any) -> list[str]:
    config = load_config(job(folder, texts, {"name": "e", "model": E5, **embedding}))
    return doubled_prompts(config, plan_source(config.source).splits)


def test_texts_with_the_cards_prompt_are_seen_and_the_key_named(tmp_path: Path) -> None:
    (notice,) = said(tmp_path, PREFIXED)
    assert notice == (
        "embeddings.0.prompts: 40 of the first 40 texts begin with 'passage: ' already, and e puts 'passage: ' before "
        "each text: the model would see both, and the vectors would differ from those it was trained for. Set "
        "embeddings.0.prompts: {query: 'query: '} to embed the texts as they are, or take the prompt out of them"
    )
    assert said(tmp_path, PREFIXED, prompts={"query": "query: "}) == []


@pytest.mark.parametrize(
    "texts",
    [
        [f"  PASSAGE:{text}" for text in PLAIN],
        [f"query: {text}" for text in PLAIN],
        [*PREFIXED[:4], *PLAIN[4:]],
    ],
    ids=["in other letters", "the prompt of queries", "one in ten"],
)
def test_other_spellings_and_mixtures_are_seen_too(texts: list[str], tmp_path: Path) -> None:
    assert len(said(tmp_path, texts)) == 1


@pytest.mark.parametrize(
    ("texts", "embedding"),
    [
        (PLAIN, {}),
        ([*PREFIXED[:3], *PLAIN[3:]], {}),
        ([f"a passage: {text}" for text in PLAIN], {}),
        ([], {}),
        (PREFIXED, {"prompts": "none"}),
        (PREFIXED, {"prompts": {"passage": "doc: "}}),
        (PREFIXED, {"model": "BAAI/bge-small-en-v1.5"}),
        (PREFIXED, {"model": "Qdrant/bm25"}),
        (PREFIXED, {"options": {"prompts": "none"}}),
    ],
    ids=str,
)
def test_texts_that_no_prompt_is_put_before_twice_are_not_warned_of(
    texts: list[str], embedding: dict[str, Any], tmp_path: Path
) -> None:
    assert said(tmp_path, texts, **embedding) == []


@pytest.mark.parametrize("place", ["prompts", "options"])
def test_prompts_of_the_jobs_own_are_looked_for_too(place: str, tmp_path: Path) -> None:
    prompts: dict[str, Any] = {"passage": "doc: "}
    given = {"prompts": prompts} if place == "prompts" else {"options": {"prompts": prompts}}
    (notice,) = said(tmp_path, [f"doc: {text}" for text in PLAIN], model="BAAI/bge-small-en-v1.5", **given)
    assert notice.startswith("embeddings.0.prompts: 40 of the first 40 texts begin with 'doc: ' already")
    assert "Set embeddings.0.prompts: none to" in notice


def test_each_embedding_is_told_of_by_its_number(tmp_path: Path) -> None:
    embeddings = [{"name": "bm25", "model": "Qdrant/bm25"}, {"name": "one", "model": E5}, {"name": "two", "model": E5}]
    config = load_config(job(tmp_path, PREFIXED, *embeddings))
    notices = doubled_prompts(config, plan_source(config.source).splits)
    assert [notice.split(":")[0] for notice in notices] == ["embeddings.1.prompts", "embeddings.2.prompts"]


def test_a_synthetic_models_job_says_it_before_and_after_and_the_key_mends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = dict(find_card(E5).prompts)
    folder = write_synthetic_model(tmp_path / "model")
    own = {"path": str(folder), "pooling": "mean", "prompts": prompts}
    config = job(tmp_path, PREFIXED, {"name": "e", "model": own})
    assert len(EmbeddingPipeline.from_config(config).plan().notices) == 1
    overrides = ["compute.engine=local", f"report={tmp_path / 'report.json'}"]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "fleetembed"):
        report = EmbeddingPipeline.from_config(config, overrides).run()
    (notice,) = report.notices
    assert [record.message for record in caplog.records] == [notice]
    doubled = EmbeddingPipeline.from_config(config).preview(5)
    mended = EmbeddingPipeline.from_config(config, ["embeddings.0.prompts={query: 'query: '}"]).preview(5)
    right = EmbeddingPipeline.from_config(job(tmp_path, PLAIN, {"name": "e", "model": own})).preview(5)
    np.testing.assert_allclose(np.stack(mended["e"]), np.stack(right["e"]), atol=1e-6)
    assert np.abs(np.stack(doubled["e"]) - np.stack(right["e"])).max() > 0.01
