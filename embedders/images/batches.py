"""Images through decoder, transform and model: batches in several threads at once, results in order.

On a CPU each thread takes a batch from file to vector and runs the graph on that thread alone. This gave 107 images a
second on two cores (EfficientNet-Lite0, JPEGs of 200 to 3,000 pixels), where decoding ahead of one graph that used both
cores gave 100, since small operators gain little from two threads. Every core has work whichever of decoder, transform
and model takes longest. On a GPU one batch is computed at a time while the threads prepare the next ones. Few images
are in memory: those that threads work on, and some batches of results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Semaphore
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from more_itertools import chunked

from embedders.base import EmbedStats
from embedders.cores import available_cores
from embedders.errors import ImageError
from embedders.images.decoding import MAX_PIXELS, decode_image
from embedders.images.preprocessing import ImageTransform, PreparedImage
from embedders.images.preprocessor_config import ImageSettings
from embedders.images.sources import ImageInput, shown_source
from embedders.ordered_map import ordered_map

# Pixels of one model call. Images of 224 x 224 a second on two cores with one thread a batch, batches of 1, 2, 4 and 8:
# EfficientNet-Lite0 105, 107, 107, 100; a ViT-B/32 10.3, 11.1, 11.4, 11.5; a ViT-B/16 2.9, 2.9, 2.6, 2.7.
CPU_PIXELS = 4 * 224 * 224
# Not measured.
GPU_PIXELS = 64 * 224 * 224
# Threads that decode for one GPU, where the machine has so many cores.
GPU_DECODE_THREADS = 16


@dataclass(frozen=True)
class ImageOptions:
    """How images are read and batched; the options that all models of images share.

    ``max_pixels`` refuses larger images before they are decoded; each thread holds one, at four bytes a pixel.
    ``reduced_decoding`` decodes JPEGs at a fraction of their size where the model looks at a much smaller one, and
    shrinks in two steps: faster, vectors differ a little. ``decode_threads`` (None: the model's ``threads`` on a
    CPU, up to 16 on a GPU) read images; ``batches_at_once`` of them may be in the model (None: on a CPU all of them,
    with one thread each; 1 computes a batch with all of the threads, which gives a single image's vector soonest).
    ``pixel_budget`` is what one model call may hold in pixels. ``as_fastembed`` converts images to RGB as fastembed
    does, which turns none upright and drops transparency instead of laying it on white.
    """

    max_pixels: int = MAX_PIXELS
    reduced_decoding: bool = False
    decode_threads: int | None = None
    batches_at_once: int | None = None
    pixel_budget: int | None = None
    as_fastembed: bool = False

    def __post_init__(self) -> None:
        for name in ("max_pixels", "decode_threads", "batches_at_once", "pixel_budget"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")

    @property
    def facts(self) -> dict[str, Any]:
        """What of these options changes vectors, for a fingerprint; what is off by default only where it is on."""
        return {
            "reduced_decoding": self.reduced_decoding,
            **({"as_fastembed": True} if self.as_fastembed else {}),
        }


@dataclass(frozen=True)
class Lanes:
    """Threads, how many of them may be in the model at once, and images of a batch."""

    threads: int
    at_once: int
    rows: int


@dataclass
class ImageBatch:
    """Results of some images: by row, either a value or an error. Seconds are those of the thread that did it."""

    values: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, ImageError] = field(default_factory=dict)
    decode_seconds: float = 0.0
    transform_seconds: float = 0.0
    model_seconds: float = 0.0

    @property
    def in_order(self) -> list[Any]:
        """The values, by row."""
        return [self.values[row] for row in sorted(self.values)]


class ImageBatches:
    """Decoder and transform of a model of images; ``stats`` counts the images."""

    def __init__(self, settings: ImageSettings, options: ImageOptions, stats: EmbedStats) -> None:
        self.settings, self.options, self.stats = settings, options, stats
        self.transform = ImageTransform(settings, approximate=options.reduced_decoding)

    def lanes(self, *, threads: int, on_gpu: bool, fixed_rows: int | None = None) -> Lanes:
        """Choose threads and batches for a device, from the model's ``threads`` and its graph's fixed batch size."""
        options = self.options
        at_once = options.batches_at_once or (1 if on_gpu else threads)
        default = min(available_cores(), GPU_DECODE_THREADS) if on_gpu else threads
        budget = options.pixel_budget or (GPU_PIXELS if on_gpu else CPU_PIXELS)
        shape = self.settings.shape
        # Where an image's shape decides that of its pixels, images are computed one at a time.
        rows = 1 if shape is None else max(1, 3 * budget // int(np.prod(shape)))
        rows = rows if fixed_rows is None else min(rows, fixed_rows)
        return Lanes(max(options.decode_threads or default, at_once), at_once, rows)

    def run(
        self,
        images: Iterable[ImageInput],
        compute: Callable[[Sequence[PreparedImage]], Sequence[Any] | npt.NDArray[Any]],
        lanes: Lanes,
        *,
        max_rows: int | None = None,
        tolerant: bool = False,
        first: int = 0,
    ) -> Iterator[ImageBatch]:
        """Read images and ``compute`` on those of equal shape; batches come in order, rows are counted from ``first``.

        ``compute`` gets prepared images of one shape and grid, and gives a value for each. ``images`` may be endless.
        Raises ImageError for the first image that cannot be read, with its row and its file, unless ``tolerant``: then
        the batches' ``errors`` say by row what is wrong with an image, without its place.
        """
        rows = lanes.rows if max_rows is None else min(lanes.rows, max_rows)
        in_model = Semaphore(lanes.at_once)

        def work(batch: tuple[int, list[ImageInput]]) -> ImageBatch:
            return self._work(batch, compute, in_model, named=not tolerant)

        for done in ordered_map(work, _numbered(images, rows, first), threads=lanes.threads):
            self.stats.rows += len(done.values)
            self.stats.decode_seconds += done.decode_seconds
            self.stats.transform_seconds += done.transform_seconds
            self.stats.model_seconds += done.model_seconds
            if done.errors and not tolerant:
                raise done.errors[min(done.errors)]
            yield done

    def _work(
        self,
        batch: tuple[int, list[ImageInput]],
        compute: Callable[[Sequence[PreparedImage]], Sequence[Any] | npt.NDArray[Any]],
        in_model: Semaphore,
        *,
        named: bool,
    ) -> ImageBatch:
        done = ImageBatch()
        alike: dict[tuple[Any, ...], dict[int, PreparedImage]] = {}
        for row, source in enumerate(batch[1], start=batch[0]):
            try:
                prepared = self._prepare(source, done)
            except ImageError as error:
                done.errors[row] = ImageError(f"image {row}{shown_source(source)}: {error}") if named else error
            else:
                alike.setdefault((prepared.pixels.shape, prepared.grid), {})[row] = prepared
        for group in alike.values():
            with in_model:
                started = perf_counter()
                done.values.update(zip(group, compute(list(group.values())), strict=True))
                done.model_seconds += perf_counter() - started
        return done

    def _prepare(self, source: ImageInput, done: ImageBatch) -> PreparedImage:
        options = self.options
        needed = self.settings.needed_size if options.reduced_decoding else None
        started = perf_counter()
        try:
            image = decode_image(
                source, max_pixels=options.max_pixels, needed_size=needed, as_fastembed=options.as_fastembed
            )
        finally:
            decoded = perf_counter()
            done.decode_seconds += decoded - started
        try:
            return self.transform(image)
        finally:
            done.transform_seconds += perf_counter() - decoded


def _numbered(images: Iterable[ImageInput], size: int, first: int) -> Iterator[tuple[int, list[ImageInput]]]:
    """Lists of images, each with the number of its first, counted from ``first``."""
    for some in chunked(images, size):
        yield first, some
        first += len(some)
