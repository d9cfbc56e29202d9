from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedders.errors import ModelFilesError, ModelNotFoundError
from embedders.files.folder import model_files
from embedders.files.resolve import resolve_model
from tests.embedders.files.hub_models import (
    CARD,
    FILES,
    NEEDED,
    contents,
    resolve,
    run_model,
    write,
)

pytest_plugins = ["tests.embedders.files.hub_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated_caches")


def linked(files: dict[str, bytes], blobs: Path, folder: Path) -> Path:
    """A folder of links to blobs that share neither name nor folder, as in a store shared between repositories."""
    for number, (name, content) in enumerate(files.items()):
        blob = blobs / str(number) / f"blob{number}"
        blob.parent.mkdir(parents=True)
        blob.write_bytes(content)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(blob)
    return folder


def test_a_local_folder_is_used_as_it_is(tmp_path: Path, cache: Path) -> None:
    folder = write(tmp_path / "mine", FILES)
    assert resolve_model(CARD, specific_model_path=folder, cache_dir=cache) == folder
    assert resolve_model(CARD, specific_model_path=str(folder), cache_dir=cache, local_files_only=True) == folder
    assert not cache.exists()


def test_a_local_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"'.*nowhere' of model Org/Small does not exist"):
        resolve_model(CARD, specific_model_path=tmp_path / "nowhere")


def test_a_file_given_as_local_folder_is_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", FILES)
    with pytest.raises(ModelFilesError, match=r"model\.onnx' of model Org/Small is a file: give its folder"):
        resolve_model(CARD, specific_model_path=folder / "onnx" / "model.onnx")


@pytest.mark.parametrize("name", ["onnx/model.onnx", "onnx/model.onnx_data"])
def test_a_local_folder_without_the_model_names_what_is_missing(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "mine", {key: content for key, content in FILES.items() if key != name})
    with pytest.raises(ModelFilesError, match=rf"lacks {name}; it holds .*tokenizer\.json"):
        resolve_model(CARD, specific_model_path=folder)


def test_a_local_folder_of_links_loads_with_external_data(tmp_path: Path, cache: Path) -> None:
    folder = linked(NEEDED, tmp_path / "blobs", tmp_path / "links")
    flat = resolve_model(CARD, specific_model_path=folder, cache_dir=cache)
    assert contents(flat) == NEEDED and not any(path.is_symlink() for path in flat.rglob("*"))
    assert run_model(flat) == [1, 2, 3]
    assert (flat / CARD.model_file).samefile(folder / CARD.model_file)
    assert resolve_model(CARD, specific_model_path=folder, cache_dir=cache) == flat


def test_a_hub_snapshot_given_as_local_folder_loads(warm: Path, cache: Path) -> None:
    snapshot = next(warm.rglob("tokenizer.json")).parent
    assert run_model(resolve_model(CARD, specific_model_path=snapshot, cache_dir=cache)) == [1, 2, 3]


def test_a_changed_folder_of_links_is_seen(tmp_path: Path, cache: Path) -> None:
    folder = linked(NEEDED, tmp_path / "blobs", tmp_path / "links")
    resolve_model(CARD, specific_model_path=folder, cache_dir=cache)
    (tmp_path / "new_data").write_bytes(np.arange(100, 164, dtype=np.float32).tobytes())
    (folder / "onnx/model.onnx_data").unlink()
    (folder / "onnx/model.onnx_data").symlink_to(tmp_path / "new_data")
    assert run_model(resolve_model(CARD, specific_model_path=folder, cache_dir=cache)) == [101, 102, 103]


def test_links_are_copied_where_hard_links_are_impossible(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    folder = linked(NEEDED, tmp_path / "blobs", tmp_path / "links")
    monkeypatch.setattr(os, "link", refuse)
    flat = resolve_model(CARD, specific_model_path=folder, cache_dir=cache)
    assert contents(flat) == NEEDED
    assert not (flat / CARD.model_file).samefile(folder / CARD.model_file)


def test_a_cache_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = linked(NEEDED, tmp_path / "blobs", tmp_path / "links")
    with pytest.raises(ModelFilesError, match="FLEETEMBED_CACHE_DIR"):
        resolve_model(CARD, specific_model_path=folder, cache_dir=tmp_path / "file" / "cache")
    with pytest.raises(ModelNotFoundError, match="Not a directory"):
        resolve(tmp_path / "file" / "cache")


def test_model_files_are_those_present_with_external_data(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", {**FILES, "onnx/model.onnx.data": b""})
    assert model_files(replace(CARD, additional_files=("absent.txt",)), folder) == tuple(
        sorted([*NEEDED, "onnx/model.onnx.data"])
    )
