"""Deletes from the sinks, at the end of a run, the points of documents that left the source.

These are documents that rows of the source say are deleted, and, where a sink sweeps, all others that the source no
longer has. What goes is written to a file first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config.job import JobConfig
from pipelines.errors import SinkError
from pipelines.filesystem import open_filesystem, write_file
from pipelines.rows import set_column
from pipelines.run.report.report import RunReport
from pipelines.run.scan import ScannedSource
from pipelines.sinks.base import POINT_SCHEMA, Sink
from pipelines.sources.formats import format_named
from pipelines.sources.presence import Presence
from pipelines.urls import join, without_credentials

log = logging.getLogger("fleetembed")

# Between two batches a run looks whether it is to stop.
BATCH_POINTS = 20_000
LOST = "the source changed while it was read, or rows were lost; run the job again"
EMPTY = "the source has no document"
TOLD, SWEPT = "deleted in the source", "no longer in the source"


@dataclass(frozen=True)
class Gone:
    """Points of one sink, of POINT_SCHEMA: those of documents that the source says are deleted, and those to sweep."""

    sink: Sink
    told: pa.Table
    swept: pa.Table

    @property
    def points(self) -> pa.Table:
        """All of them."""
        return pa.concat_tables([self.told, self.swept])


def sweeps(config: JobConfig) -> bool:
    """Whether any sink of a job sweeps."""
    return any(sink.deletions == "sweep" for sink in config.sink)


def plan_deletions(config: JobConfig) -> list[str]:
    """Say in lines what a run would delete, as far as that is known before the source is read."""
    lines = []
    for section in config.sink:
        if section.deletions == "sweep":
            why = _limit(config)
            lines.append(
                f"would sweep nothing from {section.type} {section.place}: {why}"
                if why is not None
                else f"would sweep from {section.type} {section.place} the points of corpus {config.corpus!r} whose "
                f"documents the source no longer has, {100 * section.max_delete:.4g}% of them at most "
                "(max_delete); how many is decided at the end"
            )
    if config.source.deleted is not None:
        limit = _limit(config)
        lines.append(
            f"would delete from all sinks the documents in whose row {config.source.deleted!r} is true"
            if limit is None
            else f"would delete no document in whose row {config.source.deleted!r} is true: {limit}"
        )
    if lines and config.source.ids_are_unique:
        lines.append(
            "source.ids_are_unique is true, and all ids are read before anything is embedded all the same: they tell "
            "which documents the source has"
        )
    if config.deleted_points is not None:
        lines.append(f"ids of deleted points: {without_credentials(config.deleted_points)}")
    return lines


def delete_gone(
    config: JobConfig,
    sinks: Sequence[Sink],
    source: ScannedSource,
    report: RunReport,
    *,
    accounted: bool,
    changed: Callable[[], str | None],
    check: Callable[[], None],
) -> dict[str, int]:
    """Delete the points of what left the source; returns how many by the name of each sink that may lose any.

    For a run whose rows are all written. ``accounted`` tells that as many documents were read as were scanned,
    ``changed`` says in which way the source is another one since. ``check`` is called now and then, and raises to
    stop. The report is told what went and what was refused. Raises SinkError.
    """
    if config.deleted_points is None:
        return {}
    presence = source.presence
    # Behind the limit, and in what a source has by now, may be rows by which the same documents stay.
    unsure, doubt = _limit(config), _doubt(source)
    if unsure is None and (presence.deleted or (sweeps(config) and doubt is None)):
        unsure = changed()
    why_not = unsure or doubt or (None if accounted else LOST)
    told_of = presence.deleted if unsure is None else ()
    if presence.deleted and unsure is not None:
        report.notices.append(f"no document that the source says is deleted was: {unsure}")
    empty = why_not == EMPTY
    if sweeps(config) and why_not is not None and not empty:
        report.notices.append(f"nothing was swept: {why_not}")
    found = []
    for number, (section, sink) in enumerate(zip(config.sink, sinks, strict=True)):
        told = _gather(sink.points(told_of), check) if told_of else POINT_SCHEMA.empty_table()
        swept = POINT_SCHEMA.empty_table()
        if section.deletions == "sweep" and why_not is None:
            swept, points = _find_stale(sink, presence, check)
            if swept.num_rows > round(section.max_delete * points, 6):
                report.notices.append(_refusal(config, number, swept.num_rows, points))
                report.deletions_refused = True
                swept = POINT_SCHEMA.empty_table()
        elif section.deletions == "sweep" and empty:
            stale, _ = _find_stale(sink, presence, check)
            report.notices.append(_refusal_of_all(config, number, stale.num_rows))
            report.deletions_refused |= bool(stale.num_rows)
        found.append(Gone(sink, told, swept))
    _keep_ids(config.deleted_points, found, report)
    for gone in found:
        _delete(gone, check)
    report.deletions_waiting -= len(told_of)
    report.rows["deleted"] = pc.count_distinct(pa.concat_tables([gone.points for gone in found])["id"]).as_py()
    return {
        gone.sink.name: gone.points.num_rows
        for gone, section in zip(found, config.sink, strict=True)
        if section.deletions == "sweep" or config.source.deleted is not None
    }


def _limit(config: JobConfig) -> str | None:
    if config.source.limit is None:
        return None
    return f"source.limit is {config.source.limit:,}, so that the source is not read whole"


def _doubt(source: ScannedSource) -> str | None:
    """Say why it is not certain which documents the source has; None where it is."""
    if any(format_named(split.format).is_identified for split in source.splits):
        return "its rows have point ids of their own, by which documents of this job cannot be told from others"
    if source.presence.nameless:
        rows = f"{source.presence.nameless:,} row{'s' if source.presence.nameless > 1 else ''}"
        return (
            f"{rows} of the source cannot be read or have no id (an unreadable file counts as one), so that their "
            "documents are not known; see the dead letters, and mend them"
        )
    if source.presence.keys is None:
        return "not all ids of the source are known"
    if not len(source.presence.keys):
        return EMPTY
    return None


def _gather(tables: Iterator[pa.Table], check: Callable[[], None]) -> pa.Table:
    gathered = [POINT_SCHEMA.empty_table()]
    for table in tables:
        check()
        gathered.append(table)
    return pa.concat_tables(gathered)


def _find_stale(sink: Sink, presence: Presence, check: Callable[[], None]) -> tuple[pa.Table, int]:
    """Find a sink's points whose documents the source lacks, but for those that it deletes; and count the corpus'."""
    told = pa.array(presence.deleted, pa.string())
    seen = 0

    def stale() -> Iterator[pa.Table]:
        nonlocal seen
        for table in sink.points():
            seen += table.num_rows
            lacking = table.filter(pa.array(presence.lacks(table["document_id"])))
            yield lacking.filter(pc.invert(pc.is_in(lacking["document_id"], value_set=told)))

    return _gather(stale(), check), seen


def _refusal(config: JobConfig, number: int, stale: int, points: int) -> str:
    section = config.sink[number]
    enough = math.ceil(100 * stale / points) / 100
    return (
        f"nothing was swept from {section.type} {section.place}: {stale:,} of {points:,} points of corpus "
        f"{config.corpus!r} are of documents that the source no longer has, more than max_delete "
        f"{section.max_delete:g} allows. Look whether the source is whole; to let them go once, run the job with "
        f"--set sink.{number}.max_delete={enough:g}"
    )


def _refusal_of_all(config: JobConfig, number: int, stale: int) -> str:
    section = config.sink[number]
    place = f"{section.type} {section.place}"
    if not stale:
        return f"nothing was swept: {EMPTY}, and {place} has no point of corpus {config.corpus!r}"
    return (
        f"nothing was swept: {EMPTY}, so that all {stale:,} points of corpus {config.corpus!r} in {place} would go. "
        "Look whether what fills the source has failed; a source without any document never empties a corpus, whatever "
        "max_delete allows"
    )


def _keep_ids(folder: str, found: Sequence[Gone], report: RunReport) -> None:
    """Write down which points are about to be deleted; raises SinkError where that cannot be done."""
    parts = []
    for gone in found:
        for why, points in ((TOLD, gone.told), (SWEPT, gone.swept)):
            named = set_column(points, "sink", pa.array([gone.sink.name] * points.num_rows, pa.string()))
            parts.append(set_column(named, "why", pa.array([why] * points.num_rows, pa.string())))
    table = pa.concat_tables(parts)
    if not table.num_rows:
        return
    path = join(folder, f"deleted-{report.run_id}.parquet")
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    try:
        filesystem, inside = open_filesystem(path)
        write_file(filesystem, inside, buffer.getvalue())
    # Libraries of object stores raise errors of their own.
    except Exception as error:
        raise SinkError(
            f"the ids of {table.num_rows:,} points that are to be deleted cannot be written to "
            f"{without_credentials(path)}: {error}; nothing was deleted, run the job again"
        ) from None
    report.deleted_points = without_credentials(path)


def _delete(gone: Gone, check: Callable[[], None]) -> None:
    points = gone.points
    for start in range(0, points.num_rows, BATCH_POINTS):
        check()
        gone.sink.delete(points.slice(start, BATCH_POINTS))
    if points.num_rows:
        log.info(
            "%s: %s points deleted (%s by the source, %s swept)",
            gone.sink.name,
            f"{points.num_rows:,}",
            f"{gone.told.num_rows:,}",
            f"{gone.swept.num_rows:,}",
        )
