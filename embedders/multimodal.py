"""Late interaction models of images and texts: many vectors an image, which a text's token vectors search.

Faysse et al., "ColPali" (2024); Teiletche et al., "ModernVBERT" (2025). One graph embeds both. It always takes tokens
and pixels: a text is fed with a blank image, an image with a prompt that contains the image's tokens. The card's
options say what a model does, see `embedders.multimodal_template`.

Vectors are the graph's output as it is; both models scale them to unit length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import Precision, multivector_array, multivector_type, vector_dtype
from embedders.base import Texts, VectorSpec
from embedders.catalog import ModelCard
from embedders.device.reductions import PickedTokens, Reduction
from embedders.errors import FleetembedError, ImageError, ModelFilesError
from embedders.files.json_file import read_json_object
from embedders.graph_session import GraphSession
from embedders.images.batches import ImageBatch, ImageBatches, ImageOptions
from embedders.images.decoding import DECODING, MAX_PIXELS
from embedders.images.preprocessing import PreparedImage
from embedders.images.preprocessor_config import load_image_settings
from embedders.images.sources import ImageInput, Images, image_sources
from embedders.model_options import ModelFiles, Runtime
from embedders.multimodal_template import OPTION_NAMES, PromptTemplate, tile_tokens
from embedders.network_model import NetworkModel
from embedders.text_model import PROBES, BatchOutput
from embedders.texts import DistinctTexts, text_list
from embedders.token_vectors import CollectedTokens, TokenVectors
from embedders.tokenized_texts import TokenizedTexts

PIXELS_INPUT = "pixel_values"
PROBE_TEXT = "a"
# Most texts of one call where each needs a blank image, which is megabytes of zeros.
BLANKS_AT_ONCE = 32
DEFAULT_TILE_TOKENS, DEFAULT_TILE_SIDE = 64, 512


class MultimodalModel(NetworkModel):
    """A late interaction model; has the shape of `embedders.base.Embedder` with images as documents, texts as queries.

    ``max_length`` replaces the token limit in the tokenizer's files. ``dtype`` "float16" halves the vectors. The other
    options are those of `embedders.images.batches.ImageOptions`; here one batch is computed at a time, by all threads,
    unless ``batches_at_once`` says otherwise. ``stats`` counts texts and images together, and an image's tokens too.
    Raises ModelNotFoundError, ModelFilesError, DeviceError, or ValueError for invalid options.
    """

    CARD_OPTIONS = OPTION_NAMES

    def __init__(
        self,
        card: ModelCard,
        files: ModelFiles,
        runtime: Runtime,
        *,
        max_length: int | None = None,
        dtype: Precision = "float32",
        max_pixels: int = MAX_PIXELS,
        reduced_decoding: bool = False,
        decode_threads: int | None = None,
        batches_at_once: int = 1,
        pixel_budget: int | None = None,
        as_fastembed: bool = False,
    ) -> None:
        self._dtype = vector_dtype(dtype)
        self.template = PromptTemplate.of(card)
        self._options = ImageOptions(
            max_pixels, reduced_decoding, decode_threads, batches_at_once, pixel_budget, as_fastembed
        )
        self._ids_by_grid: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
        super().__init__(card, files, runtime, max_length=max_length)

    def check(self) -> None:
        """Load everything, and check the graph's output for a text, which is faster than for an image."""
        try:
            tokens = self._marked(self.text_model.tokenizer.encode(self.template.decorated([PROBE_TEXT])))
            (text,) = self._run_texts(tokens, counted=False)
            _ = self._batches, self._image_ids(0, 0)
        except FleetembedError:
            raise
        except Exception as error:
            raise ModelFilesError(f"{self.card.model}: the graph cannot embed a text: {error}") from error
        expected = self.text_model.expected_dim
        if text.values.ndim != 3 or expected not in (None, text.values.shape[2]):
            raise ModelFilesError(
                f"{self.card.model}: the output {self._output!r} has shape {text.values.shape} for one text, and "
                f"(texts, tokens, {expected or 'dim'}) is expected; the graph's outputs are "
                f"{self._session.describe_outputs()}"
            )
        self._probed_dim = int(text.values.shape[2])

    @property
    def _session(self) -> GraphSession:
        return self.text_model.session

    @property
    def _output(self) -> str:
        return self.text_model.output

    @cached_property
    def _batches(self) -> ImageBatches:
        return ImageBatches(load_image_settings(self.text_model.folder), self._options, self.stats)

    def rehearse(self) -> None:
        """Embed texts, which are the queries; an image would take seconds."""
        self.embed_queries_arrow(PROBES)

    @property
    def dim(self) -> int:
        """Numbers in a vector: the catalog's, or for files that a user chose what the graph gives."""
        if self.text_model.known_dim is not None:
            return self.text_model.known_dim
        self.load()
        return self._probed_dim

    @property
    def spec(self) -> VectorSpec:
        """Multivectors, compared by cosine."""
        return VectorSpec(kind="multivector", arrow_type=multivector_type(self.dim, self._dtype), dim=self.dim)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes an image's vectors; see Embedder."""
        return self.text_model.fingerprint(
            family="multimodal",
            options=dict(self.card.options),
            decoding=DECODING,
            dtype=self._dtype.name,
            **self._options.facts,
        )

    def embed_arrow(self, images: Images) -> pa.Array:
        """Embed images as a column of list<fixed_size_list<float32 or float16>[dim]>, one entry an image, in order.

        ``images`` are what `embedders.image.ImageModel` takes. Raises ImageError, a ValueError, naming the first that
        cannot be read.
        """
        return self._column(image_sources(images), tolerant=False)[0]

    def embed_arrow_and_errors(self, images: Images) -> tuple[pa.Array, dict[int, ImageError]]:
        """Embed images; those that cannot be read do not affect the others.

        Returns the column, null at those, and their errors by position.
        """
        return self._column(image_sources(images), tolerant=True)

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed texts to search images with; a column like that of ``embed_arrow``.

        Raises ValueError naming the first text that is not a str of valid Unicode.
        """
        vectors, distinct = self._embed_distinct(text_list(texts), None)
        return distinct.for_all(multivector_array(vectors.offsets, vectors.vectors))

    def embed_each(
        self, images: Iterable[ImageInput], *, max_rows: int | None = None, first: int = 0
    ) -> Iterator[npt.NDArray[Any]]:
        """Yield a (tokens, dim) matrix an image, in order, as they are done; ``images`` may be endless.

        One model call gets at most ``max_rows``. Raises ImageError where an image cannot be read; it counts images
        from ``first``.
        """
        for batch in self._run_images(images, max_rows, first=first):
            yield from batch.in_order

    def embed_tokens(self, texts: list[str], *, max_rows: int | None = None) -> TokenVectors:
        """Embed texts as one matrix of token vectors with offsets; one model call gets at most ``max_rows`` texts.

        Vectors of padding are left out, so that a text has the same ones whatever it is batched with.
        """
        vectors, distinct = self._embed_distinct(texts, max_rows)
        return distinct.for_all(vectors)

    def token_count(self, texts: Texts, *, include_extension: bool = False) -> int:
        """Count the texts' tokens after truncation, special ones included.

        ``include_extension`` also counts the tokens that the model adds around the texts.
        """
        plain = text_list(texts)
        return self.text_model.token_count(self.template.decorated(plain) if include_extension else plain)

    def _column(self, images: Iterable[ImageInput], *, tolerant: bool) -> tuple[pa.Array, dict[int, ImageError]]:
        matrices: list[npt.NDArray[Any]] = []
        errors: dict[int, ImageError] = {}
        for batch in self._run_images(images, None, tolerant=tolerant):
            errors |= batch.errors
            matrices.extend(batch.in_order)
        empty = np.empty((0, self.dim), dtype=self._dtype)
        offsets = np.concatenate(([0], np.cumsum([len(matrix) for matrix in matrices], dtype=np.int64)))
        column = multivector_array(offsets, np.concatenate([empty, *matrices]))
        if not errors:
            return column, {}
        failed = np.zeros(len(matrices) + len(errors), dtype=np.bool_)
        failed[list(errors)] = True
        return column.take(pa.array(np.cumsum(~failed) - 1, mask=failed)), errors

    def _run_images(
        self, images: Iterable[ImageInput], max_rows: int | None, *, tolerant: bool = False, first: int = 0
    ) -> Iterator[ImageBatch]:
        self.load()
        threads = self.text_model.settings.effective_threads
        lanes = self._batches.lanes(threads=threads, on_gpu=self._session.on_gpu)
        limits: dict[str, Any] = {"max_rows": max_rows, "tolerant": tolerant, "first": first}
        for batch in self._batches.run(images, self._compute, lanes, **limits):
            tokens = sum(len(matrix) for matrix in batch.values.values())
            self.stats.tokens += tokens
            self.stats.padded_tokens += tokens
            yield batch

    def _compute(self, images: Sequence[PreparedImage]) -> list[npt.NDArray[Any]]:
        """Matrices (tokens, dim) of prepared images that are cut into the same tiles: they need no padding."""
        grid = images[0].grid
        if grid not in self._ids_by_grid:
            self._ids_by_grid[grid] = self._image_ids(*grid)
        ids = np.tile(self._ids_by_grid[grid], (len(images), 1))
        pixels = np.stack([image.pixels for image in images])
        feed: dict[str, npt.NDArray[Any]] = {
            PIXELS_INPUT: pixels,
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
        }
        values = self._session.run(self._output, feed)
        return list(values.reshape(len(images), -1, values.shape[-1]).astype(self._dtype, copy=False))

    def _image_ids(self, rows: int, columns: int) -> npt.NDArray[np.int64]:
        """Token ids that are fed with an image of so many rows and columns of tiles; (0, 0) for one that is not cut."""
        template = self.template
        if template.tile_prompt is None:
            return np.array(
                [template.image_token] * template.image_tokens + list(template.image_prompt), dtype=np.int64
            )
        prompt = template.tile_prompt.replace("{image}", tile_tokens(rows, columns, self._tile_length))
        tokens = self.text_model.tokenizer.encode([prompt])
        if tokens.truncated.any():
            raise ModelFilesError(
                f"{self.card.model}: the tokens of {rows} x {columns} tiles are more than max_length, "
                f"{self.text_model.tokenizer.max_length}; raise it"
            )
        return tokens.ids

    @cached_property
    def _tile_length(self) -> int:
        """Tokens of one tile."""
        config = read_json_object(self.text_model.folder / "processor_config.json")
        return _whole_number(config, "image_seq_len", DEFAULT_TILE_TOKENS, self.card)

    @cached_property
    def _blank(self) -> npt.NDArray[np.float32]:
        """The blank image that is fed with texts; the first axis counts images."""
        if self.template.blank_image:
            return np.zeros((1, *self.template.blank_image), dtype=np.float32)
        config = read_json_object(self.text_model.folder / "config.json")
        side = _whole_number(config.get("vision_config", {}), "image_size", DEFAULT_TILE_SIDE, self.card)
        return np.zeros((1, 1, 3, side, side), dtype=np.float32)

    def _blanks(self, texts: int) -> Mapping[str, npt.NDArray[Any]]:
        # One blank tile serves a whole batch: the graph drops blank tiles, but its input must not be empty.
        count = texts if self.template.blank_image else 1
        return {PIXELS_INPUT: np.repeat(self._blank, count, axis=0)}

    def _embed_distinct(self, texts: list[str], max_rows: int | None) -> tuple[TokenVectors, DistinctTexts]:
        self.load()
        tokens, distinct = self.text_model.tokenize(self.template.decorated(texts))
        tokens = self._marked(tokens)
        every = np.ones(len(tokens.ids), np.bool_)
        collected = CollectedTokens(PickedTokens(tokens, every, normalize=False, dtype=self._dtype.name), self.dim)
        for batch in self._run_texts(tokens, max_rows, reduction=collected.kept):
            collected.add(batch)
        return collected.vectors(), distinct

    def _run_texts(
        self,
        tokens: TokenizedTexts,
        max_rows: int | None = None,
        *,
        counted: bool = True,
        reduction: Reduction | None = None,
    ) -> Iterator[BatchOutput]:
        most = BLANKS_AT_ONCE if self.template.blank_image else None
        limits = [limit for limit in (max_rows, most) if limit is not None]
        yield from self.text_model.run(
            tokens,
            max_rows=min(limits, default=None),
            inputs=self._blanks,
            counted=counted,
            reduction=reduction,
        )

    def _marked(self, tokens: TokenizedTexts) -> TokenizedTexts:
        """Replace each text's first ids by those of ``query_start``."""
        # A copy: other models may share the tokens.
        ids = tokens.ids.copy()
        for position, token in enumerate(self.template.query_start):
            ids[tokens.offsets[:-1][tokens.lengths > position] + position] = token
        return replace(tokens, ids=ids)


def _whole_number(config: Any, name: str, default: int, card: ModelCard) -> int:
    value = config.get(name, default) if isinstance(config, Mapping) else None
    if type(value) is not int or value < 1:
        raise ModelFilesError(f"{card.model}: {name} must be a whole number from 1 on, not {value!r}")
    return value
