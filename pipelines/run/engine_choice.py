"""The engines that there are, Ray and this process alone, and which one takes a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from embedders.factory import is_heavy
from pipelines.config.job import JobConfig
from pipelines.run.engine import Engine
from pipelines.run.placement.plan import asks_for_ray
from pipelines.sources import SourcePlan

# Where no more is left to embed than this, the start of a Ray takes longer than the work: see docs/engines.md.
FEW_ROWS, FEW_BYTES = 2048, 4 << 20
# The same where no neural network runs, and some ten thousand rows take a second.
FEW_ROWS_OF_TERMS, FEW_BYTES_OF_TERMS = 131_072, 64 << 20
# To read so much again, should more be left, takes no time beside the start of a Ray.
QUICKLY_READ_BYTES = 64 << 20


def choose_engines(config: JobConfig, source: SourcePlan) -> list[Callable[[], AbstractContextManager[Engine]]]:
    """List the engines that may take the job: each is tried where the one before finds that too much is left.

    ``compute.engine`` names one. Else it is Ray where one runs already or is asked for, by an address, or by
    ``cpus``, workers or GPUs in ``compute``. Where neither is and the source is quickly read, this process takes the
    job if at most FEW_ROWS rows and FEW_BYTES of them are left to embed, or FEW_ROWS_OF_TERMS and FEW_BYTES_OF_TERMS
    where no neural network runs; of images none, since only another process survives a crash of their decoder.
    A collection in memory is in this process, which then takes any job.
    """
    engine = config.compute.engine
    alone = engine == "local" or config.in_memory
    if alone or (not asks_for_ray(config.compute) and source.bytes <= QUICKLY_READ_BYTES):
        from pipelines.run.local_engine import local_engine

        if alone:
            return [local_engine]
        return [lambda: local_engine(_few(config)), lambda: _ray(config)]
    return [lambda: _ray(config)]


def _few(config: JobConfig) -> tuple[int, int]:
    """Rows and bytes that this process embeds sooner than Ray."""
    if config.takes_images:
        return 0, 0
    if any(is_heavy(embedding.card) for embedding in config.embeddings):
        return FEW_ROWS, FEW_BYTES
    return FEW_ROWS_OF_TERMS, FEW_BYTES_OF_TERMS


@contextmanager
def _ray(config: JobConfig) -> Iterator[Engine]:
    # Imported late: planning and previews do without it, and so do errors of the configuration and small jobs.
    from pipelines.run.cluster.start import start_ray_engine

    with start_ray_engine(config) as engine:
        yield engine
