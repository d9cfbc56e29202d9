"""The cluster, and how much of it a job may use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.config.placement import ExpectConfig, StageConfig
from pipelines.config.section import NonEmpty, Place, Section
from pipelines.urls import is_absolute

# Keys of a stage that choose among the nodes of a cluster.
ON_NODES = ("label_selector", "fallback_strategy", "accelerator_type", "resources")


class ComputeConfig(Section):
    """The cluster, and how much of it the job may use."""

    engine: Literal["auto", "ray", "local"] = Field(
        "auto",
        description="What drives the job: Ray, or this process alone (local); auto takes this process where Ray is "
        "neither running nor asked for (address, cpus, expect, stages with workers, gpus or labels) and little is left "
        "to embed",
    )
    address: str | None = Field(
        None,
        description="Ray address; left out: RAY_ADDRESS, or the Ray this process is connected to, else a local one",
    )
    cpus: int | None = Field(None, ge=1, description="CPUs of a local Ray")
    object_store_mb: int = Field(512, ge=80, description="Object store of a local Ray, megabytes")
    block_rows: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="Rows embedded and committed together; resume repeats at most these; left out: 4,096 where no "
        "neural network runs, 8,192 where a model is on GPUs",
    )
    pools: dict[NonEmpty, Annotated[list[str], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Pool's name -> the embeddings that share its processes; left out: all embeddings on CPUs share "
        "one, each model on GPUs has its own, and so has each embedding that stages places",
    )
    stages: dict[str, StageConfig] = Field(
        default_factory=dict, description="Embedding's or pool's name -> its placement"
    )
    expect: ExpectConfig | None = Field(
        None, description="What to ask an autoscaler for, and to wait for, before the job is placed: cpus, gpus, nodes"
    )
    wait_seconds: int = Field(600, ge=0, description="How long to wait for what is expected; then what came is used")
    shared_storage: bool = Field(
        False, description="Every node of the cluster sees the job's local paths, as on a network file system"
    )
    max_retries: int = Field(
        3,
        ge=0,
        description="How often a worker that died, with its node or of its block, is started again, and a task that "
        "reads is run again; larger on spot nodes, about 10",
    )
    prepare_seconds: int = Field(
        1800, ge=1, description="How long each node of a cluster may take to find or download the job's models"
    )
    stall_seconds: int | None = Field(
        None,
        ge=10,
        description="Give up when no block moved for so long; left out: 300 on several nodes, 1800 on one, and at "
        "least a minute more than retry_seconds of the sinks",
    )
    price_per_hour: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="What all machines of the job cost an hour, in any currency: the run's report tells then what the "
        "run cost",
    )
    base_path: Place | None = Field(
        None,
        description="Folder or URL (s3://bucket/prefix) below which relative paths of sinks, dead letters and report "
        "lie; left out: the folder the job is started in, which Ray removes where it is that of a submitted job",
    )

    @property
    def asks_for_ray(self) -> bool:
        """Whether it names a Ray, the CPUs of one, nodes, workers or GPUs."""
        placed = any(
            stage.workers is not None or stage.gpus or stage.model_fields_set.intersection(ON_NODES)
            for stage in self.stages.values()
        )
        return self.address is not None or self.cpus is not None or self.expect is not None or placed

    @property
    def only_for_ray(self) -> list[str]:
        """Keys that are given and change nothing where this process drives the job."""
        known = (
            "cpus",
            "object_store_mb",
            "expect",
            "wait_seconds",
            "shared_storage",
            "max_retries",
            "prepare_seconds",
            "stall_seconds",
        )
        keys = [key for key in known if key in self.model_fields_set]
        placed = (
            f"stages.{name}.{key}"
            for name, stage in self.stages.items()
            for key in ("workers", "cpus", *ON_NODES)
            if key in stage.model_fields_set
        )
        return [f"compute.{key}" for key in (*keys, *placed)]

    @field_validator("base_path")
    @classmethod
    def _base_path_is_absolute(cls, value: str | None) -> str | None:
        if value is not None and not is_absolute(value):
            raise ValueError("write an absolute path or a URL: it is where relative paths begin")
        return value

    @model_validator(mode="after")
    def _local_has_no_cluster(self) -> ComputeConfig:
        if self.engine == "local" and self.address is not None:
            raise ValueError("engine local runs in this process alone, and address names a Ray; leave one of them out")
        return self

    def of_embeddings(self, embeddings: Collection[str]) -> ComputeConfig:
        """The same for a job that has only these of the embeddings."""
        pools = {
            pool: kept for pool, names in self.pools.items() if (kept := [one for one in names if one in embeddings])
        }
        stages = {name: placed for name, placed in self.stages.items() if name in embeddings or name in pools}
        return self.model_copy(update={"pools": pools, "stages": stages})

    def check_names(self, embeddings: Sequence[str]) -> None:
        """Raise ValueError for a pool or stage that does not go with the job's embeddings."""
        pooled = [name for names in self.pools.values() for name in names]
        for pool, names in self.pools.items():
            if pool in embeddings:
                raise ValueError(f"compute.pools: {pool!r} is the name of an embedding; choose another for the pool")
            for name in names:
                if name not in embeddings:
                    raise ValueError(
                        f"compute.pools.{pool}: {name!r} is no embedding of this job ({', '.join(embeddings)})"
                    )
                if pooled.count(name) > 1:
                    raise ValueError(f"compute.pools: {name!r} is named twice; an embedding is in one pool")
        for stage, placed in self.stages.items():
            if stage not in embeddings and stage not in self.pools:
                known = ", ".join([*embeddings, *self.pools])
                raise ValueError(f"compute.stages: {stage!r} is no embedding of this job ({known})")
            if stage in pooled and placed.places:
                pool = next(pool for pool, names in self.pools.items() if stage in names)
                raise ValueError(
                    f"compute.stages.{stage}: {stage} is in the pool {pool}; place that one, under "
                    f"compute.stages.{pool}, and leave only token_budget here"
                )
