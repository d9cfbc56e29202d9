"""Caches that fastembed 0.9.1 itself has filled, or earlier versions: looked into, never written to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from embedders.errors import ModelNotFoundError
from embedders.files.cache_state import cache_state
from tests.embedders.files.hub_models import CARD, FILES, NEEDED, REPO, contents, resolve, run_model, write
from tests.hub_server import Fault, HubServer
from tests.waiting import SECONDS

pytest_plugins = ["tests.embedders.files.hub_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated_caches")

DOWNLOAD = f"""
import sys
from fastembed.common.model_description import BaseModelDescription, ModelSource
from fastembed.common.model_management import ModelManagement
model = BaseModelDescription({CARD.model!r}, ModelSource(hf={REPO!r}), {CARD.model_file!r}, "", "", 0.0,
                             {list(CARD.additional_files)!r})
ModelManagement.download_model(model, sys.argv[1])
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache into which fastembed has downloaded the model."""
    folder = tmp_path_factory.mktemp("theirs") / "fastembed_cache"
    with HubServer() as hub:
        hub.add_repo(REPO, FILES)
        switches = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        environment = {**os.environ, **switches, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder.parent / "home")}
        subprocess.run([sys.executable, "-c", DOWNLOAD, str(folder)], env=environment, check=True, timeout=SECONDS)
    return folder


@pytest.fixture(params=["FASTEMBED_CACHE_PATH", "the default folder"])
def theirs(request: pytest.FixtureRequest, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that cache where fastembed looks."""
    chosen = request.param == "FASTEMBED_CACHE_PATH"
    folder = tmp_path / ("chosen" if chosen else "fastembed_cache")
    shutil.copytree(filled, folder, symlinks=True)
    if chosen:
        monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(folder))
    return folder


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its size and time of change."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def test_a_model_that_fastembed_downloaded_is_used_and_its_cache_left_as_it_is(cache: Path, theirs: Path) -> None:
    before = state(theirs)
    folder = resolve(cache, local_files_only=True)
    assert folder.parent == cache
    assert contents(folder) == NEEDED
    assert run_model(folder) == [1, 2, 3]
    assert state(theirs) == before
    shutil.rmtree(theirs)
    assert resolve(cache, local_files_only=True) == folder


def test_a_repository_in_the_letter_case_of_early_versions_is_used(cache: Path, theirs: Path) -> None:
    card = replace(CARD, hf="Org/Small")
    assert contents(resolve(cache, card, local_files_only=True)) == NEEDED


def test_a_snapshot_without_links_is_checked_by_the_sizes_that_fastembed_recorded(cache: Path, theirs: Path) -> None:
    repository = theirs / "models--org--small"
    for link in [path for path in repository.rglob("*") if path.is_symlink()]:
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)
    (weights,) = repository.rglob("model.onnx_data")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4])
    with pytest.raises(
        ModelNotFoundError, match=r"fastembed's cache .*: its models--org--small lacks files, or has dam"
    ):
        resolve(cache, local_files_only=True)
    weights.write_bytes(whole)
    assert contents(resolve(cache, local_files_only=True)) == NEEDED
    sizes = json.loads((repository / "files_metadata.json").read_text())
    assert {name.split("/", 2)[2]: facts["size"] for name, facts in sizes.items()} == {
        name: len(content) for name, content in NEEDED.items()
    }


def test_a_damaged_or_incomplete_snapshot_is_not_used_and_the_hub_asked(
    hub: HubServer, cache: Path, theirs: Path
) -> None:
    (weights,) = theirs.rglob("model.onnx_data")
    weights.unlink()
    assert contents(resolve(cache)) == NEEDED
    assert hub.requests


@pytest.mark.parametrize("chosen", [True, False])
def test_a_folder_of_an_archive_is_used(
    chosen: bool, hub: HubServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fastembed 0.9.1 takes such folders too: its ``retrieve_model_gcs``."""
    caches = tmp_path / ("theirs" if chosen else "fastembed_cache")
    if chosen:
        monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(caches))
    url = f"{hub.url}/small.tar.gz"
    for name, card in {
        "fast-Small": CARD,
        "Small": replace(CARD, hf=None, url=url),
    }.items():
        folder = write(caches / name, NEEDED)
        before = state(folder)
        found = resolve(cache, card, local_files_only=True)
        assert found.parent == cache
        assert contents(found) == NEEDED
        assert state(folder) == before
        assert cache_state(card, cache).status == "cached"
        shutil.rmtree(folder)
        assert resolve(cache, card) == found
    assert not hub.requests


def test_the_hub_comes_before_the_folder_of_an_old_archive(
    hub: HubServer, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = write(tmp_path / "fastembed_cache" / "fast-Small", {**NEEDED, "tokenizer.json": b"{}"})
    assert contents(resolve(cache)) == NEEDED
    assert not caplog.records
    hub.fail("", Fault("status", times=None, status=404))
    assert contents(resolve(tmp_path / "other")) == contents(old)
    assert f"Org/Small is taken from {old}, an archive that an early fastembed downloaded" in caplog.text


def test_a_cache_that_cannot_be_read_keeps_nobody_from_the_hub(
    hub: HubServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    for number, unreadable in enumerate((str(file), "x" * 5000)):
        monkeypatch.setenv("FASTEMBED_CACHE_PATH", unreadable)
        assert contents(resolve(cache / str(number))) == NEEDED


def test_a_folder_of_an_archive_that_lacks_a_file_is_not_used(cache: Path, tmp_path: Path) -> None:
    write(tmp_path / "fastembed_cache" / "fast-Small", {"onnx/model.onnx": NEEDED["onnx/model.onnx"]})
    with pytest.raises(ModelNotFoundError, match=r"onnx/model\.onnx_data"):
        resolve(cache, local_files_only=True)


def test_a_model_that_this_project_put_there_is_used_in_place(
    cache: Path, tmp_path: Path, warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resolve(tmp_path / "shared", local_files_only=True)
    shutil.rmtree(warm)
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path / "shared"))
    assert resolve(cache, local_files_only=True) == before


def test_places_of_fastembed_are_named_among_those_tried(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path / "nowhere"))
    (tmp_path / "fastembed_cache").mkdir()
    with pytest.raises(ModelNotFoundError) as caught:
        resolve(cache, local_files_only=True)
    message = str(caught.value)
    assert f"  - fastembed's cache {tmp_path / 'nowhere'}: it cannot be read: No such file or directory" in message
    assert f"  - fastembed's cache {tmp_path / 'fastembed_cache'}: it does not hold the model" in message


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs owners of files")
def test_a_default_folder_of_another_user_is_not_looked_into(
    cache: Path, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(filled, tmp_path / "fastembed_cache", symlinks=True)
    if os.getuid() == 0:
        os.chown(tmp_path / "fastembed_cache", 12345, 12345)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(ModelNotFoundError, match="in none of the places tried"):
        resolve(cache, local_files_only=True)
