"""An embedded engine of Qdrant as a sink: a folder that one process at a time may open.

With Ray running, that process is an actor on the driver's machine, and every worker's question and write goes
through it. Without Ray it is this process.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from qdrant_client import QdrantClient

from pipelines.errors import ConfigError, SinkError
from pipelines.rows import HASHES
from pipelines.sinks.base import JobFacts, LeaseStore, WriteResult
from pipelines.sinks.qdrant.client import build_indexes, folder_store, open_client, open_folder
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.deletion import Position, pages
from pipelines.sinks.qdrant.folder_engine import Engine, choose_engine, engine_of
from pipelines.sinks.qdrant.sink import QdrantSink
from pipelines.sinks.qdrant.sqlite_commits import settle_commits, speed_up_commits
from pipelines.sinks.ray_context import running_ray
from pipelines.urls import is_url

log = logging.getLogger("fleetembed")

RESTARTS = 3
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class FolderHost:
    """Holds the folder's one client, for one or more collections in it; the folder is opened by the first call.

    Calls carry the config and the job, so that a host started anew after a crash needs nothing of the one before.
    """

    def __init__(self, path: str) -> None:
        self._client: QdrantClient | None = None
        self._path = path
        self._sinks: dict[str, QdrantSink] = {}

    def open(self, config: QdrantSinkConfig, job: JobFacts) -> None:
        """See ``QdrantSink.open``."""
        client = self._opened(config.engine)
        sink = QdrantSink(config, client)
        sink.open(job)
        speed_up_commits(client, config.collection)
        self._sinks[config.collection] = sink

    def held(self, config: QdrantSinkConfig, job: JobFacts, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """See ``QdrantWriter.held``."""
        return self._sink(config, job).connect().held(rows)

    def vectors(self, config: QdrantSinkConfig, job: JobFacts, rows: pa.Table) -> pa.Table:
        """See ``QdrantWriter.vectors``."""
        return self._sink(config, job).connect().vectors(rows)

    def vectors_of_texts(self, config: QdrantSinkConfig, job: JobFacts, rows: pa.Table) -> pa.Table:
        """See ``QdrantWriter.vectors_of_texts``."""
        return self._sink(config, job).connect().vectors_of_texts(rows)

    def write(self, config: QdrantSinkConfig, job: JobFacts, table: pa.Table) -> WriteResult:
        """See ``QdrantWriter.write``."""
        return self._sink(config, job).connect().write(table)

    def update(self, config: QdrantSinkConfig, job: JobFacts, table: pa.Table) -> WriteResult:
        """See ``QdrantWriter.update``."""
        return self._sink(config, job).connect().update(table)

    def page(
        self, config: QdrantSinkConfig, job: JobFacts, documents: Sequence[str] | None, after: Position
    ) -> tuple[pa.Table, Position]:
        """See ``QdrantSink.page``."""
        return self._sink(config, job).page(documents, after)

    def delete(self, config: QdrantSinkConfig, job: JobFacts, points: pa.Table) -> None:
        """See ``QdrantSink.delete``."""
        self._sink(config, job).delete(points)

    def finish(
        self, config: QdrantSinkConfig, job: JobFacts, *, completed: bool, untouched: bool = False
    ) -> dict[str, Any]:
        """See ``QdrantSink.finish``; ``last`` in the figures says that the folder is closed now."""
        figures = self._sink(config, job).finish(completed=completed, untouched=untouched)
        if completed and self._client is not None:
            try:
                build_indexes(self._client, config)
            except SinkError as error:
                # All points are there, and are found without.
                log.warning("%s", error)
                figures["status"] = "not indexed"
        self._sinks.pop(config.collection)
        return {**figures, "last": self.release()}

    def release(self) -> bool:
        """Close the folder if no collection in it is open; returns whether it is closed."""
        if not self._sinks:
            self.close()
        return self._client is None

    def pid(self) -> int:
        """Say which process holds the folder."""
        return os.getpid()

    def close(self) -> None:
        """Put everything on the disk and give the folder free."""
        if self._client is not None:
            settle_commits(self._client)
            self._client.close()
            self._client = None

    def _opened(self, engine: Engine | None) -> QdrantClient:
        choose_engine(self._path, engine)
        if self._client is None:
            self._client = open_folder(self._path, engine)
        return self._client

    def _sink(self, config: QdrantSinkConfig, job: JobFacts) -> QdrantSink:
        if config.collection not in self._sinks:
            self.open(config, job)
        return self._sinks[config.collection]


# Hosts of this process, by folder, where no Ray is running.
_hosts: dict[str, FolderHost] = {}


class FolderSink:
    """The driver's side of a folder: starts its host and ends it."""

    workers = 1

    def __init__(self, config: QdrantSinkConfig) -> None:
        if is_url(config.path or ""):
            raise ConfigError(
                f"{config.title}: a Qdrant folder is on a disk, and cannot be at a URL; give the url of a server"
            )
        path = str(Path(config.path or "").absolute())
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

    def lease_store(self) -> LeaseStore:
        """Return the file in the folder that says who writes there; see Sink."""
        return folder_store(self.path)

    def open(self, job: JobFacts) -> None:
        """Start the folder's host and prepare the collection."""
        self._host = start_host(self.path)
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
        if isinstance(self._host, FolderHost):
            _hosts.pop(self.path, None)
            self._host.close()
        elif ray := running_ray():
            ray.kill(self._host, no_restart=True)
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


def start_host(path: str) -> Any:
    """Find or start the host of a folder: an actor where Ray runs, else an object of this process."""
    ray = running_ray()
    if ray is None:
        if path not in _hosts:
            _hosts[path] = FolderHost(path)
        return _hosts[path]
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = f"fleetembed-folder-{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(FolderHost).options(
        name=name,
        get_if_exists=True,
        num_cpus=0,
        max_restarts=RESTARTS,
        max_task_retries=-1,
        scheduling_strategy=here,
    )
    return actor.remote(path)


def ask(host: Any, method: str, *arguments: Any, **options: Any) -> Any:
    """Call a host's method, wherever it is; its errors come as they were raised there."""
    if isinstance(host, FolderHost):
        return getattr(host, method)(*arguments, **options)
    import ray
    from ray.exceptions import RayActorError, RayError, RayTaskError

    try:
        return ray.get(getattr(host, method).remote(*arguments, **options))
    except RayTaskError as error:
        # An exception that cannot be pickled comes without its cause, and of Ray's own ones nobody needs the traceback.
        if isinstance(error.cause, Exception) and not isinstance(error.cause, RayError):
            raise error.cause from None
        raise SinkError(f"the process that holds the Qdrant folder failed: {_last_line(error)}") from None
    except RayActorError as error:
        raise SinkError(f"the process that holds the Qdrant folder is gone: {_last_line(error)}") from None
    except RayError as error:
        raise SinkError(f"the process that holds the Qdrant folder does not answer: {_last_line(error)}") from None


def _last_line(error: Exception) -> str:
    """Take the last line of a message of Ray, which is the one that says what happened, without its colours."""
    lines = _COLOURS.sub("", str(error)).strip().splitlines()
    return lines[-1].strip()[:500] if lines else type(error).__name__
