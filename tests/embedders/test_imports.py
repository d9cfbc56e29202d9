"""What importing costs: whoever looks a model up, or runs one family, loads no library that only others need."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest

import embedders
from embedders.families import FAMILIES

HEAVY = {"onnxruntime", "PIL", "httpx", "huggingface_hub", "tokenizers"}


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter imports for a statement."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True, check=True
    )
    return set(re.findall(r"^import time:.*\| +(\w+)", done.stderr, re.MULTILINE))


@pytest.mark.parametrize("module", ["embedders", "embedders.factory", "embedders.base", "embedders.catalog"])
def test_importing_a_module_that_everyone_needs_loads_no_runtime(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert "embedders" in loaded
    assert not loaded & HEAVY


def test_importing_every_public_name_loads_no_runtime() -> None:
    assert not loaded_by("from embedders import *") & HEAVY


@pytest.mark.parametrize(
    ("families", "package"),
    [
        ([name for name, family in FAMILIES.items() if not family.network], "onnxruntime"),
        ([name for name, family in FAMILIES.items() if not family.images], "PIL"),
    ],
    ids=["without a network", "of texts"],
)
def test_families_load_no_package_that_they_do_not_use(families: list[str], package: str) -> None:
    load = f"from embedders.families import FAMILIES; [FAMILIES[name].load_class() for name in {families}]"
    loaded = loaded_by(load)
    assert "pyarrow" in loaded
    assert package not in loaded


def test_bm25_takes_its_stop_words_without_scipy_and_a_network() -> None:
    loaded = loaded_by("from embedders import SparseTextEmbedding; SparseTextEmbedding('Qdrant/bm25')")
    assert "mmh3" in loaded
    assert not loaded & {"scipy", "bm25s", "httpx", "onnxruntime"}


def test_public_names_are_there_when_asked_for() -> None:
    assert set(embedders.__all__) <= set(dir(embedders))
    aliases = {"ImageInput", "OnnxProvider"}
    for name in embedders.__all__:
        public = getattr(embedders, name)
        assert name in aliases or public.__name__ == name
    assert embedders.__version__ == metadata.version("fleetembed")
    for old in ("DefaultEmbedding", "FlagEmbedding"):
        with pytest.warns(DeprecationWarning, match=f"{old} is deprecated, in fastembed too: use TextEmbedding"):
            assert getattr(embedders, old) is embedders.TextEmbedding
    with pytest.raises(AttributeError, match="module 'embedders' has no attribute 'TextEmbeding'"):
        _ = embedders.TextEmbeding  # type: ignore[attr-defined]
