"""What a test server is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class Options:
    """Settings of one server process.

    ``port`` 0 takes a free port. With ``grpc`` it also answers gRPC, at ``grpc_port`` (0: a free one). ``api_key`` is
    asked of every request but the health checks (401 without it); ``read_only_api_key`` may read and gets 403 on
    writes. ``strict_mode`` is the strict mode configuration of every new collection (``StrictModeConfig`` as JSON),
    which a collection's own settings override. ``indexing_reads`` is how many times a collection says yellow before an
    index that has to be built is done. ``version`` is what the server says of itself; it answers as the installed
    client's version all the same.
    """

    port: int = 0
    api_key: str | None = None
    read_only_api_key: str | None = None
    max_body_bytes: int = 32 * 1024 * 1024
    strict_mode: dict[str, Any] = field(default_factory=dict)
    indexing_reads: int = 1
    grpc: bool = False
    grpc_port: int = 0
    version: str = field(default_factory=lambda: version("qdrant-client"))
