"""Image files: JPEG, PNG and what else Pillow opens."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.config.source import SourceConfig
from pipelines.sources.base import Format
from pipelines.sources.records import Record
from pipelines.sources.split import Split

PHOTO_ENDINGS = (".jpg", ".jpeg", ".jfif", ".mpo", ".jp2", ".j2k", ".webp", ".avif", ".avifs", ".tif", ".tiff")
DRAWING_ENDINGS = (".png", ".apng", ".gif", ".bmp", ".ico", ".ppm", ".pgm", ".pbm", ".qoi", ".psd", ".dds")
IMAGE_ENDINGS = (*PHOTO_ENDINGS, *DRAWING_ENDINGS)


class ImageFiles(Format):
    """Image files, many to a split; each is a document, whose id is the file's name."""

    name = "image"
    endings = IMAGE_ENDINGS
    is_table = False
    is_document = True
    is_image = True
    is_small = True

    def image_column(self, named: str | None) -> str | None:
        """Column in which ``records`` has the files."""
        return "image"

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Name the files without opening one; the loader of images does that."""
        for position, file in enumerate(split.files):
            yield position, {"id": file.name, "image": file, "path": file.name}, None
