"""The report of another run, which goes on writing it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress

from pipelines.filesystem import open_filesystem
from pipelines.run.report.file import MAX_BYTES
from pipelines.sinks.base import Sink
from pipelines.sinks.lease.lease import current_holder, held_error


def refuse_to_replace(path: str, sinks: Iterable[Sink]) -> None:
    """Raise SinkError where the report at ``path`` is that of a run of this machine which holds one of the places.

    A job that is refused anyway leaves that report alone. Of other machines' runs it takes longer to know.
    """
    run_id = run_that_goes_on(path)
    if run_id is None:
        return
    for store in (sink.lease_store() for sink in sinks):
        holder = None
        # A place that does not answer is told of later, in a report.
        with suppress(Exception):
            holder = current_holder(store)
        if holder is not None and holder.run_id == run_id and holder.is_here():
            raise held_error(store.place, holder)


def run_that_goes_on(path: str) -> str | None:
    """Read the id of the run that the report at a path or URL says is running; None where it does not, or is none."""
    # Each store has errors of its own kind; whatever is wrong with the report shows when it is written.
    with suppress(Exception):
        filesystem, inside = open_filesystem(path)
        with filesystem.open_input_file(inside) as file:
            found = json.loads(file.read(MAX_BYTES))
        if found["status"] == "running":
            return str(found["run_id"])
    return None
