"""Large files from Xet storage, by hf_xet itself: its store is a folder here, in place of the hub's servers."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from huggingface_hub import constants

from embedders.errors import ModelNotFoundError
from tests.embedders.files.hub_models import NEEDED, contents, downloads, resolve, run_model
from tests.hub_server import HubServer

hf_xet = pytest.importorskip("hf_xet")
pytest_plugins = ["tests.embedders.files.hub_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated_caches")

LARGE = [name for name in NEEDED if name.startswith("onnx/")]


@pytest.fixture(autouse=True)
def xet_store(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub says that its large files are in Xet storage."""
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet_cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    store(hub, tmp_path, {name: NEEDED[name] for name in LARGE})


def store(hub: HubServer, folder: Path, files: dict[str, bytes]) -> None:
    (folder / "xet_store").mkdir(exist_ok=True)
    hub.xet_store = f"local://{folder / 'xet_store'}"
    for name, content in files.items():
        (folder / "sent").write_bytes(content)
        with hf_xet.XetSession().new_upload_commit(endpoint=hub.xet_store) as commit:
            upload = commit.start_upload_file(str(folder / "sent"))
        hub.xet_hashes[name] = upload.result().xet_info.hash


def test_files_in_xet_storage_arrive_whole(
    hub: HubServer, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedders.files.progress.SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.INFO, logger="fleetembed")
    folder = resolve(cache)
    told = [message for message in caplog.messages if message.startswith("model Org/Small onnx/model.onnx_data: ")]
    # Of the file's bytes, not of those on the wire, which are others.
    assert told and all(re.search(r": \S+B of 256B, ", message) for message in told), told
    assert contents(folder) == NEEDED
    assert run_model(folder) == [1, 2, 3]
    assert [downloads(hub, name) for name in LARGE] == [0] * len(LARGE)


def test_a_wrong_file_in_xet_storage_is_never_stored(hub: HubServer, cache: Path, tmp_path: Path) -> None:
    store(hub, tmp_path, {"onnx/model.onnx_data": NEEDED["onnx/model.onnx_data"][::-1]})
    with pytest.raises(ModelNotFoundError, match=r"model\.onnx_data sent a wrong file: its sha256"):
        resolve(cache)
    assert not list(cache.rglob("*onnx_data*"))


def test_without_xet_the_same_files_come_over_http(
    hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    assert contents(resolve(cache)) == NEEDED
    at_cdn = [item for item in hub.requests if item.cdn]
    assert len(at_cdn) == len(LARGE)
    assert not any("authorization" in item.headers for item in at_cdn)
