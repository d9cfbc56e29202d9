"""The way to a collection that is read: its client, and requests that are made again until they succeed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import SecretStr
from qdrant_client import QdrantClient

from pipelines.config.collection import CollectionConfig
from pipelines.errors import SinkError, SourceError
from pipelines.sinks.qdrant.client import open_folder, open_server
from pipelines.sinks.qdrant.folder_engine import engine_of
from pipelines.sinks.qdrant.retry import call, look_at

# A wrong address shall not cost `retry_seconds`.
LOOK_SECONDS = 15.0
T = TypeVar("T")


def read_key(config: CollectionConfig) -> SecretStr | None:
    """Read the API key from the environment of this process, wrapped so that no message shows it."""
    key = config.secret() if config.url is not None else None
    return SecretStr(key) if key else None


@contextmanager
def connected(config: CollectionConfig, key: SecretStr | None, kind: Any = QdrantClient) -> Iterator[QdrantClient]:
    """Connect to the server, by a client of that ``kind``, or open the folder; what is refused is a SourceError."""
    if config.path is not None and engine_of(config.path) is None:
        raise SourceError(f"source.qdrant.path {config.path}: there is no Qdrant folder")
    with _as_source():
        client = open_server(config, key, "source.qdrant", kind) if config.path is None else open_folder(config.path)
    try:
        yield client
    finally:
        client.close()


def look(config: CollectionConfig, request: Callable[[], T], doing: str) -> T:
    """Ask before anything is read, with little patience; raises SourceError."""
    with _as_source():
        what, seconds = f"{config.title}: {doing}", min(LOOK_SECONDS, config.retry_seconds)
        return look_at("source.qdrant.url", request, what=what, seconds=seconds)


def ask_for_page(config: CollectionConfig, request: Callable[[], T], points: int, doing: str) -> T:
    """Ask for a page of points; raises SourceError, or RequestRefusedError where fewer points may do."""
    with _as_source():
        return call(request, what=f"{config.title}: {doing}", seconds=config.retry_seconds, points=points)


@contextmanager
def _as_source() -> Iterator[None]:
    try:
        yield
    except SinkError as error:
        raise SourceError(str(error)) from None
