"""The configurations that are shipped are valid jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedders.catalog import find_card
from pipelines.config.file import load_config
from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_configuration_is_valid_and_names_known_models(path: Path) -> None:
    config = load_config(path)
    assert config.embeddings
    # The folder of a model of one's own need not be there.
    assert all(find_card(one.model).model for one in config.embeddings if isinstance(one.model, str))
