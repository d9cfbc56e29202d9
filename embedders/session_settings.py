"""Settings of a model's session: threads, device, ONNX Runtime's options. This module does not import ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from embedders.cores import available_cores

Provider = str | tuple[str, Mapping[str, Any]]
Cuda = bool | Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class SessionSettings:
    """How a model is run.

    ``threads`` of one operator; None takes every core this process may use. ``cuda``: "auto" uses a GPU where the
    machine has one and falls back to the CPU with a log line, True insists on it, False declines it. ``providers``
    replaces that choice by ONNX Runtime's names of providers, with options if need be. ``device_id`` and
    ``provider_options`` belong to the CUDA provider, ``session_options`` are attributes of onnxruntime.SessionOptions
    (``{"enable_cpu_mem_arena": False}``), ``session_config`` its configuration entries.

    ``allow_spinning`` lets idle threads wait in a busy loop for the next operator: 6% faster on two idle cores
    (MiniLM, 512 docstrings), at the price of CPU time where processes share the cores.
    """

    threads: int | None = None
    cuda: Cuda = "auto"
    providers: Sequence[Provider] | None = None
    device_id: int | None = None
    allow_spinning: bool = True
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    session_options: Mapping[str, Any] = field(default_factory=dict)
    session_config: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be 1 or more, got {self.threads}; None takes every core")
        if self.cuda not in (True, False, "auto", "cpu", "cuda"):
            raise ValueError(f"cuda must be True, False, 'auto', 'cpu' or 'cuda', got {self.cuda!r}")
        if self.providers is not None and self.insists_on_cuda:
            raise ValueError("cuda and providers both choose the device: give one of them")

    @property
    def insists_on_cuda(self) -> bool:
        """Whether anything but a GPU is an error."""
        return self.cuda is True or self.cuda == "cuda"

    @property
    def effective_threads(self) -> int:
        """Threads an operator gets."""
        return self.threads or available_cores()
