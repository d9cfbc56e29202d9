"""Refuses local paths that only one of a cluster's machines would see."""

from __future__ import annotations

from pipelines.config.job import JobConfig
from pipelines.errors import PreflightError
from pipelines.run.placement.nodes import Machines, missing
from pipelines.urls import local_path
from pipelines.written import dead_letters_key


def refuse_local_places(config: JobConfig, machines: Machines) -> None:
    """Raise PreflightError where a job reads or writes local paths on several machines that share no storage.

    A cluster has several machines where its nodes have several addresses, or where ``compute.expect`` names several
    nodes, or more than there is now: that comes with another machine. ``compute.shared_storage`` says that all of them
    see the same files. The report is the driver's alone.
    """
    compute = config.compute
    count = len(machines.addresses)
    if compute.expect is not None:
        count = max(count + bool(missing(compute.expect, machines)), compute.expect.nodes or 1)
    if compute.shared_storage or count <= 1:
        return
    places = [(f"sink.{number}.path", sink.folder) for number, sink in enumerate(config.sink)]
    places += [
        (dead_letters_key(config), config.dead_letters),
        *config.source.local_places,
    ]
    local = [f"{key} {path}" for key, path in places if path is not None and local_path(path) is not None]
    if local:
        raise PreflightError(
            f"the cluster has {count} machines, and these paths are local to each of them: {', '.join(local)}. What is "
            "written there would be scattered, and what is read may be missing. Name an object store (s3://...), or a "
            "Qdrant server by url; where all machines see these paths (a network file system), say so with "
            "compute.shared_storage: true"
        )
