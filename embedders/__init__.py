"""Embedding models in one process: texts in, vectors or Arrow columns out."""

from embedders.errors import DeviceError, FleetembedError, ModelFilesError, ModelNotFoundError
from embedders.late_interaction_text_embedding import LateInteractionTextEmbedding
from embedders.rerank import TextCrossEncoder
from embedders.sparse.sparse_embedding import SparseEmbedding
from embedders.sparse_text_embedding import SparseTextEmbedding
from embedders.text_embedding import TextEmbedding

__all__ = [
    "DeviceError",
    "FleetembedError",
    "LateInteractionTextEmbedding",
    "ModelFilesError",
    "ModelNotFoundError",
    "SparseEmbedding",
    "SparseTextEmbedding",
    "TextCrossEncoder",
    "TextEmbedding",
]
