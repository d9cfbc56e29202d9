"""Embedding models in one process: texts or images in, vectors or Arrow columns out."""

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
