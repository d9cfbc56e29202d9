"""Converts Pillow's pixel modes to RGB: levels of any depth to 8 bits, transparency onto white.

| mode | conversion |
| --- | --- |
| 1, L, P, CMYK, YCbCr, HSV, ... | Pillow's conversion |
| LA, PA, RGBA, ..., or a transparent colour | laid on white |
| I;16 and the like | the file's bits a sample (16 unless a TIFF says less) to 8, rounded |
| I | the same where a TIFF says its bits or all levels fit into 16 bits; else lowest to highest becomes 0 to 255 |
| F | levels from 0 to 1 times 255; from 0 to 255 as they are; else lowest to highest becomes 0 to 255 |
| LAB | to sRGB by Little CMS |
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from embedders.errors import ImageError

WHITE = (255, 255, 255, 255)
BITS_TAG, SAMPLE_FORMAT_TAG = 258, 339
SIGNED = 2


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image to RGB; an RGB image is returned as it is. Raises ImageError where that cannot be done."""
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode == "F":
        return _grey(_floats_to_8_bits(np.asarray(image, dtype=np.float64)))
    if mode.startswith("I"):
        return _wide_grey(image)
    if mode == "LAB":
        return _lab_to_rgb(image)
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    lowest, _ = image.getchannel("A").getextrema()
    if lowest == WHITE[3]:
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, WHITE)
    return Image.alpha_composite(ground, image).convert("RGB")


def _grey(levels: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(levels).convert("RGB")


def _wide_grey(image: Image.Image) -> Image.Image:
    """Grey images of 9 to 32 bits a sample."""
    levels = np.asarray(image).astype(np.int64)
    bits, signed = _sample_of(image)
    if bits is None and image.mode != "I":
        bits = 16
    if bits is None:
        fits = levels.min() >= 0 and levels.max() < 1 << 16
        grey = _to_8_bits(levels, 16) if fits else _stretched(levels.astype(np.float64))
    else:
        grey = _to_8_bits(levels + (1 << bits - 1) if signed else levels, bits)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey = np.where(levels == transparent, np.uint8(255), grey)
    return _grey(grey)


def _sample_of(image: Image.Image) -> tuple[int | None, bool]:
    """Bits a sample of a TIFF, and whether they are signed; None for other formats and for 32 bits or more."""
    tags: Any = getattr(image, "tag_v2", {})
    bits, kind = (next(iter(tags.get(tag) or (None,))) for tag in (BITS_TAG, SAMPLE_FORMAT_TAG))
    return (bits if isinstance(bits, int) and 8 < bits < 32 else None), kind == SIGNED


def _to_8_bits(levels: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.uint8]:
    highest = (1 << bits) - 1
    rounded = (np.clip(levels, 0, highest) * 255 + highest // 2) // highest
    return np.asarray(rounded, dtype=np.uint8)


def _floats_to_8_bits(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    finite = np.isfinite(levels)
    if not finite.any():
        raise ImageError("all its levels are NaN or infinite")
    lowest, highest = levels[finite].min(), levels[finite].max()
    levels = np.nan_to_num(levels, nan=lowest, posinf=highest, neginf=lowest)
    if lowest >= 0 and highest <= 1:
        return np.rint(levels * 255).astype(np.uint8)
    return np.rint(levels).astype(np.uint8) if lowest >= 0 and highest <= 255 else _stretched(levels)


def _stretched(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    lowest, highest = levels.min(), levels.max()
    scaled = (levels - lowest) * (255 / max(highest - lowest, 1e-300))
    return np.asarray(np.rint(scaled), dtype=np.uint8)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    try:
        from PIL import ImageCms

        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    except ImportError:
        raise ImageError("it is in LAB colours, and this Pillow was built without Little CMS") from None
    assert converted is not None
    return converted
