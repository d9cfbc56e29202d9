"""Embedding models in one process: texts in, vectors or Arrow columns out."""

from embedders.dense import TextEmbedding
from embedders.errors import DeviceError, FleetembedError, ModelFilesError, ModelNotFoundError
from embedders.sparse.sparse_embedding import SparseEmbedding
from embedders.sparse.text import SparseTextEmbedding

__all__ = [
    "DeviceError",
    "FleetembedError",
    "ModelFilesError",
    "ModelNotFoundError",
    "SparseEmbedding",
    "SparseTextEmbedding",
    "TextEmbedding",
]
