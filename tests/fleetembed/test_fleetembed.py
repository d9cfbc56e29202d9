"""`import fleetembed`, in processes whose working directory comes first on sys.path, as in a notebook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import embedders
import fleetembed
import pipelines
from tests.waiting import SECONDS

HOME = Path(fleetembed.__file__).resolve().parents[1]


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=SECONDS)


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder with packages of a user's own that are called as fleetembed's are; one has an __init__.py."""
    for name in ("pipelines", "embedders"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "steps.py").write_text("")
    (tmp_path / "pipelines" / "__init__.py").write_text("")
    return tmp_path


def test_all_public_names_of_both_packages_are_there() -> None:
    names = {*embedders.__all__, *pipelines.__all__}
    assert names == set(fleetembed.__all__) and {*names, "__version__"} <= set(dir(fleetembed))
    for package in (embedders, pipelines):
        assert all(getattr(fleetembed, name) is getattr(package, name) for name in package.__all__)
    assert fleetembed.__version__ == embedders.__version__
    with pytest.raises(AttributeError, match="module 'fleetembed' has no attribute 'Embbed'"):
        _ = fleetembed.Embbed  # type: ignore[attr-defined]


def test_importing_it_loads_neither_package() -> None:
    code = "import sys, fleetembed; print({'embedders', 'pipelines'} & {*sys.modules})"
    assert python(code, HOME).stdout == "set()\n"


def test_folders_in_the_working_directory_hide_nothing(crowded: Path) -> None:
    code = """
import fleetembed as fe
from pipelines.errors import ConfigError
print(fe.EmbeddingPipeline.__module__, fe.TextEmbedding.__module__, issubclass(ConfigError, fe.FleetembedError))
"""
    done = python(code, crowded)
    assert done.stdout == "pipelines.pipeline embedders.api.text_embedding True\n", done.stderr
    assert "cannot import name" in python("from pipelines import EmbeddingPipeline", crowded).stderr


def test_a_package_that_was_imported_before_is_named_with_what_to_do(crowded: Path) -> None:
    code = "import pipelines, fleetembed as fe; fe.TextEmbedding; fe.EmbeddingPipeline"
    told = python(code, crowded).stderr.splitlines()[-1]
    assert told == (
        "ImportError: another module named pipelines was imported before fleetembed's: "
        f"{crowded / 'pipelines'}. Import fleetembed first, or rename that one, and start this process (in a notebook, "
        "its kernel) again"
    )
    code = "import embedders.steps\ntry:\n    from fleetembed import TextEmbedding\nexcept ImportError as e: print(e)"
    assert str(crowded / "embedders") in python(code, crowded).stdout
