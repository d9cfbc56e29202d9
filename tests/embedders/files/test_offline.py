"""What a model in the cache does without: the network, and the libraries that speak to it."""

from __future__ import annotations

import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from embedders.files.digest import files_digest
from embedders.files.lookup import offline_reason
from embedders.files.resolve import resolve_model, verify_model
from tests.embedders.files.hub_models import CARD, FILES, QUICK, RESOLVE, ROOT, resolve, write
from tests.hub_server import HubServer
from tests.waiting import SECONDS

pytest_plugins = ["tests.embedders.files.hub_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated_caches")

# A slot as it was written before huggingface_hub did the downloads.
OLD_CARD = replace(CARD, hf="org/old", model_file="model.onnx", additional_files=())
OLD_FILES = {"model.onnx": b"network", "config.json": b"{}"}
OLD_DIGEST = "20ba0be8e5c17c10265b66f8edccfdc141a18c84f318aa69b86262def9ab2054"
OLD_MANIFEST = """{
 "revision": "e558751e17451d5303c60ac84a95cf42c1a81cec",
 "files": {
  "config.json": {
   "size": 2,
   "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
  },
  "model.onnx": {
   "size": 7,
   "sha256": "3009be769fb8f956e8413ee9f3e0836e34968bc40457d0a10c549d2edcf00cc1"
  }
 },
 "absent": [
  "preprocessor_config.json",
  "special_tokens_map.json",
  "tokenizer.json",
  "tokenizer_config.json"
 ]
}"""


@pytest.fixture
def old_slot(cache: Path) -> Path:
    return write(cache / "org--old", {**OLD_FILES, ".manifest.json": OLD_MANIFEST.encode()})


def test_a_cache_of_an_earlier_version_is_used_without_any_request(hub: HubServer, cache: Path, old_slot: Path) -> None:
    assert resolve(cache, OLD_CARD) == resolve(cache, OLD_CARD, local_files_only=True) == old_slot
    assert verify_model(OLD_CARD, cache_dir=cache, local_files_only=True) == old_slot
    assert files_digest(old_slot, OLD_FILES) == OLD_DIGEST
    assert hub.requests == []


def test_what_is_written_now_is_what_earlier_versions_wrote(hub: HubServer, cache: Path) -> None:
    hub.add_repo("org/old", {**OLD_FILES, "README.md": b"x"})
    slot = resolve(cache, OLD_CARD)
    assert (slot / ".manifest.json").read_text() == OLD_MANIFEST
    assert {path.name for path in slot.iterdir()} == {*OLD_FILES, ".manifest.json"}


def test_a_damaged_file_of_an_earlier_version_is_mended_from_its_revision(
    hub: HubServer, cache: Path, old_slot: Path
) -> None:
    assert hub.add_repo("org/old", {**OLD_FILES, "README.md": b"x"}) in OLD_MANIFEST
    (old_slot / "model.onnx").write_bytes(b"damaged")
    assert verify_model(OLD_CARD, cache_dir=cache, timeouts=QUICK) == old_slot
    assert (old_slot / "model.onnx").read_bytes() == b"network"
    assert (old_slot / ".manifest.json").read_text() == OLD_MANIFEST


LOADED = """
loaded = {"httpx", "huggingface_hub"} & sys.modules.keys()
print(*sorted(loaded), file=sys.stderr)
"""


def loaded_by(script: str, *arguments: str) -> list[str]:
    """Libraries of the network that a process has loaded in the end."""
    command = [sys.executable, "-c", script + LOADED, *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, timeout=SECONDS, capture_output=True, text=True)
    return done.stderr.splitlines()[-1].split()


def test_a_model_in_the_cache_loads_no_network_library(hub: HubServer, cache: Path) -> None:
    assert loaded_by(RESOLVE, str(cache)) == ["httpx", "huggingface_hub"]
    assert loaded_by(RESOLVE, str(cache)) == []


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_model_in_the_cache_loads_no_network_library_offline(
    cache: Path, old_slot: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    script = RESOLVE.replace("org/small", "org/old").replace("onnx/model.onnx_data", "config.json")
    assert loaded_by(script.replace("onnx/model.onnx", "model.onnx"), str(cache)) == []


def test_a_local_folder_loads_no_network_library(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", FILES)
    script = RESOLVE.replace("cache_dir=", "specific_model_path=")
    assert loaded_by(script, str(folder)) == []


@pytest.mark.parametrize("hub_offline", [None, "", "0", "1", "true", "Yes", "ON", "off", "2", " 1"])
@pytest.mark.parametrize("transformers_offline", [None, "", "0", "1", "yes"])
def test_the_environment_means_what_it_means_to_huggingface_hub(
    monkeypatch: pytest.MonkeyPatch, hub_offline: str | None, transformers_offline: str | None
) -> None:
    for variable, value in (("HF_HUB_OFFLINE", hub_offline), ("TRANSFORMERS_OFFLINE", transformers_offline)):
        monkeypatch.delenv(variable, raising=False)
        if value is not None:
            monkeypatch.setenv(variable, value)
    theirs = runpy.run_path(constants.__file__)["HF_HUB_OFFLINE"]
    reason = offline_reason(local_files_only=False)
    assert (reason is not None) == theirs
    assert reason in (None, "HF_HUB_OFFLINE is set", "TRANSFORMERS_OFFLINE is set")


def test_what_a_program_set_in_huggingface_hub_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    assert offline_reason(local_files_only=False) is None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert offline_reason(local_files_only=False) == "HF_HUB_OFFLINE is set"


def test_the_argument_forbids_the_network_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert offline_reason(local_files_only=True) == "local_files_only=True was given"
    with pytest.raises(Exception, match="network: not tried, because local_files_only=True was given"):
        resolve_model(CARD, local_files_only=True)
