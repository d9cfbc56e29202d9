"""Embedding models in one process: texts or images in, vectors or Arrow columns out.

A public name is imported when it is first used: importing one module does not load the others.
"""

from __future__ import annotations

import warnings
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedders.api.hybrid_text_embedding import HybridEmbedding, HybridTextEmbedding
    from embedders.api.image_embedding import ImageEmbedding
    from embedders.api.late_interaction_text_embedding import LateInteractionTextEmbedding
    from embedders.api.multimodal_embedding import LateInteractionMultimodalEmbedding
    from embedders.api.sparse_embedding import SparseEmbedding, SparseMatrix
    from embedders.api.sparse_text_embedding import SparseTextEmbedding
    from embedders.api.text_cross_encoder import TextCrossEncoder
    from embedders.api.text_embedding import TextEmbedding
    from embedders.catalog.custom import ModelSource, PoolingType
    from embedders.errors import DeviceError, FleetembedError, ImageError, ModelFilesError, ModelNotFoundError
    from embedders.images.sources import ImageInput
    from embedders.muvera.muvera import Muvera
    from embedders.session_settings import Device, OnnxProvider

    __version__: str

__all__ = [
    "Device",
    "DeviceError",
    "FleetembedError",
    "HybridEmbedding",
    "HybridTextEmbedding",
    "ImageEmbedding",
    "ImageError",
    "ImageInput",
    "LateInteractionMultimodalEmbedding",
    "LateInteractionTextEmbedding",
    "ModelFilesError",
    "ModelNotFoundError",
    "ModelSource",
    "Muvera",
    "OnnxProvider",
    "PoolingType",
    "SparseEmbedding",
    "SparseMatrix",
    "SparseTextEmbedding",
    "TextCrossEncoder",
    "TextEmbedding",
]

_MODULES = {
    "Device": "embedders.session_settings",
    "DeviceError": "embedders.errors",
    "FleetembedError": "embedders.errors",
    "HybridEmbedding": "embedders.api.hybrid_text_embedding",
    "HybridTextEmbedding": "embedders.api.hybrid_text_embedding",
    "ImageEmbedding": "embedders.api.image_embedding",
    "ImageError": "embedders.errors",
    "ImageInput": "embedders.images.sources",
    "LateInteractionMultimodalEmbedding": "embedders.api.multimodal_embedding",
    "LateInteractionTextEmbedding": "embedders.api.late_interaction_text_embedding",
    "ModelFilesError": "embedders.errors",
    "ModelNotFoundError": "embedders.errors",
    "ModelSource": "embedders.catalog.custom",
    "Muvera": "embedders.muvera.muvera",
    "OnnxProvider": "embedders.session_settings",
    "PoolingType": "embedders.catalog.custom",
    "SparseEmbedding": "embedders.api.sparse_embedding",
    "SparseMatrix": "embedders.api.sparse_embedding",
    "SparseTextEmbedding": "embedders.api.sparse_text_embedding",
    "TextCrossEncoder": "embedders.api.text_cross_encoder",
    "TextEmbedding": "embedders.api.text_embedding",
}

# fastembed's names of old, of the class that has them today.
_DEPRECATED = {"DefaultEmbedding": "TextEmbedding", "FlagEmbedding": "TextEmbedding"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _DEPRECATED:
            today = _DEPRECATED[name]
            warnings.warn(f"{name} is deprecated, in fastembed too: use {today}", DeprecationWarning, stacklevel=2)
            return __getattr__(today)
        if name == "__version__":
            return _version()
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value


def _version() -> str:
    try:
        return metadata.version("fleetembed")
    except metadata.PackageNotFoundError:
        raise AttributeError("fleetembed is not installed, so that its version is not known") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
