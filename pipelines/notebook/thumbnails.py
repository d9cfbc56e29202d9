"""Small pictures of images that a payload names by a local path."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from stat import S_ISREG

from embedders.errors import ImageError
from pipelines.config.source import SourceConfig
from pipelines.urls import is_url

SIDE = 144
# Larger files are not looked at: a cell is to be there at once.
MOST_BYTES = 20 << 20
ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"))


def thumbnail(path: object, source: SourceConfig | None = None) -> str | None:
    """Return a small JPEG as a data URL; None for what is no file of an image that can be read here.

    A relative path is looked for below the local paths of ``source`` too.
    """
    if not isinstance(path, str) or Path(path).suffix.lower() not in ENDINGS:
        return None
    # Imported late: a table of texts does without Pillow.
    from pipelines.search.contact_sheet import image_places

    places = [(path, "")] if source is None else image_places(path, source)
    for root, below in places:
        if not is_url(root) and (found := _small(Path(root).expanduser() / below)) is not None:
            return found
    return None


def _small(file: Path) -> str | None:
    from embedders.images.decoding import decode_image

    try:
        about = file.stat()
        if not S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
            return None
        image = decode_image(file.read_bytes())
        image.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=80)
    except (OSError, ValueError, ImageError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
