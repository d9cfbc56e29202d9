"""Formats of files by their endings."""

from __future__ import annotations

from pipelines.sources.split import Format

COMPRESSIONS = (".gz", ".bz2", ".zst")
PHOTO_ENDINGS = (".jpg", ".jpeg", ".jfif", ".mpo", ".jp2", ".j2k", ".webp", ".avif", ".avifs", ".tif", ".tiff")
DRAWING_ENDINGS = (".png", ".apng", ".gif", ".bmp", ".ico", ".ppm", ".pgm", ".pbm", ".qoi", ".psd", ".dds")
IMAGE_ENDINGS = (*PHOTO_ENDINGS, *DRAWING_ENDINGS)
ENDINGS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonlines": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
    ".rst": "text",
    ".tar": "webdataset",
    **dict.fromkeys(IMAGE_ENDINGS, "image"),
}
# They compress by themselves.
PACKED: tuple[Format, ...] = ("parquet", "image")


def format_of(name: str) -> Format | None:
    """Tell a file's format by its ending; None if it is of no known kind."""
    lower = name.lower()
    bare = next((lower.removesuffix(ending) for ending in COMPRESSIONS if lower.endswith(ending)), lower)
    kind = next((kind for ending, kind in ENDINGS.items() if bare.endswith(ending)), None)
    return None if kind in PACKED and bare != lower else kind
