"""What docs/migrating_from_fastembed.md says of names is so, in fastembed 0.9.1 and here."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastembed
import pytest

import embedders

DOCS = Path(__file__).resolve().parents[3] / "docs" / "migrating_from_fastembed.md"


def rows(table: int) -> list[tuple[list[str], str]]:
    """Paths of fastembed's, and what stands beside them, of one of the section's two tables."""
    _, _, section = DOCS.read_text(encoding="utf-8").partition("## Import paths")
    tables = re.findall(r"(?:^\|.*\n)+", section.partition("\n## ")[0], re.MULTILINE)
    cells = [re.split(r"(?<!\\)\|", line)[1:3] for line in tables[table].splitlines()[2:]]
    return [(re.findall(r"`(fastembed[\w.]*)`", left), right) for left, right in cells]


def found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(module), name)


def paths() -> Iterator[tuple[str, str]]:
    for olds, right in rows(0):
        (new,) = re.findall(r"`embedders\.(\w+)`", right)
        yield from ((old, new) for old in olds)


@pytest.mark.parametrize(("old", "new"), list(paths()))
def test_an_old_path_has_its_counterpart(old: str, new: str) -> None:
    assert found(old) is not None
    assert new == "__version__" or new in embedders.__all__
    assert getattr(embedders, new) is not None
    if "DefaultEmbedding" not in old and "FlagEmbedding" not in old:
        assert old.endswith(f".{new}")


def test_every_public_name_of_fastembed_is_in_the_table() -> None:
    listed = {old for old, _ in paths()}
    assert {f"fastembed.{name}" for name in fastembed.__all__} <= listed
    for module in (
        "text",
        "sparse",
        "image",
        "late_interaction",
        "late_interaction_multimodal",
        "rerank.cross_encoder",
    ):
        public = importlib.import_module(f"fastembed.{module}")
        assert {f"fastembed.{module}.{name}" for name in getattr(public, "__all__", [])} <= listed, module
    for module in ("common", "postprocess"):
        public = importlib.import_module(f"fastembed.{module}")
        elsewhere = {old for olds, _ in rows(1) for old in olds}
        assert {f"fastembed.{module}.{name}" for name in public.__all__} <= listed | elsewhere


def test_names_without_a_counterpart_are_there_in_fastembed_and_not_here() -> None:
    for olds, _ in rows(1):
        for old in olds:
            assert found(old) is not None
            assert not hasattr(embedders, old.rpartition(".")[2])


@pytest.mark.parametrize("old", ["DefaultEmbedding", "FlagEmbedding"])
def test_names_of_old_warn(old: str) -> None:
    with pytest.warns(DeprecationWarning, match="use TextEmbedding"):
        assert getattr(embedders, old) is embedders.TextEmbedding
