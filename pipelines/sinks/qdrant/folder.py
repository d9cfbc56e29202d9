"""An embedded engine of Qdrant as a sink: a folder that one process at a time may open.

With Ray running, that process is an actor on the driver's machine, and every worker's question and write goes
through it. Without Ray it is this process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.base import VectorSpec
from pipelines.errors import ConfigError, SinkError
from pipelines.rows import HASHES
from pipelines.sinks.base import JobFacts, LeaseStore, WriteResult
from pipelines.sinks.qdrant.client import absolute_folder, folder_store, open_client
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.deletion import pages
from pipelines.sinks.qdrant.folder_engine import engine_of
from pipelines.sinks.qdrant.folder_host import ask, end_host, start_host
from pipelines.sinks.qdrant.sink import QdrantSink
from pipelines.urls import is_url


class FolderSink:
    """The driver's side of a folder: starts its host and ends it."""

    workers = 1
    connects_at_once = False

    def __init__(self, config: QdrantSinkConfig) -> None:
        if is_url(config.path or ""):
            raise ConfigError(
                f"{config.title}: a Qdrant folder is on a disk, and cannot be at a URL; give the url of a server"
            )
        path = absolute_folder(config.path or "")
        self.config = config.model_copy(update={"path": path})
        self.path = path
        self.name = f"qdrant:{path}/{config.collection}"
        self.job: JobFacts | None = None
        self._host: Any = None

    def check(self, job: JobFacts) -> dict[str, Any]:
        """Compare the collection in the folder with the job; raises SinkError naming each difference."""
        if engine_of(self.path) is None:
            return {"exists": False, "points": 0}
        with closing(open_client(self.config)) as client:
            return QdrantSink(self.config, client).check(job)

    def provenance(self) -> dict[str, Any] | None:
        """Read what the job that filled the collection wrote into its metadata; see Sink."""
        if engine_of(self.path) is None:
            return None
        with closing(open_client(self.config)) as client:
            return QdrantSink(self.config, client).provenance()

    def stored_vectors(self) -> dict[str, VectorSpec]:
        """Start the folder's host, and ask it for the collection's vectors by name; none where it is not there."""
        self._host = self._host or start_host(self.path)
        stored: dict[str, VectorSpec] = ask(self._host, "stored_vectors", self.config)
        return stored

    def lease_store(self) -> LeaseStore:
        """Return the file in the folder that says who writes there; see Sink."""
        return folder_store(self.path)

    def open(self, job: JobFacts) -> None:
        """Start the folder's host and prepare the collection."""
        # An actor lives as long as the first of its handles.
        self._host = self._host or start_host(self.path)
        try:
            ask(self._host, "open", self.config, job)
        except BaseException:
            # Also where a signal came: a folder that stays open is locked for all others, this process's next run too.
            if ask(self._host, "release"):
                self._end()
            raise
        self.job = job

    def connect(self) -> FolderWriter:
        """Make a worker's way to the host; ``open`` comes first."""
        if self.job is None:
            raise RuntimeError("open() the sink before connect()")
        return FolderWriter(self._host, self.config, self.job)

    def points(self, documents: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Ask the host for the points of the corpus, page by page; see Sink."""
        return pages(lambda some, after: ask(self._host, "page", self.config, self.job, some, after), documents)

    def delete(self, points: pa.Table) -> None:
        """Delete points through the host; see Sink."""
        ask(self._host, "delete", self.config, self.job, points)

    def finish(self, *, completed: bool, untouched: bool = False) -> dict[str, Any]:
        """Count the points, and close the folder unless another sink of this job has it open."""
        if self.job is None:
            return {"collection": self.config.collection}
        try:
            figures = ask(self._host, "finish", self.config, self.job, completed=completed, untouched=untouched)
        except SinkError as error:
            if completed:
                raise
            figures = {"collection": self.config.collection, "error": str(error), "last": True}
        except BaseException:
            self._end()
            raise
        if figures.pop("last"):
            self._end()
        self.job = None
        return dict(figures)

    def abandon(self) -> None:
        """Close the folder, for all sinks of this job that have it open."""
        if self._host is not None:
            self._end()
        self.job = None

    def _end(self) -> None:
        end_host(self._host)
        self._host = None


class FolderWriter:
    """One worker's way to the folder's host."""

    def __init__(self, host: Any, config: QdrantSinkConfig, job: JobFacts) -> None:
        self._host = host
        self._config = config
        self._job = job

    def held(self, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """Say what the folder holds of rows; see ``QdrantWriter.held``."""
        codes: npt.NDArray[np.uint8] = ask(self._host, "held", self._config, self._job, rows.select(["id", *HASHES]))
        return codes

    def vectors(self, rows: pa.Table) -> pa.Table:
        """Read the vectors of rows' points through the host; see ``QdrantWriter.vectors``."""
        return ask(self._host, "vectors", self._config, self._job, rows.select(["id", *HASHES]))

    def vectors_of_texts(self, rows: pa.Table) -> pa.Table:
        """Read vectors by text through the host; see ``QdrantWriter.vectors_of_texts``."""
        return ask(self._host, "vectors_of_texts", self._config, self._job, rows.select(["id", *HASHES]))

    def write(self, table: pa.Table) -> WriteResult:
        """Upsert all rows through the host."""
        result: WriteResult = ask(self._host, "write", self._config, self._job, table)
        return result

    def update(self, table: pa.Table) -> WriteResult:
        """Replace the payloads of all rows' points through the host."""
        result: WriteResult = ask(self._host, "update", self._config, self._job, table)
        return result

    def close(self) -> None:
        """Leave the host as it is: ``FolderSink.finish`` ends it."""
