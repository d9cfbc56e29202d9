"""Compares the ids of a source with Ray: hashes go from task to task, and the driver has no more than the repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray

from pipelines.sources.duplicates import ComparedIds
from pipelines.sources.id_comparison import IdKeys, compare, parts_for

Item = TypeVar("Item")
Result = TypeVar("Result")

# Ray keeps objects of less than 100 KB in the memory of the driver. What is cut together gives pieces of about so much.
PIECE_BYTES = 512 << 10


def compare_ids(
    look: Callable[[Item], tuple[Result, IdKeys]],
    items: Sequence[Item],
    *,
    keep_keys: bool,
    options: dict[str, Any],
    wait: Callable[[Any, int], Any],
) -> tuple[list[Result], list[ComparedIds]]:
    """See ``Engine.compare_ids``; ``options`` are those of its tasks, and ``wait`` gets one, beside how many are left.

    A task looks at each item; a task cuts the hashes of several items into the parts, by their first bits; a task
    compares those of each part.
    """
    count = parts_for(len(items))
    looking: Any = ray.remote(num_returns=3, **options)(_looked)
    cutting: Any = ray.remote(num_returns=count, **options)(_cut)
    comparing: Any = ray.remote(**options)(_compared)
    looked = [looking.remote(look, item) for item in items]
    results: list[Result] = []
    parts: list[list[Any]] = [[] for _ in range(count)]
    gathered: list[Any] = []
    size = 0
    for number in range(len(looked)):
        result, nbytes, keys = looked[number]
        # Ray keeps what somebody refers to.
        looked[number] = None
        results.append(wait(result, len(looked) - number))
        gathered.append(keys)
        size += ray.get(nbytes)
        if count > 1 and size < count * PIECE_BYTES and number + 1 < len(looked):
            continue
        pieces = [gathered] if count == 1 else [[piece] for piece in cutting.remote(count, *gathered)]
        for part, its in zip(parts, pieces, strict=True):
            part += its
        gathered, size = [], 0
    compared = [comparing.remote(keep_keys, *part) for part in parts]
    parts.clear()
    return results, [wait(one, count - number) for number, one in enumerate(compared)]


def _looked(look: Callable[[Any], tuple[Any, IdKeys]], item: Any) -> tuple[Any, int, IdKeys]:
    result, keys = look(item)
    return result, keys.nbytes, keys


def _cut(parts: int, *keys: IdKeys) -> list[IdKeys]:
    return IdKeys.joined(keys).cut(parts)


def _compared(keep_keys: bool, *pieces: IdKeys) -> ComparedIds:
    return compare(pieces, keep_keys=keep_keys)
