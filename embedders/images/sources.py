"""The forms that users give images in, read one by one. This module does not import Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from PIL import Image

ImageInput: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[np.uint8]"
    " | Mapping[str, Any]"
)
Images: TypeAlias = "Iterable[ImageInput] | pa.Array | pa.ChunkedArray"

# Characters of a file name that a message shows.
SHOWN_CHARACTERS = 200


def image_sources(images: Images) -> Iterator[ImageInput]:
    """Iterate over images of any form; an Arrow column's are converted one by one, to save memory."""
    if isinstance(images, (pa.Array, pa.ChunkedArray)):
        return (item.as_py() for item in images)
    return iter(images)


def one_or_many(images: Any) -> Images:
    """Put a single image into a list; several are returned as they are. An array of up to three axes is one image."""
    from PIL import Image

    one = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Mapping, Image.Image))
    if one or hasattr(images, "read") or (isinstance(images, np.ndarray) and images.ndim < 4):
        return [images]
    several: Images = images
    return several


def shown_source(source: ImageInput) -> str:
    """Name of an image's file, in brackets, for a message; empty where the source has no name."""
    name = source.get("path") if isinstance(source, Mapping) else getattr(source, "name", None)
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
    return f" ({name[:SHOWN_CHARACTERS]})" if isinstance(name, str) else ""
