"""ImageEmbedding: one door to every model of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.base import VectorSpec
from embedders.catalog import find_card
from embedders.catalog.custom import pooling_name
from embedders.facade import ModelFacade
from embedders.image_batches import Images, image_sources, one_or_many
from embedders.image_decoding import ImageSource

Vector = npt.NDArray[np.floating]


class ImageEmbedding(ModelFacade):
    """A model of images by its name: one vector an image.

    Options beside the shared ones: ``dtype``, ``max_pixels``, ``reduced_decoding``, ``decode_threads``,
    ``batches_at_once`` and ``pixel_budget`` of `embedders.image.ImageModel`, which also tells what an image may be.
    Texts that share a model's space are embedded with the model that ``list_supported_models`` names as its
    ``text_model``.
    """

    FAMILIES = ("image",)

    @property
    def dim(self) -> int:
        """Numbers in a vector: the catalog's, or the graph's own for files given by ``specific_model_path``."""
        return int(self.model.dim)

    @property
    def embedding_size(self) -> int:
        """Same as ``dim``."""
        return self.dim

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """Numbers in a vector of a catalog model; raises ModelNotFoundError."""
        return int(find_card(model_name, among=cls.FAMILIES).dim or 0)

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        sources: Any,
        dim: int,
        pooling: Any = "none",
        normalization: bool = True,
        model_file: str = "onnx/model.onnx",
        text_model: str | None = None,
        **facts: Any,
    ) -> None:
        """Add a model of one's own for this process, under a name of its own.

        Its folder holds the graph, whose first input is fed (images, 3, height, width), and preprocessor_config.json.
        ``sources`` is a local folder, {"hf": repository}, or anything with attributes ``hf`` and ``url``. ``pooling``
        is "none" (the output is the vector), "cls" or "mean" over the output's second axis. ``text_model`` names the
        text model that shares its space. ``facts`` are ``description``, ``license``, ``size_in_gb``,
        ``additional_files``, ``output_name`` (the graph's first output unless given) and further fields of ModelCard.
        Pooling, dimension and output are checked when the model is loaded. Raises ValueError for a name that is taken
        or a value that cannot be.
        """
        options = {} if text_model is None else {"text_model": text_model}
        about: dict[str, Any] = {
            "pooling": pooling_name(pooling),
            "normalize": normalization,
            "dim": dim,
            "model_file": model_file,
        }
        cls._add("image", model, sources, options=options, **about, **facts)

    @property
    def spec(self) -> VectorSpec:
        """Kind, type and dimension of the column."""
        spec: VectorSpec = self.model.spec
        return spec

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector."""
        return str(self.model.fingerprint)

    def embed(self, images: ImageSource | Images, batch_size: int = 16) -> Iterator[Vector]:
        """Yield a (dim,) vector an image, in order.

        ``images`` is one image or an iterable of them, which may be endless: some batches are read ahead.
        ``batch_size`` is the most images one model call gets; the pixel budget usually stops it earlier. Raises
        ImageError, a ValueError, naming an image that cannot be read.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        vectors: Iterator[Vector] = self.model.embed_each(image_sources(one_or_many(images)), max_rows=batch_size)
        return vectors

    def embed_array(self, images: ImageSource | Images) -> Vector:
        """Embed images as one matrix (images, dim), in order; raises ImageError naming the first unreadable one."""
        matrix: Vector = self.model.embed_array(one_or_many(images))
        return matrix

    def embed_arrow(self, images: Images) -> pa.Array:
        """Embed images as a column of ``spec.arrow_type``, one entry an image, in order.

        ``images`` may be an Arrow column of files' contents or of paths. Raises ImageError naming the first image that
        cannot be read.
        """
        return self.model.embed_arrow(images)

    def embed_queries_arrow(self, images: Images) -> pa.Array:
        """Same as ``embed_arrow``: images to search with are embedded as any others."""
        return self.model.embed_queries_arrow(images)
