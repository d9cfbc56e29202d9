"""Calls that embed images, and texts beside them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from tests.embedders.api.side_by_side.library import Call, Library


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
