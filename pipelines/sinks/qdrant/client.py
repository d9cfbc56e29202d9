"""Clients of a Qdrant server, or of an embedded engine in a folder."""

from __future__ import annotations

import errno
import math
import ssl
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import portalocker
from portalocker.exceptions import LockException
from pydantic import SecretStr
from qdrant_client import QdrantClient

from embedders.retrying import Patience, retry
from pipelines.config.collection import CollectionConfig
from pipelines.errors import SinkError
from pipelines.sinks.base import LeaseStore
from pipelines.sinks.lease.file import DiskLease
from pipelines.sinks.lease.lease import refuse_held
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.folder_engine import MEMORY, Engine, choose_engine
from pipelines.sinks.qdrant.kept_connection import KeptConnection, are_proxies_set
from pipelines.sinks.qdrant.retry import call

LOCK_SECONDS = 30.0  # a killed run's process may hold the folder a little longer
# A gRPC channel that lost its server waits up to two minutes before it looks for it again, whoever asks meanwhile.
_GRPC_OPTIONS = {"grpc.max_reconnect_backoff_ms": 10_000}
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
READ_ONLY_ADVICE = (
    " (an engine writes its lock and its log there also where it only reads: make the folder writable, or copy it, and "
    "search the copy)"
)
# What a locked folder raises: the look at its lock, and the engine itself.
_LOCKED = (LockException, RuntimeError)


def api_key(config: QdrantSinkConfig) -> SecretStr | None:
    """Read the API key from the environment, wrapped so that no message shows it."""
    key = config.secret()
    return SecretStr(key) if key else None


def open_client(config: QdrantSinkConfig, key: SecretStr | None = None) -> QdrantClient:
    """Connect to the configured server or open the configured folder; the caller closes the client.

    The key is read from the environment unless given. A server is not asked anything yet; a folder that another
    process has open raises SinkError: at once where a run of this machine holds it, else after 30 s.
    """
    if config.path is not None:
        path = absolute_folder(config.path)
        return open_folder(path, config.engine, while_locked=lambda: refuse_held(folder_store(path)))
    return open_server(config, key or api_key(config), "sink")


def absolute_folder(path: str) -> str:
    """Make a folder's path absolute; the memory of this process stays what it is called."""
    return path if path == MEMORY else str(Path(path).absolute())


def open_server(
    config: QdrantSinkConfig | CollectionConfig, key: SecretStr | None, section: str, kind: Any = QdrantClient
) -> QdrantClient:
    """Connect to a server, which is not asked anything yet; raises SinkError, naming the section, for no address.

    ``kind`` is the client's class: that inside of a QdrantClient is made in a tenth of the time, and makes no vectors.
    """
    try:
        client: QdrantClient = kind(
            url=config.url,
            api_key=key.get_secret_value() if key else None,
            prefer_grpc=config.prefer_grpc,
            grpc_port=config.grpc_port,
            grpc_options=dict(_GRPC_OPTIONS),  # the client adds to it
            timeout=math.ceil(config.timeout),
            check_compatibility=False,
            verify=_tls(),
        )
        return client
    except ValueError as error:
        raise SinkError(f"{section}.url {config.address} is no address of a server: {error}") from None


def keep_connection(client: QdrantClient, config: QdrantSinkConfig) -> KeptConnection | None:
    """Make a connection to a client's server, with its headers, beside its own; None where proxies are set."""
    if are_proxies_set():
        return None
    url = address_of(client)["url"] or ""
    http: httpx.Client = client.http.client._client
    # Answers come as they are: few bytes are not worth to be packed.
    headers = {name: value for name, value in http.headers.items() if name != "accept-encoding"}
    return KeptConnection(url, headers, math.ceil(config.timeout), _tls())


@cache
def _tls() -> ssl.SSLContext:
    """Load the certificates that servers are checked by, once a process: each client would take 30 ms for its own."""
    return httpx.create_ssl_context()


def folder_store(path: str) -> LeaseStore:
    """Return where a folder keeps the record of who holds it, for all collections in it."""
    if path == MEMORY:
        # Late, as qdrant-client's engine is large.
        from pipelines.sinks.qdrant.memory import MemoryLease

        return MemoryLease()
    return DiskLease(f"qdrant:{path}", path)


def open_folder(
    path: str,
    engine: Engine | None = None,
    *,
    lock_seconds: float = LOCK_SECONDS,
    while_locked: Callable[[], None] = lambda: None,
) -> QdrantClient:
    """Open a folder's embedded engine, or make a new folder of one; see ``choose_engine``.

    Waits for another process's lock, then raises SinkError. ``while_locked`` is called before each pause, and may raise
    SinkError to end the wait.
    """
    chosen = choose_engine(path, engine)
    if path == MEMORY:
        from pipelines.sinks.qdrant.memory import memory_client

        return memory_client()
    patience = Patience(lock_seconds, first_pause=0.2, longest_pause=2)
    try:
        return retry(
            lambda: _open_edge(path) if chosen == "edge" else _open_free(path),
            patience,
            passing=lambda error: isinstance(error, _LOCKED),
            on_retry=while_locked,
        )
    except SinkError:
        raise
    except _LOCKED:
        advice = "end the process that has it open, or use a Qdrant server"
        raise SinkError(f"{path}: another process has this Qdrant folder open ({lock_seconds:g} s); {advice}") from None
    except Exception as error:
        # The engine checks nothing of what it reads: a damaged file can raise anything.
        advice = READ_ONLY_ADVICE if isinstance(error, OSError) and error.errno in _READ_ONLY else ""
        raise SinkError(
            f"{path} cannot be opened as a Qdrant folder: {type(error).__name__}: {error}{advice}"
        ) from None


def address_of(client: QdrantClient) -> dict[str, str | None]:
    """Tell by the keys of a sink where a client's collections are: ``url``, or ``path``."""
    inner = getattr(client, "_client", client)
    url = getattr(inner, "rest_uri", None)
    return {"url": url, "path": None if url else str(getattr(inner, "location", None) or MEMORY)}


def has_indexes(client: QdrantClient, path: str | None) -> bool:
    """Tell whether a client's engine has payload indexes: a server's has, and of the embedded ones edge."""
    return path is None or hasattr(client, "build_indexes")


def build_indexes(client: QdrantClient, config: QdrantSinkConfig) -> None:
    """Build the indexes of a collection of engine edge, which does so when it is told; others do it by themselves."""
    if hasattr(client, "build_indexes"):
        edge: Any = client
        call(
            lambda: edge.build_indexes(config.collection),
            what=f"{config.title}: building its indexes",
            seconds=0,
            comfort="",
        )


def _open_edge(path: str) -> QdrantClient:
    # Late: the engine is a large library.
    from pipelines.sinks.qdrant.edge.client import EdgeClient

    return EdgeClient(path)


def _open_free(path: str) -> QdrantClient:
    """Open a folder that is not locked: the engine itself reads all points before it asks for the lock."""
    lock = Path(path, ".lock")
    if lock.exists():
        with lock.open("r+") as file:
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
            portalocker.unlock(file)
    return QdrantClient(path=path, force_disable_check_same_thread=True)
