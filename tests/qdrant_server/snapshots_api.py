"""Snapshots of a collection: a record of each, with the count of points, and no file behind it."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import Any

from tests.qdrant_server.engine import Call
from tests.qdrant_server.errors import ApiError


def create(call: Call) -> dict[str, Any]:
    """``POST /collections/{name}/snapshots``."""
    now, number = datetime.now(timezone.utc), len(call.state.snapshots)
    name = f"{call.collection}-{number}-{now:%Y-%m-%d-%H-%M-%S}.snapshot"
    snapshot = {
        "name": name,
        "creation_time": f"{now:%Y-%m-%dT%H:%M:%S}",
        "size": call.local.count(call.collection).count,
        "checksum": hashlib.sha256(name.encode()).hexdigest(),
    }
    call.state.snapshots.append(snapshot)
    return snapshot


def list_all(call: Call) -> list[dict[str, Any]]:
    """``GET /collections/{name}/snapshots``."""
    return call.state.snapshots


def delete(call: Call) -> bool:
    """``DELETE /collections/{name}/snapshots/{snapshot}``."""
    kept = [snapshot for snapshot in call.state.snapshots if snapshot["name"] != call.tail]
    if len(kept) == len(call.state.snapshots):
        raise ApiError(404, f"Not found: Snapshot {call.tail} not found")
    call.state.snapshots = kept
    return True
