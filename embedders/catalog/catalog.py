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
    near = get_close_matches(wanted, [card.model.lower() for card in cards], n=3, cutoff=0.5)
    hint = f" Did you mean {', '.join(card.model for card in cards if card.model.lower() in near)}?" if near else ""
    raise ModelNotFoundError(f"model {model!r} is not in the catalog.{hint} list_supported_models() names all of them.")


def _card(family: str, row: dict[str, Any]) -> ModelCard:
    lists = {key: tuple(value) for key, value in row.items() if key in ("additional_files", "languages")}
    return ModelCard(family=family, **{**row, **lists})
