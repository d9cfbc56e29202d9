"""Bare ONNX Runtime on GPUs: tokens a second by precision, budget and length; the ceiling of all else."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_models import Size, open_embedder
from benchmarks.gpu_session import BareSession, median_seconds, synthetic_feed
from benchmarks.gpu_settings import Settings, attempt, tell

TF32 = ("0", "1")
# Values of the provider's option sdpa_kernel, by what they leave to choose from (ONNX Runtime's AttentionBackend).
KERNELS = {"memory-efficient": "2", "TensorRT's": "36", "matrix products": "16"}
# What is of most use first: a run may be cut short.
BUDGETS, LENGTHS = (16_384, 65_536, 4_096), (128, 32, 512)
QUICK_BUDGETS, QUICK_LENGTHS = (64,), (32,)


def measure_bare(settings: Settings, name: str) -> None:
    """One model: float16 at all budgets and lengths, float32 with and without TF32 at one budget."""
    size, folder = settings.sizes[name], settings.models
    budgets, lengths = (QUICK_BUDGETS, QUICK_LENGTHS) if settings.quick else (BUDGETS, LENGTHS)
    facts = {"step": "bare", "model": name}
    if settings.on_gpu:
        path = attempt(lambda: graph_of(settings, name, "float16"), **facts, graph="float16")
        if path is not None:
            _sweep(settings, size, path, budgets, lengths, {**facts, "graph": "float16"})
        for tf32 in reversed(TF32):
            told = {**facts, "graph": "float32", "tf32": tf32 == "1"}
            _sweep(settings, size, folder / name / "model.onnx", budgets[:1], lengths, told, {"use_tf32": tf32})
    else:
        _sweep(settings, size, folder / name / "model.onnx", budgets, lengths, {**facts, "graph": "float32"})


def compare_fusion(settings: Settings, name: str) -> None:
    """The same network with attention fused and not, in the device's precision; operators after all optimizations."""
    size = settings.sizes[name]
    budgets, lengths = (QUICK_BUDGETS, QUICK_LENGTHS) if settings.quick else (BUDGETS[:1], (*LENGTHS, 256))
    path = graph_of(settings, name, "float16")
    ways: dict[str, tuple[bool, dict[str, str]]] = {"fused": (True, {}), "not fused": (False, {})}
    if settings.on_gpu:
        ways["fused, sums in float16"] = (True, {"enable_skip_layer_norm_strict_mode": "0"})
        ways |= {f"fused, {told}": (True, {"sdpa_kernel": number}) for told, number in KERNELS.items()}
    for way, (fused, provider) in ways.items():
        facts = {"step": "fusion", "model": name, "way": way}
        if not provider:
            attempt(partial(_tell_nodes, settings, path, fused, facts), **facts)
        _sweep(settings, size, path, budgets, lengths, facts, provider, fused=fused)


def graph_of(settings: Settings, name: str, precision: str) -> Path:
    """The graph file that our own session loads for a precision; it is made where it is not there yet."""
    options = {"cuda": False, "precision": precision} if settings.on_gpu else {"cuda": False}
    model = open_embedder(name, settings.sizes[name], settings.models, lazy_load=True, **options)
    path: Path = model.model.text_model.session.path
    return path


def _tell_nodes(settings: Settings, path: Path, fused: bool, facts: Mapping[str, Any]) -> None:
    """How often each operator is in the graph that ONNX Runtime makes of it."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        BareSession(path, settings.device, fused=fused, optimized=optimized)
        kinds = [node.op_type for node in onnx.load(optimized, load_external_data=False).graph.node]
    tell(**facts, nodes={kind: kinds.count(kind) for kind in sorted(set(kinds))})


def _sweep(
    settings: Settings,
    size: Size,
    path: Path,
    budgets: tuple[int, ...],
    lengths: tuple[int, ...],
    facts: Mapping[str, Any],
    provider: Mapping[str, Any] | None = None,
    *,
    fused: bool = True,
) -> None:
    session = attempt(lambda: BareSession(path, settings.device, provider, fused=fused), **facts)
    if session is None:
        return
    for budget in budgets:
        for length in lengths:
            shape = {"budget": budget, "length": length}
            attempt(partial(_one, settings, session, size, budget, length, facts), **facts, **shape)


def _one(
    settings: Settings, session: BareSession, size: Size, budget: int, length: int, facts: Mapping[str, Any]
) -> None:
    batch = session.upload(synthetic_feed(max(1, budget // length), length))
    taken = median_seconds(lambda: session.run(batch), settings.seconds)
    several = median_seconds(lambda: session.run_without_waiting([batch] * 4), settings.seconds / 2, warm_up=1) / 4
    speed = batch.cells / min(taken, several)
    tell(
        **facts,
        budget=budget,
        length=length,
        tokens_a_second=round(speed),
        tokens_a_second_one_by_one=round(batch.cells / taken),
        tflops=speed * size.flops_a_token(length) / 1e12,
        ms_a_call=taken * 1e3,
    )


def capture_graph(settings: Settings, name: str) -> None:
    """CUDA graphs: one shape captured once and replayed, beside plain calls of the same shape."""
    size = settings.sizes[name]
    path = graph_of(settings, name, "float16")
    for budget in (2_048, 16_384):
        facts = {"step": "cuda_graph", "model": name, "budget": budget, "length": 128}
        for captured in (False, True):
            attempt(partial(_replay, settings, size, path, budget, captured, facts), **facts)


def _replay(settings: Settings, size: Size, path: Path, budget: int, captured: bool, facts: Mapping[str, Any]) -> None:
    import onnxruntime as ort

    session = BareSession(path, settings.device, {"enable_cuda_graph": "1"} if captured else None)
    batch = session.upload(synthetic_feed(budget // 128, 128))
    binding = session.session.io_binding()
    for one, value in batch.values.items():
        binding.bind_ortvalue_input(one, value)
    shape, kind = (budget // 128, 128, size.hidden), session.session.get_outputs()[0].type
    element = "float16" if "float16" in kind else "float32"
    output = ort.OrtValue.ortvalue_from_shape_and_type(shape, element, settings.device, 0)
    binding.bind_ortvalue_output(session.output, output)
    taken = median_seconds(lambda: session.session.run_with_iobinding(binding), settings.seconds, warm_up=4)
    tell(**facts, captured=captured, ms_a_call=taken * 1e3, tokens_a_second=round(budget / taken))
