"""From the driver to a provider that computes: each step on the way to a GPU, and what mends the first that fails."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import onnxruntime as ort
from rich.filesize import decimal

from embedders.cuda_libraries import load_cuda_libraries
from embedders.device.onnx_writer import matrix_product
from embedders.session import ORT_LOG_ERRORS
from embedders.session_settings import CPU, CUDA, NVIDIA_PROVIDERS
from pipelines.doctor.driver import BFLOAT16, FLOAT16, Card, Driver, Graphics
from pipelines.doctor.finding import Finding

EXTRA = 'pip install "fleetembed[gpu]"'
CUDA_12 = 'pip install "onnxruntime-gpu[cuda,cudnn]==1.23.*"'
DRIVER = (
    "install NVIDIA's driver (Ubuntu: apt install nvidia-driver-580-server); in a container, install the NVIDIA "
    "container toolkit on the host and start it with: docker run --gpus all"
)
# What ONNX Runtime's CUDA provider loads, by CUDA's major version.
LIBRARIES = {
    12: ("libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12", "libcurand.so.10", "libcufft.so.11"),
    13: ("libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcufft.so.12"),
}
CUDNN = "libcudnn.so.9"


def gpu_findings(graphics: Graphics, start: Callable[[str], str | None] | None = None) -> Iterator[Finding]:
    """Look at driver, cards, CUDA's libraries and the providers; ``start`` tells why a provider does not start."""
    start = start or start_provider
    yield _driver(graphics)
    cards = graphics.driver.cards if graphics.driver else ()
    yield from (_card(number, card) for number, card in enumerate(cards))
    available = ort.get_available_providers()
    if cards and graphics.driver:
        yield from _libraries(graphics.driver, available)
    for name in available:
        if name == CPU or (cards and name == CUDA):
            yield _provider(name, start)
        elif cards and name in NVIDIA_PROVIDERS:
            yield _optional(name, start)


def _driver(graphics: Graphics) -> Finding:
    name, driver = "NVIDIA driver", graphics.driver
    if driver is None or not driver.cards:
        if graphics.on_bus:
            why = graphics.problem or "the driver shows this process no card (CUDA_VISIBLE_DEVICES?)"
            return Finding(
                name, f"{_counted(graphics.on_bus, 'NVIDIA card')} in this machine, but {why}", "wrong", DRIVER
            )
        return Finding(name, "no NVIDIA GPU: models run on the CPU")
    shown = f"driver {driver.version}" if driver.version else "driver"
    return Finding(name, f"{shown}, CUDA up to {_dotted(driver.cuda)}, {_counted(len(driver.cards), 'card')}")


def _card(number: int, card: Card) -> Finding:
    free = "" if card.free is None else f", {decimal(card.free)} free"
    kinds = [name for name, least in (("float16", FLOAT16), ("bfloat16", BFLOAT16)) if card.capability >= least]
    fast = f"fast in {' and '.join(kinds)}" if kinds else "without tensor cores: float16 gains little"
    return Finding(
        f"GPU {number}", f"{card.name}, {decimal(card.memory)}{free}, capability {_dotted(card.capability)}, {fast}"
    )


def _libraries(driver: Driver, available: list[str]) -> Iterator[Finding]:
    built = cuda_of_onnxruntime()
    if CUDA not in available or built is None:
        told = f"this ONNX Runtime ({ort.__version__}) is the one for CPUs alone"
        mend = f"pip uninstall -y onnxruntime onnxruntime-gpu && {EXTRA}"
        yield Finding("CUDA in ONNX Runtime", told, "wrong", mend)
        return
    if driver.cuda[0] < built:
        told = f"ONNX Runtime {ort.__version__} is built for CUDA {built}, the driver goes up to {_dotted(driver.cuda)}"
        mend = f"update the driver (CUDA 13 needs 580 or newer), or take the last one for CUDA 12: {CUDA_12}"
        yield Finding("CUDA in ONNX Runtime", told, "wrong", mend)
    else:
        yield Finding("CUDA in ONNX Runtime", f"{ort.__version__}, built for CUDA {built}")
    missing = missing_libraries((*LIBRARIES.get(built, ()), CUDNN))
    if missing:
        yield Finding("CUDA and cuDNN", f"missing: {', '.join(missing)}", "wrong", EXTRA)
    else:
        yield Finding("CUDA and cuDNN", "all libraries load")


def missing_libraries(names: tuple[str, ...]) -> list[str]:
    """Those of some libraries that the loader does not find after NVIDIA's packages have been loaded."""
    load_cuda_libraries()
    missing = []
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


@cache
def cuda_of_onnxruntime() -> int | None:
    """CUDA's major version that this ONNX Runtime is built for; None where it has no CUDA."""
    try:
        from onnxruntime.capi import build_and_package_info

        return int(str(build_and_package_info.cuda_version).partition(".")[0])
    except (ImportError, AttributeError, ValueError):
        return None


def _provider(name: str, start: Callable[[str], str | None]) -> Finding:
    started = time.perf_counter()
    why = start(name)
    if why is None:
        return Finding(name, f"computes; started in {time.perf_counter() - started:.1f} s")
    return Finding(name, f"does not start: {why}", "wrong", None if name == CPU else EXTRA)


def _optional(name: str, start: Callable[[str], str | None]) -> Finding:
    why = start(name)
    if why is None:
        return Finding(name, "computes")
    return Finding(name, f"does not start: {why}", "note", "pip install tensorrt, if you want it in providers")


def start_provider(name: str) -> str | None:
    """Compute a graph of one node by a provider; None where it does, else what kept it from that."""
    if name in NVIDIA_PROVIDERS:
        load_cuda_libraries()
    options = ort.SessionOptions()
    options.log_severity_level = ORT_LOG_ERRORS + 1
    ort.set_default_logger_severity(ORT_LOG_ERRORS + 1)
    # A flag of the provider itself: what it cannot do is an error, and no fall back.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", str(int(name != CPU)))
    value = np.array([[1, 2], [3, 4]], dtype=np.float32)
    try:
        session = ort.InferenceSession(matrix_product(2), options, providers=[name], enable_fallback=False)
        if session.get_providers()[0] != name:
            return "ONNX Runtime took another in its place; its libraries are of another version, or missing"
        result = session.run(None, {"x": value})[0]
    except Exception as error:
        # ONNX Runtime's exceptions have no common base class.
        return " ".join(str(error).split())[:300]
    return None if np.allclose(result, value @ value, rtol=1e-2) else f"it computes {result.tolist()}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s'[: number != 1]}"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
