"""OpenVINO session: a graph that a CPU computes in bfloat16, from the same ONNX file.

ONNX Runtime has no bfloat16 matrix product for x86. Weights and activations are rounded to bfloat16 before each
product, which sums in float32; what goes in and comes out stays float32. Shapes may differ from call to call: nothing
is compiled again (248 shapes of MiniLM: the first pass took as long as the second).
"""

from __future__ import annotations

import logging
import platform
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.errors import DeviceError, ModelFilesError
from embedders.graph_session import GraphSession, Port, refuse_missing
from embedders.session_settings import SessionSettings

try:
    import openvino
except ImportError:
    openvino = None

logger = logging.getLogger(__name__)

DEVICE = "CPU"


class OpenVinoSession(GraphSession):
    """A graph loaded by OpenVINO, computed in bfloat16.

    ``at_once`` calls, each from a thread of its own, run at the same time, each with the settings' threads. Raises
    DeviceError without OpenVINO or on a CPU without bfloat16, ModelFilesError for a graph that OpenVINO cannot load.
    """

    def __init__(self, path: Path, settings: SessionSettings, *, at_once: int = 1) -> None:
        refuse_missing(path)
        _refuse_other_machines()
        try:
            self._model = _core().compile_model(str(path), DEVICE, _properties(settings, at_once))
        except RuntimeError as error:
            raise ModelFilesError(f"OpenVINO cannot load {path}: {error}; leave precision out") from error
        super().__init__(path, map(_port, self._model.inputs), map(_port, self._model.outputs))
        self._names = {port: frozenset(port.names) for port in self._model.outputs}
        # A request holds the tensors of one call.
        self._requests = threading.local()

    @property
    def providers(self) -> list[str]:
        """What runs the graph."""
        return ["OpenVINO"]

    @property
    def on_gpu(self) -> bool:
        """Whether an NVIDIA GPU runs the graph: never."""
        return False

    def run_outputs(self, outputs: Sequence[str], feed: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Run the graph once for some outputs; inputs in ``feed`` that the graph does not take are ignored.

        Raises ValueError where the graph takes an input that is not fed.
        """
        known = self.known(feed)
        if missing := self.inputs - known.keys():
            # OpenVINO would take what the last call left there.
            raise ValueError(f"{self.path}: the graph's input {', '.join(sorted(missing))} is missing in the feed")
        request = self._request()
        request.infer(known, share_inputs=True)
        # Copied, since the next call writes into the same memory.
        return [np.array(request.get_tensor(self._model.output(name)).data) for name in outputs]

    def _request(self) -> Any:
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._model.create_infer_request()
        return request


def bfloat16_trouble() -> str | None:
    """Say in a sentence why this machine cannot compute in bfloat16, or None where it can."""
    if openvino is None:
        return 'precision bfloat16 needs OpenVINO: pip install "fleetembed[openvino]"'
    if "BF16" not in _core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
        return (
            f"the CPU of {platform.node()} has no bfloat16 (avx512_bf16 or amx_bf16, by what OpenVINO says of it): "
            "leave precision out"
        )
    return None


def slow_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16, but not faster than in float32: an Intel one without AMX.

    Measured on a Xeon with avx512_bf16 and without AMX: MiniLM runs at 0.65 to 0.75 times the speed of float32.
    """
    try:
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return False
    return "GenuineIntel" in cpu and "avx512_bf16" in cpu and "amx_bf16" not in cpu


def _refuse_other_machines() -> None:
    if trouble := bfloat16_trouble():
        raise DeviceError(trouble)
    if slow_bfloat16():
        logger.warning(
            "this CPU computes in bfloat16 more slowly than in float32, since it has no AMX: see docs/precision.md"
        )


@cache
def _core() -> Any:
    return openvino.Core()


def _properties(settings: SessionSettings, at_once: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": settings.effective_threads * at_once,
        "NUM_STREAMS": at_once,
        # Pinned threads would be on the same cores in every process.
        "ENABLE_CPU_PINNING": False,
    }


def _port(node: Any) -> Port:
    shape = tuple(int(size.get_length()) if size.is_static else None for size in node.partial_shape)
    return Port(node.any_name, shape, frozenset(node.names))
