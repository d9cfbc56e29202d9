"""Which dimension is known, and which is expected, by who chose the files and who wrote the card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from embedders.catalog import ModelCard, find_card
from embedders.model_options import ModelFiles

CATALOG = find_card("BAAI/bge-small-en-v1.5")
USERS = replace(CATALOG, custom=True)


@pytest.mark.parametrize(
    ("card", "path", "chosen", "known", "expected"),
    [
        (CATALOG, None, False, 384, 384),
        (CATALOG, "folder", True, None, None),
        (USERS, None, True, None, 384),
        (USERS, "folder", True, None, 384),
        (replace(USERS, dim=None), None, True, None, None),
        (replace(CATALOG, dim=None), None, False, None, None),
    ],
)
def test_a_users_files_may_have_another_dimension_than_the_catalogs(
    card: ModelCard, path: str | None, chosen: bool, known: int | None, expected: int | None
) -> None:
    files = ModelFiles(specific_model_path=path)
    assert files.chosen_by_user(card) is chosen
    assert (files.known_dim(card), files.expected_dim(card)) == (known, expected)


def test_the_folder_is_the_given_one_or_the_cards(tmp_path: Path) -> None:
    given, carded = tmp_path / "given", tmp_path / "carded"
    for folder in (given, carded):
        (folder / CATALOG.model_file).parent.mkdir(parents=True)
        (folder / CATALOG.model_file).touch()
    card = replace(USERS, path=str(carded))
    assert ModelFiles().folder(card) == carded
    assert ModelFiles(specific_model_path=given).folder(card) == given
