"""The families of models: the class that runs each, what it embeds, and which facts a user's model may give.

A new family is a file with its class, a JSON file of the same name in `embedders.catalog`, and a line in FAMILIES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["dense", "sparse", "multivector", "scores"]


@dataclass(frozen=True)
class CustomModels:
    """Facts of users' models of a family.

    ``facts`` are the fields of ModelCard that the family reads, beside those that every family reads. ``required`` maps
    those of them that must be given to a description of the choices. ``model_file`` is the default name of the model
    file; None: the only ONNX file. ``requires_idf`` is the default of that fact.
    """

    facts: tuple[str, ...]
    required: Mapping[str, str] = field(default_factory=dict)
    model_file: str | None = None
    requires_idf: bool = False


@dataclass(frozen=True)
class Family:
    """One family of models.

    ``location`` ("module:name") is the class that runs its models. The class is called with a card, ModelFiles and
    Runtime; its keyword-only parameters are the family's options. ``kinds`` are the kinds of vectors that it gives each
    text, or "scores" of pairs of query and document; of several, the option ``outputs`` chooses, and where it does
    not, ``default_kinds`` are made. ``images`` is True where documents are images, ``embeds_queries`` False where its
    models cannot embed the texts that search them: a text model that shares their space does. ``network`` is True
    where a neural network runs, which takes most of a machine's cores or its GPU. ``custom`` describes users' models;
    None: a job takes none.
    """

    location: str
    kinds: tuple[Kind, ...]
    default_kinds: tuple[Kind, ...] = ()
    images: bool = False
    embeds_queries: bool = True
    network: bool = True
    custom: CustomModels | None = None

    @property
    def embeds(self) -> bool:
        """Whether its models give vectors."""
        return "scores" not in self.kinds

    @property
    def gives_several(self) -> bool:
        """Whether its models give several vectors of each text."""
        return len(self.kinds) > 1

    def chosen(self, outputs: Sequence[str] | None) -> tuple[Kind, ...]:
        """Check a choice among the kinds of vectors; returns them in the family's order, for None those by default.

        Raises ValueError for anything but a list of different kinds of the family, at least one.
        """
        if outputs is None:
            return self.default_kinds or self.kinds
        some = list(outputs) if isinstance(outputs, list | tuple) else []
        if not some or len(set(map(str, some))) < len(some) or any(one not in self.kinds for one in some):
            raise ValueError(f"outputs must be a list of some of {', '.join(self.kinds)}, each once; got {outputs!r}")
        return tuple(kind for kind in self.kinds if kind in some)

    def load_class(self) -> Any:
        """Import the class; families that a process does not use cost it nothing."""
        module, _, name = self.location.partition(":")
        return getattr(import_module(module), name)


_DENSE = CustomModels(
    facts=("output", "pooling", "normalize", "dim", "prompts", "matryoshka"),
    required={"pooling": "cls, mean, last_token, or none where the graph pools itself"},
)
_STATIC = CustomModels(facts=("normalize", "dim"), model_file="model.safetensors")
_SPARSE = CustomModels(facts=("output", "requires_idf"))
_SPARSE_WITH_IDF = CustomModels(facts=("output", "requires_idf"), requires_idf=True)
_LATE_INTERACTION = CustomModels(facts=("output", "dim"))
_IMAGE = CustomModels(facts=("output", "pooling", "normalize", "dim"))
_BGE_M3 = CustomModels(facts=("dim", "matryoshka"))

# Where two families have a model of the same name, the earlier one is meant unless a family is asked for:
# jinaai/jina-clip-v1 and google/siglip2-base-patch16-224 embed texts as "dense", images as "image".
FAMILIES: Mapping[str, Family] = {
    "dense": Family("embedders.dense:DenseModel", ("dense",), custom=_DENSE),
    "static": Family("embedders.static:StaticModel", ("dense",), network=False, custom=_STATIC),
    "bm25": Family("embedders.sparse.bm25:Bm25", ("sparse",), network=False),
    "splade": Family("embedders.sparse.splade:Splade", ("sparse",), custom=_SPARSE),
    "neural_sparse": Family("embedders.sparse.neural_sparse:NeuralSparse", ("sparse",), custom=_SPARSE),
    "bm42": Family("embedders.sparse.bm42:Bm42", ("sparse",), custom=_SPARSE_WITH_IDF),
    "minicoil": Family("embedders.sparse.minicoil:MiniCoil", ("sparse",), custom=_SPARSE_WITH_IDF),
    "late_interaction": Family(
        "embedders.late_interaction:LateInteraction", ("multivector",), custom=_LATE_INTERACTION
    ),
    "bge_m3": Family("embedders.bge_m3:BgeM3", ("dense", "sparse", "multivector"), ("dense", "sparse"), custom=_BGE_M3),
    "rerank": Family("embedders.rerank:CrossEncoder", ("scores",)),
    "image": Family("embedders.image:ImageModel", ("dense",), images=True, embeds_queries=False, custom=_IMAGE),
    "multimodal": Family("embedders.multimodal:MultimodalModel", ("multivector",), images=True),
}


def families_of(kind: Kind, *, images: bool = False, first: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the families that make this kind of vectors of texts, or of images: ``first``, then all others."""
    names = [name for name, family in FAMILIES.items() if kind in family.kinds and family.images == images]
    return tuple(dict.fromkeys((*first, *names)))


def families_of_several() -> tuple[str, ...]:
    """Names of the families that give several vectors of each text."""
    return tuple(name for name, family in FAMILIES.items() if family.gives_several)


def families_alike(family: str) -> tuple[str, ...]:
    """Names of the families whose models' names must differ: all that embed, or all that score."""
    return tuple(name for name, known in FAMILIES.items() if known.embeds == FAMILIES[family].embeds)


def custom_families(kind: Kind | None = None) -> dict[str, CustomModels]:
    """Facts of users' models by family, of the families of one kind alone or of all."""
    return {
        name: family.custom
        for name, family in FAMILIES.items()
        if family.custom is not None and (kind is None or family.kinds == (kind,))
    }
