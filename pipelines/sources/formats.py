"""All formats of files that a source may have."""

from __future__ import annotations

from pipelines.sources.arrow_ipc import ArrowIpc
from pipelines.sources.base import Format
from pipelines.sources.delimited import Csv
from pipelines.sources.huggingface import HuggingFace
from pipelines.sources.image_files import ImageFiles
from pipelines.sources.jsonl import Jsonl
from pipelines.sources.lines import without_compression
from pipelines.sources.memory.format import InMemory
from pipelines.sources.parquet import Parquet
from pipelines.sources.qdrant.format import QdrantCollection
from pipelines.sources.text import Text
from pipelines.sources.vectors.format import Vectors
from pipelines.sources.webdataset import Webdataset

FORMATS: tuple[Format, ...] = (
    Parquet(),
    Jsonl(),
    Csv(),
    Text(),
    ImageFiles(),
    Webdataset(),
    ArrowIpc(),
    HuggingFace(),
)
# What has a section of its own in the configuration, and is no file.
OTHERS: tuple[Format, ...] = (QdrantCollection(), Vectors(), InMemory())
_NAMED = {kind.name: kind for kind in (*FORMATS, *OTHERS)}
ENDINGS: dict[str, Format] = {ending: kind for kind in FORMATS for ending in kind.endings}
FOLDER_MARKS = tuple(mark for kind in FORMATS for mark in kind.folder_marks)


def format_named(name: str) -> Format:
    """Find a format by its name."""
    return _NAMED[name]


def format_of(name: str) -> Format | None:
    """Tell a file's format by its ending; None if it is of no known kind."""
    lower = name.lower()
    bare = without_compression(lower)
    kind = next((kind for ending, kind in ENDINGS.items() if bare.endswith(ending)), None)
    return None if kind is not None and bare != lower and not kind.is_compressible else kind
