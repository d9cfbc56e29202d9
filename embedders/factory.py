"""Makes the model that belongs to a catalog card, whatever its family."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from embedders.base import Embedder
from embedders.catalog import ModelCard, find_card
from embedders.errors import ModelNotFoundError
from embedders.families import FAMILIES, Kind
from embedders.model_options import ModelFiles, Runtime
from embedders.precision import card_at

if TYPE_CHECKING:
    from embedders.several_vectors import SeveralVectors

_SHARED = {field.name: part for part in (ModelFiles, Runtime) for field in fields(part)}


def make_embedder(model: str | ModelCard, *, family: str | None = None, **arguments: Any) -> Embedder | SeveralVectors:
    """Make the embedder of a catalog model, or of a user's card.

    It is a SeveralVectors where the model gives several vectors and ``outputs`` does not choose one alone.
    ``family`` ("dense", "image", ...) tells which is meant where two families have a model of that name; without it,
    the first in FAMILIES. ``arguments`` are the fields of ModelFiles and Runtime, and the options of the model's
    family. Raises ModelNotFoundError for a model that no catalog has or that does not embed, ValueError for an unknown
    family, TypeError for an unknown argument.
    """
    if family is not None and family not in FAMILIES:
        raise ValueError(f"there is no family {family!r}; there are {', '.join(FAMILIES)}")
    among = tuple(FAMILIES) if family is None else (family,)
    card = model if isinstance(model, ModelCard) else find_card(model, among=among)
    refuse_reranker(card)
    known = FAMILIES[card.family]
    kinds = known.chosen(arguments.get("outputs")) if known.gives_several else known.kinds
    embedder: Embedder | SeveralVectors = (
        make_model(card, arguments) if len(kinds) > 1 else make_model_of(kinds[0], card, arguments)
    )
    return embedder


def refuse_reranker(card: ModelCard) -> None:
    """Raise ModelNotFoundError for a card whose model embeds nothing."""
    if not FAMILIES[card.family].embeds:
        raise ModelNotFoundError(
            f"model {card.model!r} is a reranker: it scores pairs of query and document and embeds nothing; use it as "
            "embedders.TextCrossEncoder"
        )


def make_model(card: ModelCard, arguments: Mapping[str, Any]) -> Any:
    """Make the model of a card; raises TypeError naming an argument that its family does not take."""
    model_class = FAMILIES[card.family].load_class()
    options = family_options(card.family)
    for name in arguments:
        if name not in options and name not in _SHARED:
            known = [*options, *_SHARED]
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"model {card.model!r} takes no {name!r}; {hint}")
    files, runtime = ModelFiles(**_fields(ModelFiles, arguments)), Runtime(**_fields(Runtime, arguments))
    card = card_at(card, runtime.precision, own_files=files.chosen_by_user(card))
    return model_class(card, files, runtime, **{name: arguments[name] for name in options if name in arguments})


def _fields(part: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if _SHARED.get(name) is part}


def make_model_of(kind: Kind, card: ModelCard, arguments: Mapping[str, Any]) -> Any:
    """Make the model of a card for vectors of one kind; one that gives several is asked for no others."""
    family, alone = FAMILIES[card.family], (kind,)
    if not family.gives_several:
        return make_model(card, arguments)
    if family.chosen(arguments.get("outputs", alone)) != alone:
        raise ValueError(f"outputs: only {kind} vectors are made here; embedders.HybridTextEmbedding gives several")
    # Imported here, since few models need it.
    from embedders.several_vectors import OneVector

    return OneVector(make_model(card, {**arguments, "outputs": alone}), kind)


def family_options(family: str) -> tuple[str, ...]:
    """Names of the options that only this family has."""
    parameters = inspect.signature(FAMILIES[family].load_class()).parameters.values()
    return tuple(item.name for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY)


def is_heavy(card: ModelCard) -> bool:
    """Tell whether a model runs a neural network, and so wants most of a machine's cores or its GPU."""
    return FAMILIES[card.family].network
