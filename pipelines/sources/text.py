"""Plain text files."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.config.source import SourceConfig
from pipelines.rows import RowError
from pipelines.sources.base import Format
from pipelines.sources.lines import MAX_LINE_BYTES, TOO_LONG, read_chunks, without_mark
from pipelines.sources.records import STAGE, Record
from pipelines.sources.split import Split


class Text(Format):
    """Plain text; a whole file is one document, whose id is the file's name."""

    name = "text"
    endings = (".txt", ".text", ".md", ".markdown", ".rst")
    is_compressible = True
    is_table = False
    is_document = True

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Read the file as one record."""
        pieces = []
        size = 0
        for piece in read_chunks(split):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_LINE_BYTES:
                yield 0, None, RowError(STAGE, "InvalidText", f"the file {TOO_LONG}")
                return
        # Bytes, because those that are no UTF-8 are one row's error, to be found where all of them are.
        yield 0, {"id": split.name, "text": without_mark(b"".join(pieces)), "path": split.name}, None
