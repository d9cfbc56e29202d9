"""Model facts as data: every JSON file of this folder is one family's list of models, read as ModelCards."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from embedders.errors import ModelNotFoundError

Pooling = Literal["cls", "mean", "last_token", "none"]

# Marks of licences that forbid commercial use: Creative Commons' NC, and names that say so.
NONCOMMERCIAL = ("-nc", "noncommercial", "non-commercial")

# What the catalog puts behind the name of a model for the card of its quantized file.
QUANTIZED_ENDINGS = ("-Q", "-int8")
# And for one in half precision.
HALF_ENDINGS = ("-fp16", "-float16")

# Cards that users add in this process, by family and lower-case name.
_custom_cards: dict[tuple[str, str], ModelCard] = {}


@dataclass(frozen=True)
class ModelCard:
    """Facts of one model.

    ``output`` names the graph output that is used, by position or by name. ``max_tokens`` is what the model's
    authors claim; the limit in force is the one of the tokenizer's files. ``url_sha256`` is the archive's digest,
    ``path`` a local folder.

    ``prompts`` are what the model's card puts before a ``query`` and a ``passage``. ``matryoshka`` lists the smaller
    dimensions that vectors may be cut to. ``varies_with_batch`` marks graphs that quantize activations as they run:
    their scale is taken over the whole batch, so that a vector depends a little on its neighbours. ``options`` are
    facts that only the model's family knows. ``custom`` cards are made by users.
    """

    model: str
    family: str
    model_file: str
    license: str
    description: str
    hf: str | None = None
    url: str | None = None
    url_sha256: str | None = None
    path: str | None = None
    additional_files: tuple[str, ...] = ()
    size_gb: float = 0.0
    dim: int | None = None
    pooling: Pooling = "none"
    normalize: bool = False
    output: int | str = 0
    max_tokens: int | None = None
    languages: tuple[str, ...] = ()
    requires_idf: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    matryoshka: tuple[int, ...] = ()
    varies_with_batch: bool = False
    custom: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def commercial_use(self) -> bool:
        """Whether the licence allows commercial use, as far as its name tells."""
        return not any(mark in self.license.lower() for mark in NONCOMMERCIAL)

    def refuse_unknown_options(self, known: Collection[str]) -> None:
        """Raise ValueError naming an option that the model's family does not know."""
        for name in self.options:
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise ValueError(f"model {self.model}: {self.family} has no option {name!r}; {has}")


@cache
def load_cards(family: str) -> tuple[ModelCard, ...]:
    """Cards of one family (``dense``, ``bm25``, ...), in the catalog's order."""
    rows = json.loads((files("embedders.catalog") / f"{family}.json").read_text(encoding="utf-8"))
    return tuple(_card(family, row) for row in rows)


def families() -> tuple[str, ...]:
    """Names of the families that have a file in this folder."""
    names = (entry.name for entry in files("embedders.catalog").iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))


def list_cards(*names: str) -> list[ModelCard]:
    """Cards of some families, those that users added last."""
    listed = [card for family in names for card in load_cards(family)]
    return listed + [card for family in names for card in _custom_cards.values() if card.family == family]


def add_card(card: ModelCard, *, among: tuple[str, ...]) -> None:
    """Add a user's card for this process.

    Raises ValueError where one of the families ``among`` has a model of that name already, in any letter case.
    """
    taken = next((known.model for known in list_cards(*among) if known.model.lower() == card.model.lower()), None)
    if taken is not None:
        raise ValueError(f"a model named {taken!r} is there already; choose another name for yours")
    _custom_cards[card.family, card.model.lower()] = card


def find_card(model: str, *, among: tuple[str, ...] | None = None) -> ModelCard:
    """Look a model up by name, whatever its letter case.

    Raises ModelNotFoundError, with the nearest names, when no family (of ``among``, if given) has it.
    """
    cards = list_cards(*(among or families()))
    wanted = model.lower()
    for card in cards:
        if card.model.lower() == wanted:
            return card
    near = _nearest(wanted, [card.model for card in cards])
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ModelNotFoundError(
        f"model {model!r} is not in the catalog.{hint} `fleetembed models list` and, in Python, "
        "list_supported_models() name all of them."
    )


def quantized_card(card: ModelCard) -> ModelCard | None:
    """Look the catalog's quantized file of a model up: the card of the same repository that is named after it.

    A card that is quantized itself is its own. None where the catalog knows none.
    """
    if card.varies_with_batch:
        return card
    names = {f"{card.model}{end}" for end in QUANTIZED_ENDINGS}
    known = (other for other in load_cards(card.family) if other.model in names and other.hf == card.hf)
    return next((other for other in known if other.varies_with_batch), None)


def is_half(card: ModelCard) -> bool:
    """Whether a card is that of a file in half precision, by its name."""
    return card.model.endswith(HALF_ENDINGS) and not card.custom


def describe(card: ModelCard) -> dict[str, Any]:
    """Facts of a card, under the names of fastembed's ``list_supported_models``, and further ones.

    Models with vectors of a fixed size have ``dim`` and ``tasks``, sparse ones ``requires_idf`` and ``vocab_size``.
    ``text_model`` names, for an image model, the text model of the catalog whose vectors share its space.
    """
    more: dict[str, Any] = {}
    if card.dim is not None:
        more = {"dim": card.dim, "tasks": card.options.get("tasks", {})}
    if "vocab_size" in card.options:
        more |= {"requires_idf": card.requires_idf or None, "vocab_size": card.options["vocab_size"]}
    if "text_model" in card.options:
        more["text_model"] = card.options["text_model"]
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
        "family": card.family,
        "prompts": dict(card.prompts),
        "matryoshka": list(card.matryoshka),
        "commercial_use": card.commercial_use,
        "batch_invariant": not card.varies_with_batch,
        "precisions": _precisions(card),
        **more,
    }


def _precisions(card: ModelCard) -> list[str]:
    """What the model can compute with: what its file does, and what the option ``precision`` takes."""
    # Imported here: families name what this module is about.
    from embedders.families import FAMILIES

    if not FAMILIES[card.family].network:
        return []
    if is_half(card):
        return ["float16"]
    return ["int8"] if card.varies_with_batch else ["float32", "bfloat16", "float16", "int8"]


def _nearest(wanted: str, models: list[str]) -> list[str]:
    """Up to three models whose name, with or without its owner, resembles or contains the wanted one."""
    names = {model: (model.lower(), model.lower().rpartition("/")[2]) for model in models}
    forms = [form for pair in names.values() for form in pair]
    close = get_close_matches(wanted, forms, n=3, cutoff=0.6)
    alike = [model for model, pair in names.items() if wanted in pair[0] or set(close) & set(pair)]
    return alike[:3]


def _card(family: str, row: dict[str, Any]) -> ModelCard:
    lists = {key: tuple(value) for key, value in row.items() if key in ("additional_files", "languages")}
    sizes = row.get("matryoshka", ())
    if isinstance(sizes, dict):
        sizes = range(sizes["from"], row["dim"])
    return ModelCard(family=family, **{**row, **lists, "matryoshka": tuple(sizes)})
