"""Calls that embed texts, count tokens, and score pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.embedders.api.side_by_side.library import MODEL_OF, TEXT_MODELS, TEXTS, Call, Library

EMBED_ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "list": lambda embed: embed(TEXTS),
    "tuple": lambda embed: embed(tuple(TEXTS)),
    "generator": lambda embed: embed(text for text in TEXTS),
    "str": lambda embed: embed("paris is a capital"),
    "nothing": lambda embed: embed([]),
    "batch_size positional": lambda embed: embed(TEXTS, 2),
    "parallel=None": lambda embed: embed(TEXTS, 2, None),
    "parallel=0": lambda embed: embed(TEXTS, parallel=0),
    "parallel=1": lambda embed: embed(TEXTS, parallel=1),
    "parallel=4": lambda embed: embed(TEXTS, parallel=4),
    "by keyword": lambda embed: embed(documents=TEXTS, batch_size=4, parallel=None),
    "unknown keyword": lambda embed: embed(TEXTS, show_progress=True),
    "batch_size=0": lambda embed: embed(TEXTS, batch_size=0),
    "batch_size=-1": lambda embed: embed(TEXTS, batch_size=-1),
    "a number": lambda embed: embed([1]),
    "None in a list": lambda embed: embed(["a", None]),
    "None": lambda embed: embed(None),
    "endless": lambda embed: (vector for vector, _ in zip(embed(_endless(), 4), range(6), strict=False)),
}


OTHER_ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "list": lambda embed: embed(TEXTS),
    "str": lambda embed: embed("paris is a capital"),
    "generator": lambda embed: embed(iter(TEXTS)),
    "batch_size": lambda embed: embed(TEXTS, batch_size=2),
    "parallel=None": lambda embed: embed(TEXTS, parallel=None),
    "unknown keyword": lambda embed: embed(TEXTS, show_progress=True),
    "nothing": lambda embed: embed([]),
}


def _endless() -> Iterator[str]:
    while True:
        yield "the bat"


def text_calls() -> Iterator[Call]:
    """Documents through every way of calling ``embed`` with one model a class, and a list with the others."""
    for facade, (first, *others) in TEXT_MODELS.items():
        for name, ask in EMBED_ARGUMENTS.items():
            yield Call(f"{facade}.embed {name}", _asked(facade, first, "embed", ask))
        for model in others:
            for name in ("list", "str", "batch_size positional", "parallel=4"):
                yield Call(f"{facade}.embed {name}, {model}", _asked(facade, model, "embed", EMBED_ARGUMENTS[name]))
        for model in (first, *others):
            for method in ("embed", "query_embed"):
                ask = OTHER_ARGUMENTS["list"]
                yield Call(
                    f"{facade}.{method} types of numbers, {model}", _asked(facade, model, method, ask), kinds=True
                )
        yield Call(f"{facade}.embed is an iterator", _iterates(facade, first))


def query_calls() -> Iterator[Call]:
    """Queries, passages and counts of tokens."""
    for facade, models in TEXT_MODELS.items():
        for model in models:
            arguments = (
                OTHER_ARGUMENTS if model == models[0] else {name: OTHER_ARGUMENTS[name] for name in ("list", "str")}
            )
            for method in ("query_embed", "passage_embed"):
                for name, ask in arguments.items():
                    yield Call(f"{facade}.{method} {name}, {model}", _asked(facade, model, method, ask))
            for name in ("list", "str", "batch_size", "unknown keyword", "nothing"):
                run = _asked(facade, model, "token_count", OTHER_ARGUMENTS[name])
                yield Call(f"{facade}.token_count {name}, {model}", run)
    for is_doc in (True, False):
        for extended in (True, False):
            options = {"is_doc": is_doc, "include_extension": extended}
            run = _asked(
                "LateInteractionTextEmbedding",
                MODEL_OF["LateInteractionTextEmbedding"],
                "token_count",
                lambda count, options=options: count(TEXTS, **options),
            )
            yield Call(f"LateInteractionTextEmbedding.token_count {options}", run)
    jina = "jinaai/jina-embeddings-v3"
    for task in (0, 1, 4):
        run = _asked("TextEmbedding", jina, "embed", lambda embed, task=task: embed(TEXTS, task_id=task))
        yield Call(f"TextEmbedding.embed task_id={task}", run)
    run = _asked("TextEmbedding", MODEL_OF["TextEmbedding"], "embed", lambda embed: embed(TEXTS, task_id=1))
    yield Call("TextEmbedding.embed task_id=1 without tasks", run)


def _asked(facade: str, model: str, method: str, ask: Callable[[Any], Any]) -> Callable[[Library], Any]:
    return lambda library: ask(getattr(library.shared(facade, model), method))


def _iterates(facade: str, model: str) -> Callable[[Library], Any]:
    def run(library: Library) -> Any:
        vectors = library.shared(facade, model).embed(TEXTS)
        return iter(vectors) is vectors

    return run


PAIRS = [("what is paris", text) for text in TEXTS]


def reranker_calls() -> Iterator[Call]:
    asked: dict[str, Callable[[Any], Any]] = {
        "rerank": lambda model: model.rerank("what is paris", TEXTS),
        "rerank generator": lambda model: model.rerank("what is paris", iter(TEXTS)),
        "rerank batch_size positional": lambda model: model.rerank("what is paris", TEXTS, 2),
        "rerank by keyword": lambda model: model.rerank(query="what is paris", documents=TEXTS, batch_size=2),
        "rerank nothing": lambda model: model.rerank("what is paris", []),
        "rerank top_k": lambda model: model.rerank("what is paris", TEXTS, top_k=2),
        "rerank parallel": lambda model: model.rerank("what is paris", TEXTS, parallel=2),
        "rerank batch_size=0": lambda model: model.rerank("what is paris", TEXTS, batch_size=0),
        "rerank a str": lambda model: model.rerank("what is paris", "paris"),
        "rerank a number": lambda model: model.rerank("what is paris", [1]),
        "rerank_pairs": lambda model: model.rerank_pairs(PAIRS),
        "rerank_pairs generator": lambda model: model.rerank_pairs(iter(PAIRS)),
        "rerank_pairs positional": lambda model: model.rerank_pairs(PAIRS, 2, None),
        "rerank_pairs parallel=0": lambda model: model.rerank_pairs(PAIRS, parallel=0),
        "rerank_pairs by keyword": lambda model: model.rerank_pairs(pairs=PAIRS, batch_size=3, parallel=None),
        "rerank_pairs one": lambda model: model.rerank_pairs(("what is paris", "paris is a capital")),
        "rerank_pairs nothing": lambda model: model.rerank_pairs([]),
        "rerank_pairs batch_size=0": lambda model: model.rerank_pairs(PAIRS, batch_size=0),
        "rerank_pairs unknown keyword": lambda model: model.rerank_pairs(PAIRS, top_k=2),
        "rerank_pairs a number": lambda model: model.rerank_pairs([("a", 1)]),
        "scores are float": lambda model: [type(score).__name__ for score in model.rerank("a", TEXTS)],
        "token_count": lambda model: model.token_count(PAIRS),
        "token_count batch_size": lambda model: model.token_count(PAIRS, batch_size=2),
        "token_count nothing": lambda model: model.token_count([]),
    }
    for name, ask in asked.items():
        yield Call(f"TextCrossEncoder {name}", lambda library, ask=ask: ask(library.shared("TextCrossEncoder")))
