"""ImageEmbedding: the public class of every model of images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.api.devices import spread_images
from embedders.api.facade import SizedFacade
from embedders.api.fastembed_arguments import warn_of_ignored
from embedders.catalog.custom import pooling_name
from embedders.families import families_of
from embedders.images.sources import ImageInput, Images, one_or_many
from embedders.texts import check_batch_size

Vector = npt.NDArray[np.floating]


class ImageEmbedding(SizedFacade):
    """A model of images by its name: one vector an image.

    Options beside the shared ones: ``dtype``, ``max_pixels``, ``reduced_decoding``, ``decode_threads``,
    ``batches_at_once``, ``pixel_budget`` and ``as_fastembed`` of `embedders.image.ImageModel`, which also tells what an
    image may be. Texts that share a model's space are embedded with the model that ``list_supported_models`` names as
    its ``text_model``.
    """

    FAMILIES = families_of("dense", images=True)

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
        """Add a user's model for this process, under a new name.

        Its folder holds the graph, whose first input is fed (images, 3, height, width), and preprocessor_config.json.
        ``pooling`` is "none" (the output is the vector), "cls" or "mean" over the output's second axis; ``text_model``
        names the text model that shares its space. ``sources`` is a local folder, {"hf": repository}, or anything with
        attributes ``hf`` and ``url``; ``facts`` are ``description``, ``license``, ``size_in_gb``,
        ``additional_files``, ``output_name`` (the graph's first output unless given). Raises ValueError for a name that
        is taken or an invalid value.
        """
        cls._add(
            "image",
            model,
            sources,
            pooling=pooling_name(pooling),
            normalize=normalization,
            dim=dim,
            model_file=model_file,
            options={} if text_model is None else {"text_model": text_model},
            **facts,
        )

    def embed(
        self, images: ImageInput | Images, batch_size: int = 16, parallel: int | None = None, **ignored: Any
    ) -> Iterator[Vector]:
        """Yield a (dim,) vector an image, in order.

        ``images`` is one image or an iterable of them, which may be endless: some batches are read ahead.
        ``batch_size`` is the most images one model call gets; the pixel budget usually stops it earlier. With
        ``parallel``, as many of the ``device_ids`` work at once; it starts no processes. Other keywords are ignored
        with a warning. Raises ImageError, a ValueError, naming an image that cannot be read.
        """
        warn_of_ignored("embed", ignored)
        check_batch_size(batch_size)
        return spread_images(self._models(parallel), images, batch_size)

    def embed_array(self, images: ImageInput | Images) -> Vector:
        """Embed images as one matrix (images, dim), in order; raises ImageError naming the first unreadable one."""
        matrix: Vector = self.model.embed_array(one_or_many(images))
        return matrix
