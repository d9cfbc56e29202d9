"""What a camera wrote into an image: make and model, date, exposure, place (EXIF 2.32, CIPA DC-008)."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable
from typing import Any

from PIL import ExifTags, Image

MAX_CHARACTERS = 200
MAX_ITEMS = 16
# Directories of further tags, which the first one points to.
_FURTHER = (ExifTags.IFD.Exif, ExifTags.IFD.Interop)
# What a UserComment in ASCII begins with.
_ASCII_COMMENT = b"ASCII\0\0\0"
_POINTERS = frozenset((*_FURTHER, ExifTags.IFD.GPSInfo))


def read_exif(image: bytes) -> dict[str, Any]:
    """Read an image's EXIF tags by the names that Pillow's ExifTags has; those of the place are under ``GPSInfo``.

    Values are such as JSON has: fractions are floats, bytes that are no text are left out, and so is what is not
    finite; strings are cut at MAX_CHARACTERS and lists at MAX_ITEMS. The image is not decoded. Never raises: what
    cannot be read is left out.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(image)
    # Pillow parses what anybody may have written, and fails in many ways.
    except Exception:
        return {}


def _read(data: bytes) -> dict[str, Any]:
    with Image.open(io.BytesIO(data)) as image:
        # A PNG may have its tags behind the pixels; Pillow would decode it to look there.
        if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
            return {}
        exif = image.getexif()
        found = _named(exif.items(), ExifTags.TAGS)
        for directory in _FURTHER:
            found |= _named(_directory(exif, directory), ExifTags.TAGS)
        place = _named(_directory(exif, ExifTags.IFD.GPSInfo), ExifTags.GPSTAGS)
    return found | ({"GPSInfo": place} if place else {})


def _directory(exif: Image.Exif, directory: int) -> Iterable[tuple[int, Any]]:
    try:
        return list(exif.get_ifd(directory).items())
    except Exception:
        return []


def _named(tags: Iterable[tuple[int, Any]], names: dict[int, str]) -> dict[str, Any]:
    values = ((names[tag], _plain(value)) for tag, value in tags if tag in names and tag not in _POINTERS)
    return {name: value for name, value in values if value is not None}


def _plain(value: Any) -> Any:
    """Give a value a JSON form; None where it has none."""
    if isinstance(value, bytes):
        text = value.removeprefix(_ASCII_COMMENT).rstrip(b"\0")
        value = text.decode("ascii") if text.isascii() and b"\0" not in text else None
    if isinstance(value, str):
        shown = value.partition("\0")[0].strip()
        return shown[:MAX_CHARACTERS] if shown.isprintable() and shown else None
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, tuple | list):
        items = [_plain(item) for item in value[:MAX_ITEMS]]
        return None if not items or None in items else items
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None
