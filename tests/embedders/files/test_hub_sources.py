from __future__ import annotations

import io
import random
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from embedders.catalog import ModelCard
from embedders.errors import ModelNotFoundError
from tests.embedders.files.hub_models import (
    CARD,
    FILES,
    NEEDED,
    REPO,
    contents,
    downloads,
    resolve,
    run_model,
)
from tests.hub_server import Fault, HubServer

pytest_plugins = ["tests.embedders.files.hub_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated_caches")


@pytest.mark.parametrize("place", ["HF_HOME", "our own folder"])
def test_a_warm_hugging_face_cache_is_used(hub: HubServer, cache: Path, warm: Path, place: str) -> None:
    if place == "our own folder":
        warm.rename(cache)
    folder = resolve(cache, local_files_only=True)
    assert contents(folder) == NEEDED
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert run_model(folder) == [1, 2, 3]
    assert hub.requests == []


def test_of_a_warm_cache_only_what_is_unknown_is_asked(hub: HubServer, cache: Path, warm: Path) -> None:
    resolve(cache)
    assert [item.path for item in hub.requests] == [
        f"/api/models/{REPO}/revision/{hub.repos[REPO].commit}",
    ]
    resolve(cache)
    assert len(hub.requests) == 1


def test_a_warm_cache_serves_when_the_hub_is_down(hub: HubServer, cache: Path, warm: Path) -> None:
    hub.fail("", Fault("status", times=None))
    assert contents(resolve(cache)) == NEEDED
    assert len(hub.requests) == 1


def test_a_warm_cache_lacking_the_tokenizer_is_completed(hub: HubServer, cache: Path, warm: Path) -> None:
    for path in warm.rglob("tokenizer.json"):
        path.unlink()
    assert contents(resolve(cache)) == NEEDED
    assert downloads(hub, "tokenizer.json") == 1 and downloads(hub, "onnx/model.onnx") == 0


def test_a_damaged_blob_of_a_warm_cache_is_not_used_and_not_touched(hub: HubServer, cache: Path, warm: Path) -> None:
    link = next(warm.rglob("model.onnx_data"))
    damaged = bytes(len(FILES["onnx/model.onnx_data"]))
    link.resolve().write_bytes(damaged)
    assert contents(resolve(cache)) == NEEDED
    assert link.read_bytes() == damaged


def test_of_two_warm_caches_the_undamaged_one_is_used_and_neither_is_touched(
    hub: HubServer, cache: Path, warm: Path
) -> None:
    shutil.copytree(warm, cache, symlinks=True)
    link = next(cache.rglob("model.onnx"))
    link.resolve().write_bytes(b"damaged")
    assert contents(resolve(cache, local_files_only=True)) == NEEDED
    assert link.read_bytes() == b"damaged"


def tar_gz(files: dict[str, bytes], top: str = "small") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{top}/{name}" if top else name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def archive_card(hub: HubServer, content: bytes, **facts: str) -> ModelCard:
    hub.plain["/models/small.tar.gz"] = content
    return replace(CARD, hf=None, url=f"{hub.url}/models/small.tar.gz", **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("top", ["small", "fast-small", ""])
def test_an_archive_becomes_a_model_and_is_fetched_once(hub: HubServer, cache: Path, top: str) -> None:
    card = archive_card(hub, tar_gz(FILES, top))
    folder = resolve(cache, card)
    assert contents(folder) == NEEDED
    assert run_model(folder) == [1, 2, 3]
    assert resolve(cache, card) == resolve(cache, card, local_files_only=True) == folder
    assert len(hub.requests) == 1 and "authorization" not in hub.requests[0].headers


def test_an_archive_serves_where_the_hub_does_not(hub: HubServer, cache: Path) -> None:
    card = replace(archive_card(hub, tar_gz(FILES)), hf="org/gone")
    assert contents(resolve(cache, card)) == NEEDED


def test_an_archive_with_a_wrong_hash_is_refused(hub: HubServer, cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"small\.tar\.gz: .* sha256 is"):
        resolve(cache, archive_card(hub, tar_gz(FILES), url_sha256="0" * 64))
    assert len(hub.requests) == 1


def test_an_archive_without_the_model_says_what_it_holds(hub: HubServer, cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"lacks onnx/model\.onnx; it holds small/other\.onnx"):
        resolve(cache, archive_card(hub, tar_gz({"other.onnx": b""})))


def test_a_hostile_archive_changes_nothing(hub: HubServer, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="leads out of the archive"):
        resolve(cache, archive_card(hub, tar_gz({**FILES, "../../../../../evil": b"evil"})))
    assert not list(tmp_path.rglob("evil"))
    assert not list(cache.rglob("*.onnx"))


def test_a_damaged_file_of_an_archive_is_fetched_again(hub: HubServer, cache: Path) -> None:
    card = archive_card(hub, tar_gz(FILES))
    (resolve(cache, card) / "onnx/model.onnx").write_bytes(b"")
    assert contents(resolve(cache, card)) == NEEDED


def test_an_archive_that_changes_between_two_attempts_is_not_put_together(hub: HubServer, cache: Path) -> None:
    noise = random.Random(1).randbytes(constants.DOWNLOAD_CHUNK_SIZE + 100_000)
    before = tar_gz({**FILES, "weights": noise})
    after = before[:-60_000] + noise[:60_000]
    hub.fail("small.tar.gz", Fault("cut", after=constants.DOWNLOAD_CHUNK_SIZE + 50_000), Fault("swap", content=after))
    with pytest.raises(ModelNotFoundError, match=r"archive\.tar\.gz is damaged or no \.tar\.gz"):
        resolve(cache, archive_card(hub, before))
    assert not list(cache.rglob("*.onnx"))
    assert contents(resolve(cache, archive_card(hub, before))) == NEEDED


def test_a_card_without_any_source_says_so(cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="neither a Hugging Face repository nor a URL"):
        resolve(cache, replace(CARD, hf=None))
