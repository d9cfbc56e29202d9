"""Embedding models in one process: texts or images in, vectors or Arrow columns out.

A public name is imported when it is first used: importing one module does not load the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedders.api.hybrid_text_embedding import HybridEmbedding, HybridTextEmbedding
    from embedders.api.image_embedding import ImageEmbedding
    from embedders.api.late_interaction_text_embedding import LateInteractionTextEmbedding
    from embedders.api.multimodal_embedding import LateInteractionMultimodalEmbedding
    from embedders.api.sparse_embedding import SparseEmbedding
    from embedders.api.sparse_text_embedding import SparseTextEmbedding
    from embedders.api.text_cross_encoder import TextCrossEncoder
    from embedders.api.text_embedding import TextEmbedding
    from embedders.errors import DeviceError, FleetembedError, ImageError, ModelFilesError, ModelNotFoundError
    from embedders.muvera.muvera import Muvera

__all__ = [
    "DeviceError",
    "FleetembedError",
    "HybridEmbedding",
    "HybridTextEmbedding",
    "ImageEmbedding",
    "ImageError",
    "LateInteractionMultimodalEmbedding",
    "LateInteractionTextEmbedding",
    "ModelFilesError",
    "ModelNotFoundError",
    "Muvera",
    "SparseEmbedding",
    "SparseTextEmbedding",
    "TextCrossEncoder",
    "TextEmbedding",
]

_MODULES = {
    "DeviceError": "embedders.errors",
    "FleetembedError": "embedders.errors",
    "HybridEmbedding": "embedders.api.hybrid_text_embedding",
    "HybridTextEmbedding": "embedders.api.hybrid_text_embedding",
    "ImageEmbedding": "embedders.api.image_embedding",
    "ImageError": "embedders.errors",
    "LateInteractionMultimodalEmbedding": "embedders.api.multimodal_embedding",
    "LateInteractionTextEmbedding": "embedders.api.late_interaction_text_embedding",
    "ModelFilesError": "embedders.errors",
    "ModelNotFoundError": "embedders.errors",
    "Muvera": "embedders.muvera.muvera",
    "SparseEmbedding": "embedders.api.sparse_embedding",
    "SparseTextEmbedding": "embedders.api.sparse_text_embedding",
    "TextCrossEncoder": "embedders.api.text_cross_encoder",
    "TextEmbedding": "embedders.api.text_embedding",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
