"""Scans a source before it is embedded: how many documents it has, which repeat an id, how long texts are."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Protocol, TypeVar

import numpy as np
from more_itertools import constrained_batches, distribute

from pipelines.config.job import JobConfig
from pipelines.config.source import SourceConfig
from pipelines.embed.average_length import LengthMeter, Lengths, measure_splits, measuring, total
from pipelines.sources import Duplicates, Repeats, Split, SplitScan, find_duplicates, scan_split
from pipelines.sources.duplicates import ComparedIds
from pipelines.sources.formats import format_named
from pipelines.sources.glance import glance_at_split
from pipelines.sources.id_comparison import CompareIds, IdKeys, compare_ids_here
from pipelines.sources.presence import Presence, find_presence

# One read task takes splits of so many bytes or files together: a million small files are not a million tasks.
BYTES_A_TASK = 32 << 20
SPLITS_A_TASK = 500
# A file that is no larger is looked through before a worker would be there for it.
BYTES_HERE = 4 << 20

log = logging.getLogger("fleetembed")

Item = TypeVar("Item")
Result = TypeVar("Result")
MarkedSplit = tuple[Split, Repeats | None]


class Mapper(Protocol):
    """Calls a function for many items, where there is room, and gives its results in their order."""

    def __call__(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See Engine.map."""


@dataclass(frozen=True)
class ScannedSource:
    """What the job reads: splits, how many documents they hold, and the rows among them that repeat an id.

    Of a source that ``is_live``, documents come and go while it is read: their number is that of when it was planned.
    Unless they ``are_counted``, their number is what files or a collection say of themselves, or None.
    ``presence`` tells which documents there are, by which those that are gone leave the sinks. ``lengths`` are those of
    the splits, by their numbers, that the scan has measured: all that have no row that repeats an id, or none.
    """

    splits: Sequence[Split]
    documents: int | None
    duplicates: Duplicates
    presence: Presence
    is_live: bool = False
    are_counted: bool = True
    lengths: Mapping[int, Mapping[str, Lengths]] = field(default_factory=dict)

    @property
    def groups(self) -> list[list[MarkedSplit]]:
        """The splits, each with its rows that repeat an id, as they are read together."""
        return self._grouped(range(len(self.splits)))

    @property
    def unmeasured(self) -> list[list[MarkedSplit]]:
        """Those of them whose lengths are not known."""
        return self._grouped([number for number in range(len(self.splits)) if number not in self.lengths])

    def _grouped(self, numbers: Sequence[int]) -> list[list[MarkedSplit]]:
        marked = [(self.splits[number], self.duplicates.of_split(number)) for number in numbers]
        return [[marked[at] for at in group] for group in _grouped(self.splits, numbers)]

    @property
    def tasks(self) -> list[bytes]:
        """The groups, pickled: what the first stage of a job takes."""
        return [pickle.dumps(group) for group in self.groups]


def group_splits(splits: Sequence[Split]) -> list[list[int]]:
    """Put the numbers of neighbouring splits together, one list a read task; a range of points is a task by itself."""
    sizes = [split.bytes if split.points is None else BYTES_A_TASK for split in splits]
    groups = constrained_batches(
        range(len(splits)), BYTES_A_TASK, SPLITS_A_TASK, get_len=sizes.__getitem__, strict=False
    )
    return [list(group) for group in groups]


def _grouped(splits: Sequence[Split], numbers: Sequence[int]) -> list[list[int]]:
    """Put some splits together as they are read; of a group, the positions in ``numbers``."""
    return group_splits([splits[number] for number in numbers])


def scan(
    splits: Sequence[Split],
    source: SourceConfig,
    compare_ids: CompareIds,
    *,
    keep_keys: bool = False,
    job: JobConfig | None = None,
) -> ScannedSource:
    """Count documents and find repeated ids over all splits; what has unique ids is not read for it.

    Those are a collection, and files of which ``ids_are_unique`` says so, unless they must be known for deletions.

    ``keep_keys`` tells to keep the hashes of all ids, by which documents that left the source are found. With a ``job``
    that measures average lengths, texts are measured in the same pass.
    """
    if splits and all(format_named(split.format).is_live for split in splits):
        return unscanned(splits, is_live=True)
    if source.ids_are_unique and not keep_keys and source.deleted is None:
        return unscanned(splits)
    groups = [[(number, splits[number]) for number in group] for group in group_splits(splits)]
    names = [] if job is None else measuring(job)
    look = partial(_scan_group, source=source, job=job if names else None, glance=not keep_keys)
    if len(splits) == 1 and splits[0].bytes <= BYTES_HERE:
        compare_ids = compare_ids_here
    else:
        log.info("looking through the source")
    if names:
        log.info("measuring the average length of %s on the way", " and ".join(names))
    found, compared = compare_ids(look, groups, keep_keys=keep_keys)
    looked = list(chain.from_iterable(found))
    scans = [one for one, _ in looked]
    if again := _inexact(scans, compared):
        # What repeats an id is in these splits alone, whatever else turns out to be dead in them.
        numbered = [[(again[at], splits[again[at]]) for at in group] for group in _grouped(splits, again)]
        found, compared = compare_ids(partial(look, glance=False), numbered, keep_keys=False)
        for number, (one, _) in zip(again, chain.from_iterable(found), strict=True):
            scans[number] = one
    duplicates = find_duplicates(scans, compared)
    documents = sum(one.rows for one in scans) + duplicates.deletions
    # Rows that repeat an id do not count, and are not known before ids have been compared.
    lengths = {
        number: its for number, (_, its) in enumerate(looked) if its is not None and number not in duplicates.rows
    }
    presence = find_presence(scans, compared)
    return ScannedSource(duplicates.splits, documents, duplicates, presence, lengths=lengths)


def _inexact(scans: Sequence[SplitScan], compared: Sequence[ComparedIds]) -> list[int]:
    """Tell which splits have rows that seem to have one id, if some of them were not looked at exactly."""
    pairs = np.concatenate([np.zeros((0, 4), np.int64), *(part.repeats for part in compared)])
    numbers: list[int] = np.unique(pairs[:, [0, 2]]).tolist()
    return [] if all(scans[number].is_exact for number in numbers) else numbers


def unscanned(splits: Sequence[Split], *, is_live: bool = False) -> ScannedSource:
    """Take a source as it was planned: none of its rows is known to repeat an id."""
    known = [min(one.rows, one.max_rows or one.rows) for one in splits if one.rows is not None]
    documents = sum(known) if is_live or len(known) == len(splits) else None
    return ScannedSource(
        splits, documents, Duplicates(splits, {}), Presence(None, 0, ()), is_live=is_live, are_counted=False
    )


def measure(config: JobConfig, source: ScannedSource, run: Mapper) -> dict[str, Lengths]:
    """Sum up the scored lengths of all rows for the embeddings that measure their average; read what was not scanned.

    So is a split again that has rows which repeat an id.
    """
    groups = source.unmeasured
    if config.source.qdrant is not None:
        # Of a server, so many ranges are read at once.
        parts = distribute(config.source.qdrant.readers, groups)
        groups = [joined for part in parts if (joined := list(chain.from_iterable(part)))]
    measured = run(partial(measure_splits, config=config), groups)
    return total(chain(source.lengths.values(), measured))


def _scan_group(
    group: Sequence[tuple[int, Split]], *, source: SourceConfig, job: JobConfig | None, glance: bool
) -> tuple[list[tuple[SplitScan, Mapping[str, Lengths] | None]], IdKeys]:
    meter = None if job is None else LengthMeter(job)
    scans: list[tuple[int, SplitScan]] = []
    lengths: list[Mapping[str, Lengths] | None] = []
    for number, split in group:
        glimpse = glance_at_split(split, source) if glance and meter is None else None
        scans.append((number, glimpse or scan_split(split, source, None if meter is None else meter.add_documents)))
        lengths.append(None if meter is None else meter.take())
    keys = IdKeys.joined(IdKeys.of(*numbered) for numbered in scans)
    return [(scan.without_keys(), its) for (_, scan), its in zip(scans, lengths, strict=True)], keys
