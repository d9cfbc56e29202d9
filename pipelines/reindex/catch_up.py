"""Copies a collection that lives on to the one that takes its place: a pass over it, then passes for what changed.

Each pass is a run of the job, which embeds only rows that the new collection lacks, and after it a deletion of what the
old one has no more. What was done is told by the two collections alone, so that a run that was killed goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from more_itertools import chunked
from qdrant_client import models
from rich.console import Console

from pipelines.config.job import JobConfig
from pipelines.embed.checked import JobEmbedders
from pipelines.errors import SinkError
from pipelines.pipeline import EmbeddingPipeline
from pipelines.reindex.ids import PointId, only_left, read_ids
from pipelines.reindex.origin import Origin, pinned
from pipelines.run.report.report import RunReport
from pipelines.sinks.base import Sink, SinkSection
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.guard import Guard, marked, unmarked
from pipelines.sinks.qdrant.points import with_ids
from pipelines.sinks.qdrant.sink import QdrantSink
from pipelines.sources.duplicates import document_keys
from pipelines.sources.presence import Keys, Presence

# Points that are asked for by id, and deleted, in one request.
BATCH = 500
KEYS_A_PART = 10_000
NO_KEYS: Keys = np.zeros(0, np.uint64)
COUNTED = ("read", "embedded", "copied", "payload_only", "written", "deleted", "dead")


@dataclass(frozen=True)
class Pass:
    """What one pass did: its number, from 1, the counts of its run (see ``RunReport``), and how long it took."""

    number: int
    read: int
    embedded: int
    copied: int
    payload_only: int
    written: int
    deleted: int
    dead: int
    seconds: float

    @property
    def changes(self) -> int:
        """How many points were not yet what the old collection has."""
        return self.written + self.deleted

    def describe(self) -> str:
        """Say it in a line."""
        dead = f", {self.dead:,} dead" if self.dead else ""
        return (
            f"pass {self.number}: {self.embedded:,} embedded, {self.payload_only:,} payload only, {self.deleted:,} "
            f"deleted{dead} of {self.read:,} read, in {self.seconds:.1f} s"
        )


class CatchUp:
    """Makes passes over a collection, ``origin``, for the one that the job fills.

    ``say`` hears a line a pass, and the console of ``run`` shows the first one. Methods raise as
    ``EmbeddingPipeline.run`` does; what was copied before stays.
    """

    def __init__(
        self,
        config: JobConfig,
        origin: Origin,
        filled: Collection,
        embedders: JobEmbedders,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._config, self._origin, self._filled, self._say = config, origin, filled, say
        self._guard, self._gone = Guard(), NO_KEYS
        self._pipeline = EmbeddingPipeline(
            pinned(config, origin.name), embedders=embedders, make_sink=self._guarded_sink
        )
        self.passes: list[Pass] = []

    @property
    def name(self) -> str:
        """The collection that is copied."""
        return self._origin.name

    @property
    def pipeline(self) -> EmbeddingPipeline:
        """The job of a pass, to be planned."""
        return self._pipeline

    def run(self, console: Console) -> RunReport:
        """Make passes until one finds few changes (``reindex.until``), or there were enough (``reindex.passes``)."""
        settings = self._config.reindex
        report = self.make_pass(console)
        while self.passes[-1].changes >= settings.until and len(self.passes) <= settings.passes:
            report = self.make_pass()
        for line in self._outcome():
            self._say(line)
        return report

    def make_pass(self, console: Console | None = None) -> RunReport:
        """Make one pass, and write its report; raises as the run does."""
        started = time.monotonic()
        self._wait_for_old()
        report = self._pipeline.run(console=console or Console(quiet=True))
        report.rows["deleted"] = self._delete_gone()
        if report.rows["deleted"]:
            # Counted before it.
            report.sinks = [{**figures, "points": self._filled.count()} for figures in report.sinks]
        counts: dict[str, Any] = {name: report.rows[name] for name in COUNTED}
        self.passes.append(Pass(len(self.passes) + 1, **counts, seconds=round(time.monotonic() - started, 2)))
        report.passes = [asdict(one) for one in self.passes]
        report.try_to_save(self._config.report)
        report.write_page(self._config.report_page)
        self._say(self.passes[-1].describe())
        return report

    def keys(self) -> Keys:
        """Read the ids that the new collection has now, as sorted 64-bit keys."""
        new = self._filled
        ids = read_ids(new.client, new.name, new.ask)
        return np.sort(np.concatenate([NO_KEYS, *(_keys_of(some) for some in chunked(ids, KEYS_A_PART))]))

    def settle(self, known: Keys | None) -> tuple[int, int]:
        """Copy what was written to the old collection until just now, when writers have left it.

        ``known`` are the keys of ids that the new collection had before: where it lacks such a point now, a writer
        deleted it there. Returns how many points were written, and deleted.
        """
        written = deleted = 0
        for _ in range(self._config.reindex.passes + 1):
            self._guard, self._gone = Guard(None if known is None else Presence(known, 0, ())), NO_KEYS
            self.make_pass()
            last = self.passes[-1]
            written, deleted = written + last.written, deleted + last.deleted
            if not last.changes:
                break
            # What this pass copied may be deleted before the next; what it deleted itself may come back.
            seen = self.keys()
            known = np.setdiff1d(seen if known is None else np.union1d(known, seen), self._gone)
        return written, deleted

    def _guarded_sink(self, section: SinkSection) -> Sink:
        if not isinstance(section, QdrantSinkConfig):
            raise TypeError("only a Qdrant sink can be guarded")
        return QdrantSink(section, guard=self._guard)

    def _old_ids(self) -> Iterator[PointId]:
        old = self._origin.collection
        return read_ids(old.client, old.name, old.ask, self._origin.chosen)

    def _wait_for_old(self) -> None:
        """Wait while the old collection is being indexed: a server may show points only when that is done."""
        info = self._origin.collection.info()
        if info is not None and info.status == models.CollectionStatus.YELLOW:
            self._origin.collection.wait_until_indexed(self._config.reindex.verify.wait_seconds)

    def _delete_gone(self) -> int:
        """Delete from the new collection what was copied and is not in the old one any more; returns how many."""
        self._wait_for_old()
        new, deleted = self._filled, 0
        if next(self._old_ids(), None) is None:
            copied = self._filled.count(marked(self._origin.name))
            if copied:
                self._say(
                    f"{self._origin.collection.title} is empty now, and nothing was deleted for it from {new.name}, "
                    f"which has {copied:,} of its points; where it was emptied on purpose, delete {new.name}"
                )
            return 0
        for some in chunked(only_left(read_ids(new.client, new.name, new.ask), self._old_ids()), BATCH):
            deleted += self._delete(some)
        return deleted

    def _delete(self, candidates: Sequence[PointId]) -> int:
        """Delete points, unless they are in the old collection by now or were written by somebody else."""
        back = set(_ids_of(self._origin.collection, with_ids(self._origin.chosen, candidates)))
        gone = [name for name in candidates if name not in back]
        chosen = with_ids(marked(self._origin.name), gone)
        new = self._filled
        found = len(_ids_of(new, chosen)) if gone else 0
        if found:
            selector = models.FilterSelector(filter=chosen)
            new.ask(lambda: new.client.delete(new.name, selector, wait=True), f"deleting {found} points")
            self._gone = np.append(self._gone, _keys_of(gone))
        return found

    def _outcome(self) -> Iterator[str]:
        last, until = self.passes[-1], self._config.reindex.until
        if last.changes >= until and len(self.passes) > 1:
            rate = last.changes / max(last.seconds, 0.01)
            yield (
                f"writers are about as fast as the passes: of {len(self.passes)} passes, the last one found "
                f"{last.changes:,} changes in {last.seconds:.1f} s ({rate:,.0f} a second), and reindex.until is "
                f"{until:,}; raise that, or slow the writers down, before you switch"
            )
        others = self._filled.count(unmarked())
        if others:
            yield (
                f"{others:,} points of {self._filled.name} were written by others than reindex run, and are left as "
                "they are"
            )


def _keys_of(ids: Iterable[PointId]) -> Keys:
    return document_keys(pa.array(map(str, ids), pa.string()))


def _ids_of(collection: Collection, chosen: models.Filter) -> list[PointId]:
    found, _ = collection.ask(
        lambda: collection.client.scroll(collection.name, chosen, limit=BATCH, with_payload=False, with_vectors=False),
        "asking for points by their ids",
    )
    return [point.id for point in found]


def refuse_many(passes: Sequence[Pass], until: int, filled: Collection) -> None:
    """Raise SinkError where so much has changed since a verification that it tells nothing."""
    changes = sum(one.changes for one in passes)
    if changes > until:
        raise SinkError(
            f"{changes:,} points were caught up just now, more than reindex.until ({until:,}), so that the "
            f"verification of {filled.name} says too little; nothing was switched. Run `fleetembed reindex verify` "
            "again and then switch, or raise reindex.until; or give --unverified, to switch all the same"
        )
