"""The stages of a job: read, ask what is held and skip that, gather into blocks, embed, write.

No stage raises for a bad row: the row gets an error and goes on to the dead letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from embedders.base import VectorSpec
from embedders.factory import is_heavy
from pipelines.config.job import JobConfig
from pipelines.embed.job_models import TOKENIZER
from pipelines.run.placement.pools import Pool
from pipelines.run.stages.block import BlockStage
from pipelines.run.stages.embed import EmbedStage
from pipelines.run.stages.give import GiveStage, UnheldStage
from pipelines.run.stages.read import ON_READERS, TASK_COLUMN, ReadStage
from pipelines.run.stages.skip import SkipStage
from pipelines.run.stages.stage import Resources, Stage, check_columns
from pipelines.run.stages.write import WriteStage
from pipelines.run.tally import Counter
from pipelines.sinks.base import Sink
from pipelines.sinks.folder_mark import FolderMark
from pipelines.urls import local_path

# Rows of a block where to go from one to the next is dear: a GPU has little to do meanwhile, and terms of BM25 are
# counted in less time than Ray and a sink take for a block.
ROWS_ON_GPUS = 8192
ROWS_OF_FAST_MODELS = 4096


def block_rows(config: JobConfig, pools: Sequence[Pool]) -> int:
    """Rows of a block at most: as configured, and more by default on GPUs, or where no neural network runs."""
    if "block_rows" in config.compute.model_fields_set:
        return config.compute.block_rows
    if any(pool.resources.gpus for pool in pools):
        return ROWS_ON_GPUS
    heavy = not pools or any(is_heavy(one.card) for pool in pools for one in pool.embeddings)
    return config.compute.block_rows if heavy else ROWS_OF_FAST_MODELS


def job_stages(
    config: JobConfig,
    pools: Sequence[Pool],
    sinks: Sequence[Sink],
    run_id: str,
    add: Counter,
    fingerprints: Mapping[str, str] | None = None,
    mark: FolderMark | None = None,
    vectors: Mapping[str, VectorSpec] | None = None,
) -> list[Stage]:
    """List the stages of a job, from splits to receipts of what the sinks acknowledged; the sinks are open.

    ``fingerprints`` are what the job's models must be, wherever they run: see ``job_fingerprints``. ``mark``
    is in the folder of the dead letters, where several machines may write. ``vectors`` are the job's, by name.
    """
    prints = fingerprints or {}
    on_readers = _on_readers(config)
    # Where no model works, rows have their vectors from the source.
    moved = [number for number, sink in enumerate(config.sink) if sink.reuse_moved and pools and vectors]
    stages: list[Stage] = [
        ReadStage(config, add, prints.get(TOKENIZER), resources=on_readers),
        SkipStage(sinks, add, moved, vectors or {}, resources=on_readers),
        BlockStage(block_rows(config, pools), add, resources=on_readers),
    ]
    stages += _embedding(config, pools, add, prints, vectors or {})
    dead_letters = local_path(config.dead_letters) or config.dead_letters
    brought = config.source.brings_vectors
    deletes = config.deleted_points is not None
    stages.append(WriteStage(sinks, dead_letters, run_id, config.vector_names, add, mark, brought, deletes))
    check_columns(stages, frozenset([TASK_COLUMN]))
    return stages


def vector_stages(
    config: JobConfig,
    pools: Sequence[Pool],
    add: Counter,
    fingerprints: Mapping[str, str],
    vectors: Mapping[str, VectorSpec],
    schema: pa.Schema,
) -> list[Stage]:
    """List the stages of a job whose vectors are given and not written, from splits to tables of the ``schema``.

    The rest is as for ``job_stages``.
    """
    on_readers = _on_readers(config)
    stages: list[Stage] = [
        ReadStage(config, add, fingerprints.get(TOKENIZER), resources=on_readers),
        UnheldStage(resources=on_readers),
        BlockStage(block_rows(config, pools), add, resources=on_readers),
        *_embedding(config, pools, add, fingerprints, vectors),
    ]
    stages.append(GiveStage(schema, pools[-1].resources if pools else on_readers))
    if not config.source.brings_vectors:
        # Those that a source brings are columns of what it reads.
        check_columns(stages, frozenset([TASK_COLUMN]))
    return stages


def _on_readers(config: JobConfig) -> Resources:
    """What the stages before the first model want, which share a worker: a server is read by few at once."""
    return replace(ON_READERS, workers=config.source.qdrant.readers) if config.source.qdrant else ON_READERS


def _embedding(
    config: JobConfig,
    pools: Sequence[Pool],
    add: Counter,
    fingerprints: Mapping[str, str],
    vectors: Mapping[str, VectorSpec],
) -> list[Stage]:
    # Workers are in folders of their own, where a relative path would be another one.
    cache = None if config.cache is None else local_path(config.cache.path) or config.cache.path
    return [EmbedStage(pool, add, fingerprints, vectors=vectors, cache=cache) for pool in pools]
