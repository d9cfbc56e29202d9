"""LateInteractionMultimodalEmbedding: the public class of late interaction models of images and texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.api.devices import spread_images
from embedders.api.facade import READ_AHEAD, SizedFacade
from embedders.api.fastembed_arguments import warn_of_ignored
from embedders.families import families_of
from embedders.images.sources import ImageInput, Images
from embedders.texts import check_batch_size, take_lists

Matrix = npt.NDArray[np.floating]


class LateInteractionMultimodalEmbedding(SizedFacade):
    """A late interaction model of images and texts by its name: a (tokens, dim) matrix an image or text.

    Options beside the shared ones: ``max_length``, ``dtype``, ``max_pixels``, ``reduced_decoding``,
    ``decode_threads``, ``batches_at_once``, ``pixel_budget`` and ``as_fastembed`` of
    `embedders.multimodal.MultimodalModel`.
    """

    FAMILIES = families_of("multivector", images=True)

    def embed_image(
        self, images: ImageInput | Images, batch_size: int = 2, parallel: int | None = None, **ignored: Any
    ) -> Iterator[Matrix]:
        """Yield a (tokens, dim) matrix an image, in order.

        ``images`` is one image or an iterable of them, which may be endless. ``batch_size`` is the most images one
        model call gets; the pixel budget usually stops it earlier. With ``parallel``, as many of the ``device_ids``
        work at once; it starts no processes. Other keywords are ignored with a warning. Raises ImageError, a
        ValueError, naming an image that cannot be read.
        """
        warn_of_ignored("embed_image", ignored)
        check_batch_size(batch_size)
        return spread_images(self._models(parallel), images, batch_size)

    def embed_text(
        self, documents: str | Iterable[str], batch_size: int = 256, parallel: int | None = None, **ignored: Any
    ) -> Iterator[Matrix]:
        """Yield a (tokens, dim) matrix a text, in order; images are searched with texts.

        Vectors of padding are left out, so that a text's matrix does not depend on its neighbours. ``batch_size`` is
        the most texts one model call gets; ``parallel`` is that of ``embed_image``.
        """
        warn_of_ignored("embed_text", ignored)
        check_batch_size(batch_size)
        return self._spread(
            lambda: take_lists(documents, max(batch_size, READ_AHEAD)),
            lambda model, some: model.embed_tokens(some, max_rows=batch_size),
            parallel,
        )

    def token_count(
        self, texts: str | Iterable[str], batch_size: int = 1024, include_extension: bool = False, **ignored: Any
    ) -> int:
        """Count the texts' tokens; ``include_extension`` also counts the tokens that the model adds around them."""
        warn_of_ignored("token_count", ignored)
        return sum(
            int(self.model.token_count(some, include_extension=include_extension))
            for some in take_lists(texts, batch_size)
        )
