"""Which documents a source has, and which ones its rows say are deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.sources.duplicates import SplitScan, document_keys

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

    def lacks(self, documents: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Mark the documents, by their ids, that the source does not have; a collision of keys keeps one."""
        if self.keys is None:
            raise ValueError("which documents the source has was not kept")
        return ~is_in(document_keys(documents), self.keys)


def find_presence(scans: Sequence[SplitScan], *, keep_keys: bool) -> Presence:
    """Sum up the scans of all splits of a source, at 8 bytes a document where the keys are kept."""
    nameless = sum(scan.nameless for scan in scans)
    marked = any(scan.marked for scan in scans)
    names = list(dict.fromkeys(name for scan in scans for name in scan.deleted))
    if not keep_keys and not names:
        return Presence(None, nameless, (), marked)
    keys = np.sort(np.concatenate([np.zeros(0, np.uint64), *(part for s in scans for part in (s.keys, s.dead_keys))]))
    gone = ~is_in(document_keys(names), keys)
    known = len(keys) + nameless == sum(scan.rows for scan in scans)
    deleted = tuple(name for name, is_gone in zip(names, gone, strict=True) if is_gone)
    return Presence(keys if keep_keys and known else None, nameless, deleted, marked)


def is_in(keys: Keys, among: Keys) -> npt.NDArray[np.bool_]:
    """Mark the keys that are ``among`` others, which are sorted."""
    if not len(among):
        return np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    found: npt.NDArray[np.bool_] = among[at] == keys
    return found
