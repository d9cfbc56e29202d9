"""The alias of a job on its server: what it names, and the request that moves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from qdrant_client import QdrantClient, models

from pipelines.errors import SinkError
from pipelines.sinks.qdrant.aliases import alias_targets
from pipelines.sinks.qdrant.collection import ADMIN_SECONDS, Collection
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.description import BEFORE
from pipelines.sinks.qdrant.lease import CollectionLease
from pipelines.sinks.qdrant.retry import call

T = TypeVar("T")


@dataclass(frozen=True)
class Before:
    """What an alias named before a switch, None where it was not there, and when that was (ISO 8601, UTC)."""

    collection: str | None
    at: str

    def to_text(self) -> str:
        """Write it for the metadata of the collection that the alias names after the switch."""
        return json.dumps({"collection": self.collection, "at": self.at})

    @classmethod
    def of(cls, info: models.CollectionInfo) -> Before | None:
        """Read what a collection's metadata say; None where no switch has been made to it."""
        text = (info.config.metadata or {}).get(BEFORE)
        try:
            held = json.loads(text) if isinstance(text, str) else None
        except ValueError:
            held = None
        return cls(held.get("collection"), str(held.get("at"))) if isinstance(held, dict) else None


class Alias:
    """An alias on a server. Methods raise SinkError where the server refuses or stays away."""

    def __init__(self, client: QdrantClient, sink: QdrantSinkConfig) -> None:
        """Take the section of the sink that has the alias."""
        self.client = client
        self.name = sink.searched
        self.title = f"alias {self.name!r} at {sink.address}"
        self._sink = sink

    def target(self) -> str | None:
        """Read which collection the alias names; None where there is no such alias."""
        return self.targets().get(self.name)

    def targets(self) -> dict[str, str]:
        """Read all aliases of the server, each with the collection that it names."""
        doing = "asking for the aliases, which servers that are too old do not have,"
        return self._ask(lambda: alias_targets(self.client), doing)

    def point_at(self, collection: str) -> None:
        """Let the alias name a collection, whether it is there already or not.

        One action, which the server applies as a whole: an alias that is deleted first would be missing for good if the
        server died before the next action.
        """
        create = models.CreateAlias(alias_name=self.name, collection_name=collection)
        actions = [models.CreateAliasOperation(create_alias=create)]
        self._ask(lambda: self.client.update_collection_aliases(actions), f"naming {collection}")

    def collections(self) -> list[str]:
        """List the collections of the server, without aliases."""
        found = self._ask(lambda: self.client.get_collections().collections, "listing the collections")
        return sorted(one.name for one in found)

    def collection(self, name: str) -> Collection:
        """Return a collection of the same server."""
        return Collection(self.client, self._sink.model_copy(update={"alias": None, "collection": name}))

    def lease(self, name: str) -> CollectionLease:
        """Return the record of who writes to a collection of the same server."""
        collection = self.collection(name)
        return CollectionLease(collection.title, collection.config)

    def snapshot(self, name: str) -> str:
        """Make a snapshot of a collection on the server, and return its name."""
        made = self._ask(lambda: self.client.create_snapshot(name, wait=True), f"making a snapshot of {name}")
        if made is None:
            raise SinkError(f"{self.title}: the server made no snapshot of {name}")
        return made.name

    def delete(self, name: str) -> None:
        """Delete a collection, and all aliases that name it."""
        self._ask(lambda: self.client.delete_collection(name), f"deleting {name}")

    def _ask(self, request: Callable[[], T], doing: str) -> T:
        seconds = min(ADMIN_SECONDS, self._sink.retry_seconds)
        return call(request, what=f"{self.title}: {doing}", seconds=seconds, comfort="")
