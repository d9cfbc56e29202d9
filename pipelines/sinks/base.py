"""What a sink is to the job.

A SinkSection is the part of the configuration that describes one. The Sink that is made of it lives on the driver: it
opens the place once, and settles it at the end. It is pickled (after ``open``) into worker processes, where
``connect`` gives a SinkWriter: that one asks what is held already, and writes.

A new kind of sink is a module with these three, and a line in ``pipelines.config.sinks.SINKS``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.base import VectorSpec
from pipelines.rows import RowError

# A point and its document, by their ids.
POINT_SCHEMA = pa.schema([("document_id", pa.string()), ("id", pa.string())])


@dataclass(frozen=True)
class JobFacts:
    """What a sink needs to know of the job: its name space, vectors and fingerprint.

    ``models`` maps a vector's name to its model's name, ``fingerprints`` to its own fingerprint, or its embedding's.
    ``embeddings`` maps an embedding's name to its configuration, by which queries are encoded. ``copied_from`` is the
    collection, never an alias, whose points the job reads, where it reads one. ``fingerprinted`` is what the
    fingerprint is the digest of (see ``pipelines.fingerprints``), empty where nobody knows.
    """

    corpus: str
    fingerprint: str
    vectors: dict[str, VectorSpec]
    models: dict[str, str] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    chunked: bool = False
    embeddings: dict[str, dict[str, Any]] = field(default_factory=dict)
    copied_from: str | None = None
    fingerprinted: dict[str, Any] = field(default_factory=dict)


@dataclass
class WriteResult:
    """What became of one table's rows.

    ``written`` counts rows the sink acknowledged. ``rejected`` maps a row's position to the reason for which this
    row alone was refused. ``retries`` counts requests sent again.
    """

    written: int = 0
    rejected: dict[int, RowError] = field(default_factory=dict)
    retries: int = 0


class Held(IntEnum):
    """What a sink holds of a row, under the row's id and with the job's fingerprint.

    ``VECTORS``: vectors of this very text, beside another payload. ``SAME``: all of it. ``LACKS``: neither. ``MOVED``,
    which no sink says by itself, is a row that all sinks lack and one has the vectors of, under another id.
    """

    LACKS = 0
    VECTORS = 1
    SAME = 2
    MOVED = 3


# Why a row is dead whose vectors a sink had when it was asked, and has no more when they are wanted.
VECTORS_GONE = RowError(
    "sink", "VectorsGone", "the vectors that were there for this text are gone; run the job again to embed it"
)


class SinkSection(Protocol):
    """A sink's section of a job's configuration: a ``pipelines.config.section.Section`` that has these as well.

    ``secrets`` are its keys that may name an environment variable, as ``${NAME}``.
    """

    secrets: ClassVar[frozenset[str]]

    @property
    def writers(self) -> int:
        """How many writers there may be at once."""

    @property
    def retry_seconds(self) -> float:
        """How long one request is tried again before it fails the job."""

    @property
    def deletions(self) -> Literal["keep", "sweep"]:
        """What becomes of points whose document left the source."""

    @property
    def max_delete(self) -> float:
        """Share of the corpus' points that one sweep may delete."""

    @property
    def reuse_moved(self) -> bool:
        """Whether its writers are asked for ``vectors_of_texts``."""

    @property
    def type(self) -> str:
        """The word for this kind of sink."""

    @property
    def place(self) -> str:
        """Where the sink writes, for people to read: without user and password."""

    @property
    def folder(self) -> str | None:
        """Folder, as path or URL, below which the sink writes files; None where it writes none."""

    @property
    def identity(self) -> Hashable:
        """Equal for two sections of one type that write to the same place."""

    def refuse_vectors(self, vectors: Mapping[str, VectorSpec]) -> None:
        """Raise ConfigError, with the keys to change, for vectors that no place of this kind can take."""


class SinkWriter(Protocol):
    """One worker's connection to a sink: made once, used for many tables, and closed in the end."""

    def held(self, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """Say what the sink holds of each row (columns ``id`` and HASHES), as one of ``Held``: (rows,) uint8."""

    def vectors(self, rows: pa.Table) -> pa.Table:
        """Read the vectors that the sink holds for rows (``id`` and HASHES): a column a vector, in the rows' order.

        A row is null in all columns where the sink has no vectors of its text.
        """

    def vectors_of_texts(self, rows: pa.Table) -> pa.Table:
        """Read the vectors that the sink holds, under whatever ids, of rows' texts: as ``vectors``, by text hash."""

    def write(self, table: pa.Table) -> WriteResult:
        """Write rows (IDENTIFIED_SCHEMA plus one column a vector, none of them dead); returns when acknowledged.

        Writing the same rows again, in whole or in part, leaves each of them once. Raises SinkError when the sink
        as a whole fails for good.
        """

    def update(self, table: pa.Table) -> WriteResult:
        """Write rows (IDENTIFIED_SCHEMA, none of them dead) to the vectors that the sink holds for them; see ``write``.

        A row whose vectors the sink has no more is rejected.
        """

    def close(self) -> None:
        """Give up what the writer keeps open; nothing is asked of it afterwards. A second call does nothing."""


class LeaseStore(Protocol):
    """Where a place keeps the record of who holds it. Methods raise SinkError where the place does not answer."""

    # For people to read.
    place: str
    # Whether ``create`` lets only one of several win.
    exclusive: bool

    def prepare(self, job: JobFacts) -> None:
        """Make the place, if it is not there yet."""

    def read(self) -> str | None:
        """Read the record; None where there is none, or no place yet."""

    def create(self, text: str) -> bool:
        """Write a record where none is; False where one came first."""

    def write(self, text: str) -> None:
        """Replace the record."""

    def remove(self) -> None:
        """Make the record one that ``read`` does not find."""

    def hurry(self) -> None:
        """From now on, give up after a few seconds where the place does not answer."""

    def alone(self) -> AbstractContextManager[None]:
        """Keep others off, as far as the place can, between a look and the write that follows."""

    def close(self) -> None:
        """Give up a connection; the next call makes one anew."""


class Sink(Protocol):
    """One place that a job writes to."""

    # "kind:place", for people to read.
    name: str
    # How many writers it takes at once, at most.
    workers: int
    # Whether a writer has no connection, so that it costs nothing to make one for each block.
    connects_at_once: bool

    def check(self, job: JobFacts) -> dict[str, Any]:
        """Look, without changing anything, whether the place fits the job; raises SinkError naming the difference.

        Returns figures for the plan: whether it ``exists``, how many ``points`` it holds.
        """

    def provenance(self) -> dict[str, Any] | None:
        """Read what made the vectors that the place holds (see ``provenance.provenance_of``), and change nothing.

        None where no job's vectors are there, so that the next job may choose; empty where the place does not say.
        """

    def lease_store(self) -> LeaseStore:
        """Return where the place keeps the record of who holds it; nothing is asked of it yet."""

    def open(self, job: JobFacts) -> None:
        """Create or recover the place for this job, which holds its lease; raises SinkError like ``check``."""

    def connect(self) -> SinkWriter:
        """Make a worker's connection, which the caller closes; ``open`` comes first."""

    def points(self, documents: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Give the ids of the corpus' points, those of some documents or all, as tables of POINT_SCHEMA.

        For the driver, when all of the run is written and nothing is deleted yet, before ``finish``.
        """

    def delete(self, points: pa.Table) -> None:
        """Delete points, a table of POINT_SCHEMA, by ``finish`` at the latest; one that is not there is no error."""

    def finish(self, *, completed: bool, untouched: bool = False) -> dict[str, Any]:
        """Settle the place after the last write, also when the job failed; returns figures for the report.

        ``untouched``: nothing was written since ``open``, and the place says of itself what it said before.
        """

    def abandon(self) -> None:
        """Close what is open, in the stead of ``finish``, and change nothing: another run holds the place."""


@contextmanager
def connected(sinks: Sequence[Sink]) -> Iterator[list[SinkWriter]]:
    """Connect to every sink, for as long as a worker works."""
    with ExitStack() as opened:
        yield [opened.enter_context(closing(sink.connect())) for sink in sinks]
