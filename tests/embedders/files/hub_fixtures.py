"""Fixtures: a local hub that serves the small model, empty caches, and a Hugging Face cache that holds it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from tests.embedders.files.hub_models import FILES, NEEDED, REPO, TOKEN
from tests.hub_server import HubServer
from tests.waiting import SECONDS


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """Where the user's Hugging Face cache is."""
    return tmp_path / "hf_home" / "hub"


@pytest.fixture
def isolated_caches(tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FLEETEMBED_CACHE_DIR", "FASTEMBED_CACHE_PATH", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub_cache))
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub go on at once after a cut, where it would wait a second."""
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _seconds: None))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as running:
        running.add_repo(REPO, FILES)
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture(scope="session")
def warm_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face cache that huggingface_hub itself has filled with the model."""
    folder = tmp_path_factory.mktemp("warm")
    script = f"import huggingface_hub as h; h.snapshot_download({REPO!r}, allow_patterns={sorted(NEEDED)!r})"
    with HubServer() as hub:
        hub.add_repo(REPO, FILES)
        switches = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        places = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder), "HF_HUB_CACHE": str(folder / "hub")}
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **switches, **places}, check=True, timeout=SECONDS
        )
    return folder / "hub"


@pytest.fixture
def warm(warm_template: Path, hub_cache: Path) -> Path:
    """The user's Hugging Face cache, holding the model."""
    shutil.copytree(warm_template, hub_cache, symlinks=True)
    return hub_cache
