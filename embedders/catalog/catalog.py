"""Model facts as data: every JSON file of this folder is one family's list of models, read as ModelCards."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from embedders.errors import ModelNotFoundError

Pooling = Literal["cls", "mean", "last_token", "none"]


@dataclass(frozen=True)
class ModelCard:
    """Facts of one model.

    ``output`` names the graph output that is pooled, by position or by name. ``max_tokens`` is what the model's
    authors claim; the limit in force is the one of the tokenizer's files. ``url_sha256`` is the archive's digest.
    """

    model: str
    family: str
    model_file: str
    license: str
    description: str
    hf: str | None = None
    url: str | None = None
    url_sha256: str | None = None
    additional_files: tuple[str, ...] = ()
    size_gb: float = 0.0
    dim: int | None = None
    pooling: Pooling = "none"
    normalize: bool = False
    output: int | str = 0
    max_tokens: int | None = None
    languages: tuple[str, ...] = ()
    requires_idf: bool = False
    options: dict[str, Any] = field(default_factory=dict, hash=False)


@cache
def load_cards(family: str) -> tuple[ModelCard, ...]:
    """Cards of one family (``dense``, ``bm25``, ...), in the catalog's order."""
    rows = json.loads((files("embedders.catalog") / f"{family}.json").read_text(encoding="utf-8"))
    return tuple(_card(family, row) for row in rows)


def families() -> tuple[str, ...]:
    """Names of the families that have a file in this folder."""
    names = (entry.name for entry in files("embedders.catalog").iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))


def find_card(model: str, *, among: tuple[str, ...] | None = None) -> ModelCard:
    """Look a model up by name, whatever its letter case.

    Raises ModelNotFoundError, with the nearest names, when no family (of ``among``, if given) has it.
    """
    cards = [card for family in among or families() for card in load_cards(family)]
    wanted = model.lower()
    for card in cards:
        if card.model.lower() == wanted:
            return card
    near = _nearest(wanted, [card.model for card in cards])
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ModelNotFoundError(f"model {model!r} is not in the catalog.{hint} list_supported_models() names all of them.")


def describe(card: ModelCard) -> dict[str, Any]:
    """Tell a card's facts under the names that fastembed's ``list_supported_models`` gives them, and our further ones.

    Dense models have ``dim`` and ``tasks``, sparse ones ``requires_idf`` and ``vocab_size``.
    """
    if card.dim is None:
        own = {"requires_idf": card.requires_idf or None, "vocab_size": card.options.get("vocab_size")}
    else:
        own = {"dim": card.dim, "tasks": card.options.get("tasks", {})}
    return {
        "model": card.model,
        "sources": {"hf": card.hf, "url": card.url},
        "model_file": card.model_file,
        "description": card.description,
        "license": card.license,
        "size_in_GB": card.size_gb,
        "additional_files": list(card.additional_files),
        "max_tokens": card.max_tokens,
        "languages": list(card.languages),
        **own,
    }


def _nearest(wanted: str, models: list[str]) -> list[str]:
    """Up to three models whose name, with or without its owner, looks like or contains what was wanted."""
    names = {model: (model.lower(), model.lower().rpartition("/")[2]) for model in models}
    forms = [form for pair in names.values() for form in pair]
    close = get_close_matches(wanted, forms, n=3, cutoff=0.6)
    found = [model for model, pair in names.items() if wanted in pair[0] or set(close) & set(pair)]
    return found[:3]


def _card(family: str, row: dict[str, Any]) -> ModelCard:
    lists = {key: tuple(value) for key, value in row.items() if key in ("additional_files", "languages")}
    return ModelCard(family=family, **{**row, **lists})
