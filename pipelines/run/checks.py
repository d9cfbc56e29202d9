"""What ends a run though its stages went on: too many rows with errors, and documents that are lost."""

from __future__ import annotations

import time

from pipelines.config.job import ErrorsConfig
from pipelines.errors import TooManyErrorsError, WorkerError
from pipelines.run.report.report import RunReport
from pipelines.run.tally import Counter

SECONDS_FOR_LAST_FIGURES = 3.0


def check_errors(report: RunReport, errors: ErrorsConfig, counter: Counter, *, at_end: bool) -> None:
    """Raise TooManyErrorsError where more rows are dead than ``errors.max_rate`` allows.

    Before the end, this counts from ``errors.min_rows`` settled rows on.
    """
    if not report.exceeds(errors.max_rate):
        return
    # Skipped rows are else looked at once a second, and dead ones come with each block.
    report.take_stages(counter.read())
    dead, seen = report.rows["dead"], report.settled
    if report.exceeds(errors.max_rate) and (at_end or seen >= errors.min_rows):
        first = f" The first: {report.dead_samples[0].rstrip('.')}." if report.dead_samples else ""
        deletions, waiting = report.deletions_read, ""
        if deletions:
            waiting = f" {deletions:,} deletion{'s were' if deletions > 1 else ' was'} left waiting."
        raise TooManyErrorsError(
            f"{dead:,} of {seen + deletions:,} rows went to dead letters ({report.dead_letters}), more than "
            f"errors.max_rate {errors.max_rate:g} allows.{first}{waiting} What was written stays; mend the rows, or "
            "raise errors.max_rate, and run the job again"
        )


def check_documents(report: RunReport, counter: Counter, documents: int | None, settled: float) -> bool:
    """Compare the documents that were found with those whose fate is known; raises WorkerError where some are lost.

    ``documents`` None: as many as were read. Returns whether they are the same, as far as is known. Fractions of
    documents, which chunks are, add up with a small error.
    """

    def missing() -> int:
        # The last figures may still be on their way.
        report.take_stages(counter.read())
        found = report.rows["read"] if documents is None else documents
        return round(found - settled - report.stages.get("skip", {}).get("documents", 0.0))

    deadline = time.monotonic() + SECONDS_FOR_LAST_FIGURES
    while (lost := missing()) > 0 and not report.lost_figures:
        if time.monotonic() < deadline:
            time.sleep(0.1)
            continue
        told = (
            f"{lost:,} of {documents or report.rows['read']:,} documents reached neither the sinks nor the dead letters"
        )
        if report.lost_work:
            raise WorkerError(f"{told}: they were lost with a node or a worker; run the job again for them")
        report.notices.append(f"{told}, as far as is known; the source may have changed: run the job again for them")
        return False
    return missing() == 0
