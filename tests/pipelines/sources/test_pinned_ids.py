"""Ids and origins that points were stored under by earlier versions: they must never change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.sources.images.images import picture
from tests.pipelines.sources.reading import read, write_lines, write_parquet


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    write_lines(root / "a.jsonl", [{"text": "one", "n": 1}, {"text": "two", "n": None}])
    write_lines(root / "sub" / "a.jsonl", [{"text": "three"}])
    (root / "b.csv").write_bytes(b'text,note\r\nfour,"x\r\ny\rz"\r\nfive,\r\n')
    (root / "unnamed.csv").write_text("text,\nnine,\n")
    write_parquet(root / "c.parquet", {"text": ["six", "seven"], "year": [1, 2]}, row_group_size=1)
    for name in ("d.txt", "sub/d e.md", "sub/deep/[1]?%20#&+ü.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "p.png").write_bytes(picture(1))
    return root


POINTS = [
    ("a.jsonl:1", "c21a40e0101c0054043739137b5fa162"),
    ("a.jsonl:2", "f813b08ae2082409b6bfed9bd0afd627"),
    ("b.csv:2", "1c5697975beeab7335d8a0fdee0c1f67"),
    ("b.csv:4", "b3aac4d5217227b0886109ac355b1252"),
    ("c.parquet:row 1", "094e5077e807f615b2abf020d6754273"),
    ("c.parquet:row 2", "baa40ab12339b198fb28e389e8052434"),
    ("d.txt", "d.txt"),
    ("p.png", "p.png"),
    ("sub/a.jsonl:1", "e5113136ad3b2d798a021fef9440eae9"),
    ("sub/d e.md", "sub/d e.md"),
    ("sub/deep/[1]?%20#&+ü.txt", "sub/deep/[1]?%20#&+ü.txt"),
    ("unnamed.csv:2", "b6bdbf7c1cdd362caaf901399d34071b"),
]


def ids_and_origins(path: Path | str | list[str]) -> list[tuple[str, str]]:
    return sorted((row["origin"], row["document_id"]) for row in read(path))


@pytest.mark.parametrize("spelled", [str, lambda root: f"{root}/", lambda root: f"{root}/../corpus/.", Path.as_uri])
def test_of_a_folder(corpus: Path, spelled: Callable[[Path], str]) -> None:
    assert ids_and_origins(spelled(corpus)) == POINTS


def test_of_a_glob(corpus: Path) -> None:
    below = [(origin, name) for origin, name in POINTS if origin.startswith("sub/")]
    assert ids_and_origins(f"{corpus}/*/**") == below
    assert ids_and_origins(f"{corpus}/sub/*.md") == [("d e.md", "d e.md")]


def test_of_a_list_of_files(corpus: Path) -> None:
    paths = [f"{corpus}/sub/d e.md", f"{corpus}/d.txt", f"{corpus}/a.jsonl", f"{corpus}/sub/a.jsonl"]
    ids = dict(POINTS)
    assert ids_and_origins(paths) == [
        (f"{corpus}/a.jsonl:1", ids["a.jsonl:1"]),
        (f"{corpus}/a.jsonl:2", ids["a.jsonl:2"]),
        (f"{corpus}/sub/a.jsonl:1", ids["sub/a.jsonl:1"]),
        ("d e.md", "d e.md"),
        ("d.txt", "d.txt"),
    ]
