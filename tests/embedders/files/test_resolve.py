from __future__ import annotations

import pickle
import re
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from embedders.errors import ModelFilesError, ModelNotFoundError
from embedders.files.resolve import resolve_model, verify_model
from tests.embedders.files.hub_models import (
    CARD,
    FILES,
    NEEDED,
    QUICK,
    REPO,
    RESOLVE,
    ROOT,
    TOKEN,
    contents,
    downloads,
    resolve,
    run_model,
)
from tests.hub_server import Fault, HubServer
from tests.waiting import SECONDS, wait_until

pytest_plugins = ["tests.embedders.files.hub_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated_caches")


def test_only_the_needed_files_are_fetched_and_the_model_runs(hub: HubServer, cache: Path) -> None:
    folder = resolve(cache)
    assert contents(folder) == NEEDED
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert run_model(folder) == [1, 2, 3]
    assert not hub.paths(path_end="README.md") and not hub.paths(path_end=".bin")


def test_a_cached_model_needs_no_network(hub: HubServer, cache: Path) -> None:
    first = resolve(cache)
    hub.requests.clear()
    assert resolve(cache) == first
    assert resolve(cache, local_files_only=True) == first
    assert hub.requests == []


def test_a_cached_model_is_found_with_an_endpoint_that_leads_nowhere(
    hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve(cache)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert resolve(cache) == first
    assert verify_model(CARD, cache_dir=cache) == first


def test_a_cached_model_is_found_in_a_cache_that_cannot_be_written(hub: HubServer, cache: Path) -> None:
    first = resolve(cache)
    for folder in (cache / ".locks", cache / ".staging"):
        for item in folder.iterdir():
            item.unlink() if item.is_file() else item.rmdir()
        folder.rmdir()
        folder.write_text("in the way of anyone who would lock or stage")
    assert resolve(cache) == first


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", None])
def test_offline_without_the_model_says_why_and_asks_nobody(
    hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(ModelNotFoundError) as caught:
        resolve(cache, local_files_only=variable is None)
    message = str(caught.value)
    assert re.search(r"Org/Small.*onnx/model\.onnx.* is not in the cache", message, re.DOTALL)
    assert (f"{variable} is set" if variable else "local_files_only=True was given") in message
    assert "specific_model_path" in message and "FLEETEMBED_CACHE_DIR" in message
    assert hub.requests == []


def test_a_missing_repository_is_named_without_retries(hub: HubServer, cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"Hugging Face hub, org/gone: .* HTTP 404"):
        resolve(cache, replace(CARD, hf="org/gone"))
    assert len(hub.requests) == 1


def test_a_repository_without_the_file_says_so(hub: HubServer, cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"at revision [0-9a-f]{40} has no onnx/other\.onnx"):
        resolve(cache, replace(CARD, model_file="onnx/other.onnx"))


@pytest.mark.parametrize("answer", [b"[1, 2]", b"{}", b"<html>captive portal</html>"])
def test_an_answer_that_is_not_the_hubs_is_a_clear_error(hub: HubServer, cache: Path, answer: bytes) -> None:
    hub.fail("/api/models/org/small", Fault("swap", content=answer))
    with pytest.raises(ModelNotFoundError, match="does not describe org/small as the Hugging Face hub does"):
        resolve(cache)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [Fault("status", status=503, times=2), Fault("status", status=429), Fault("cut", after=20), Fault("stall")],
    ids=["503", "429", "cut", "stall"],
)
@pytest.mark.parametrize("where", ["onnx/model.onnx_data", "api/models/org/small"])
def test_trouble_that_passes_is_overcome(hub: HubServer, cache: Path, where: str, fault: Fault) -> None:
    hub.fail(where, replace(fault))
    assert contents(resolve(cache)) == NEEDED


@pytest.mark.parametrize("name", ["onnx/model.onnx_data", "tokenizer.json"])
@pytest.mark.parametrize("status", [503, 429])
def test_trouble_with_a_files_head_is_overcome_as_the_limits_say(
    hub: HubServer, cache: Path, name: str, status: int
) -> None:
    hub.fail(name, Fault("status", status=status, times=2, method="HEAD"))
    assert contents(resolve(cache)) == NEEDED
    assert len(hub.paths("HEAD", name)) == QUICK.attempts
    assert hub.faults == {name: []}


def test_a_files_head_that_never_comes_is_asked_for_as_often_as_the_limits_say(hub: HubServer, cache: Path) -> None:
    hub.fail("tokenizer.json", Fault("stall", times=None, method="HEAD"))
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json: the server was silent for 0\.2 s"):
        resolve_model(CARD, cache_dir=cache, timeouts=replace(QUICK, read=0.2))
    assert len(hub.paths("HEAD", "tokenizer.json")) == QUICK.attempts


def test_a_wait_the_hub_wants_is_not_begun_beyond_the_total_limit(hub: HubServer, cache: Path) -> None:
    hub.fail("tokenizer.json", Fault("status", times=None, status=429, headers={"Retry-After": "3600"}, method="HEAD"))
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json answered HTTP 429"):
        resolve(cache)


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "HF_TOKEN is missing or wrong"), (403, "accept the model's terms on its page")]
)
def test_a_repository_that_is_not_open_says_what_to_do(hub: HubServer, cache: Path, status: int, advice: str) -> None:
    gated = {"X-Error-Code": "GatedRepo"} if status == 403 else {}
    hub.fail("tokenizer.json", Fault("status", times=None, status=status, headers=gated, method="HEAD"))
    with pytest.raises(ModelNotFoundError, match=rf"tokenizer\.json answered HTTP {status}: .*{advice}"):
        resolve(cache)
    assert len(hub.paths("HEAD", "tokenizer.json")) == 1


def test_a_drip_is_ended_by_the_total_limit(hub: HubServer, cache: Path) -> None:
    hub.fail("onnx/model.onnx_data", Fault("drip", times=None))
    with pytest.raises(ModelNotFoundError, match=r"onnx/model\.onnx_data: the download took longer than 1 s"):
        resolve_model(CARD, cache_dir=cache, timeouts=replace(QUICK, total=1, read=60))


@pytest.mark.slow
@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_transfer_that_never_ends_leaves_no_half_file(hub: HubServer, cache: Path, kind: str) -> None:
    hub.fail("onnx/model.onnx_data", Fault(kind, times=None, after=20))  # type: ignore[arg-type]
    with pytest.raises(ModelNotFoundError, match=r"onnx/model\.onnx_data"):
        resolve_model(CARD, cache_dir=cache, timeouts=replace(QUICK, read=0.2))
    assert not list(cache.rglob("*onnx_data*"))
    hub.faults.clear()
    assert contents(resolve(cache)) == NEEDED
    assert downloads(hub, "onnx/model.onnx") == 1


def test_a_file_with_a_wrong_hash_is_never_stored(hub: HubServer, cache: Path) -> None:
    wrong = FILES["onnx/model.onnx_data"][::-1]
    hub.fail("onnx/model.onnx_data", Fault("swap", times=None, content=wrong))
    with pytest.raises(ModelNotFoundError, match=r"model\.onnx_data sent a wrong file: its sha256"):
        resolve(cache)
    assert not list(cache.rglob("*onnx_data*"))
    assert downloads(hub, "onnx/model.onnx_data") == 1


@pytest.mark.parametrize("name", ["onnx/model.onnx_data", "tokenizer.json"])
@pytest.mark.parametrize("length", [1, 10_000])
def test_a_file_of_another_size_is_never_stored(hub: HubServer, cache: Path, name: str, length: int) -> None:
    hub.fail(name, Fault("swap", times=None, content=bytes(length)))
    with pytest.raises(ModelNotFoundError, match=rf"{name}: .* should be of size {len(FILES[name])} but"):
        resolve(cache)
    assert not list(cache.rglob(f"*{name.rpartition('/')[2]}"))
    assert downloads(hub, name) == 1


def test_a_small_file_with_a_wrong_hash_is_never_stored(hub: HubServer, cache: Path) -> None:
    hub.fail("tokenizer.json", Fault("swap", times=None, content=FILES["tokenizer.json"][::-1]))
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json sent a wrong file: its git blob id"):
        resolve(cache)
    with pytest.raises(ModelNotFoundError, match="is not in the cache"):
        resolve(cache, local_files_only=True)
    hub.faults.clear()
    assert contents(resolve(cache)) == NEEDED


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: HubServer, cache: Path) -> None:
    resolve(cache)
    at_hub = [item.headers.get("authorization") for item in hub.requests if not item.cdn]
    elsewhere = [item.headers.get("authorization") for item in hub.requests if item.cdn]
    assert set(at_hub) == {f"Bearer {TOKEN}"}
    assert set(elsewhere) == {None}


@pytest.mark.parametrize("fault", [Fault("status", status=401), Fault("cut"), Fault("swap", content=TOKEN.encode())])
def test_no_error_shows_the_token(hub: HubServer, cache: Path, fault: Fault) -> None:
    hub.fail("/small", replace(fault, times=None))
    with pytest.raises(ModelNotFoundError) as caught:
        resolve(cache)
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown and TOKEN.encode() not in pickle.dumps(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_a_token_in_the_endpoint_is_not_shown(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://user:{TOKEN}@127.0.0.1:9/{TOKEN}")
    with pytest.raises(ModelNotFoundError, match=r"http://127\.0\.0\.1:9/<token>/api/models") as caught:
        resolve(cache)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("token", ["hf_bad\x01secret", "hf_bäd_secret"])
def test_a_token_that_no_header_can_carry_is_refused_unseen(
    hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ModelNotFoundError, match="HF_TOKEN") as caught:
        resolve(cache)
    assert "secret" not in str(caught.value)


def test_models_of_two_threads_come_side_by_side(hub: HubServer, cache: Path) -> None:
    names = [f"org/model{number}" for number in range(4)]
    for name in names:
        commit = hub.add_repo(name, FILES)
        hub.fail(f"{commit}/tokenizer.json", Fault("status", method="HEAD"))
    with ThreadPoolExecutor(4) as threads:
        folders = list(threads.map(lambda name: resolve(cache, replace(CARD, hf=name)), names))
    assert [contents(folder) for folder in folders] == [NEEDED] * 4
    assert list(hub.faults.values()) == [[]] * 4


def test_two_cards_of_one_repository_share_its_files(hub: HubServer, cache: Path) -> None:
    hub.add_repo(REPO, {**FILES, "onnx/vision.onnx": b"vision"})
    text = resolve(cache)
    vision = resolve(cache, replace(CARD, model="Org/Vision", model_file="onnx/vision.onnx", additional_files=()))
    assert vision == text
    assert (vision / "onnx/vision.onnx").read_bytes() == b"vision"
    assert downloads(hub, "tokenizer.json") == 1


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\evil"])
def test_a_card_cannot_name_files_outside_the_model(cache: Path, name: str) -> None:
    with pytest.raises(ModelFilesError, match="relative path"):
        resolve(cache, replace(CARD, additional_files=(name,)))


@pytest.mark.parametrize("name", ["onnx/model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["cut", "deleted"])
def test_a_damaged_file_is_fetched_again_and_no_other(hub: HubServer, cache: Path, name: str, damage: str) -> None:
    folder = resolve(cache)
    hub.requests.clear()
    if damage == "cut":
        (folder / name).write_bytes(FILES[name][:5])
    else:
        (folder / name).unlink()
    assert contents(resolve(cache)) == NEEDED
    assert {path.split("/", 5)[-1] for path in hub.paths() if "resolve" in path} == {name}


@pytest.mark.parametrize("name", ["onnx/model.onnx", "tokenizer.json"])
def test_a_damaged_file_is_a_clear_error_offline(hub: HubServer, cache: Path, name: str) -> None:
    folder = resolve(cache)
    (folder / name).write_bytes(b"12345")
    with pytest.raises(ModelFilesError, match=rf"{name} has 5 bytes, not the {len(FILES[name])}") as caught:
        resolve(cache, local_files_only=True)
    assert "local_files_only=True was given" in str(caught.value)


def test_verify_finds_and_mends_what_the_size_does_not_show(hub: HubServer, cache: Path) -> None:
    folder = resolve(cache)
    (folder / "onnx/model.onnx_data").write_bytes(bytes(len(FILES["onnx/model.onnx_data"])))
    assert resolve(cache) == folder
    with pytest.raises(ModelFilesError, match="no longer has the sha256"):
        verify_model(CARD, cache_dir=cache, local_files_only=True)
    assert contents(verify_model(CARD, cache_dir=cache, timeouts=QUICK)) == NEEDED


def test_a_mended_model_keeps_its_revision(hub: HubServer, cache: Path) -> None:
    folder = resolve(cache)
    hub.add_repo(REPO, {**FILES, "onnx/model.onnx": b"new version"})
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelNotFoundError, match="delete the folder to take the current one"):
        resolve(cache)
    assert (folder / "onnx/model.onnx").read_bytes() == FILES["onnx/model.onnx"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": {"a": 1}}'])
def test_a_broken_manifest_counts_as_no_manifest(hub: HubServer, cache: Path, text: str) -> None:
    folder = resolve(cache)
    (folder / ".manifest.json").write_text(text)
    (folder / "onnx/model.onnx").write_bytes(b"who knows")
    assert contents(resolve(cache)) == NEEDED


def start_resolving(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", RESOLVE, str(cache)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_many_processes_download_once(hub: HubServer, cache: Path) -> None:
    workers = [start_resolving(cache) for _ in range(3)]
    assert len({worker.communicate(timeout=SECONDS)[0].strip() for worker in workers}) == 1
    assert [worker.returncode for worker in workers] == [0] * 3
    assert {name: downloads(hub, name) for name in NEEDED} == dict.fromkeys(NEEDED, 1)
    assert len(hub.paths(path_end="/api/models/org/small")) == 1


def test_a_killed_download_leaves_no_trap_for_the_next(hub: HubServer, cache: Path) -> None:
    hub.fail("onnx/model.onnx_data", Fault("stall", after=20))
    worker = start_resolving(cache)
    wait_until(lambda: hub.paths(path_end="model.onnx_data") and list(cache.rglob("*.incomplete")))
    worker.kill()
    worker.communicate()
    assert contents(resolve(cache)) == NEEDED
    assert run_model(resolve(cache)) == [1, 2, 3]
