"""Decodes images of any kind to RGB, upright and without transparency.

The rules, which decide what a model sees:

- the orientation in EXIF data is applied;
- transparency is laid on white;
- the first frame or page is taken of animations and files of several pages;
- levels of more than 8 bits are scaled to 0 to 255, see `embedders.images.rgb_conversion`;
- colour profiles are not applied: models are trained on files read without them.

With ``as_fastembed`` none of this is done: Pillow converts to RGB, as fastembed 0.9.1 has it.

A damaged file raises ImageError. A file that crashes the decoder's C code ends the process: nothing in Python can
catch that, so that files of unknown origin should be embedded in a process that may die.
"""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

from embedders.errors import ImageError
from embedders.images.rgb_conversion import to_rgb
from embedders.images.sources import ImageInput

# Part of every fingerprint; to be raised when a change of the decoding changes vectors.
DECODING = 1
# Pillow's limit, above which it warns: a quarter of a GiB at three bytes a pixel.
MAX_PIXELS = 89_478_485
# A JPEG is decoded to no less than so many times the size that the model sees. Least and mean cosine of vectors of
# 96 photos of 200 to 3,000 pixels (EfficientNet-Lite0) at 1, 2, 3 and 4 times: 0.987, 0.9974; 0.992, 0.9996; 0.997,
# 0.9999; 0.999, 0.9999.
DRAFT_GAP = 3

ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
LYING = (5, 6, 7, 8)

# Contents that broken collections hold instead of images, by their first bytes.
OTHER_CONTENT = {
    rb"\s*<(!doctype|html|head|body)": "a web page",
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg": "an SVG drawing: rasterize it",
    rb"\s*[{\[]\s*[\"\[{]": "JSON",
    rb"%pdf": "a PDF: rasterize its pages",
    rb"....ftyp(heic|heix|hevc|mif1|msf1)": "a HEIC image: convert it, or install and register pillow-heif",
    rb"version https://git-lfs": "a Git LFS pointer: fetch the file it stands for",
    rb"(pk\x03\x04|\x1f\x8b)": "a compressed archive",
}
HEAD_BYTES = 512

# Images that a user has opened are loaded in place; two threads must not load one at once.
_LOADING = tuple(threading.Lock() for _ in range(16))


def decode_image(
    source: ImageInput | None,
    *,
    max_pixels: int = MAX_PIXELS,
    needed_size: Callable[[tuple[int, int]], tuple[int, int]] | None = None,
    as_fastembed: bool = False,
) -> Image.Image:
    """Decode an image to RGB, upright; a decoded image that is given is not changed.

    ``source`` is a path, the content of a file, a file opened in binary mode, a Pillow image, an array of uint8 --
    (height, width) grey, (height, width, 3) RGB or (height, width, 4) RGBA -- or a mapping with ``bytes`` or, where
    these are None, ``path``, as the Hugging Face library ``datasets`` stores images. An image whose header
    gives more than ``max_pixels`` pixels is refused before it is decoded; Pillow's limit, twice
    ``PIL.Image.MAX_IMAGE_PIXELS``, also holds. ``needed_size``, from the (width, height) of the upright image to
    the one it is going to be resized to, lets JPEGs be decoded at half, a quarter or an eighth of their size as long as
    that is twice as much. ``as_fastembed`` leaves images as they lie, drops transparency, and clips deep levels.

    Raises ImageError, with the reason, for what is no image, is damaged or has no pixels.
    """
    if isinstance(source, Mapping):
        content = source.get("bytes")
        return decode_image(
            source.get("path") if content is None else content,
            max_pixels=max_pixels,
            needed_size=needed_size,
            as_fastembed=as_fastembed,
        )
    try:
        if isinstance(source, Image.Image):
            with _LOADING[id(source) % len(_LOADING)]:
                return _decoded(source, max_pixels, None, as_fastembed)
        if isinstance(source, np.ndarray):
            return _decoded(_from_array(source, max_pixels), max_pixels, None, as_fastembed)
        with _opened(source) as image:
            return _decoded(image, max_pixels, needed_size, as_fastembed)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageError(f"it is not an image of a known format{_looks_like(source)}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"it is larger than Pillow allows: {error}") from None
    except OSError as error:
        raise ImageError(_reason(error)) from None
    except Exception as error:
        # Pillow raises nearly every kind of exception for damaged files, struct.error and IndexError included.
        raise ImageError(f"it is damaged or of an odd kind: {type(error).__name__}: {_clean(error)}") from None


def _opened(source: Any) -> Image.Image:
    if isinstance(source, (str, os.PathLike)):
        if isinstance(source, str) and re.match(r"(https?|s3|gs|data|ftp):", source, re.IGNORECASE):
            raise ImageError(f"{source[:80]!r} is an address, not a path: fetch the image and give its bytes")
        return Image.open(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise ImageError("it has no bytes")
        return Image.open(io.BytesIO(source))
    if source is None:
        raise ImageError("it is null: drop such rows")
    if not hasattr(source, "read"):
        raise ImageError(
            f"it is {type(source).__name__}; an image is a path, bytes, a binary file, a Pillow image or a uint8 array"
        )
    if isinstance(source, io.TextIOBase):
        raise ImageError("the file is opened in text mode: open it with mode 'rb'")
    return Image.open(source)


def _from_array(array: npt.NDArray[Any], max_pixels: int) -> Image.Image:
    known = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not known:
        raise ImageError(
            f"an array must be uint8 of (height, width), (height, width, 3) or (height, width, 4), not {array.dtype} "
            f"of {array.shape}"
        )
    _check_size((array.shape[1], array.shape[0]), max_pixels)
    return Image.fromarray(np.ascontiguousarray(array))


def _decoded(
    image: Image.Image,
    max_pixels: int,
    needed_size: Callable[[tuple[int, int]], tuple[int, int]] | None,
    as_fastembed: bool,
) -> Image.Image:
    _check_size(image.size, max_pixels)
    if needed_size is not None and image.format == "JPEG":
        size = image.size[::-1] if not as_fastembed and _orientation(image) in LYING else image.size
        needed = needed_size(size)
        factor = min(length // (DRAFT_GAP * want) for length, want in zip(size, needed, strict=True))
        if factor > 1:
            image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    if as_fastembed:
        return image.convert("RGB")
    # Read after loading, since formats such as TIFF turn the image as they load it.
    turn = UPRIGHT.get(_orientation(image))
    rgb = to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"it has no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(
            f"its {width} x {height} pixels are more than max_pixels, {max_pixels:,}; raise that limit, or shrink it"
        )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where the data are damaged."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:
        # Damaged EXIF data raise exceptions of many kinds; the pixels may be fine.
        return 1


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no file {error.filename!r}"
    if error.errno is not None and error.filename is not None:
        return f"{error.filename!r} cannot be read: {error.strerror}"
    return f"it is damaged: {_clean(error)}"


def _clean(error: Exception) -> str:
    """An exception's message without addresses of objects."""
    return re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>", "the file", str(error)) or "no further reason"


def _looks_like(source: Any) -> str:
    """What the content seems to be instead of an image, for a message; empty where nothing is known."""
    try:
        if isinstance(source, (str, os.PathLike)):
            with Path(source).open("rb") as file:
                head = file.read(HEAD_BYTES)
        elif isinstance(source, (bytes, bytearray, memoryview)):
            head = bytes(source[:HEAD_BYTES])
        else:
            source.seek(0)
            head = source.read(HEAD_BYTES)
    except (OSError, ValueError):
        return ""
    if not head:
        return ": it has no bytes"
    for pattern, what in OTHER_CONTENT.items():
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return f": it seems to be {what}"
    return ", or damaged at its start"
