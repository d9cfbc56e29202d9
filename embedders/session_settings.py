"""Settings of a model's session: threads, device, precision, ONNX Runtime's options. ONNX Runtime is not imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, get_args

from embedders.cores import available_cores

# ONNX Runtime's names of execution providers.
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
NVIDIA_PROVIDERS = (CUDA, TENSORRT, "NvTensorRTRTXExecutionProvider")

OnnxProvider = str | tuple[str, Mapping[str, Any]]


class Device(str, Enum):
    """What runs a model: the values of ``cuda`` beside True and False."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


# What a network computes with. The numbers of the vectors are another matter, the option ``dtype``.
ModelPrecision = Literal["float32", "bfloat16", "float16", "int8"]
# Precisions that no GPU is used for.
CPU_ONLY = ("bfloat16", "int8")


Cuda = bool | Device | Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class SessionSettings:
    """How a model is run.

    ``threads`` of one operator; None takes every core this process may use. ``cuda``: "auto" uses a GPU where the
    machine has one and falls back to the CPU with a log line, True insists on it, False declines it. ``providers``
    replaces that choice by ONNX Runtime's names of providers, with options if need be; those of NVIDIA that cannot
    start are left out with a RuntimeWarning. ``device_id`` is the GPU, of NVIDIA's ``providers`` too unless their
    options name one; ``provider_options`` belong to the CUDA provider, ``session_options`` are attributes of
    onnxruntime.SessionOptions (``{"enable_cpu_mem_arena": False}``), ``session_config`` its configuration entries.

    ``allow_spinning`` lets idle threads wait in a busy loop for the next operator: 6% faster on two idle cores
    (MiniLM, 512 docstrings), at the price of CPU time where processes share the cores.

    ``use_tf32`` False makes an NVIDIA GPU multiply in float32 proper; None leaves ONNX Runtime's choice, TF32 on GPUs
    that have it: factors rounded to 10 bits of mantissa, at several times the speed.

    ``precision`` is what the network computes with; "bfloat16" and "int8" are for CPUs, "float16" is for
    GPUs, and works on CPUs, slower than "float32". "bfloat16" takes OpenVINO, to
    which ``session_options``, ``session_config`` and ``allow_spinning`` mean nothing. With ``float32_instead`` float32
    is taken, with a log line, where this machine cannot do what ``precision`` asks for: right for queries, whose
    vectors may be more exact than the documents'.
    """

    threads: int | None = None
    cuda: Cuda = "auto"
    providers: Sequence[OnnxProvider] | None = None
    device_id: int | None = None
    allow_spinning: bool = True
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    session_options: Mapping[str, Any] = field(default_factory=dict)
    session_config: Mapping[str, str] = field(default_factory=dict)
    precision: ModelPrecision = "float32"
    float32_instead: bool = False
    use_tf32: bool | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be 1 or more, got {self.threads}; None takes every core")
        if self.cuda not in (True, False, "auto", "cpu", "cuda"):
            raise ValueError(f"cuda must be True, False, 'auto', 'cpu' or 'cuda', got {self.cuda!r}")
        if self.precision not in get_args(ModelPrecision):
            raise ValueError(f"precision must be {', '.join(get_args(ModelPrecision))}, got {self.precision!r}")
        if self.precision in CPU_ONLY and (self.asks_for_cuda or self.providers is not None):
            raise ValueError(f"precision {self.precision} is for CPUs, and cuda or providers ask for another device")

    @property
    def insists_on_cuda(self) -> bool:
        """Whether anything but a GPU is an error; not where ``providers`` choose."""
        return self.providers is None and self.asks_for_cuda

    @property
    def asks_for_cuda(self) -> bool:
        """Whether ``cuda`` asks for a GPU, and not just for one where there is one."""
        return self.cuda is True or self.cuda == "cuda"

    @property
    def effective_threads(self) -> int:
        """Threads an operator gets."""
        return self.threads or available_cores()
