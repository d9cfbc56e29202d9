"""The configurations that are shipped are valid jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedders.catalog import find_card
from pipelines.config.file import load_config
from pipelines.errors import ConfigError
from pipelines.run.placement.pools import place_pools
from tests.conftest import ROOT
from tests.pipelines.run.placement.even_nodes import even_nodes

MACHINE = even_nodes(cpus=16, gpus=4, nodes=1, cores_a_node=16)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_configuration_is_valid_and_names_known_models(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(path)
    for own in (one.model for one in config.embeddings if not isinstance(one.model, str)):
        assert own.path is not None
        Path(own.path).mkdir(parents=True)
        (Path(own.path) / "model.onnx").touch()
    named = [one.model for one in config.embeddings if isinstance(one.model, str)]
    assert [find_card(name).model.lower() for name in named] == [name.lower() for name in named]
    embedded = [one.name for pool in place_pools(config, MACHINE) for one in pool.embeddings]
    assert sorted(embedded) == sorted(one.name for one in config.embeddings)
    with pytest.raises(ConfigError, match="unknown key"):
        load_config(path, ["compute.no_such_key=1"])
