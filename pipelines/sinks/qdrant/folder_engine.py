"""Which of Qdrant's embedded engines a folder is of: its files say it, and for a new one the configuration."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pipelines.errors import SinkError

Engine = Literal["edge", "local"]

# What each engine keeps at the top of a folder. qdrant-client makes its own of any folder that it opens, so that of the
# other goes before it.
EDGE_FILE, LOCAL_FILE = "_edge.json", "meta.json"
# In the place of a folder: this process's memory, by qdrant-client's engine, which has this word for it.
MEMORY = ":memory:"


def engine_of(path: str | Path) -> Engine | None:
    """Tell whose a folder is; None where no engine made it."""
    if path == MEMORY:
        return "local"
    if Path(path, EDGE_FILE).is_file():
        return "edge"
    return "local" if Path(path, LOCAL_FILE).is_file() else None


def choose_engine(path: str | Path, wanted: Engine | None) -> Engine:
    """Choose the engine of a folder: its own, or for a new one that which is ``wanted``, else ``edge`` where it runs.

    Raises SinkError where the folder is of the other one, or the engine is not installed.
    """
    held = engine_of(path)
    if held is not None and wanted is not None and held != wanted:
        raise SinkError(
            f"{path} is a Qdrant folder of engine: {held}, and the configuration says engine: {wanted}; leave engine "
            "out to go on with it, or give another path (a job with source.qdrant.path and vectors: true copies it "
            "there without a model)"
        )
    chosen = held or wanted or ("edge" if edge_is_installed() else "local")
    if chosen == "edge" and not edge_is_installed():
        raise SinkError(f"{path}: engine: edge needs the package qdrant-edge-py; pip install 'qdrant-edge-py==0.9.*'")
    return chosen


@cache
def edge_is_installed() -> bool:
    """Tell whether qdrant-edge-py is installed; it has no wheel for some platforms."""
    return find_spec("qdrant_edge") is not None
