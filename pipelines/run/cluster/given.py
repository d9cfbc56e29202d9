"""A job's vectors as a Ray dataset of the user's: lazy, and as often executed as it is consumed."""

from __future__ import annotations

import logging
import os
from typing import Any

import ray
from ray.data import DataContext, Dataset
from ray.data._internal.execution.execution_callback import ExecutionCallback

from pipelines.config.compute import ComputeConfig
from pipelines.run.cluster.connection import OUR_PACKAGES, PathsOfWorkers, begin, describe_nodes, knock, local_size
from pipelines.run.cluster.dataset import build_given
from pipelines.run.cluster.engine import RayEngine
from pipelines.run.cluster.errors import plain_errors
from pipelines.run.cluster.remote_tally import RemoteTally
from pipelines.run.given import GivenVectors
from pipelines.run.packing import BLOCK_BYTES

log = logging.getLogger("fleetembed")


def given_dataset(given: GivenVectors) -> Dataset:
    """Make a dataset of rows with vectors, on the Ray of this process; raises PreflightError for too few nodes."""
    compute = given.config.compute
    if compute.expect is not None:
        log.warning("compute.expect is for runs: the dataset goes by the nodes that there are now")
    machines = describe_nodes()
    counter = RemoteTally()
    with plain_errors():
        stages = given.stages(RayEngine(compute, machines, counter))
        dataset = build_given(stages, given.scanned.tasks, compute, machines.read_cpus)
    _configure(dataset.context, counter)
    return dataset


def have_ray(compute: ComputeConfig) -> None:
    """Join or start a Ray as Ray Data itself would, of the size that the job says where one is started.

    It stays when this returns, since datasets need it, until the process ends or ``ray.shutdown()``.
    """
    if not ray.is_initialized():
        address = compute.address or os.environ.get("RAY_ADDRESS")
        local = not address or address == "local"
        log.info("starting Ray on this machine" if local else "joining the Ray at %s", *([] if local else [address]))
        if not local and address != "auto":
            knock(str(address))
        arguments: dict[str, Any] = {"address": "local", "include_dashboard": False, **local_size(compute)}
        packages = ray.job_config.JobConfig(_py_driver_sys_path=PathsOfWorkers([OUR_PACKAGES]))
        begin({**(arguments if local else {"address": address}), "job_config": packages}, onlookers=True)


def _configure(context: DataContext, counter: RemoteTally) -> None:
    """Set the options of this dataset alone that its stages count on; the user's own stay, progress bars too."""
    context.target_max_block_size = BLOCK_BYTES
    # A stage's own error comes as it is.
    context.raise_original_map_exception = True
    context.actor_init_retry_on_errors = False

    class BeginsAnew(ExecutionCallback):
        """Forgets, when the dataset is executed, what the execution before had begun."""

        def before_execution_starts(self, executor: Any) -> None:
            """See ExecutionCallback."""
            counter.begin_anew()

    context.custom_execution_callback_classes.append(BeginsAnew)
