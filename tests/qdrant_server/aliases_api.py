"""Aliases: names that point at collections."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from tests.qdrant_server.engine import Call
from tests.qdrant_server.errors import ApiError, no_collection


def change(call: Call) -> bool:
    """``POST /collections/aliases``: the actions in order, each of them saved at once.

    One that fails ends the list and leaves those before it in place, as in Qdrant's ``update_aliases``; the local
    engine would take them back.
    """
    for action in call.body.actions:
        if isinstance(action, models.CreateAliasOperation):
            _check_new(call, action.create_alias)
        call.local.update_collection_aliases([action])
    return True


def _check_new(call: Call, alias: models.CreateAlias) -> None:
    if alias.collection_name not in call.engine.states:
        raise no_collection(alias.collection_name)
    if alias.alias_name in call.engine.states:
        raise ApiError(409, f"Wrong input: Collection `{alias.alias_name}` already exists!")


def list_all(call: Call) -> Any:
    """``GET /aliases``."""
    return call.local.get_aliases()


def list_of_collection(call: Call) -> Any:
    """``GET /collections/{name}/aliases``."""
    return call.local.get_collection_aliases(call.collection)
