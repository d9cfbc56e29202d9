"""Imports the packages that are installed beside this one, whatever else on ``sys.path`` is called as they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGES = ("embedders", "pipelines")
HOME = Path(__file__).resolve().parents[1]


class OwnPackages(MetaPathFinder):
    """Finds the two packages beside this one, and leaves all other modules to the finders after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See MetaPathFinder."""
        return PathFinder.find_spec(fullname, [str(HOME)]) if fullname in PACKAGES else None


def come_first() -> None:
    """Let imports of the two packages, from now on, find those beside this one."""
    if not any(isinstance(finder, OwnPackages) for finder in sys.meta_path):
        sys.meta_path.insert(0, OwnPackages())


def load(package: str) -> Any:
    """Import one of the two packages; raises ImportError where another one of its name was imported already."""
    there = sys.modules.get(package)
    if there is not None and HOME / package not in _folders(there):
        where = ", ".join(map(str, _folders(there))) or "a module without a file"
        raise ImportError(
            f"another module named {package} was imported before fleetembed's: {where}. Import fleetembed first, or "
            f"rename that one, and start this process (in a notebook, its kernel) again",
            name=package,
            path=where,
        )
    return import_module(package)


def _folders(module: ModuleType) -> list[Path]:
    """The folders of a package, the file of a plain module."""
    found = getattr(module, "__path__", None) or filter(None, [getattr(module, "__file__", None)])
    return [Path(one).resolve() for one in found]
