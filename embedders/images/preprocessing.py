"""Applies a model's image settings: turns an RGB image into the pixels that the graph is fed with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.Image import Resampling

from embedders.errors import ImageError
from embedders.images.preprocessor_config import ImageSettings, Size, Tiling, Window

Pixels: TypeAlias = npt.NDArray[np.float32]

# An image of 1 x 10,000 pixels whose shorter side is to be 224 would be 2,240,000 wide.
MAX_RESIZED_PIXELS = 1 << 26
# Pillow first averages whole blocks until the image is this many times too large: 23% faster over photos of 200 to
# 3,000 pixels. Grey levels were 3 of 256 away at most, vectors of EfficientNet-Lite0 had cosines of 0.9995 and more.
REDUCING_GAP = 3.0


@dataclass(frozen=True)
class PreparedImage:
    """``pixels`` are float32 (3, height, width), or (tiles, 3, height, width) of a model with tiles.

    ``grid`` (rows, columns) is the number of tiles; (0, 0): the image was not cut.
    """

    pixels: Pixels
    grid: tuple[int, int] = (0, 0)


class ImageTransform:
    """A model's image settings, ready to be applied by any number of threads.

    ``approximate`` allows faster ways that change grey levels a little.
    """

    def __init__(self, settings: ImageSettings, *, approximate: bool = False) -> None:
        self.settings = settings
        self._gap = REDUCING_GAP if approximate else None
        deviation = np.array(settings.deviation)
        self._factor = (settings.scale / deviation).astype(np.float32)[:, None, None]
        self._offset = (np.array(settings.mean) / deviation).astype(np.float32)[:, None, None]

    def __call__(self, image: Image.Image) -> PreparedImage:
        """Transform an RGB image; raises ImageError for one too long and narrow to be resized."""
        settings = self.settings
        if settings.tiling is None:
            return PreparedImage(self._levels(self._looked_at(image)))
        if settings.resize is not None:
            image = self._resized(image, settings.resize.target(image.size), settings.resize.resample)
        views, grid = self._tiles(image, settings.tiling)
        return PreparedImage(np.stack([self._levels(view) for view in views]), grid)

    def _looked_at(self, image: Image.Image) -> Image.Image:
        """Resize an image and cut out the window."""
        resize, window = self.settings.resize, self.settings.window
        target = image.size if resize is None else resize.target(image.size)
        resample = Resampling.NEAREST if resize is None else resize.resample
        if window is None:
            return self._resized(image, target, resample)
        left, top = (window.start(length, side) for length, side in zip(target, window.size, strict=True))
        right, bottom = left + window.size[0], top + window.size[1]
        inside = left >= 0 and top >= 0 and right <= target[0] and bottom <= target[1]
        if inside and (self._gap is not None or target[0] * target[1] > MAX_RESIZED_PIXELS):
            # Resize the window only, a third less work for a photo of 3:2. Pillow rounds the part's ends to 32-bit
            # floats, which changes one grey level in some 20,000 and was seen to move EfficientNet's vectors by 4e-4.
            across, down = image.width / target[0], image.height / target[1]
            part = (left * across, top * down, min(right * across, image.width), min(bottom * down, image.height))
            return image.resize(window.size, resample, part, self._gap)
        resized = self._resized(image, target, resample)
        if inside:
            return resized.crop((left, top, right, bottom))
        return _cut_or_pad(resized, window, (left, top))

    def _resized(self, image: Image.Image, target: Size, resample: Resampling) -> Image.Image:
        if target == image.size:
            return image
        if target[0] * target[1] > MAX_RESIZED_PIXELS:
            raise ImageError(
                f"{image.width} x {image.height} pixels are too long and narrow: the model would look at "
                f"{target[0]} x {target[1]}; cut the image"
            )
        return image.resize(target, resample, reducing_gap=self._gap)

    def _tiles(self, image: Image.Image, tiling: Tiling) -> tuple[list[Image.Image], tuple[int, int]]:
        side = tiling.side
        whole = self._resized(image, tiling.target(image.size), tiling.resample)
        columns, rows = whole.width // side, whole.height // side
        if (rows, columns) == (1, 1):
            return [whole], (0, 0)
        corners = [(column * side, row * side) for row in range(rows) for column in range(columns)]
        tiles = [whole.crop((left, top, left + side, top + side)) for left, top in corners]
        return [*tiles, self._resized(whole, (side, side), tiling.resample)], (rows, columns)

    def _levels(self, image: Image.Image) -> Pixels:
        levels = np.asarray(image).transpose(2, 0, 1)
        pixels: Pixels = np.multiply(levels, self._factor, dtype=np.float32, order="C")
        pixels -= self._offset
        return pixels


def _cut_or_pad(image: Image.Image, window: Window, start: Size) -> Image.Image:
    """The window of an image that does not fill it; the window's colour fills the rest."""
    left, top = (max(0, offset) for offset in start)
    right, bottom = min(image.width, left + window.size[0]), min(image.height, top + window.size[1])
    shown = Image.new("RGB", window.size, window.fill)
    shown.paste(image.crop((left, top, right, bottom)), (max(0, -start[0]), max(0, -start[1])))
    return shown
