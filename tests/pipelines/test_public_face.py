from __future__ import annotations

import subprocess
import sys

import pytest

import pipelines


def test_every_public_name_is_there_and_is_listed() -> None:
    assert set(pipelines.__all__) <= set(dir(pipelines))
    for name in pipelines.__all__:
        assert getattr(pipelines, name).__name__ == name


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pipelines' has no attribute 'Embeds'"):
        _ = pipelines.Embeds  # type: ignore[attr-defined]


def test_the_package_alone_imports_nothing_of_it() -> None:
    code = (
        "import sys, pipelines; print([name for name in sys.modules if name.startswith(('pipelines.', 'embedders'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
