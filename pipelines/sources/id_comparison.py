"""Compares the ids of all rows of a source by their hashes, in parts: each has the hashes of one range.

A part tells which of its rows repeat an id, and nothing of another part is needed for it. So only the repeats need come
to one place, and at no place must all hashes be: a row's takes 20 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from pipelines.hashing import text_column
from pipelines.sources.duplicates import ROW, ComparedIds, SplitScan, document_keys

Item = TypeVar("Item")
Result = TypeVar("Result")

# So many parts at most, a power of two, and at least so many tasks a part.
MOST_PARTS = 64
TASKS_A_PART = 4


@dataclass(frozen=True)
class IdKeys:
    """Hashes (see ``document_keys``) of the ids of rows, in the order of the rows.

    ``live`` and ``deleted`` are of dtype ROW, of live rows and of deletions; ``dead`` (uint64) are of dead rows.
    """

    live: npt.NDArray[Any]
    dead: npt.NDArray[np.uint64]
    deleted: npt.NDArray[Any]

    @classmethod
    def of(cls, number: int, scan: SplitScan) -> IdKeys:
        """Take the hashes out of the scan of the split of this number."""
        return cls(
            _rows(scan.keys, number, scan.positions),
            scan.dead_keys,
            _rows(document_keys(text_column(scan.deleted)), number, scan.deleted_positions),
        )

    @classmethod
    def joined(cls, keys: Iterable[IdKeys]) -> IdKeys:
        """Put those of several rows together, in this order."""
        every = list(keys)
        return cls(
            np.concatenate([np.zeros(0, ROW), *(one.live for one in every)]),
            np.concatenate([np.zeros(0, np.uint64), *(one.dead for one in every)]),
            np.concatenate([np.zeros(0, ROW), *(one.deleted for one in every)]),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.live.nbytes + self.dead.nbytes + self.deleted.nbytes

    def cut(self, parts: int) -> list[IdKeys]:
        """Cut them into ranges of hashes, in ascending order: a power of two, so that the first bits tell."""
        if parts == 1:
            return [self]
        shift = np.uint64(64 - (parts.bit_length() - 1))
        cuts = (
            _cut(rows, keys >> shift, parts)
            for rows, keys in (
                (self.live, self.live["key"]),
                (self.dead, self.dead),
                (self.deleted, self.deleted["key"]),
            )
        )
        return [IdKeys(*arrays) for arrays in zip(*cuts, strict=True)]


class CompareIds(Protocol):
    """Calls a function for items, and compares the ids it tells of; see ``Engine.compare_ids``."""

    def __call__(
        self, look: Callable[[Item], tuple[Result, IdKeys]], items: Sequence[Item], *, keep_keys: bool
    ) -> tuple[list[Result], list[ComparedIds]]:
        """See Engine.compare_ids."""


def parts_for(tasks: int) -> int:
    """How many parts the ids that so many tasks tell of are compared in."""
    return min(MOST_PARTS, 1 << (tasks // TASKS_A_PART).bit_length())


def compare_ids_here(
    look: Callable[[Item], tuple[Result, IdKeys]], items: Sequence[Item], *, keep_keys: bool
) -> tuple[list[Result], list[ComparedIds]]:
    """Do what ``Engine.compare_ids`` does in this process; of all parts but one, no more than the rows is held."""
    count = parts_for(len(items))
    results = []
    parts: list[list[IdKeys]] = [[] for _ in range(count)]
    for item in items:
        result, keys = look(item)
        results.append(result)
        for part, piece in zip(parts, keys.cut(count), strict=True):
            part.append(piece)
        del keys
    compared = []
    for part in parts:
        compared.append(compare(part, keep_keys=keep_keys))
        part.clear()
    return results, compared


def compare(pieces: Iterable[IdKeys], *, keep_keys: bool) -> ComparedIds:
    """Compare the ids of one part, whose pieces are in the order of the rows."""
    keys = IdKeys.joined(pieces)
    live = keys.live[np.argsort(keys.live["key"], kind="stable")]
    is_first = np.ones(len(live), np.bool_)
    is_first[1:] = live["key"][1:] != live["key"][:-1]
    firsts = live[is_first]
    later = live[~is_first]
    first_of_later = firsts[(np.cumsum(is_first) - 1)[~is_first]]
    kept, found = _find(keys.deleted["key"], firsts["key"])
    refused = keys.deleted[kept]
    among_dead, _ = _find(keys.deleted["key"], np.sort(keys.dead))
    every = np.sort(np.concatenate([live["key"], keys.dead])) if keep_keys else None
    return ComparedIds(
        rows=len(live) + len(keys.dead),
        repeats=np.concatenate([_pairs(later, first_of_later), _pairs(refused, firsts[found[kept]])]),
        deletions=len(refused),
        present=keys.deleted[kept | among_dead],
        keys=every,
    )


def _find(keys: npt.NDArray[np.uint64], among: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.bool_], Any]:
    """Mark the keys that are ``among`` others, which are sorted, and tell where."""
    at = np.searchsorted(among, keys)
    inside = at < len(among)
    inside[inside] = among[at[inside]] == keys[inside]
    return inside, at


def _pairs(rows: npt.NDArray[Any], firsts: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    columns = [rows["split"], rows["position"], firsts["split"], firsts["position"]]
    return np.column_stack([column.astype(np.int64) for column in columns])


def _rows(keys: npt.NDArray[np.uint64], split: int, positions: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    rows = np.empty(len(keys), ROW)
    rows["key"], rows["split"], rows["position"] = keys, split, positions
    return rows


def _cut(rows: npt.NDArray[Any], part: npt.NDArray[np.uint64], parts: int) -> list[npt.NDArray[Any]]:
    order = np.argsort(part.astype(np.uint8), kind="stable")
    ends = np.cumsum(np.bincount(part.astype(np.int64), minlength=parts))
    return np.split(rows[order], ends[:-1])
