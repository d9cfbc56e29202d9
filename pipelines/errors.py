"""Errors of a job that its user can act on."""

from __future__ import annotations

from embedders.errors import FleetembedError


class ConfigError(FleetembedError, ValueError):
    """A job's configuration is wrong; the message names the key and what it may be."""


class SourceError(FleetembedError):
    """Nothing can be read from the source: no such file, no such column, no access."""


class SinkError(FleetembedError):
    """The sink refuses the job or cannot be reached; what it acknowledged before stays."""


class StoreError(FleetembedError):
    """An object store as a whole cannot be used: it is away or busy for too long, or knows no such key or bucket."""


class PreflightError(FleetembedError):
    """The cluster cannot run the job as configured; it would hang rather than fail."""


class TooManyErrorsError(FleetembedError):
    """More rows went to dead letters than ``errors.max_rate`` allows."""


class WorkerError(FleetembedError):
    """A worker process died or raised something that nobody foresaw."""
