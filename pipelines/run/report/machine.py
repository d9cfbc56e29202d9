"""The machines that a run had, as its report tells of them: cores, memory, GPUs, nodes, versions."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from embedders.cores import available_cores
from pipelines.run.placement.nodes import Node

PACKAGES = (
    *("fleetembed", "onnxruntime-gpu", "onnxruntime", "openvino", "tokenizers", "ray", "qdrant-client"),
    *("qdrant-edge-py", "numpy", "pyarrow"),
)
DRIVER = Path("/proc/driver/nvidia/gpus")
ACCELERATOR = "accelerator_type:"


def describe_machine(nodes: Sequence[Node] = ()) -> dict[str, Any]:
    """Describe this machine, which drives the run, and the ``nodes`` of its cluster, equal ones together.

    Memory is in bytes; that of a node is what Ray sets aside for work. No machine's name or address is told.
    """
    found = {name: told for name in PACKAGES if (told := _version(name))}
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": available_cores(),
        "threads": os.cpu_count() or 1,
        "memory": psutil.virtual_memory().total,
        "gpus": list(_gpus()),
        "nodes": [
            {"nodes": count, "cpus": cpus, "gpus": gpus, "accelerators": list(kinds), "memory": memory}
            for (cpus, gpus, kinds, memory), count in Counter(map(_shape, nodes)).most_common()
        ],
        "python": platform.python_version(),
        "packages": found,
    }


def _shape(node: Node) -> tuple[float, float, tuple[str, ...], int]:
    kinds = sorted(name.removeprefix(ACCELERATOR) for name in node.resources if name.startswith(ACCELERATOR))
    # Nodes of one kind differ by some megabytes.
    return node.cpus, node.gpus, tuple(kinds), round(node.memory / (1 << 30)) << 30


def _gpus() -> Iterator[str]:
    """Names of NVIDIA's cards as the kernel's driver tells them: its library would take memory of each."""
    if not DRIVER.is_dir():
        return
    for card in sorted(DRIVER.iterdir()):
        with suppress(OSError):
            for line in (card / "information").read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("Model:"):
                    yield line.removeprefix("Model:").strip()


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
