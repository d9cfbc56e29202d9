"""Where an embedding's processes run, how many there are, and which nodes a job expects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from pipelines.config.section import NonEmpty, Section, WordOr

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
# As Ray takes them: a label's value, several, or all but those.
_SELECTED = re.compile(rf"!?(?:{_NAME}|in\({_NAME}(?:, ?{_NAME})*\))|")


def _selector(wanted: dict[str, str]) -> dict[str, str]:
    for key, value in wanted.items():
        if _SELECTED.fullmatch(value) is None:
            raise ValueError(f"{key}: {value!r} selects no labels; write a value, !value, in(a, b) or !in(a, b)")
    return wanted


LabelSelector = Annotated[dict[NonEmpty, str], AfterValidator(_selector)]


class Workers(Section):
    """A number of actors that follows the work: Ray adds actors, and nodes for them, while blocks queue."""

    min: int = Field(ge=1, description="Actors that must fit at the start")
    max: int = Field(ge=1, description="Actors at the most")

    @model_validator(mode="after")
    def _in_order(self) -> Workers:
        if self.min > self.max:
            raise ValueError("min is more than max")
        return self


class Fallback(Section):
    """Nodes that are taken where none of those preferred is there."""

    label_selector: LabelSelector = Field(
        default_factory=dict, description="Labels that a node must have, as a stage's label_selector; empty: any node"
    )


class StageConfig(Section):
    """Placement of one embedding or pool; what is left out is chosen from the cluster."""

    workers: WordOr[Annotated[int, Field(ge=1)], Workers] | None = Field(
        None, description="Actors; {min, max} for a number that Ray changes with the work"
    )
    cpus: float | None = Field(None, ge=0, description="CPUs Ray sets aside for an actor")
    gpus: float | None = Field(None, ge=0, description="GPUs an actor")
    threads: int | None = Field(None, ge=1, description="ONNX Runtime threads an actor")
    token_budget: int | None = Field(None, ge=1, description="Padded tokens a model batch has at most")
    label_selector: LabelSelector | None = Field(
        None, description="Labels that a node must have: name -> value, !value, in(a, b) or !in(a, b)"
    )
    fallback_strategy: list[Fallback] | None = Field(
        None, description="Selectors to take, in this order, where label_selector has no room"
    )
    accelerator_type: NonEmpty | None = Field(None, description="Kind of accelerator that a node must have, as A100")
    resources: dict[NonEmpty, float] | None = Field(None, description="Ray's custom resources, an actor")

    @property
    def places(self) -> bool:
        """Whether it says anything of processes, and not of the batches in them alone."""
        return bool(self.model_fields_set - {"token_budget"})

    @property
    def least(self) -> int | None:
        """Actors that are there from the start."""
        return self.workers.min if isinstance(self.workers, Workers) else self.workers

    @property
    def most(self) -> int | None:
        """Actors that there may be."""
        return self.workers.max if isinstance(self.workers, Workers) else self.workers

    @property
    def selectors(self) -> tuple[Mapping[str, str], ...]:
        """The label selectors that a node may meet, the preferred one first."""
        return (self.label_selector or {}, *(one.label_selector for one in self.fallback_strategy or ()))

    @model_validator(mode="after")
    def _is_possible(self) -> StageConfig:
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise ValueError("gpus: more than one GPU must be whole ones; Ray splits only a single one")
        if any(amount < 0 for amount in (self.resources or {}).values()):
            raise ValueError("resources: an amount is less than 0")
        if self.fallback_strategy and not self.label_selector:
            raise ValueError("fallback_strategy is for nodes that label_selector prefers; give that too")
        return self


class ExpectConfig(Section):
    """What the cluster is to have before the job is placed; asked of the autoscaler, and given back at the end."""

    cpus: float | None = Field(None, gt=0, description="CPUs over all nodes")
    gpus: float | None = Field(None, gt=0, description="GPUs over all nodes")
    nodes: int | None = Field(None, ge=1, description="Nodes that have CPUs or GPUs")

    @model_validator(mode="after")
    def _says_something(self) -> ExpectConfig:
        if not self.model_fields_set:
            raise ValueError("say what is expected: cpus, gpus or nodes")
        return self
