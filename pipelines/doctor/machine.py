"""What a machine has beside its GPUs: packages, cores, memory, disk for models, the hub and a Ray to join."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from rich.filesize import decimal

from embedders.cores import available_cores
from embedders.errors import FleetembedError
from embedders.files.cache import cache_root
from pipelines.doctor.finding import Finding

PACKAGES = ("fleetembed", "onnxruntime-gpu", "onnxruntime", "tokenizers", "ray", "qdrant-client", "numpy", "pyarrow")
LITTLE_MEMORY, LITTLE_DISK = 4 << 30, 5 << 30
HUB = "https://huggingface.co"
SECONDS = 5.0
LOCAL_HOSTS = ("127.0.0.1", "localhost")


def machine_findings() -> Iterator[Finding]:
    """Look at packages, cores, memory, the cache's disk, the hub and Ray."""
    yield from package_findings({name: found for name in PACKAGES if (found := _version(name))})
    cores, logical = available_cores(), os.cpu_count() or 1
    yield Finding("CPU", f"{cores} cores of {logical} threads for this process, {cpu_precision()}")
    memory = psutil.virtual_memory()
    told = f"{decimal(memory.total)}, {decimal(memory.available)} free"
    short = memory.available < LITTLE_MEMORY
    yield Finding("memory", told, "note" if short else "ok", "a job with Ray wants some 4 GB" if short else None)
    yield cache_finding()
    yield hub_finding(os.environ.get("HF_ENDPOINT") or HUB)
    if address := os.environ.get("RAY_ADDRESS"):
        yield ray_finding(address)


def package_findings(found: dict[str, str]) -> Iterator[Finding]:
    """The versions of what matters, and whether two packages bring one module."""
    shown = ", ".join(f"{name} {one}" for name, one in found.items())
    yield Finding("packages", f"Python {platform.python_version()}, {shown}")
    if "onnxruntime" in found and "onnxruntime-gpu" in found:
        yield Finding(
            "ONNX Runtime",
            "onnxruntime and onnxruntime-gpu are both installed, into the same folder: which of them runs is chance",
            "wrong",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install --force-reinstall --no-deps onnxruntime-gpu",
        )


def cache_finding() -> Finding:
    """Where models are kept, whether this user may write there, and the room on that disk."""
    name = "cache of models"
    try:
        root = cache_root()
    except FleetembedError as error:
        return Finding(name, str(error), "wrong", "export FLEETEMBED_CACHE_DIR=/a/folder")
    there = next(one for one in (root, *root.absolute().parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        mend = "export FLEETEMBED_CACHE_DIR=/a/folder/that/you/may/write/to"
        return Finding(name, f"{root} cannot be written to: {error.strerror}", "wrong", mend)
    free = shutil.disk_usage(there).free
    told = f"{root}, {decimal(free)} free"
    if free < LITTLE_DISK:
        return Finding(name, told, "note", "export FLEETEMBED_CACHE_DIR=/a/larger/disk; models have up to 2 GB each")
    return Finding(name, told)


def hub_finding(endpoint: str) -> Finding:
    """Whether models can be downloaded."""
    import httpx

    name = "model hub"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Finding(name, "HF_HUB_OFFLINE is set: models come from the cache and from folders")
    try:
        httpx.head(endpoint, timeout=SECONDS, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        mend = "check the network and HTTPS_PROXY, set HF_ENDPOINT to a mirror, or give a model's folder as path"
        return Finding(name, f"{endpoint} does not answer ({type(error).__name__})", "note", mend)
    return Finding(name, f"{endpoint} answers")


def ray_finding(address: str) -> Finding:
    """Whether the Ray that RAY_ADDRESS names takes connections."""
    scheme, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if not host:
        return Finding("Ray", f"RAY_ADDRESS={address}")
    try:
        with socket.create_connection((host, int(port)), timeout=SECONDS):
            return Finding("Ray", f"{address} takes connections")
    except (OSError, ValueError) as error:
        # The port of an address with a scheme is not the head's own, and another machine's Ray is started there.
        is_head_here = not scheme and host in LOCAL_HOSTS and port.isdecimal()
        mend = f"ray start --head --port={port}" if is_head_here else "start Ray there, or change RAY_ADDRESS"
        return Finding("Ray", f"RAY_ADDRESS={address}: {error}", "wrong", mend)


def cpu_precision() -> str:
    """What this CPU is fast in beside float32, as its kernel tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "precision unknown"
    flags = set(next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "").split())
    kinds = {"bfloat16": {"avx512_bf16", "amx_bf16", "bf16"}, "int8": {"avx512_vnni", "avx_vnni", "amx_int8"}}
    found = [kind for kind, names in kinds.items() if names & flags]
    return f"with instructions for {' and '.join(found)}" if found else "without instructions for bfloat16 and int8"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
