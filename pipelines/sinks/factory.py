"""Makes the sink that a section of a job's configuration describes, whatever its kind."""

from __future__ import annotations

from pkgutil import resolve_name

from pipelines.config.sinks import SINKS
from pipelines.sinks.base import Sink, SinkSection


def make_sink(section: SinkSection) -> Sink:
    """Make a sink; nothing is opened yet."""
    sink: Sink = resolve_name(SINKS[section.type].maker)(section)
    return sink
