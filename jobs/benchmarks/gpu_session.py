"""Bare ONNX Runtime: a session with I/O binding whose inputs and outputs stay on the device. The ceiling."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from embedders.cuda_libraries import load_cuda_libraries
from embedders.fusion.load import FusedFor, fused_graph
from embedders.session_settings import CPU, CUDA

ERRORS = 3
# Sums as exact as those of our own sessions.
OPTIONS = {"enable_skip_layer_norm_strict_mode": "1"}
Feed = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Batch:
    """One call's inputs, on the device; ``cells`` are its tokens with padding, ``tokens`` without."""

    values: Mapping[str, Any]
    cells: int
    tokens: int
    mask: npt.NDArray[np.int64]


class BareSession:
    """A graph on one device, called with batches that were uploaded before; ``fused`` as our own sessions fuse it.

    ``optimized`` is a file to write the graph to that ONNX Runtime runs.
    """

    def __init__(
        self,
        path: Path,
        device: str,
        provider: Mapping[str, Any] | None = None,
        *,
        fused: bool = True,
        optimized: Path | None = None,
    ) -> None:
        self.device = device
        if device == "cuda":
            load_cuda_libraries()
        options = ort.SessionOptions()
        options.log_severity_level = ERRORS
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        chosen: list[Any] = [(CUDA, {**OPTIONS, **(provider or {})}), CPU] if device == "cuda" else [CPU]
        model = fused_graph(path, FusedFor.GPU if device == "cuda" else FusedFor.CPU) if fused else None
        self.session = ort.InferenceSession(model or str(path), options, providers=chosen)
        if device == "cuda" and CUDA not in self.session.get_providers():
            raise RuntimeError(f"{CUDA} did not start: {self.session.get_providers()}")
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.output = self.session.get_outputs()[0].name

    def upload(self, feed: Feed) -> Batch:
        """Put a batch's inputs on the device."""
        values = {
            name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(feed[name]), self.device, 0)
            for name in self.inputs
        }
        mask = feed["attention_mask"]
        return Batch(values, mask.size, int(mask.sum()), mask)

    def bind(self, batch: Batch) -> Any:
        """Bind a batch's inputs, and the output to memory of the device that ONNX Runtime takes."""
        binding = self.session.io_binding()
        for name, value in batch.values.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_output(self.output, self.device, 0)
        return binding

    def run(self, batch: Batch) -> Any:
        """Run one batch; its output, an OrtValue on the device."""
        binding = self.bind(batch)
        self.session.run_with_iobinding(binding)
        return binding.get_outputs()[0]

    def run_without_waiting(self, batches: Sequence[Batch]) -> None:
        """Run batches one after the other, and wait for the device at the end alone."""
        options = ort.RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        kept = []
        for batch in batches:
            binding = self.bind(batch)
            self.session.run_with_iobinding(binding, options)
            kept.append(binding)
        kept[-1].synchronize_outputs()


def synthetic_feed(rows: int, length: int, vocabulary: int = 30_000, seed: int = 0) -> Feed:
    """Random token ids, (rows, length), without padding."""
    ids = np.random.default_rng(seed).integers(1000, vocabulary, (rows, length), dtype=np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def feeds_of(rows: Sequence[Sequence[int]], budget: int, multiple: int = 8) -> list[Feed]:
    """Token ids in batches by length, longest first, each of at most ``budget`` cells, widths rounded up."""
    ordered = sorted(rows, key=len, reverse=True)
    feeds, at = [], 0
    while at < len(ordered):
        width = len(ordered[at]) + -len(ordered[at]) % multiple
        some = ordered[at : at + max(1, budget // width)]
        ids = np.zeros((len(some), width), np.int64)
        for line, tokens in zip(ids, some, strict=True):
            line[: len(tokens)] = tokens
        lengths = np.array([[len(tokens)] for tokens in some])
        mask = (np.arange(width) < lengths).astype(np.int64)
        feeds.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
        at += len(some)
    return feeds


def median_seconds(run: Callable[[], Any], seconds: float, warm_up: int = 2, least: int = 3) -> float:
    """Median seconds of a call, after some that do not count, over as many as fit in so many seconds."""
    for _ in range(warm_up):
        run()
    taken: list[float] = []
    ended = time.perf_counter() + seconds
    while len(taken) < least or time.perf_counter() < ended:
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
