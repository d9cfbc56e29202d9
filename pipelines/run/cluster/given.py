"""A job's vectors as a Ray dataset of the user's: lazy, and as often executed as it is consumed."""

from __future__ import annotations

import logging
from typing import Any

from ray.data import DataContext, Dataset
from ray.data._internal.execution.execution_callback import ExecutionCallback

from pipelines.run.cluster.as_found import set_for_stages
from pipelines.run.cluster.connection import describe_nodes
from pipelines.run.cluster.dataset import build_given
from pipelines.run.cluster.engine import RayEngine
from pipelines.run.cluster.errors import plain_errors
from pipelines.run.cluster.remote_tally import RemoteTally
from pipelines.run.given import GivenVectors

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


def _configure(context: DataContext, counter: RemoteTally) -> None:
    """Set the options of this dataset alone that its stages count on; the user's own stay, progress bars too."""
    set_for_stages(context)

    class BeginsAnew(ExecutionCallback):
        """Forgets, when the dataset is executed, what the execution before had begun."""

        def before_execution_starts(self, executor: Any) -> None:
            """See ExecutionCallback."""
            counter.begin_anew()

    context.custom_execution_callback_classes.append(BeginsAnew)
