"""Calls that make models and look them up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.embedders.api.side_by_side.library import BM25, COLMODERNVBERT, CPU, CUDA, MODEL_OF, STATIC, Call, Library

CONSTRUCTORS: dict[str, dict[str, Any]] = {
    "no options": {},
    "threads": {"threads": 1},
    "cuda=False": {"cuda": False},
    "cuda as str": {"cuda": "cpu"},
    "providers": {"providers": [CPU]},
    "providers with options": {"providers": [(CPU, {})]},
    "providers of a GPU": {"providers": [CUDA, CPU]},
    "unknown provider": {"providers": ["NopeExecutionProvider"]},
    "cuda=True and providers": {"cuda": True, "providers": [CPU]},
    "cuda=True": {"cuda": True},
    "device_ids": {"device_ids": [0]},
    "device_id": {"device_id": 0},
    "lazy_load": {"lazy_load": True},
    "local_files_only": {"local_files_only": True},
    "enable_cpu_mem_arena": {"enable_cpu_mem_arena": False},
    "extra_session_options": {"extra_session_options": {"enable_cpu_mem_arena": False}},
    "mmap": {"mmap": True},
    "unknown keyword": {"max_lenght": 3},
}


def constructor_calls() -> Iterator[Call]:
    for facade, model in MODEL_OF.items():
        for name, options in CONSTRUCTORS.items():
            yield Call(f"{facade}() {name}", _made(facade, options))
        yield Call(
            f"{facade}() Device", lambda library, facade=facade: _first(library, facade, cuda=library.Device.CPU)
        )
        positional = (model, None, 1, [CPU], "auto", None, True)
        yield Call(
            f"{facade}() positional",
            lambda library, facade=facade, positional=positional: _embedded(
                library, facade, library.make(facade, *positional)
            ),
        )
        yield Call(f"{facade}() model_name", _made(facade, {"model_name": model}))
        yield Call(f"{facade}() other letters", _made(facade, {"model_name": model.upper()}, known=model))
        yield Call(f"{facade}() unknown model", lambda library, facade=facade: getattr(library, facade)("no/model"))
        yield Call(
            f"{facade}() no name",
            lambda library, facade=facade: getattr(library, facade)(cache_dir=str(library.images)),
        )
        yield Call(
            f"{facade}() no folder",
            lambda library, facade=facade, model=model: getattr(library, facade)(
                model, specific_model_path=str(library.images / "none"), cuda=False
            ),
        )
        for attribute in ("model_name", "cache_dir", "threads"):
            yield Call(
                f"{facade}.{attribute}",
                lambda library, facade=facade, name=attribute: getattr(library.shared(facade), name),
            )
        yield Call(
            f"{facade}.model_name in other letters",
            lambda library, facade=facade, model=model: (
                getattr(library, facade)(
                    model.upper(), specific_model_path=str(library.folder(model)), cuda=False
                ).model_name
            ),
        )
        yield Call(
            f"{facade} keeps what it is given",
            lambda library, facade=facade: [
                getattr(library.make(facade, threads=1, cache_dir=str(library.images)), name) == wanted
                for name, wanted in (("threads", 1), ("cache_dir", str(library.images)))
            ],
        )
    for option in ("mmap", "threads", "lazy_load"):
        chosen = {"model_name": STATIC, option: 1 if option == "threads" else True}
        yield Call(f"TextEmbedding() {option}, {STATIC}", _made("TextEmbedding", chosen))
    yield Call(
        f"SparseTextEmbedding() no folder, {BM25}",
        lambda library: library.SparseTextEmbedding(BM25, specific_model_path=str(library.images / "none")),
    )
    for facade, name in (
        ("SparseTextEmbedding", "prithvida/Splade_PP_en_v1"),
        ("TextEmbedding", "jinaai/jina-embeddings-v2-base-de"),
    ):
        yield Call(f"{facade}() {name}", _made(facade, {"model_name": name}))
    yield Call(
        f"LateInteractionMultimodalEmbedding() {COLMODERNVBERT}",
        lambda library: (
            library.make("LateInteractionMultimodalEmbedding", model_name=COLMODERNVBERT, lazy_load=True).model_name
        ),
    )
    for options in ({"k": 1.5, "b": 0.5, "avg_len": 20.0}, {"language": "german"}, {"disable_stemmer": True}):
        run = _made("SparseTextEmbedding", {"model_name": BM25, **options})
        yield Call(f"SparseTextEmbedding() {options}", run)
    for options in ({"language": "klingon"}, {"disable_stemmer": True, "stemmer": object()}):
        run = _made("SparseTextEmbedding", {"model_name": BM25, **options})
        yield Call(f"SparseTextEmbedding() {list(options)} that do not go", run)
    yield Call(
        "TextEmbedding() task_id", _made("TextEmbedding", {"model_name": "jinaai/jina-embeddings-v3", "task_id": 4})
    )


def _made(facade: str, options: dict[str, Any], known: str | None = None) -> Callable[[Library], Any]:
    def run(library: Library) -> Any:
        if known is None:
            return _embedded(library, facade, library.make(facade, **options))
        path = str(library.folder(known))
        return _embedded(library, facade, getattr(library, facade)(**options, specific_model_path=path, cuda=False))

    return run


def _first(library: Library, facade: str, **options: Any) -> Any:
    return _embedded(library, facade, library.make(facade, **options))


def _embedded(library: Library, facade: str, model: Any) -> Any:
    """What a model gives for one document."""
    if facade == "TextCrossEncoder":
        return model.rerank("what is paris", ["paris is a capital"])
    if facade == "ImageEmbedding":
        return model.embed([library.image("plain.png")])
    return model.embed_text(["hello"]) if facade == "LateInteractionMultimodalEmbedding" else model.embed(["hello bat"])


FACTS = ("model_file", "license", "size_in_GB", "dim", "vocab_size", "requires_idf", "tasks", "description")


def catalog_calls() -> Iterator[Call]:
    """Facts of fastembed's models; ``names`` also shows those that only one of the two has."""
    for facade, model in MODEL_OF.items():
        yield Call(
            f"{facade}.list_supported_models names",
            lambda library, facade=facade: [row["model"] for row in getattr(library, facade).list_supported_models()],
        )
        yield Call(f"{facade}.list_supported_models sources.hf", _listed(facade, lambda row: row["sources"]["hf"]))
        yield Call(
            f"{facade}.list_supported_models additional_files",
            _listed(facade, lambda row: sorted(row["additional_files"])),
        )
        for fact in FACTS:
            yield Call(f"{facade}.list_supported_models {fact}", _listed(facade, lambda row, fact=fact: row.get(fact)))
        if facade in ("SparseTextEmbedding", "TextCrossEncoder"):
            continue
        for name in (model, model.upper(), "no/model"):
            yield Call(
                f"{facade}.get_embedding_size {name}",
                lambda library, facade=facade, name=name: getattr(library, facade).get_embedding_size(name),
            )
        yield Call(f"{facade}.embedding_size", lambda library, facade=facade: library.shared(facade).embedding_size)


def _listed(facade: str, fact: Callable[[dict[str, Any]], Any]) -> Callable[[Library], Any]:
    def run(library: Library) -> Any:
        fastembed = Library("fastembed", library.folder, library.images)
        names = {row["model"] for row in getattr(fastembed, facade).list_supported_models()}
        rows = getattr(library, facade).list_supported_models()
        return {row["model"]: fact(row) for row in rows if row["model"] in names}

    return run
