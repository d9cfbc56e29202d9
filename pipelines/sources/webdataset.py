"""Tar archives of samples, as the webdataset library lays them out.

Neighbouring members whose names are equal up to the first dot of the base name are one sample:
``0001.jpg 0001.txt 0001.json``.
"""

from __future__ import annotations

import codecs
import json
import posixpath
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from pipelines.config.source import SourceConfig
from pipelines.rows import RowError
from pipelines.sources.base import Format
from pipelines.sources.image_files import IMAGE_ENDINGS
from pipelines.sources.image_values import too_large
from pipelines.sources.lines import read_chunks
from pipelines.sources.records import STAGE, Oversized, Record
from pipelines.sources.split import Split
from pipelines.sources.tar import Member, tar_members

KEY = "__key__"
IMAGE = "__image__"
TEXT_ENDINGS = (".txt", ".caption")


class Webdataset(Format):
    """Tar archives of samples, each of which is a row: image, text, and the keys of a JSON object."""

    name = "webdataset"
    endings = (".tar",)
    is_compressible = True
    is_table = False
    mark = "sample "

    def image_column(self, named: str | None) -> str | None:
        """Column in which ``records`` has the image."""
        return IMAGE

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Read an archive's samples; the sample's own name is the column ``__key__``.

        Of members of one kind the first counts; a text file goes before a key of the JSON object that is named like
        ``source.text``. Raises OSError or EOFError where the archive is damaged, after the samples before.
        """
        # Hidden files stand between those of a sample where macOS packed the archive.
        members = (member for member in tar_members(read_chunks(split)) if not _is_hidden(member))
        for position, (key, group) in enumerate(groupby(members, _key)):
            yield _sample(position, key, group, config)


def _key(member: Member) -> str:
    folder, _, base = member.name.removeprefix("./").rpartition("/")
    return posixpath.join(folder, base.partition(".")[0])


def _is_hidden(member: Member) -> bool:
    return posixpath.basename(member.name).startswith(".")


def _sample(position: int, key: str, members: Iterable[Member], config: SourceConfig) -> Record:
    kinds: dict[str, bytes | Oversized] = {}
    others = []
    for member in members:
        kind = _kind(member)
        if kind is None:
            others.append(posixpath.basename(member.name))
        elif kind not in kinds:
            fits = member.size <= config.max_image_bytes
            kinds[kind] = member.read() if fits else Oversized(f"member {member.name}")
    if not kinds:
        what = f"sample {key!r} has neither text nor image, but {', '.join(others[:5])}"
        return position, None, RowError(STAGE, "EmptyRow", what[:500])
    values, error = _attributes(kinds.get("json"), key, config)
    if error is not None:
        return position, None, error
    text = kinds.get("text")
    if text is not None:
        values[config.text] = text.removeprefix(codecs.BOM_UTF8) if isinstance(text, bytes) else text
    return position, {**values, KEY: key, IMAGE: kinds.get("image")}, None


def _kind(member: Member) -> str | None:
    ending = posixpath.splitext(member.name)[1].lower()
    if ending in IMAGE_ENDINGS:
        return "image"
    return "text" if ending in TEXT_ENDINGS else "json" if ending == ".json" else None


def _attributes(
    data: bytes | Oversized | None, key: str, config: SourceConfig
) -> tuple[dict[str, Any], RowError | None]:
    if data is None:
        return {}, None
    if isinstance(data, Oversized):
        return {}, RowError(STAGE, "InvalidJson", too_large(data.what, config.max_image_bytes))
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        return {}, RowError(STAGE, "InvalidJson", f"the JSON of sample {key!r} cannot be read: {error}"[:300])
    if not isinstance(values, dict):
        what = f"the JSON of sample {key!r} is a {type(values).__name__}, not an object"
        return {}, RowError(STAGE, "InvalidJson", what[:300])
    return values, None
