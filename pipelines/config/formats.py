"""What a configuration knows of the formats of files, so that it need not load what reads them.

Each is told by its class in ``pipelines/sources``, too; a test holds them against each other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FormatFacts:
    """A format's name, the endings of its files, and whether .gz, .bz2 or .zst may follow these."""

    name: str
    endings: tuple[str, ...] = ()
    is_compressible: bool = False


FORMATS = (
    FormatFacts("parquet", (".parquet", ".pq")),
    FormatFacts("jsonl", (".jsonl", ".ndjson", ".jsonlines", ".json"), is_compressible=True),
    FormatFacts("csv", (".csv", ".tsv"), is_compressible=True),
    FormatFacts("text", (".txt", ".text", ".md", ".markdown", ".rst"), is_compressible=True),
    FormatFacts(
        "image",
        (
            ".jpg",
            ".jpeg",
            ".jfif",
            ".mpo",
            ".jp2",
            ".j2k",
            ".webp",
            ".avif",
            ".avifs",
            ".tif",
            ".tiff",
            ".png",
            ".apng",
            ".gif",
            ".bmp",
            ".ico",
            ".ppm",
            ".pgm",
            ".pbm",
            ".qoi",
            ".psd",
            ".dds",
        ),
    ),
    FormatFacts("webdataset", (".tar",), is_compressible=True),
    FormatFacts("arrow", (".arrow", ".arrows", ".ipc", ".feather")),
    FormatFacts("huggingface", ()),
)
