"""Calls of fastembed's public surface, made of its classes and of this project's: over all classes, by name."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TEXTS = [
    "the bat in the cave",
    "",
    "paris is a capital city",
    "hello, hello world! 3.14",
    "東京 x",
    "river bank money " * 30,
]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

STATIC, BM25 = "minishlab/potion-base-8M", "Qdrant/bm25"
# Class, and the models of it that are called: one of each way of doing.
TEXT_MODELS = {
    "TextEmbedding": [
        "BAAI/bge-small-en-v1.5",
        "sentence-transformers/all-MiniLM-L6-v2",
        "jinaai/jina-embeddings-v3",
        "Qwen/Qwen3-Embedding-0.6B",
        "Qdrant/clip-ViT-B-32-text",
        STATIC,
    ],
    "SparseTextEmbedding": [
        "prithivida/Splade_PP_en_v1",
        BM25,
        "Qdrant/bm42-all-minilm-l6-v2-attentions",
        "Qdrant/minicoil-v1",
        "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte",
    ],
    "LateInteractionTextEmbedding": ["colbert-ir/colbertv2.0", "jinaai/jina-colbert-v2", "lightonai/LateOn"],
}
COLMODERNVBERT = "Qdrant/colmodernvbert"
RERANKER, IMAGE, COLPALI = "Xenova/ms-marco-MiniLM-L-6-v2", "Qdrant/clip-ViT-B-32-vision", "Qdrant/colpali-v1.3-fp16"
# One model of each class, for calls that do not hang on the model.
MODEL_OF = {
    **{facade: models[0] for facade, models in TEXT_MODELS.items()},
    "TextCrossEncoder": RERANKER,
    "ImageEmbedding": IMAGE,
    "LateInteractionMultimodalEmbedding": COLPALI,
}

PLACES = {
    "ModelSource": "fastembed.common.model_description",
    "PoolingType": "fastembed.common.model_description",
    "Device": "fastembed.common.types",
    "OnnxProvider": "fastembed.common",
    "ImageInput": "fastembed.common",
    "Muvera": "fastembed.postprocess",
    "TextCrossEncoder": "fastembed.rerank.cross_encoder",
    "DefaultEmbedding": "fastembed.embedding",
}


@dataclass
class Library:
    """One of the two: its names, a folder for each model, images, and models that several calls share."""

    name: str
    folder: Callable[[str], Path]
    images: Path
    _shared: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        module = PLACES.get(name, "fastembed") if self.name == "fastembed" else "embedders"
        return getattr(importlib.import_module(module), name)

    def make(self, facade: str, *arguments: Any, **options: Any) -> Any:
        """Make the class's model, on a CPU unless the options say more; its name is an argument or option."""
        name = arguments[0] if arguments else options.get("model_name", MODEL_OF[facade])
        path = {"specific_model_path": str(self.folder(name))}
        if not arguments and "model_name" not in options:
            arguments = (name,)
        if "cuda" not in options and "providers" not in options and len(arguments) < 5:
            options["cuda"] = False
        return getattr(self, facade)(*arguments, **{**path, **options})

    def shared(self, facade: str, name: str | None = None) -> Any:
        """The class's model, made once."""
        key = facade, name or MODEL_OF[facade]
        if key not in self._shared:
            self._shared[key] = self.make(*key)
        return self._shared[key]

    def image(self, name: str) -> Path:
        return self.images / name


@dataclass(frozen=True)
class Call:
    """A call by its name; ``run`` gives its result. ``kinds`` compares the types of numbers, too."""

    name: str
    run: Callable[[Library], Any]
    kinds: bool = False


def write_images(folder: Path, make: Callable[[int, int, int], Image.Image]) -> Path:
    """Files for the calls: plain ones, one that is to be turned, one with transparency, and what is no image."""
    plain = make(40, 30, 0)
    plain.save(folder / "plain.png")
    make(25, 60, 1).save(folder / "tall.png")
    turn = Image.Exif()
    turn[0x0112] = 6
    plain.save(folder / "turned.jpg", exif=turn)
    clear = plain.copy()
    clear.putalpha(make(40, 30, 2).convert("L"))
    clear.save(folder / "clear.png")
    (folder / "text.png").write_bytes(b"not an image")
    return folder


def all_calls() -> list[Call]:
    """Every call, each name once."""
    calls = [
        *text_calls(),
        *query_calls(),
        *reranker_calls(),
        *image_calls(),
        *multimodal_calls(),
        *constructor_calls(),
        *catalog_calls(),
        *custom_model_calls(),
        *sparse_vector_calls(),
        *muvera_calls(),
        *name_calls(),
    ]
    assert len({call.name for call in calls}) == len(calls)
    return calls


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


def image_calls() -> Iterator[Call]:
    plain, tall = "plain.png", "tall.png"
    asked: dict[str, Callable[[Any, Library], Any]] = {
        "path": lambda embed, library: embed(library.image(plain)),
        "path as str": lambda embed, library: embed(str(library.image(plain))),
        "Pillow image": lambda embed, library: embed(Image.open(library.image(plain))),
        "list": lambda embed, library: embed([library.image(plain), str(library.image(tall))]),
        "generator": lambda embed, library: embed(library.image(name) for name in (plain, tall)),
        "nothing": lambda embed, library: embed([]),
        "positional": lambda embed, library: embed([library.image(plain)], 1, None),
        "by keyword": lambda embed, library: embed(images=[library.image(plain)], batch_size=1, parallel=None),
        "parallel=4": lambda embed, library: embed([library.image(plain)], parallel=4),
        "unknown keyword": lambda embed, library: embed([library.image(plain)], resize=3),
        "batch_size=0": lambda embed, library: embed([library.image(plain)], batch_size=0),
        "types of numbers": lambda embed, library: embed([library.image(plain)]),
        "turned by EXIF": lambda embed, library: embed([library.image("turned.jpg")]),
        "transparent": lambda embed, library: embed([library.image("clear.png")]),
        "bytes": lambda embed, library: embed([library.image(plain).read_bytes()]),
        "file": lambda embed, library: embed([io.BytesIO(library.image(plain).read_bytes())]),
        "array": lambda embed, library: embed([np.asarray(Image.open(library.image(plain)))]),
        "no file": lambda embed, library: embed([library.image("gone.png")]),
        "no image": lambda embed, library: embed([library.image("text.png")]),
        "None": lambda embed, library: embed([None]),
    }
    for name, ask in asked.items():
        yield Call(
            f"ImageEmbedding.embed {name}",
            lambda library, ask=ask: ask(library.shared("ImageEmbedding").embed, library),
            kinds=name == "types of numbers",
        )


def multimodal_calls() -> Iterator[Call]:
    plain = "plain.png"
    asked: dict[str, Callable[[Any, Library], Any]] = {
        "embed_text str": lambda model, library: model.embed_text("hello world"),
        "embed_text list of one": lambda model, library: model.embed_text(["hello world"]),
        "embed_text positional": lambda model, library: model.embed_text(["hello"], 2, None),
        "embed_text parallel=4": lambda model, library: model.embed_text(documents=["hello"], parallel=4),
        "embed_text of several lengths": lambda model, library: model.embed_text(["hello", "hello world, paris"]),
        "embed_text nothing": lambda model, library: model.embed_text([]),
        "embed_text unknown keyword": lambda model, library: model.embed_text(["hello"], pool=1),
        "embed_text batch_size=0": lambda model, library: model.embed_text(["hello"], batch_size=0),
        "embed_image path": lambda model, library: model.embed_image(library.image(plain)),
        "embed_image positional": lambda model, library: model.embed_image([library.image(plain)], 1, None),
        "embed_image parallel=4": lambda model, library: model.embed_image(images=[library.image(plain)], parallel=4),
        "embed_image batch_size=0": lambda model, library: model.embed_image([library.image(plain)], batch_size=0),
        "token_count": lambda model, library: model.token_count(["hello world", "a"]),
        "token_count extended": lambda model, library: model.token_count("hello", include_extension=True),
        "embedding_size": lambda model, library: model.embedding_size,
    }
    facade = "LateInteractionMultimodalEmbedding"
    for name, ask in asked.items():
        yield Call(f"{facade} {name}", lambda library, ask=ask: ask(library.shared(facade), library))


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
        yield Call(f"{facade}() no name", lambda library, facade=facade: getattr(library, facade)(cache_dir="/nowhere"))
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


def sparse_vector_calls() -> Iterator[Call]:
    asked: dict[str, Callable[[Any], Any]] = {
        "of arrays": lambda kind: kind(np.array([1.5, 2.0]), np.array([3, 4])).as_dict(),
        "of lists": lambda kind: kind([1.0, 2.0], [3, 4]).as_dict(),
        "by keyword": lambda kind: kind(values=[1, 2], indices=[3, 4]).as_dict(),
        "of lists as_object": lambda kind: kind([1.0, 2.0], [3, 4]).as_object(),
        "as_object": lambda kind: kind(np.array([1.5]), np.array([3])).as_object(),
        "there and back": lambda kind: kind.from_dict({7: 0.1, 2: 1e-9, 5: 3}).as_dict() == {7: 0.1, 2: 1e-9, 5: 3},
        "from_dict indices": lambda kind: kind.from_dict({7: 0.5, 2: 1.5}).indices,
        "from_dict values": lambda kind: kind.from_dict({7: 0.5, 2: 1.5}).values,
        "from_dict of nothing": lambda kind: kind.from_dict({}).as_dict(),
        "of different lengths": lambda kind: kind([1.0, 2.0], [3]).as_dict(),
    }
    for name, ask in asked.items():
        yield Call(f"SparseEmbedding {name}", lambda library, ask=ask: ask(library.SparseEmbedding))
    for name in ("from_dict indices", "from_dict values"):
        run = asked[name]
        yield Call(
            f"SparseEmbedding {name}, types of numbers",
            lambda library, run=run: run(library.SparseEmbedding),
            kinds=True,
        )


def muvera_calls() -> Iterator[Call]:
    tokens = np.random.default_rng(1).normal(size=(9, 32)).astype(np.float32)
    asked: dict[str, Callable[[Any], Any]] = {
        "process_document": lambda muvera: muvera(32).process_document(tokens),
        "process_query": lambda muvera: muvera(32).process_query(tokens),
        "process": lambda muvera: muvera(32).process(tokens, fill_empty_clusters=False, normalize_by_count=True),
        "positional": lambda muvera: muvera(32, 3, 8, 4, 7).process_document(tokens),
        "by keyword": lambda muvera: muvera(dim=32, k_sim=3, dim_proj=32, r_reps=2).process_query(tokens),
        "embedding_size": lambda muvera: muvera(32, 3, 8, 4).embedding_size,
        "attributes": lambda muvera: [getattr(muvera(32), name) for name in ("dim", "k_sim", "dim_proj", "r_reps")],
        "too many numbers": lambda muvera: muvera(8, dim_proj=16),
        "no token": lambda muvera: muvera(32).process_document(tokens[:0]),
        "other numbers": lambda muvera: muvera(16).process_document(tokens),
    }
    for name, ask in asked.items():
        yield Call(f"Muvera {name}", lambda library, ask=ask: ask(library.Muvera))
    yield Call("Muvera types of numbers", lambda library: library.Muvera(32).process_document(tokens), kinds=True)
    late = "LateInteractionTextEmbedding"
    yield Call(
        "Muvera.from_multivector_model",
        lambda library: library.Muvera.from_multivector_model(library.shared(late), 2, 4, 3).process_query(
            next(iter(library.shared(late).query_embed("the bat")))
        ),
    )


def name_calls() -> Iterator[Call]:
    yield Call("ModelSource", lambda library: [library.ModelSource(hf="a/b").hf, library.ModelSource(url="u").url])
    yield Call("ModelSource of nothing", lambda library: library.ModelSource())
    yield Call("PoolingType", lambda library: [pooling.value for pooling in library.PoolingType])
    yield Call("Device", lambda library: [library.Device(name).value for name in ("cpu", "cuda", "auto")])
    yield Call("Device of nothing", lambda library: library.Device("gpu"))
    yield Call("DefaultEmbedding", lambda library: library.DefaultEmbedding is library.TextEmbedding)
    yield Call("OnnxProvider", lambda library: library.OnnxProvider is not None)
    yield Call("ImageInput", lambda library: library.ImageInput is not None)
    yield Call("__version__", lambda library: isinstance(library.__version__, str))
