"""The packages of the extra ``evaluate``, needed only when something is evaluated, and the versions of packages."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from pipelines.errors import ConfigError

NEEDED = {"ir_measures": "ir_measures", "altair": "altair", "vl_convert": "vl-convert-python"}


def refuse_if_missing(modules: Collection[str] = tuple(NEEDED)) -> None:
    """Raise ConfigError where a package that evaluation needs, of these modules, is not installed."""
    missing = []
    for module, package in NEEDED.items():
        if module not in modules:
            continue
        try:
            import_module(module)
        except ImportError:
            missing.append(package)
    if missing:
        raise ConfigError(f"evaluation needs {', '.join(missing)}: pip install 'fleetembed[evaluate]'")


def versions() -> dict[str, str]:
    """Return the versions of what figures depend on; packages that are not installed are left out."""
    installed = {}
    for package in ("fleetembed", "ir_measures", "qdrant-client", "qdrant-edge-py", "onnxruntime-gpu", "onnxruntime"):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed
