"""A session whose outputs stay where they were computed, and the small graphs that reduce them there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from embedders.device.reduction_graph import KEPT, VALUES, ReductionGraph
from embedders.device.reductions import Batch, Reduction
from embedders.session_settings import CPU, CUDA

ELEMENTS = {"tensor(float)": "float32", "tensor(float16)": "float16"}

# Arrays, or values that are on the device already.
Feed = Mapping[str, Any]


class OnDevice:
    """Runs a session by I/O binding; on a GPU for one thread at a time.

    ``opened`` gives the session: another one, with the same inputs and device, after the graph was loaded again.
    ``device`` ("cpu" or "cuda") and ``device_id`` tell where its outputs are.
    """

    def __init__(self, opened: Callable[[], ort.InferenceSession], *, threads: int) -> None:
        self._opened, self._threads = opened, threads
        session = opened()
        # What really runs it; a TensorRT session has the CUDA provider beside it.
        options = session.get_provider_options()
        self.device = "cuda" if CUDA in options else "cpu"
        self.device_id = int(options.get(CUDA, {}).get("device_id", 0))
        self._inputs = frozenset(node.name for node in session.get_inputs())
        self._reducers: dict[ReductionGraph, ort.InferenceSession] = {}

    def upload(self, feed: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """Copy to the device what the graph takes of a feed; on a CPU the arrays stay as they are."""
        known = {name: array for name, array in feed.items() if name in self._inputs}
        if self.device == "cpu":
            return known
        place = (self.device, self.device_id)
        # Not ascontiguousarray, which makes a scalar a vector.
        return {name: ort.OrtValue.ortvalue_from_numpy(np.asarray(known[name], order="C"), *place) for name in known}

    def run(self, outputs: Sequence[str], feed: Feed) -> list[ort.OrtValue]:
        """Run the graph once for some outputs, which stay on the device; see ``upload``."""
        return self._bound(self._opened(), {name: feed[name] for name in feed if name in self._inputs}, outputs)

    def reduce(self, value: ort.OrtValue, reduction: Reduction, batch: Batch) -> npt.NDArray[Any]:
        """Reduce an output of a batch on the device; what is kept comes to the host.

        Rows beyond the batch's texts are reduced too, except where the output's type is none that the graphs take:
        that is reduced on the host.
        """
        shape = tuple(value.shape())
        element = ELEMENTS.get(value.data_type())
        if element is None:
            return reduction.on_host(np.array(value.numpy()[: len(batch.rows)]), batch)
        graph = reduction.graph(shape, element)
        reducer = self._reducers.get(graph)
        if reducer is None:
            reducer = self._reducers[graph] = self._reducer(graph)
        feed = {VALUES: value, **reduction.inputs(batch, shape)}
        (kept,) = self._bound(reducer, feed, [KEPT], to_host=True)
        result: npt.NDArray[Any] = kept.numpy()
        return result

    def forget_reducers(self) -> None:
        """Give the memory back that the graphs for reductions hold; they are loaded again when they are needed."""
        self._reducers.clear()

    def _bound(
        self, session: ort.InferenceSession, feed: Feed, outputs: Sequence[str], *, to_host: bool = False
    ) -> list[ort.OrtValue]:
        binding = session.io_binding()
        for name, value in feed.items():
            if isinstance(value, ort.OrtValue):
                binding.bind_ortvalue_input(name, value)
            else:
                binding.bind_cpu_input(name, np.asarray(value, order="C"))
        for name in outputs:
            binding.bind_output(name, "cpu" if to_host else self.device, 0 if to_host else self.device_id)
        session.run_with_iobinding(binding)
        results: list[ort.OrtValue] = binding.get_outputs()
        return results

    def _reducer(self, graph: ReductionGraph) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        # Sums in float32 all through: TF32 would round each addend.
        cuda = (CUDA, {"device_id": self.device_id, "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"})
        providers: list[Any] = [CPU] if self.device == "cpu" else [cuda, CPU]
        return ort.InferenceSession(graph.to_bytes(), sess_options=options, providers=providers)
