"""What is verified: a job's collection, what the alias names meanwhile, and what the job's last run said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from qdrant_client import QdrantClient, models

from pipelines.config.job import JobConfig
from pipelines.config.reindex import VerifyConfig
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.errors import SinkError
from pipelines.reindex.origin import Origin, reads_server_of_alias
from pipelines.reindex.verify.files import load_report
from pipelines.reindex.verify.sample import SampledPoint, draw, read_points
from pipelines.search.filters import build_filter
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.retry import call

T = TypeVar("T")
SECONDS_OF_PATIENCE = 60.0


@dataclass
class Subject:
    """A new collection and the old one, with what the checks have in common: the sample is read once.

    ``origin`` is the collection that a switch catches up with, None where there is no such. ``is_named`` tells that the
    alias names the new collection already; ``clash`` says that a collection has the alias's name, and what then.
    """

    config: JobConfig
    sink: QdrantSinkConfig
    client: QdrantClient
    new: Collection
    old: Collection | None
    origin: Origin | None
    job: JobFacts
    embedders: list[RowEmbedder]
    is_named: bool = False
    clash: str | None = None

    @property
    def limits(self) -> VerifyConfig:
        """What the configuration wants to see."""
        return self.config.reindex.verify

    @cached_property
    def info(self) -> models.CollectionInfo:
        """What the server says of the new collection; raises SinkError where there is none."""
        info = self.new.info()
        if info is None:
            raise SinkError(f"{self.new.title} is not there yet; run `fleetembed reindex run` to its end first")
        return info

    @cached_property
    def points(self) -> int:
        """The new collection's points, counted exactly."""
        return self.new.count()

    @cached_property
    def report(self) -> dict[str, Any] | None:
        """The job's last run, None where no report tells of a complete run of this fingerprint."""
        found = load_report(self.config.report)
        complete = found is not None and found.get("status") == "complete"
        return found if complete and found and found.get("fingerprint") == self.job.fingerprint else None

    @property
    def dead(self) -> int:
        """Rows that the last run could not embed or write; 0 where nothing is known of it."""
        return int((self.report or {}).get("rows", {}).get("dead", 0))

    @cached_property
    def copies_old(self) -> bool:
        """Whether the points were read from the old collection, all of them, so that ids and payloads must agree."""
        source = self.config.source.qdrant
        if source is None or self.old is None or self.config.source.limit is not None or self.is_named:
            return False
        if self.origin is not None:
            return self.origin.name == self.old.name
        return reads_server_of_alias(self.config) and source.collection in (self.sink.searched, self.old.name)

    @property
    def writers_go_on(self) -> bool:
        """Whether the switch to a copy has happened, so that writers change the new collection and not the old one."""
        return self.is_named and reads_server_of_alias(self.config)

    @property
    def why_not_judged(self) -> str:
        """Say why what the new collection has is not held against the old one's."""
        if self.writers_go_on:
            return "not judged: since the switch, writers change the new one alone"
        return "not judged: the source is not the old collection"

    @property
    def catches_up(self) -> bool:
        """Whether the old collection is written to meanwhile, and a switch copies that."""
        return self.origin is not None and self.copies_old

    @property
    def tolerated(self) -> int:
        """How many points may be missing, left over or changed."""
        given = self.limits.max_differences
        return given if given is not None else self.config.reindex.until if self.catches_up else 0

    @property
    def old_filter(self) -> models.Filter | None:
        """Which of the old collection's points were read."""
        source = self.config.source.qdrant
        return build_filter(source.filter) if source is not None and (self.copies_old or self.writers_go_on) else None

    @cached_property
    def sampled(self) -> list[SampledPoint]:
        """Points of the new collection, drawn at random, with what is wrong with their vectors."""
        ids = draw(self.client, self.new.name, self.limits.sample, self.ask)
        keep = max(self.limits.reembed, self.limits.searches)
        return list(read_points(self.client, self.new.name, ids, self.job.vectors, keep, self.ask))

    def text_of(self, point: SampledPoint) -> str | None:
        """The text that a point was made from, as its payload keeps it."""
        source = self.config.source.qdrant
        for key in ("text", *([source.text] if source is not None else [])):
            text = point.payload.get(key)
            if isinstance(text, str):
                return text
        return None

    def ask(self, request: Callable[[], T], doing: str) -> T:
        """Make a request; raises SinkError that says what it was for."""
        what = f"verifying {self.new.title}: {doing}"
        return call(request, what=what, seconds=min(SECONDS_OF_PATIENCE, self.sink.retry_seconds), comfort="")
