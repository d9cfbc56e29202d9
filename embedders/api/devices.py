"""One model on several devices: lists of texts, pairs or images go to whichever copy of the model is free."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from queue import SimpleQueue
from typing import Any, TypeVar

from more_itertools import chunked

from embedders.images.sources import Images, image_sources, one_or_many
from embedders.ordered_map import AHEAD, ordered_map

Item = TypeVar("Item")
Result = TypeVar("Result")

# Images that one device gets at a time, where there are several.
IMAGES_AT_ONCE = 64

logger = logging.getLogger(__name__)


def check_parallel(parallel: int | None) -> None:
    """Raise ValueError for what is neither a number of workers nor None."""
    if parallel is None:
        return
    if isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 0:
        raise ValueError(
            f"parallel must be a number of workers, 0 for all there is room for, or None; got {parallel!r}"
        )


def copies_wanted(parallel: int | None, devices: int) -> int:
    """Copies of a model that ``parallel`` asks for where it runs on so many devices; one a device at the most.

    None is one copy, 0 one on every device. Raises ValueError as ``check_parallel`` does.
    """
    check_parallel(parallel)
    if parallel is None:
        return 1
    copies = max(1, devices if parallel == 0 else min(parallel, devices))
    if copies == 1 and parallel != 1:
        _tell_that_one_session_serves()
    return copies


@cache
def _tell_that_one_session_serves() -> None:
    logger.warning(
        "parallel= starts no further processes: one session serves a model, with all of its threads; a session a "
        "device where device_ids names several GPUs. A job (pipelines.EmbeddingPipeline) spreads over processes"
    )


def spread(
    models: Sequence[Any], lists: Iterable[list[Item]], work: Callable[[Any, list[Item]], Iterable[Result]]
) -> Iterator[Result]:
    """Put ``work`` to lists of items, each with a model that is free; results in the order of the items.

    A model that is given twice works on two lists at once.
    """
    if len(models) == 1:
        for some in lists:
            yield from work(models[0], some)
        return
    free: SimpleQueue[Any] = SimpleQueue()
    for model in models:
        free.put(model)

    def work_on_one(some: list[Item]) -> list[Result]:
        model = free.get()
        try:
            return list(work(model, some))
        finally:
            free.put(model)

    shared = len(set(map(id, models))) < len(models)
    for results in ordered_map(work_on_one, lists, threads=len(models), ahead=1 if shared else AHEAD):
        yield from results


def spread_images(models: Sequence[Any], images: Any, max_rows: int) -> Iterator[Any]:
    """Vectors or matrices of one image or many, in order, as they are done."""
    several: Images = one_or_many(images)
    if len(models) == 1:
        # One stream: its threads read ahead.
        yield from models[0].embed_each(image_sources(several), max_rows=max_rows)
        return
    numbered = enumerate(image_sources(several))
    yield from spread(
        models,
        chunked(numbered, IMAGES_AT_ONCE),
        lambda model, some: model.embed_each((image for _, image in some), max_rows=max_rows, first=some[0][0]),
    )
