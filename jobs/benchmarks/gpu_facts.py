"""The machine of the benchmark of GPUs: its card, versions, providers that start, peak, and how busy the card is."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.gpu_session import BareSession, synthetic_feed
from benchmarks.gpu_settings import Settings, attempt, tell
from embedders.device.onnx_writer import matrix_product

ASKED = (
    "name,driver_version,memory.total,memory.free,utilization.gpu,clocks.sm,clocks.max.sm,clocks.mem,power.draw,"
    "power.limit,temperature.gpu,persistence_mode,compute_mode,ecc.mode.current,pcie.link.gen.current"
)
PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "numpy",
    "tokenizers",
    "torch",
    "transformers",
    "sentence-transformers",
    "onnx",
    "sympy",
    "nvidia-cublas",
    "nvidia-cuda-runtime",
    "nvidia-cudnn-cu13",
    "ray",
)
SAMPLE_SECONDS = 0.05
LIBRARIES = ("cudart", "cublas", "cudnn", "curand", "cufft", "nvrtc", "libcuda", "providers_cuda")
MATMUL = 8192
GB = 1e9


def show_facts(settings: Settings) -> None:
    """Card, driver, versions, cores; the provider's start on MiniLM's graph, and the libraries that it loaded."""
    if settings.on_gpu:
        attempt(_tell_card, step="facts", what="nvidia-smi")
    found = {name: _version(name) for name in PACKAGES}
    tell(
        step="facts",
        python=platform.python_version(),
        onnxruntime=ort.__version__,
        built_in=ort.get_available_providers(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        packages={name: one for name, one in found.items() if one},
        cpu=_cpu_name(),
    )


def start_provider(settings: Settings) -> None:
    """Start the provider on a graph of one node, and tell which libraries it loaded from where."""
    started = time.perf_counter()
    attempt(lambda: _start_on_one_node(settings), step="provider", device=settings.device)
    loaded = sorted(_loaded())
    tell(step="provider", seconds=time.perf_counter() - started, loaded=loaded)


def _start_on_one_node(settings: Settings) -> None:
    path = Path(settings.folder) / "one.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(matrix_product(64))
    session = BareSession(path, settings.device)
    result = session.session.run(None, {"x": np.eye(64, dtype=np.float32)})[0]
    tell(step="provider", providers=session.session.get_providers(), correct=bool((result == np.eye(64)).all()))


def _loaded() -> set[str]:
    maps = Path("/proc/self/maps")
    paths = {line.split()[-1] for line in maps.read_text().splitlines() if ".so" in line} if maps.exists() else set()
    return {path for path in paths if any(name in Path(path).name for name in LIBRARIES)}


def first_run(settings: Settings) -> None:
    """MiniLM's graph in float32: seconds of loading and of the first calls of a shape."""
    path = settings.models / "minilm" / "model.onnx"
    started = time.perf_counter()
    session = BareSession(path, settings.device)
    loaded = time.perf_counter() - started
    batch = session.upload(synthetic_feed(2 if settings.quick else 128, 16 if settings.quick else 128))
    calls = []
    for _ in range(4):
        started = time.perf_counter()
        session.run(batch)
        calls.append(time.perf_counter() - started)
    tell(step="first_run", load_seconds=loaded, calls_seconds=calls)


def measure_peak(settings: Settings) -> None:
    """TFLOP/s of a large matrix product by PyTorch, and GB/s of copies to and from the card."""
    import torch

    device, size = torch.device(settings.device), 256 if settings.quick else MATMUL
    for name in ("float16", "bfloat16", "float32") if settings.on_gpu else ("float32",):
        a, b = (torch.randn(size, size, device=device, dtype=getattr(torch, name)) for _ in range(2))
        taken = _seconds_of(torch, partial(torch.matmul, a, b), settings)
        tell(step="peak", dtype=name, size=size, tflops=2 * size**3 / taken / 1e12)
    if not settings.on_gpu:
        return
    host = torch.empty(1 << 28, dtype=torch.uint8)
    pinned, card = host.pin_memory(), torch.empty(1 << 28, dtype=torch.uint8, device=device)
    for name, target, source in (
        ("to the host", host, card),
        ("to pinned memory of the host", pinned, card),
        ("from pinned memory", card, pinned),
    ):
        taken = _seconds_of(torch, partial(target.copy_, source), settings)
        tell(step="peak", copy=name, gb_a_second=host.nbytes / taken / GB)


def _seconds_of(torch: Any, run: Any, settings: Settings, repeats: int = 10) -> float:
    wait = torch.cuda.synchronize if settings.on_gpu else (lambda: None)
    for _ in range(3):
        run()
    wait()
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    wait()
    return (time.perf_counter() - started) / repeats


@contextmanager
def watch(device: str) -> Iterator[dict[str, Any]]:
    """Watch the card until the block ends: then the dictionary has its mean utilization, in percent, and its memory.

    NVML's utilization is the share of the last sampling period (a sixth to one second) in which any kernel ran.
    """
    found: dict[str, Any] = {}
    if device != "cuda":
        yield found
        return
    try:
        import pynvml

        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:
        yield found
        return
    over, samples = threading.Event(), []

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            rates = pynvml.nvmlDeviceGetUtilizationRates(card)
            memory, power = pynvml.nvmlDeviceGetMemoryInfo(card), pynvml.nvmlDeviceGetPowerUsage(card)
            samples.append((rates.gpu, memory.used / GB, power / 1e3))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        # The first samples still tell of the time before.
        counted = samples[len(samples) // 5 :]
        if counted:
            busy, memory, power = (list(values) for values in zip(*counted, strict=True))
            found |= {
                "gpu_busy_percent": sum(busy) / len(busy),
                "gpu_memory_gb": max(memory),
                "watts": sum(power) / len(power),
            }


def _tell_card() -> None:
    told = subprocess.run(
        ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader"], capture_output=True, text=True, timeout=30
    )
    values = [value.strip() for value in told.stdout.strip().split(",")]
    names = ASKED.split(",")
    tell(step="facts", card=dict(zip(names, values, strict=False)), error=told.stderr.strip() or None)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
