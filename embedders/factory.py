"""Makes the embedder that belongs to a catalog model, whatever its family."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from embedders.base import Embedder
from embedders.catalog import find_card

# Family -> the class that embeds it. A new family adds one line.
_CLASSES = {
    "dense": "embedders.dense:TextEmbedding",
    "bm25": "embedders.sparse.text:SparseTextEmbedding",
}


def make_embedder(model: str, **arguments: Any) -> Embedder:
    """Make the embedder of a catalog model; ``arguments`` are those of its class (TextEmbedding, ...).

    Raises ModelNotFoundError for a model that no catalog has, TypeError for an argument that its class lacks.
    """
    card = find_card(model)
    module, _, name = _CLASSES[card.family].partition(":")
    embedder_class = getattr(import_module(module), name)
    _check_arguments(card.model, inspect.signature(embedder_class).parameters, arguments)
    embedder: Embedder = embedder_class(card.model, **arguments)
    return embedder


def _check_arguments(model: str, parameters: Mapping[str, inspect.Parameter], arguments: Iterable[str]) -> None:
    """Name a misspelt argument; a class that takes any keyword checks them itself."""
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = [name for name in parameters if name != "model_name"]
    for argument in arguments:
        if argument not in known:
            near = get_close_matches(argument, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"model {model!r} takes no {argument!r}; {hint}")


def is_heavy(model: str) -> bool:
    """Tell whether a model runs a neural network, and so wants most of a machine's cores or its GPU."""
    return find_card(model).family != "bm25"
