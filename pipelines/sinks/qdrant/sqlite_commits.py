"""SQLite's commits in a folder of qdrant-client's engine, which makes one of every point."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from qdrant_client import QdrantClient


def speed_up_commits(client: QdrantClient, collection: str) -> None:
    """Let SQLite append commits to a log without waiting for the disk at each: the engine commits every point.

    A killed process loses nothing by it; a power cut may lose the last points, and a new run finds them missing.
    ``settle_commits`` puts all on the disk at the end.
    """
    connection = _connections(client).get(collection)
    if connection is not None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")


def settle_commits(client: QdrantClient) -> None:
    """Write SQLite's log into its file and sync both, and leave the journal as the engine expects it."""
    for connection in _connections(client).values():
        # On a full disk the log stays as it is, with all that was committed; another process that looks into the file
        # keeps it from leaving the log mode, in which it is as good.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA wal_checkpoint")
            connection.execute("PRAGMA journal_mode=DELETE")


def _connections(client: QdrantClient) -> dict[str, sqlite3.Connection]:
    """Find the engine's SQLite connections by collection; none where a version keeps them elsewhere."""
    found = {}
    for name, collection in getattr(getattr(client, "_client", None), "collections", {}).items():
        connection = getattr(getattr(collection, "storage", None), "storage", None)
        if isinstance(connection, sqlite3.Connection):
            found[name] = connection
    return found
