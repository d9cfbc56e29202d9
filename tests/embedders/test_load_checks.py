"""What is wrong about a model's files or options is found when it is loaded, not in every row. Synthetic throughout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from embedders import ModelFilesError
from embedders.catalog import custom_card
from embedders.factory import make_embedder
from tests import synthetic_graphs as heads
from tests.synthetic_models import MULTILINGUAL, Plan, build_network, write_minicoil, write_stopwords


def one_vector_for_all(graph: heads.Graph, dim: int) -> heads.Outputs:
    """A graph that averages over the texts of a batch: it looks right for a single text."""
    mean = heads.mean_of_tokens(graph, heads.encoder(graph))
    vectors = graph.op("MatMul", mean, graph.weights(graph.hidden, dim))
    graph.op("ReduceMean", vectors, axes=[0], keepdims=1, out="text_embeds")
    return {"text_embeds": ("batch", dim)}


def load(folder: Path, family: str = "dense", arguments: dict[str, Any] | None = None, **card: Any) -> Any:
    facts = {"pooling": "mean"} if family == "dense" else {}
    made = custom_card(family, model="tests/mine", sources=folder, **{**facts, **card})
    return make_embedder(made, cuda=False, **(arguments or {}))


def test_a_graph_that_mixes_up_the_texts_of_a_batch_is_refused(tmp_path: Path) -> None:
    build_network(tmp_path, Plan(one_vector_for_all))
    with pytest.raises(ModelFilesError, match=r"for 2 texts of 5 tokens the output 'text_embeds' has shape \(1, 16\)"):
        load(tmp_path, pooling="none")


@pytest.mark.parametrize("family", ["bm42", "minicoil"])
def test_words_want_a_wordpiece_tokenizer(family: str, tmp_path: Path) -> None:
    head = heads.attention if family == "bm42" else heads.tokens
    build_network(tmp_path, Plan(head, **MULTILINGUAL))
    write_stopwords(tmp_path)
    write_minicoil(tmp_path)
    with pytest.raises(ModelFilesError, match="of a WordPiece tokenizer; this one is Unigram"):
        load(tmp_path, family, output="attention_6" if family == "bm42" else 0)


@pytest.mark.parametrize(
    ("card", "arguments", "message"),
    [
        ({"matryoshka": (99,)}, {"dim": 99}, "dim is 99, and the graph gives 16 numbers"),
        ({"options": {"tasks": 3}}, {}, "the option tasks must give numbers to names"),
        ({"options": {"tasks": {"retrieval.query": 0}}}, {}, "'retrieval.passage'"),
        ({}, {"prompts": {"passage": "read the book " * 100}}, "the prompt for a passage leaves 0 of"),
        ({}, {"prompts": {"query": "half a pair \ud83d"}}, "the prompt for a query has a lone surrogate"),
    ],
)
def test_dense_options_that_no_row_would_survive_are_refused(
    card: dict[str, Any], arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    build_network(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        load(tmp_path, arguments=arguments, **card)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"document_marker": "x"}, "the option document_marker must be a whole number of 0 or more, got 'x'"),
        ({"query_marker": -1}, "the option query_marker must be a whole number of 0 or more, got -1"),
        ({"normalize": "no"}, "the option normalize must be true or false, got 'no'"),
    ],
)
def test_late_interaction_options_of_a_wrong_kind_are_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    build_network(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        load(tmp_path, "late_interaction", options=options)


@pytest.mark.parametrize(
    "facts", [{"prompts": "query: "}, {"matryoshka": 64}, {"options": 5}, {"dim": "384"}, {"output": -1}], ids=str
)
def test_facts_of_a_wrong_kind_make_no_card(facts: dict[str, Any], tmp_path: Path) -> None:
    build_network(tmp_path)
    with pytest.raises(ValueError, match=f"{next(iter(facts))} must be"):
        custom_card("dense", model="tests/mine", sources=tmp_path, **facts)
