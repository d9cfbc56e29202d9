"""Makes the model that belongs to a catalog card, whatever its family."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from embedders.base import Embedder
from embedders.catalog import ModelCard, find_card
from embedders.errors import ModelNotFoundError
from embedders.model_options import ModelPlace, Runtime


@dataclass(frozen=True)
class Family:
    """One family: the class that runs its models, and what the models are.

    The class is made as ``place(card, place, runtime, **options)``; its keyword-only parameters are the family's own
    options. ``network`` tells whether it runs a neural network; ``embeds`` is False for rerankers, which score pairs;
    ``images`` is True where documents are images.
    """

    location: str
    network: bool = True
    embeds: bool = True
    images: bool = False

    def load_class(self) -> Any:
        """Import the class; families that a process does not use cost it nothing."""
        module, _, name = self.location.partition(":")
        return getattr(import_module(module), name)


# A new family adds one line. Where two have a model of one name, it is the earlier's unless the family is asked for:
# jinaai/jina-clip-v1 and google/siglip2-base-patch16-224 embed texts as "dense", images as "image".
FAMILIES = {
    "dense": Family("embedders.dense:DenseModel"),
    "static": Family("embedders.static:StaticModel", network=False),
    "bm25": Family("embedders.sparse.bm25:Bm25", network=False),
    "splade": Family("embedders.sparse.splade:Splade"),
    "neural_sparse": Family("embedders.sparse.neural_sparse:NeuralSparse"),
    "bm42": Family("embedders.sparse.bm42:Bm42"),
    "minicoil": Family("embedders.sparse.minicoil:MiniCoil"),
    "late_interaction": Family("embedders.late_interaction:LateInteraction"),
    "rerank": Family("embedders.rerank:CrossEncoder", embeds=False),
    "image": Family("embedders.image:ImageModel", images=True),
    "multimodal": Family("embedders.multimodal:MultimodalModel", images=True),
}

_SHARED = {field.name: part for part in (ModelPlace, Runtime) for field in fields(part)}


def make_embedder(model: str | ModelCard, *, family: str | None = None, **arguments: Any) -> Embedder:
    """Make the embedder of a catalog model, or of a card of one's own.

    ``family`` ("dense", "image", ...) tells which is meant where two families have a model of that name; without it,
    the first in FAMILIES. ``arguments`` are the fields of ModelPlace and Runtime, and the options of the model's
    family. Raises ModelNotFoundError for a model that no catalog has or that does not embed, ValueError for a family
    that there is not, TypeError for an unknown argument.
    """
    if family is not None and family not in FAMILIES:
        raise ValueError(f"there is no family {family!r}; there are {', '.join(FAMILIES)}")
    among = tuple(FAMILIES) if family is None else (family,)
    card = model if isinstance(model, ModelCard) else find_card(model, among=among)
    refuse_reranker(card)
    embedder: Embedder = make_model(card, arguments)
    return embedder


def refuse_reranker(card: ModelCard) -> None:
    """Raise ModelNotFoundError for a card whose model embeds nothing."""
    if not FAMILIES[card.family].embeds:
        raise ModelNotFoundError(
            f"model {card.model!r} is a reranker: it scores pairs of query and document and embeds nothing; use it as "
            "embedders.TextCrossEncoder"
        )


def make_model(card: ModelCard, arguments: Mapping[str, Any]) -> Any:
    """Make the family's object of a card; raises TypeError naming an argument that it does not take."""
    model_class = FAMILIES[card.family].load_class()
    own = family_options(card.family)
    for name in arguments:
        if name not in own and name not in _SHARED:
            known = [*own, *_SHARED]
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"model {card.model!r} takes no {name!r}; {hint}")
    given = {name: value for name, value in arguments.items() if name in _SHARED}
    place, runtime = (
        part(**{name: value for name, value in given.items() if _SHARED[name] is part})
        for part in (ModelPlace, Runtime)
    )
    return model_class(card, place, runtime, **{name: arguments[name] for name in own if name in arguments})


def family_options(family: str) -> tuple[str, ...]:
    """Names of the options that a family has of its own."""
    parameters = inspect.signature(FAMILIES[family].load_class()).parameters.values()
    return tuple(item.name for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY)


def is_heavy(card: ModelCard) -> bool:
    """Tell whether a model runs a neural network, and so wants most of a machine's cores or its GPU."""
    return FAMILIES[card.family].network
