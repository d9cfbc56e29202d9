"""The families of models: for each, the class that runs it, what it makes of what, and what a user's model may tell.

A new family is a file with its class, a JSON file of the same name in `embedders.catalog`, and a line in FAMILIES.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["dense", "sparse", "multivector", "scores"]


@dataclass(frozen=True)
class CustomModels:
    """What users' own models of a family are like.

    ``facts`` are the fields of ModelCard that mean something for the family, beside those that every model has.
    ``required`` has those of them that cannot be left out, each with its choices in words. ``model_file`` is the name
    of the model file unless another is given; None: the only ONNX file. ``requires_idf`` is the default of that fact.
    """

    facts: tuple[str, ...]
    required: Mapping[str, str] = field(default_factory=dict)
    model_file: str | None = None
    requires_idf: bool = False


@dataclass(frozen=True)
class Family:
    """One family of models.

    ``location`` ("module:name") is the class that runs them. It is made as
    ``Class(card, files, runtime, **options)``; its keyword-only parameters are the family's options. ``kind`` is what
    it makes of a document: vectors of a kind, or, of a pair with a query, scores. ``images`` tells that documents are
    images, ``network`` that it runs a neural network, and so wants most of a machine's cores or its GPU. ``custom``
    describes users' own models of the family; None where a job cannot have any.
    """

    location: str
    kind: Kind
    images: bool = False
    network: bool = True
    custom: CustomModels | None = None

    @property
    def embeds(self) -> bool:
        """Whether its models give vectors."""
        return self.kind != "scores"

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

# Where two families have a model of one name, it is the earlier's unless the family is asked for:
# jinaai/jina-clip-v1 and google/siglip2-base-patch16-224 embed texts as "dense", images as "image".
FAMILIES: Mapping[str, Family] = {
    "dense": Family("embedders.dense:DenseModel", "dense", custom=_DENSE),
    "static": Family("embedders.static:StaticModel", "dense", network=False, custom=_STATIC),
    "bm25": Family("embedders.sparse.bm25:Bm25", "sparse", network=False),
    "splade": Family("embedders.sparse.splade:Splade", "sparse", custom=_SPARSE),
    "neural_sparse": Family("embedders.sparse.neural_sparse:NeuralSparse", "sparse", custom=_SPARSE),
    "bm42": Family("embedders.sparse.bm42:Bm42", "sparse", custom=_SPARSE_WITH_IDF),
    "minicoil": Family("embedders.sparse.minicoil:MiniCoil", "sparse", custom=_SPARSE_WITH_IDF),
    "late_interaction": Family("embedders.late_interaction:LateInteraction", "multivector", custom=_LATE_INTERACTION),
    "rerank": Family("embedders.rerank:CrossEncoder", "scores"),
    "image": Family("embedders.image:ImageModel", "dense", images=True, custom=_IMAGE),
    "multimodal": Family("embedders.multimodal:MultimodalModel", "multivector", images=True),
}


def families_of(kind: Kind, *, images: bool = False, first: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the families that make one kind of texts, or of images: those in ``first``, then all others."""
    names = [name for name, family in FAMILIES.items() if (family.kind, family.images) == (kind, images)]
    return tuple(dict.fromkeys((*first, *names)))


def custom_families(kind: Kind | None = None) -> dict[str, CustomModels]:
    """What users' own models are like, by the name of the family: of those that make one kind, or of all."""
    return {
        name: family.custom
        for name, family in FAMILIES.items()
        if family.custom is not None and kind in (None, family.kind)
    }
