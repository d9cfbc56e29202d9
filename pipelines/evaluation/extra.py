"""The packages of the extra ``evaluate``, asked for only when something is evaluated."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from pipelines.errors import ConfigError

NEEDED = {"ir_measures": "ir_measures", "altair": "altair", "vl_convert": "vl-convert-python"}


def refuse_if_missing() -> None:
    """Raise ConfigError where a package that evaluation needs is not installed."""
    missing = []
    for module, package in NEEDED.items():
        try:
            import_module(module)
        except ImportError:
            missing.append(package)
    if missing:
        raise ConfigError(f"evaluation needs {', '.join(missing)}: pip install 'fleetembed[evaluate]'")


def has_edge() -> bool:
    """Whether qdrant-edge-py is there; it has no wheel for some platforms."""
    return find_spec("qdrant_edge") is not None


def versions() -> dict[str, str]:
    """Versions of what figures depend on; packages that are not installed are left out."""
    found = {}
    for package in ("fleetembed", "ir_measures", "qdrant-client", "qdrant-edge-py", "onnxruntime-gpu", "onnxruntime"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
