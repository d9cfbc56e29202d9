"""The process that holds a folder of Qdrant's, and the way to ask it: an actor where Ray runs, else this process."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from qdrant_client import QdrantClient

from embedders.base import VectorSpec
from pipelines.errors import SinkError
from pipelines.sinks.base import JobFacts, WriteResult
from pipelines.sinks.qdrant.client import build_indexes, open_folder
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.deletion import Position
from pipelines.sinks.qdrant.folder_engine import Engine, choose_engine, engine_of
from pipelines.sinks.qdrant.sink import QdrantSink
from pipelines.sinks.qdrant.sqlite_commits import settle_commits, speed_up_commits
from pipelines.sinks.ray_context import running_ray

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

    def stored_vectors(self, config: QdrantSinkConfig) -> dict[str, VectorSpec]:
        """See ``QdrantSink.stored_vectors``; a folder that no engine made is not opened for it."""
        if engine_of(self._path) is None:
            return {}
        return QdrantSink(config, self._opened(config.engine)).stored_vectors()

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


def end_host(host: Any) -> None:
    """Close a host's folder, for all sinks of this job that have it open."""
    if isinstance(host, FolderHost):
        for path in [path for path, one in _hosts.items() if one is host]:
            del _hosts[path]
        host.close()
    elif ray := running_ray():
        ray.kill(host, no_restart=True)


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
