"""Embedding models in one process: texts or images in, vectors or Arrow columns out."""

from embedders.errors import DeviceError, FleetembedError, ImageError, ModelFilesError, ModelNotFoundError
from embedders.image_embedding import ImageEmbedding
from embedders.late_interaction_text_embedding import LateInteractionTextEmbedding
from embedders.multimodal_embedding import LateInteractionMultimodalEmbedding
from embedders.muvera import Muvera
from embedders.rerank import TextCrossEncoder
from embedders.sparse.sparse_embedding import SparseEmbedding
from embedders.sparse_text_embedding import SparseTextEmbedding
from embedders.text_embedding import TextEmbedding

__all__ = [
    "DeviceError",
    "FleetembedError",
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
