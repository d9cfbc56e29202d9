"""What an alias names, which collections there are for it, and what a switch or a rollback would do."""

from __future__ import annotations

from dataclasses import dataclass

from qdrant_client import models

from pipelines.reindex.aliases import Alias, Before
from pipelines.reindex.clashes import clash, is_taken
from pipelines.reindex.names import is_named_after
from pipelines.reindex.readiness import why_unready, why_unverified
from pipelines.reindex.verified import Verified
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.description import COMPLETE, FILLING, held_provenance, is_complete


@dataclass(frozen=True)
class Row:
    """One collection as ``status`` tells of it.

    ``state`` is filling, complete or unknown; ``models`` maps vectors to the models that made them. ``verified`` tells
    whether a verification since the last run passed, None where there was none.
    """

    collection: str
    points: int
    state: str
    models: dict[str, str]
    verified: bool | None = None


@dataclass(frozen=True)
class Status:
    """What an alias names, which collections there are for it, and what a switch or a rollback would let it name.

    ``names``, ``switch_to`` and ``rollback_to`` are None where there is none. ``collection`` is the one that the job
    fills. ``refused`` says in a few words why a switch is refused, None where none is or there is nothing to switch;
    ``clash`` what collection has the alias's name.
    """

    alias: str
    names: str | None
    collection: str
    switch_to: str | None
    rollback_to: str | None
    collections: list[Row]
    refused: str | None = None
    clash: str | None = None


def read_status(alias: Alias, filled: Collection, fingerprint: str) -> Status:
    """Ask the server for it; ``filled`` is the collection that the job of a fingerprint fills."""
    now = alias.target()
    names = [name for name in alias.collections() if is_named_after(alias.name, name) or name == now]
    infos = {name: info for name in names if (info := alias.collection(name).info()) is not None}
    points = {name: alias.collection(name).count() for name in infos}
    own, named = infos.get(filled.name), now == filled.name
    before = Before.of(own) if own is not None and named else None
    back = before.collection if before is not None else None
    held = clash(alias) if is_taken(alias) else None
    refusal = why_unready(filled, own, points.get(filled.name, 0), fingerprint)
    if refusal is None and own is not None:
        refusal = why_unverified(filled, own, points[filled.name])
    refused = refusal.short if refusal is not None else held
    return Status(
        alias=alias.name,
        names=now,
        collection=filled.name,
        switch_to=filled.name if own is not None and not named and is_complete(own) is True else None,
        rollback_to=back if back is not None and alias.collection(back).info() is not None else None,
        collections=[
            Row(name, points[name], _state(info), _models(info), _verified(info)) for name, info in infos.items()
        ],
        refused=None if named else refused,
        clash=held,
    )


def _state(info: models.CollectionInfo) -> str:
    return {True: COMPLETE, False: FILLING, None: "unknown"}[is_complete(info)]


def _verified(info: models.CollectionInfo) -> bool | None:
    held = Verified.of(info)
    return held.passed if held is not None else None


def _models(info: models.CollectionInfo) -> dict[str, str]:
    held = held_provenance(info).get("models")
    return {str(name): str(model) for name, model in held.items()} if isinstance(held, dict) else {}
