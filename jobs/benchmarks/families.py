"""Every other text family against fastembed on the same files: whole, on equal lengths, and without the model."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks import family_models
from benchmarks.dense import equal_length_texts
from benchmarks.measuring import Repeats, console, drain, minilm_folder, stdlib_texts, take_turns
from embedders import LateInteractionTextEmbedding, SparseTextEmbedding, TextCrossEncoder, TextEmbedding
from embedders.text_model import BatchOutput

FAMILIES = ("splade", "colbert", "bm42", "minicoil", "reranker", "static")
# fastembed holds the outputs of a whole batch several times over: 256 texts would take it some 20 GB.
DOCUMENTS = {"splade": 64, "bm42": 128}
# fastembed's default batch.
EQUAL_TEXTS = 256
QUERIES = ("how do I read a file line by line", "parse a JSON string", "threads", "what is a context manager for")


@dataclass(frozen=True)
class Contest:
    """One family: both libraries' models on the same files, and how each embeds texts by its defaults."""

    name: str
    ours: Any
    theirs: Any
    embed_ours: Callable[[list[str]], Any]
    embed_theirs: Callable[[list[str]], Any]
    documents: int | None = None


def families(
    only: Annotated[list[str] | None, typer.Option("--only", help=f"Of {', '.join(FAMILIES)}.")] = None,
    documents: Annotated[int, typer.Option(min=1, help="Documents, drawn at random but always the same.")] = 256,
    repeats: Repeats = 3,
    threads: int = 2,
) -> None:
    """SPLADE, ColBERT, BM42, miniCOIL, rerankers and static models against fastembed's defaults."""
    table = Table(title=f"families, {threads} threads; fleetembed is so many times faster", title_justify="left")
    for column in (
        "family",
        "documents/s",
        "fastembed's",
        "mixed lengths",
        "equal",
        "mixed, no model",
        "equal, no model",
    ):
        table.add_column(column, justify="left" if column == "family" else "right")
    texts = stdlib_texts(documents)
    equal = equal_length_texts(texts, _minilm(), count=EQUAL_TEXTS)
    for name in only or FAMILIES:
        table.add_row(name, *_measure(_contest(name, threads), texts, equal, repeats))
    console.print(table)


def _measure(contest: Contest, texts: list[str], equal: list[str], repeats: int) -> list[str]:
    texts, equal = texts[: contest.documents], equal[: contest.documents]
    mixed_seconds = _race(contest, texts, repeats)
    equal_seconds = _race(contest, equal, repeats)
    speeds = [f"{len(texts) / mixed_seconds[who]:,.0f}" for who in ("ours", "theirs")]
    ratios = [f"{seconds['theirs'] / seconds['ours']:.2f}" for seconds in (mixed_seconds, equal_seconds)]
    return [*speeds, *ratios, *(_without_model(contest, some, repeats) for some in (texts, equal))]


def _race(contest: Contest, texts: list[str], repeats: int) -> dict[str, float]:
    contest.embed_ours(texts[:16])
    contest.embed_theirs(texts[:16])
    runs = {"ours": partial(contest.embed_ours, texts), "theirs": partial(contest.embed_theirs, texts)}
    return take_turns(runs, repeats)


def _without_model(contest: Contest, texts: list[str], repeats: int) -> str:
    """Ratio of what both do with the model's output, tokens and outputs being recorded; "" where that is nothing."""
    if contest.name in ("reranker", "static"):
        return ""
    theirs = contest.theirs.model
    context = theirs.onnx_embed(texts)
    output, mask, ids = context.model_output, context.attention_mask, context.input_ids

    def postprocess() -> None:
        # Some of fastembed's families write into what they are given.
        fresh = type(context)(model_output=output, attention_mask=mask.copy(), input_ids=ids.copy())
        drain(theirs._post_process_onnx_output(fresh))

    with _replayed(contest.ours.model.text_model, texts):
        seconds = take_turns({"ours": partial(contest.ours.embed_arrow, texts), "theirs": postprocess}, repeats)
    return f"{seconds['theirs'] / seconds['ours']:.2f}"


@contextmanager
def _replayed(model: Any, texts: list[str]) -> Iterator[None]:
    """Let a TextModel give recorded tokens and outputs in place of computing them."""
    tokenized = model.tokenize(texts)
    ran: dict[bytes, list[BatchOutput]] = {}
    run, tokenize = model.run, model.tokenize

    def replay(tokens: Any, **_: Any) -> Iterator[BatchOutput]:
        # By the ids: late interaction puts markers into the tokens first.
        key = tokens.ids.tobytes()
        if key not in ran:
            ran[key] = list(run(tokens))
        return iter(ran[key])

    model.run, model.tokenize = replay, lambda _: tokenized
    try:
        yield
    finally:
        model.run, model.tokenize = run, tokenize


def _contest(name: str, threads: int) -> Contest:
    settings: dict[str, Any] = {"threads": threads, "cuda": False}
    if name == "reranker":
        return _reranker(settings)
    if name == "static":
        return _static(settings)
    if name == "colbert":
        return _colbert(settings)
    from fastembed import SparseTextEmbedding as Reference

    models = {
        "splade": ("prithivida/Splade_PP_en_v1", family_models.splade_folder),
        "bm42": ("Qdrant/bm42-all-minilm-l6-v2-attentions", family_models.bm42_folder),
        "minicoil": ("Qdrant/minicoil-v1", lambda: family_models.minicoil_folder(stdlib_texts())),
    }
    if name not in models:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(FAMILIES)}", param_hint="--only")
    model, folder = models[name][0], models[name][1]()
    ours = SparseTextEmbedding(model, specific_model_path=folder, **settings)
    theirs = Reference(model, specific_model_path=str(folder), **settings)
    return Contest(name, ours, theirs, ours.embed_arrow, lambda texts: drain(theirs.embed(texts)), DOCUMENTS.get(name))


def _colbert(settings: dict[str, Any]) -> Contest:
    from fastembed import LateInteractionTextEmbedding as Reference

    model, folder = "colbert-ir/colbertv2.0", family_models.colbert_folder()
    ours = LateInteractionTextEmbedding(model, specific_model_path=folder, **settings)
    theirs = Reference(model, specific_model_path=str(folder), **settings)
    return Contest("colbert", ours, theirs, ours.embed_arrow, lambda texts: drain(theirs.embed(texts)))


def _static(settings: dict[str, Any]) -> Contest:
    from fastembed import TextEmbedding as Reference

    model, folder = "minishlab/potion-base-8M", family_models.static_folder()
    ours = TextEmbedding(model, specific_model_path=folder)
    theirs = Reference(model, specific_model_path=str(folder))
    return Contest("static", ours, theirs, ours.embed_arrow, lambda texts: drain(theirs.embed(texts)))


def _reranker(settings: dict[str, Any]) -> Contest:
    from fastembed.rerank.cross_encoder import TextCrossEncoder as Reference

    model, folder = "Xenova/ms-marco-MiniLM-L-6-v2", family_models.reranker_folder()
    ours = TextCrossEncoder(model, specific_model_path=folder, **settings)
    theirs = Reference(model, specific_model_path=str(folder), **settings)
    return Contest(
        "reranker",
        ours,
        theirs,
        lambda texts: ours.model.scores(_pairs(texts)),
        lambda texts: drain(theirs.rerank_pairs(_pairs(texts))),
    )


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    rng = random.Random(0)
    return [(rng.choice(QUERIES), text) for text in texts]


def _minilm() -> TextEmbedding:
    from benchmarks.measuring import MINILM

    return TextEmbedding(MINILM, specific_model_path=minilm_folder(), cuda=False)
