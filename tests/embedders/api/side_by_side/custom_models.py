"""Calls that add users' models; each takes a name of its own, since added models stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.embedders.api.side_by_side.library import RERANKER, TEXTS, Call, Library


def custom_model_calls() -> Iterator[Call]:
    """Users' models; each call takes a name of its own, since added models stay."""
    network = "sentence-transformers/all-MiniLM-L6-v2"
    poolings = ("CLS", "MEAN", "LAST_TOKEN")

    def dense(library: Library, name: str, *arguments: Any, **facts: Any) -> Any:
        library.TextEmbedding.add_custom_model(name, *arguments, **facts)
        model = library.TextEmbedding(name, specific_model_path=str(library.folder(network)), cuda=False)
        return model.embed(TEXTS)

    def source(library: Library) -> Any:
        return library.ModelSource(hf="tests/own")

    for pooling in poolings:
        for normalized in (True, False):
            yield Call(
                f"TextEmbedding.add_custom_model positional {pooling} {normalized}",
                lambda library, pooling=pooling, normalized=normalized: dense(
                    library,
                    f"tests/{pooling}-{normalized}",
                    getattr(library.PoolingType, pooling),
                    normalized,
                    source(library),
                    384,
                    "model.onnx",
                    "mine",
                    "mit",
                    0.1,
                    [],
                    None,
                ),
            )
    mean: Callable[[Library], dict[str, Any]] = lambda library: {  # noqa: E731
        "pooling": library.PoolingType.MEAN,
        "normalization": True,
        "sources": source(library),
        "dim": 384,
        "model_file": "model.onnx",
    }
    yield Call(
        "TextEmbedding.add_custom_model by keyword",
        lambda library: dense(library, "tests/keyword", **mean(library), description="d", license="l", size_in_gb=1.0),
    )
    yield Call(
        "TextEmbedding.add_custom_model output_name",
        lambda library: dense(library, "tests/output", **mean(library), output_name="last_hidden_state"),
    )
    yield Call(
        "TextEmbedding.add_custom_model no such output",
        lambda library: dense(library, "tests/no-output", **mean(library), output_name="nope"),
    )
    yield Call(
        "TextEmbedding.add_custom_model pooling that does not go",
        lambda library: dense(library, "tests/disabled", **{**mean(library), "pooling": library.PoolingType.DISABLED}),
    )
    yield Call(
        "TextEmbedding.add_custom_model wrong dim",
        lambda library: dense(library, "tests/dim", **{**mean(library), "dim": 7}),
    )
    yield Call(
        "TextEmbedding.add_custom_model a name that is taken",
        lambda library: dense(library, "baai/BGE-small-en", **mean(library)),
    )
    yield Call(
        "TextEmbedding.add_custom_model twice",
        lambda library: [dense(library, "tests/twice", **mean(library)) for _ in range(2)],
    )
    yield Call(
        "TextEmbedding.add_custom_model row",
        lambda library: [
            library.TextEmbedding.add_custom_model("tests/row", **mean(library), additional_files=["a.txt"]),
            [
                {key: row[key] for key in ("model", "dim", "model_file", "additional_files", "description", "license")}
                for row in library.TextEmbedding.list_supported_models()
                if row["model"] == "tests/row"
            ],
            library.TextEmbedding.get_embedding_size("TESTS/row"),
        ],
    )
    yield Call("TextEmbedding.add_custom_model lacks arguments", lambda library: dense(library, "tests/lacks"))
    yield Call(
        "TextEmbedding.add_custom_model unknown keyword",
        lambda library: dense(library, "tests/unknown", **mean(library), promts=1),
    )

    def rank(library: Library, name: str, *arguments: Any) -> Any:
        library.TextCrossEncoder.add_custom_model(name, *arguments)
        model = library.TextCrossEncoder(name, specific_model_path=str(library.folder(RERANKER)), cuda=False)
        return model.rerank("what is paris", TEXTS)

    facts = ("onnx/model.onnx", "mine", "mit", 0.1, [])
    yield Call(
        "TextCrossEncoder.add_custom_model positional",
        lambda library: rank(library, "tests/rank", source(library), *facts),
    )
    yield Call(
        "TextCrossEncoder.add_custom_model of an embedding model's name",
        lambda library: [dense(library, "tests/both", **mean(library)), rank(library, "tests/both", source(library))],
    )
    yield Call(
        "TextCrossEncoder.add_custom_model a name that is taken",
        lambda library: rank(library, RERANKER.upper(), source(library)),
    )
