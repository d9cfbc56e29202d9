"""The cluster, and how much of it a job may use."""

from __future__ import annotations

from pydantic import Field

from pipelines.config.section import Section


class StageConfig(Section):
    """Placement of one embedding's actor pool; what is left out is chosen from the cluster."""

    workers: int | None = Field(None, ge=1, description="Actors")
    cpus: float | None = Field(None, ge=0, description="CPUs Ray sets aside for an actor")
    gpus: float | None = Field(None, ge=0, description="GPUs an actor")
    threads: int | None = Field(None, ge=1, description="ONNX Runtime threads an actor")
    token_budget: int | None = Field(None, ge=1, description="Padded tokens a model batch has at most")


class ComputeConfig(Section):
    """The cluster, and how much of it the job may use."""

    address: str | None = Field(None, description="Ray address; left out: the cluster around, else a local one")
    cpus: int | None = Field(None, ge=1, description="CPUs of a local Ray")
    object_store_mb: int = Field(512, ge=80, description="Object store of a local Ray, megabytes")
    block_rows: int = Field(
        1024, ge=1, le=1_000_000, description="Rows embedded and committed together; resume repeats at most these"
    )
    stages: dict[str, StageConfig] = Field(default_factory=dict, description="Embedding's name -> its placement")
    max_retries: int = Field(3, ge=0, description="How often a block is tried again when its worker died")
    stall_seconds: int = Field(1800, ge=10, description="Give up when no block moved for so long")
