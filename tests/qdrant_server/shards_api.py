"""Shard keys of a collection with custom sharding, and which of its points have which.

Each update needs a shard key there (``ShardHolder::split_by_shard`` and ``update_from_client`` of Qdrant), and a read
without one asks all shards. In Qdrant two shards may have points of one id; here the later point replaces the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any, TypeVar

from qdrant_client import models
from qdrant_client.local.local_collection import normalize_point_id

from tests.qdrant_server.engine import Call
from tests.qdrant_server.errors import bad_request, wrong_input
from tests.qdrant_server.state import CollectionState

Points = TypeVar("Points", bound=list[Any])


def create(call: Call) -> bool:
    """``PUT /collections/{name}/shards``."""
    if not call.state.is_custom:
        raise bad_request("Shard Key cannot be created with Auto sharding method")
    call.state.shard_keys.append(call.body.shard_key)
    return True


def list_all(call: Call) -> models.ShardKeysResponse:
    """``GET /collections/{name}/shards``."""
    return models.ShardKeysResponse(shard_keys=[models.ShardKeyDescription(key=key) for key in call.state.shard_keys])


def check_update(state: CollectionState, request: Any) -> Any:
    """The shard key of an update, None without custom sharding; 400 where it is missing or unknown."""
    if not state.is_custom:
        return None
    key = getattr(request, "shard_key", None)
    if key is None:
        raise wrong_input("Shard key not specified")
    if key not in state.shard_keys:
        raise wrong_input(f"Shard key {key} not found")
    return key


def remember(state: CollectionState, key: Any, ids: Iterable[Any]) -> None:
    """Note in which shard points are."""
    if key is not None:
        state.shard_of |= dict.fromkeys(map(normalize_point_id, ids), key)


def elsewhere(state: CollectionState, request: Any) -> Set[Any]:
    """Ids of the points that a read of some shards alone does not see."""
    wanted = getattr(request, "shard_key", None)
    if wanted is None or not state.is_custom:
        return frozenset()
    keys = wanted if isinstance(wanted, list) else [wanted]
    return frozenset(point for point, key in state.shard_of.items() if key not in keys)


def marked(state: CollectionState, points: Points) -> Points:
    """Write its shard key into each point of an answer."""
    for point in points if state.is_custom else ():
        point.shard_key = state.shard_of.get(point.id)
    return points
