"""Has Ray Data read a Dataset into the object store, block by block, in the order that its rows have."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
import ray.data
from rich.filesize import decimal

from embedders.errors import FleetembedError
from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.run.cluster.as_found import log_level
from pipelines.run.cluster.lone_ray import is_lone, without_brokers
from pipelines.run.cluster.remote_rows import RemoteRows
from pipelines.run.phases import tell
from pipelines.sources.memory.data import Data
from pipelines.sources.memory.format import InMemory
from pipelines.sources.memory.plan import check_known_columns
from pipelines.sources.memory.unread import RayReader, Unread, look_at, refuse_arguments
from pipelines.sources.split import PlannedRows
from pipelines.stopping import stop_if_asked

log = logging.getLogger("fleetembed")

SECONDS_BETWEEN_LINES = 15.0


def refuse_reader(unread: Unread) -> None:
    """Raise ConfigError where a reader takes no such arguments; no Ray is started for that."""
    if isinstance(unread, RayReader):
        refuse_arguments(getattr(ray.data, unread.name), unread.arguments)


def ask_reader(unread: Unread) -> PlannedRows:
    """Tell what a Dataset says of itself, without reading it; raises ConfigError where a reader refuses."""
    return look_at(unread.dataset(ray.data), unread.title)


def read_dataset(unread: Unread, source: SourceConfig, most: int | None = None) -> Data:
    """Read a Dataset's rows, ``most`` of them at most and no more than ``source.limit``.

    Columns that no key of the source names are left out where the Dataset knows its columns. The references to the
    blocks keep them; Ray spills what its store has no room for to disk. Raises SourceError.
    """
    tell(f"reading {unread.title}")
    # Ray Data would print a failure with its traceback; it is told in a sentence.
    quiet = log_level("ray.data", logging.CRITICAL)
    with without_brokers() if is_lone() else nullcontext(), _told_plainly(unread), quiet:
        given = unread.dataset(ray.data)
        # What it says of itself is looked at first: to read it may take hours.
        check_known_columns(source, look_at(given, unread.title))
        dataset = _chosen(given, source)
        for limit in (source.limit, most):
            dataset = dataset if limit is None else dataset.limit(limit)
        with _in_order(dataset):
            names = dataset.columns(fetch_if_missing=False)
            blocks, sizes = [], []
            told, began = time.monotonic(), time.monotonic()
            for reference, rows, size, columns in _blocks(dataset):
                stop_if_asked()
                blocks.append((reference, rows))
                sizes.append((rows, size))
                names = names or columns
                if time.monotonic() - told > SECONDS_BETWEEN_LINES:
                    told = time.monotonic()
                    log.info("read %s of %s so far", _counted(sizes), unread.title)
    log.info("read %s of %s in %.0f s", _counted(sizes), unread.title, time.monotonic() - began)
    return Data(unread.title, RemoteRows(blocks), tuple(sizes), None if names is None else tuple(names))


def _chosen(dataset: Any, source: SourceConfig) -> Any:
    """Leave out what is not read, so that it need not be held."""
    wanted = InMemory().fields(source).columns
    there = dataset.columns(fetch_if_missing=False)
    if wanted is None or there is None or wanted >= set(there):
        return dataset
    return dataset.select_columns([name for name in there if name in wanted])


def _blocks(dataset: Any) -> Iterator[tuple[Any, int, int, list[str] | None]]:
    """Yield reference, rows, bytes and columns of each block, as it is there."""
    for bundle in dataset.iter_internal_ref_bundles():
        names = list(bundle.schema.names) if bundle.schema is not None else None
        for entry in bundle.blocks:
            about = entry.metadata
            # An own look, where Ray does not tell.
            rows = len(ray.get(entry.ref)) if about.num_rows is None else about.num_rows
            if rows:
                yield entry.ref, rows, about.size_bytes or 0, names


def _counted(sizes: list[tuple[int, int]]) -> str:
    return f"{sum(rows for rows, _ in sizes):,} rows ({decimal(sum(size for _, size in sizes))})"


@contextmanager
def _in_order(dataset: Any) -> Iterator[None]:
    """Read a Dataset in its order and without bars of Ray's; its settings, which are the user's, are put back."""
    context, options = dataset.context, dataset.context.execution_options
    # Else an error of a function of the user says only that there was one.
    wanted = {"enable_progress_bars": False, "raise_original_map_exception": True}
    before = {name: getattr(context, name) for name in wanted}
    ordered, options.preserve_order = options.preserve_order, True
    try:
        for name, value in wanted.items():
            setattr(context, name, value)
        yield
    finally:
        options.preserve_order = ordered
        for name, value in before.items():
            setattr(context, name, value)


@contextmanager
def _told_plainly(unread: Unread) -> Iterator[None]:
    """Tell what goes wrong while rows are read as a SourceError of one sentence."""
    try:
        yield
    except (FleetembedError, KeyboardInterrupt, SystemExit):
        raise
    # Of Ray, Ray Data, the reader, or functions of the user.
    except Exception as error:
        log.debug("%s could not be read", unread.title, exc_info=True)
        raise SourceError(f"{unread.title} could not be read: {unread.shown(_cause(error))}") from error


def _cause(error: BaseException) -> str:
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return _cause(cause)
    # A KeyError shows what it was raised with as Python would write it.
    told = error.args[0] if len(error.args) == 1 and isinstance(error.args[0], str) else str(error)
    text = told.partition("\nFailed to apply UDF transform")[0].strip()
    # Of a task's error, the last line is the one that was raised.
    line = (text.splitlines() or [""])[-1 if isinstance(error, ray.exceptions.RayError) else 0]
    return f"{type(error).__name__}: {line[:300]}" if not isinstance(error, ray.exceptions.RayError) else line[:300]
