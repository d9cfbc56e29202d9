"""The sinks of a run from when they are opened until each one is finished, however the run ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipelines.run.engine import MoreThanFewError
from pipelines.run.report.report import RunReport
from pipelines.sinks.base import JobFacts, Sink, SinkSection
from pipelines.sinks.lease.lease import RunLeases

log = logging.getLogger("fleetembed")


@contextmanager
def opened_sinks(
    sections: Sequence[SinkSection],
    sinks: Sequence[Sink],
    facts: JobFacts,
    leases: RunLeases,
    report: RunReport,
    deleted: Mapping[str, int],
) -> Iterator[None]:
    """Open the sinks, and finish each one whatever happens; the first failure is the one that is raised.

    ``deleted`` are points by the name of the sink, which are known at the end.
    """
    opened: list[tuple[Sink, dict[str, Any]]] = []
    completed = untouched = False
    failure: BaseException | None = None
    try:
        report.notices += leases.take(facts)
        for section, sink in zip(sections, sinks, strict=True):
            opened.append((sink, {"type": section.type, "place": section.place}))
            sink.open(facts)
        yield
        completed = True
    except MoreThanFewError:
        untouched = True
        raise
    finally:
        for sink, about in opened:
            try:
                if (lost := leases.lost(sink)) is not None:
                    sink.abandon()
                    raise lost
                figures = sink.finish(completed=completed, untouched=untouched)
                gone = {"deleted": deleted[sink.name]} if sink.name in deleted else {}
                report.sinks.append(about | figures | gone)
            # Whatever ends one, a signal too, the others are finished.
            except BaseException as error:
                log.error("%s could not be finished: %s", sink.name, error or type(error).__name__)
                failure = failure or error
    if failure is not None:
        raise failure
