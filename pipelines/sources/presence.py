"""Which documents a source has, and which ones its rows say are deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from pipelines.hashing import Column
from pipelines.sources.duplicates import ROW, ComparedIds, SplitScan, document_keys

Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Presence:
    """What a scan tells of the documents that are in a source.

    ``keys``, sorted, are those (see ``document_keys``) of all documents that have a row, live or dead; None where they
    were not to be kept, or the scan does not tell all of them. ``nameless`` rows are of documents that nobody knows.
    ``deleted`` are ids, each once, of documents that a row says are deleted and no other row has. ``marked`` tells
    that any row has the column that marks deletions.
    """

    keys: Keys | None
    nameless: int
    deleted: tuple[str, ...]
    marked: bool = False

    def lacks(self, documents: Column) -> npt.NDArray[np.bool_]:
        """Mark the documents, by their ids, that the source does not have; a collision of keys keeps one."""
        if self.keys is None:
            raise ValueError("which documents the source has was not kept")
        return ~is_in(document_keys(documents), self.keys)


def find_presence(scans: Sequence[SplitScan], compared: Sequence[ComparedIds]) -> Presence:
    """Sum up the scans of all splits of a source, at 8 bytes a document where keys were kept.

    ``compared`` are its ids, in ascending ranges of their hashes.
    """
    nameless = sum(scan.nameless for scan in scans)
    marked = any(scan.marked for scan in scans)
    deleted = dict.fromkeys(chain.from_iterable(_gone(scans, compared)))
    known = sum(part.rows for part in compared) + nameless == sum(scan.rows for scan in scans)
    kept = [part.keys for part in compared if part.keys is not None]
    return Presence(np.concatenate(kept) if kept and known else None, nameless, tuple(deleted), marked)


def _gone(scans: Sequence[SplitScan], compared: Sequence[ComparedIds]) -> Iterator[list[str]]:
    """Yield of each split the ids that it says are deleted and that no row has."""
    present = np.concatenate([np.zeros(0, ROW), *(part.present for part in compared)])
    present = present[np.argsort(present["split"], kind="stable")]
    for number, scan in enumerate(scans):
        if scan.deleted:
            start, stop = np.searchsorted(present["split"], [number, number + 1])
            here = present["position"][start:stop]
            gone = ~np.isin(scan.deleted_positions.astype(np.int64), here)
            yield [name for name, is_gone in zip(scan.deleted, gone.tolist(), strict=True) if is_gone]


def is_in(keys: Keys, among: Keys) -> npt.NDArray[np.bool_]:
    """Mark the keys that are ``among`` others, which are sorted."""
    if not len(among):
        return np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    found: npt.NDArray[np.bool_] = among[at] == keys
    return found
