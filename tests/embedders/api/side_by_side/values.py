"""Calls of what needs no model: sparse vectors, MUVERA, names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.embedders.api.side_by_side.library import Call


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
