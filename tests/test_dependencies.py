"""The dependencies that the wheel names, against what its packages import."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

PACKAGES = ("embedders", "fleetembed", "pipelines")
PROVIDERS = metadata.packages_distributions()
# What needs an extra says so where it is missing.
EXTRAS = {
    "embedders/export": "dev",
    "embedders/openvino_session.py": "openvino",
    "embedders/float16.py": "float16",
    "embedders/quantization.py": "int8",
    "pipelines/evaluation": "evaluate",
    "pipelines/run/notebook_progress.py": "notebook",
    "pipelines/experiment/chart.py": "evaluate",
}
# pydantic pins the first to one version, documents some of its own types as that package's, and needs the second for
# the types of its own.
COMES_WITH = {"pydantic-core": "pydantic", "typing-extensions": "pydantic"}


def normalized(name: str) -> str:
    """Write a distribution's name as an index does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies(extra: str = "") -> set[str]:
    """The distributions that come with the wheel, and with one of its extras."""
    requirements = [Requirement(text) for text in metadata.requires("fleetembed") or ()]
    wanted = {
        one for one in requirements if "extra ==" not in (marker := str(one.marker or "")) or f'"{extra}"' in marker
    }
    named = {normalized(one.name) for one in wanted}
    return named | {part for part, whole in COMES_WITH.items() if whole in named}


def extra_of(path: Path) -> str:
    """The extra that a module may need."""
    return next((extra for folder, extra in EXTRAS.items() if (ROOT / folder) in (path, *path.parents)), "")


def imported_by(path: Path) -> Iterator[str]:
    """Names of the packages of others that a module imports, at its head or later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        tops = {name.partition(".")[0] for name in names}
        yield from tops - sys.stdlib_module_names - {*PACKAGES}


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_imports_is_of_a_distribution_that_the_wheel_depends_on(package: str) -> None:
    named = {extra: dependencies(extra) for extra in ("", *EXTRAS.values())}
    imports = {(path, name) for path in (ROOT / package).rglob("*.py") for name in imported_by(path)}
    assert "numpy" in {name for _, name in imports} or package == "fleetembed"
    assert not {
        f"{path.relative_to(ROOT)} imports {name}"
        for path, name in imports
        if not named[extra_of(path)] & {normalized(one) for one in PROVIDERS.get(name, ())}
    }


def test_a_test_dependency_is_not_taken_for_one_of_the_wheel() -> None:
    assert "numpy" in dependencies() and "pytest" in dependencies("dev")
    assert not dependencies() & {"pytest", "onnx", "boto3", "altair"}
