"""The image of a row: its bytes, or a reference to where they are."""

from __future__ import annotations

from typing import Any

from pipelines.rows import RowError
from pipelines.sources.files import FoundFile
from pipelines.sources.records import STAGE, Oversized, Undecodable

# A path or URL as the data has it, or a file that was found when the source was planned.
Reference = str | FoundFile
SHOWN_CHARACTERS = 300

Image = tuple[bytes | None, Reference | None, RowError | None]


def parse_image(value: Any, max_bytes: int) -> Image:
    """Take an image's bytes, or the reference to them, out of a column's value: at most one of them is not None.

    A value is bytes, a path or URL, or a struct of ``bytes`` and ``path``, whose path counts where its bytes are null.
    Null and the empty string are no image.
    """
    if isinstance(value, dict):
        if "bytes" not in value and "path" not in value:
            return _unusable("image is a struct without bytes or path")
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if value is None or value == "":
        return None, None, None
    if isinstance(value, FoundFile):
        return (None, value, None) if value.bytes <= max_bytes else _unusable(too_large(value.name, max_bytes))
    if isinstance(value, bytes):
        return check_size(value, max_bytes, "the image")
    if isinstance(value, str):
        return _parse_reference(value)
    if isinstance(value, Oversized):
        return _unusable(too_large(value.what, max_bytes))
    if isinstance(value, Undecodable):
        return _unusable(f"image cannot be decoded ({value.reason})")
    return _unusable(f"image is {type(value).__name__}, neither bytes nor a path or URL nor a struct of bytes and path")


def named_path(value: Any) -> str | None:
    """Return the path or URL in an image column's value, which people find the image by; None where there is none."""
    path = value.get("path") if isinstance(value, dict) else value
    return path if isinstance(path, str) and path else None


def check_size(data: bytes, max_bytes: int, what: str) -> Image:
    """Refuse an image that has no byte, or more than ``max_bytes``."""
    if not data:
        return _unusable(f"{what} is empty: it has no byte")
    return (data, None, None) if len(data) <= max_bytes else _unusable(too_large(what, max_bytes))


def too_large(what: str, max_bytes: int) -> str:
    """Say that something is past ``source.max_image_mb``."""
    return f"{what} has more than {max_bytes / 1e6:g} MB (source.max_image_mb)"


def shown(path: str) -> str:
    """Shorten a path for a message."""
    return path if len(path) <= SHOWN_CHARACTERS else f"{path[:SHOWN_CHARACTERS]}..."


def _parse_reference(value: str) -> Image:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return _unusable(f"the image's path cannot be written in UTF-8, at character {error.start}")
    return None, value, None


def _unusable(message: str) -> Image:
    return None, None, RowError(STAGE, "InvalidImage", message)
