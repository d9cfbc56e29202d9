"""Models of images run by ONNX: one vector an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from embedders.arrow import Precision, dense_array, dense_type, vector_dtype
from embedders.base import EmbedStats, VectorSpec
from embedders.catalog import ModelCard
from embedders.errors import FleetembedError, ImageError, ModelFilesError
from embedders.files.digest import files_digest
from embedders.files.folder import model_files
from embedders.fingerprint import facts_digest
from embedders.graph_session import GraphSession
from embedders.images.batches import ImageBatch, ImageBatches, ImageOptions
from embedders.images.decoding import DECODING, MAX_PIXELS
from embedders.images.preprocessing import PreparedImage
from embedders.images.preprocessor_config import load_image_settings
from embedders.images.sources import ImageInput, Images, image_sources
from embedders.model_options import ModelFiles, Runtime
from embedders.pooling import l2_normalize
from embedders.precision import load_graph, precision_facts
from embedders.travel import UnloadedWithFolder

POOLINGS = ("none", "cls", "mean")
# ``text_model`` names the text model that shares the space; a job reads it, this module does not.
CARD_OPTIONS = ("text_model",)
PROBE = Image.new("RGB", (64, 64), (127, 127, 127))


class ImageModel(UnloadedWithFolder):
    """Decoder, transform and graph of a catalog model; has the shape of `embedders.base.Embedder` for images.

    An image is a path, the content of a file, a file opened in binary mode, a Pillow image or a uint8 array; see
    `embedders.images.decoding.decode_image`, which also tells what is done about orientation and transparency. The
    options are those of ImageOptions; ``dtype`` is the vectors' type. Each of the runtime's ``threads`` works on a
    batch of its own. Raises ModelNotFoundError, ModelFilesError, DeviceError, or ValueError for invalid options.
    """

    def __init__(
        self,
        card: ModelCard,
        files: ModelFiles,
        runtime: Runtime,
        *,
        dtype: Precision = "float32",
        max_pixels: int = MAX_PIXELS,
        reduced_decoding: bool = False,
        decode_threads: int | None = None,
        batches_at_once: int | None = None,
        pixel_budget: int | None = None,
        as_fastembed: bool = False,
    ) -> None:
        self._dtype = vector_dtype(dtype)
        card.refuse_unknown_options(CARD_OPTIONS)
        if card.pooling not in POOLINGS:
            raise ValueError(f"model {card.model}: images can be pooled by {', '.join(POOLINGS)}, not {card.pooling!r}")
        self.card = card
        self.stats = EmbedStats()
        self._options = ImageOptions(
            max_pixels, reduced_decoding, decode_threads, batches_at_once, pixel_budget, as_fastembed
        )
        self._settings = runtime.session_settings()
        self._files = files
        _ = self.folder
        if not runtime.lazy_load:
            self.load()

    def load(self) -> None:
        """Load settings and graph now rather than at the first image, and check what the graph gives."""
        _ = self._checked

    @cached_property
    def folder(self) -> Path:
        """Folder of the model's files."""
        return self._files.folder(self.card)

    @cached_property
    def session(self) -> GraphSession:
        """The loaded graph."""
        threads = self._settings.effective_threads
        at_once = self._options.batches_at_once or threads
        settings = replace(self._settings, threads=max(1, threads // at_once))
        return load_graph(self.card, self.folder, settings, cache_dir=self._files.cache_dir, at_once=at_once)

    @cached_property
    def _batches(self) -> ImageBatches:
        return ImageBatches(load_image_settings(self.folder), self._options, self.stats)

    @cached_property
    def _output(self) -> str:
        return self.session.output_name(self.card.output)

    @cached_property
    def _checked(self) -> bool:
        try:
            vectors = self._compute([self._batches.transform(PROBE)])
        except FleetembedError:
            raise
        except Exception as error:
            raise ModelFilesError(f"{self.card.model}: the graph cannot embed an image: {error}") from error
        expected = self._files.expected_dim(self.card)
        if expected not in (None, vectors.shape[1]):
            raise ModelFilesError(
                f"{self.card.model}: the graph's output {self._output!r} gives {vectors.shape[1]} numbers an image, "
                f"and {expected} are expected; its outputs are {self.session.describe_outputs()}"
            )
        self._probed_dim = int(vectors.shape[1])
        return True

    @property
    def dim(self) -> int:
        """Numbers in a vector: the catalog's, or for files that a user chose what the graph gives."""
        known = self._files.known_dim(self.card)
        if known is not None:
            return known
        self.load()
        return self._probed_dim

    @property
    def spec(self) -> VectorSpec:
        """Dense vectors, compared by cosine."""
        return VectorSpec(kind="dense", arrow_type=dense_type(self.dim, self._dtype), dim=self.dim)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector; see Embedder."""
        facts = {
            "family": "image",
            "files": files_digest(self.folder, model_files(self.card, self.folder)),
            "model_file": self.card.model_file,
            "output": self.card.output,
            "pooling": self.card.pooling,
            "normalize": self.card.normalize,
            "decoding": DECODING,
            "dtype": self._dtype.name,
            **self._options.facts,
            **precision_facts(self.card, self._settings.precision),
        }
        return facts_digest(facts)

    def embed_arrow(self, images: Images) -> pa.Array:
        """Embed images as a column of fixed_size_list<float32 or float16>[dim], one entry an image, in order.

        ``images`` is an iterable, or an Arrow column of files' contents (binary), of paths (string), or of both
        (struct<bytes, path>, as the Hugging Face library ``datasets`` writes images). Raises ImageError, a ValueError,
        naming the first image that cannot be read.
        """
        return dense_array(self.embed_array(images))

    def embed_queries_arrow(self, images: Images) -> pa.Array:
        """Embed images to search with: the same as ``embed_arrow``. Texts take the card's ``text_model`` instead."""
        return self.embed_arrow(images)

    def embed_arrow_and_errors(self, images: Images) -> tuple[pa.Array, dict[int, ImageError]]:
        """Embed images; those that cannot be read do not affect the others.

        Returns the column, null at those, and their errors by position.
        """
        vectors, errors = self._matrix(images, tolerant=True)
        if not errors:
            return dense_array(vectors), {}
        valid = np.ones(len(vectors), dtype=np.bool_)
        valid[list(errors)] = False
        return dense_array(vectors, valid=valid), errors

    def embed_array(self, images: Images) -> npt.NDArray[np.floating]:
        """Embed images as one matrix (images, dim), in order; raises ImageError naming the first unreadable one."""
        return self._matrix(images, tolerant=False)[0]

    def embed_each(
        self, images: Iterable[ImageInput], *, max_rows: int | None = None, first: int = 0
    ) -> Iterator[npt.NDArray[Any]]:
        """Yield a (dim,) vector an image, in order, as they are done; ``images`` may be endless.

        One model call gets at most ``max_rows``. Raises ImageError where an image cannot be read; it counts images
        from ``first``.
        """
        for batch in self._run(images, max_rows, first=first):
            yield from batch.in_order

    def _matrix(self, images: Images, *, tolerant: bool) -> tuple[npt.NDArray[np.floating], dict[int, ImageError]]:
        rows: list[npt.NDArray[Any]] = []
        errors: dict[int, ImageError] = {}
        missing = np.zeros(self.dim, dtype=self._dtype)
        for batch in self._run(image_sources(images), None, tolerant=tolerant):
            errors |= batch.errors
            both = {**batch.values, **dict.fromkeys(batch.errors, missing)}
            rows.extend(both[row] for row in sorted(both))
        return np.stack(rows) if rows else np.empty((0, self.dim), dtype=self._dtype), errors

    def _run(
        self, images: Iterable[ImageInput], max_rows: int | None, *, tolerant: bool = False, first: int = 0
    ) -> Iterator[ImageBatch]:
        self.load()
        (fixed, *_) = self.session.input_shape(self.session.first_input)
        lanes = self._batches.lanes(
            threads=self._settings.effective_threads,
            on_gpu=self.session.on_gpu,
            fixed_rows=fixed if isinstance(fixed, int) else None,
        )
        return self._batches.run(images, self._compute, lanes, max_rows=max_rows, tolerant=tolerant, first=first)

    def _compute(self, images: Sequence[PreparedImage]) -> npt.NDArray[Any]:
        """Vectors (images, dim) of prepared images of one shape."""
        pixels = np.stack([image.pixels for image in images])
        values = self.session.run(self._output, {self.session.first_input: pixels})
        if self.card.pooling == "none":
            vectors = values.reshape(len(images), -1)
        elif values.ndim == 3:
            vectors = values[:, 0] if self.card.pooling == "cls" else values.mean(axis=1)
        elif values.ndim == 2 and self.card.pooling == "cls":
            vectors = values
        else:
            raise ModelFilesError(
                f"{self.card.model}: the output {self._output!r} has shape {values.shape}, and pooling "
                f"{self.card.pooling!r} takes (images, patches, dim)"
            )
        vectors = l2_normalize(vectors) if self.card.normalize else vectors
        return vectors.astype(self._dtype, copy=False)
