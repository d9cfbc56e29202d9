"""Folders of models at URLs, by stores in memory, on a web server, and one that speaks S3."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import pytest

from embedders import TextEmbedding
from embedders.errors import ModelFilesError, ModelNotFoundError
from embedders.files import mirror, remote
from embedders.files.cache import MANIFEST
from embedders.files.resolve import resolve_model
from tests.embedders.files.hub_models import CARD, FILES, NEEDED, QUICK, contents, run_model, write
from tests.hub_server import Fault, HubServer

pytest_plugins = ["tests.embedders.files.hub_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated_caches", "a_look_a_call")

MEMORY = "memory://models/small/"


@pytest.fixture
def a_look_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the store at each call, where a process else asks once in a minute."""
    monkeypatch.setattr(mirror, "SECONDS_A_LOOK_HOLDS", -1.0)
    monkeypatch.setattr(mirror, "_WARNED", set())
    remote._open_store.cache_clear()


class Store:
    """A folder in memory that counts what is read from it, and can be out of reach."""

    def __init__(self) -> None:
        self.filesystem: Any = fsspec.filesystem("memory")
        self.read: list[str] = []
        self.fault: Exception | None = None

    def put(self, name: str, content: bytes) -> None:
        self.filesystem.pipe(f"/models/small/{name}", content)

    def remove(self, name: str) -> None:
        self.filesystem.rm(f"/models/small/{name}")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    found = Store()
    for name, content in FILES.items():
        found.put(name, content)
    inner = remote._FsspecStore

    class Counting(inner):  # type: ignore[misc, valid-type]
        def list(self, folder: str) -> Any:
            if found.fault is not None:
                raise found.fault
            return super().list(folder)

        def open(self, path: str) -> Any:
            found.read.append(path.removeprefix("/models/small/"))
            return super().open(path)

    monkeypatch.setattr(remote, "_FsspecStore", Counting)
    yield found
    found.filesystem.rm("/models", recursive=True)


def resolve(cache: Path, url: str = MEMORY, **options: Any) -> Path:
    return resolve_model(CARD, specific_model_path=url, cache_dir=cache, timeouts=QUICK, **options)


def copied(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if name != mirror.RECORD}


def test_a_folder_at_a_url_is_copied_once_and_its_model_runs(store: Store, cache: Path) -> None:
    folder = resolve(cache)
    assert copied(folder) == NEEDED
    assert run_model(folder) == [1, 2, 3]
    assert (folder / MANIFEST).is_file()
    assert sorted(store.read) == sorted(NEEDED)
    store.read.clear()
    assert resolve(cache) == folder
    assert resolve(cache, MEMORY.rstrip("/")) == folder
    assert store.read == []


def test_a_file_that_changed_is_fetched_again_and_no_other(store: Store, cache: Path) -> None:
    folder = resolve(cache)
    store.read.clear()
    # Of the same length: the time of change alone tells.
    store.put("tokenizer.json", b'{"tokens": 2}')
    assert (resolve(cache) / "tokenizer.json").read_bytes() == b'{"tokens": 2}'
    assert store.read == ["tokenizer.json"]
    # What the folder no longer has is no part of the model, and the fingerprint no longer covers it.
    store.remove("tokenizer_config.json")
    assert "tokenizer_config.json" not in contents(resolve(cache))
    store.read.clear()
    (folder / "tokenizer.json").write_bytes(b"cut")
    assert (resolve(cache) / "tokenizer.json").read_bytes() == b'{"tokens": 2}'
    assert store.read == ["tokenizer.json"]


def test_a_copy_that_broke_off_goes_on_with_what_is_lacking(
    store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = remote._StoreFolder._copy

    def breaks(self: Any, name: str, target: Path) -> None:
        if name == "onnx/model.onnx_data":
            raise OSError("the connection broke")
        inner(self, name, target)

    with monkeypatch.context() as broken:
        broken.setattr(remote._StoreFolder, "_copy", breaks)
        with pytest.raises(ModelNotFoundError, match=r"model\.onnx_data: the connection broke"):
            resolve(cache)
    store.fault = OSError("no route to host")
    with pytest.raises(ModelNotFoundError, match=r"no route to host; and its copy .* holds only a part of it"):
        resolve(cache)
    store.fault = None
    store.read.clear()
    assert copied(resolve(cache)) == NEEDED
    assert store.read == ["onnx/model.onnx_data"]


def test_a_store_out_of_reach_is_no_error_where_the_copy_is_whole(
    store: Store, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fault = OSError("no route to host")
    with pytest.raises(
        ModelNotFoundError, match=r"specific_model_path 'memory://models/small/' of model Org/Small: .*no route"
    ):
        resolve(cache)
    store.fault = None
    folder = resolve(cache)
    store.fault = OSError("no route to host")
    with caplog.at_level(logging.WARNING, "fleetembed"):
        assert resolve(cache) == resolve(cache) == folder
    assert [record.message for record in caplog.records] == [
        f"{MEMORY} cannot be reached, and its copy in {folder} is used as it is: {MEMORY}: no route to host"
    ]
    assert resolve(cache, local_files_only=True) == folder
    with pytest.raises(ModelNotFoundError, match=r"local_files_only=True was given; and its copy .* does not hold it"):
        resolve(cache, "memory://models/other", local_files_only=True)
    # What the store says, in the place of silence, counts.
    store.fault = PermissionError("Access Denied")
    with pytest.raises(
        ModelFilesError, match=r"access is denied: Access Denied; whoever reads a model must be allowed"
    ):
        resolve(cache)


def test_what_is_wrong_with_a_folder_is_told(store: Store, cache: Path) -> None:
    with pytest.raises(
        ModelFilesError, match=r"'memory://models/nowhere' of model Org/Small is no folder, or an empty"
    ):
        resolve(cache, "memory://models/nowhere")
    store.remove("onnx/model.onnx_data")
    with pytest.raises(
        ModelFilesError, match=r"lacks onnx/model\.onnx_data; it holds README\.md, onnx/model\.onnx, py"
    ):
        resolve(cache)
    with pytest.raises(ModelFilesError, match=r"nostore://a/b cannot be opened: .*nostore"):
        resolve(cache, "nostore://a/b")
    for url in ("s3://key:secret@bucket/m", "s3://bucket/m?secret_key=secret", "https://me:secret@host/m"):
        with pytest.raises(ModelFilesError, match="holds credentials; leave them to the environment") as refused:
            resolve(cache, url)
        assert "secret@" not in str(refused.value) and "=secret" not in str(refused.value)


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("s3://AK:hunter2@bucket/m", "holds credentials"),
        ("s3://bucket/m?Secret_key=hunter2", "holds credentials"),
        ("https://host/m?X-Amz-Signature=hunter2", "holds credentials"),
        ("https://host/m?access_token=hunter2", "holds credentials"),
        ("https://host/m?SIG=hunter2", "holds credentials"),
        ("https://host/m?hunter2", "holds credentials"),
        ("https://host/m?region=hunter2", "has the option 'region'"),
        ("az://container/m?account_key=hunter2", "holds credentials"),
        ("abfs://account:hunter2@container/m", "holds credentials"),
        ("simplecache::s3://AK:hunter2@bucket/m", "holds credentials"),
        ("s3://bucket/m?region=x&pin=hunter2", "has the option 'pin'"),
    ],
)
def test_no_secret_of_a_url_is_taken_whether_its_store_is_asked_or_not(
    cache: Path, url: str, what: str, offline: bool
) -> None:
    with pytest.raises(ModelFilesError, match=f"the URL of a model {what}") as refused:
        resolve(cache, url, local_files_only=offline)
    assert "hunter2" not in str(refused.value)


def test_the_hub_being_off_forbids_no_other_store(store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert copied(resolve(cache)) == NEEDED


def test_a_full_disk_says_how_much_room_is_needed(store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(work: Callable[..., Any], *arguments: Any) -> Any:
        raise remote._LocalError(OSError(28, "No space left on device"))

    monkeypatch.setattr(remote, "_local", full)
    size = sum(map(len, NEEDED.values()))
    with pytest.raises(ModelFilesError, match=rf"cannot be copied to .*: No space left on device; {size} bytes are to"):
        resolve(cache)


def test_a_file_url_is_the_folder_itself(tmp_path: Path, cache: Path) -> None:
    folder = write(tmp_path / "my model", FILES)
    assert resolve(cache, f"file://{quote(str(folder))}") == folder
    assert not cache.exists()


def test_many_who_look_at_once_copy_it_once(store: Store, cache: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        folders = set(threads.map(lambda _: resolve(cache), range(8)))
    assert len(folders) == 1
    assert sorted(store.read) == sorted(NEEDED)


def test_a_process_asks_the_store_once_for_all_its_models(
    store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "SECONDS_A_LOOK_HOLDS", 60.0)
    monkeypatch.setattr(mirror, "_LOOKS", {})
    folder = resolve(cache)
    store.fault = AssertionError("asked again")
    assert resolve(cache) == folder
    assert mirror.remote_names(MEMORY) == sorted(FILES)
    assert not mirror._WARNED


def test_two_models_of_one_folder_share_its_copy(store: Store, cache: Path) -> None:
    store.put("onnx/small.onnx", b"quantized")
    folder = resolve(cache)
    other = replace(CARD, model_file="onnx/small.onnx", additional_files=())
    assert resolve_model(other, specific_model_path=MEMORY, cache_dir=cache) == folder
    assert resolve(cache) == folder
    assert store.read.count("tokenizer.json") == 1
    assert (folder / "onnx/small.onnx").read_bytes() == b"quantized"


def test_a_web_server_is_asked_for_each_file(hub: HubServer, cache: Path) -> None:
    hub.plain |= {f"/mirror/{name}": content for name, content in FILES.items()}
    url = f"{hub.url}/mirror/"
    folder = resolve(cache, url)
    assert copied(folder) == NEEDED
    assert sorted(hub.paths()) == sorted(f"/mirror/{name}" for name in NEEDED)
    hub.plain["/mirror/tokenizer.json"] = b'{"tokens": 3}'
    del hub.plain["/mirror/tokenizer_config.json"]
    hub.requests.clear()
    assert copied(resolve(cache, url)) == {
        **{name: content for name, content in NEEDED.items() if name != "tokenizer_config.json"},
        "tokenizer.json": b'{"tokens": 3}',
    }
    assert hub.paths() == ["/mirror/tokenizer.json"]
    assert "Bearer" not in str([request.headers for request in hub.requests])
    hub.fail("/mirror/onnx/model.onnx", Fault("status", times=None, status=503, method="HEAD"))
    assert resolve(cache, url) == folder
    hub.fail("/mirror/onnx/model.onnx", Fault("status", times=None, status=403, method="HEAD"))
    with pytest.raises(ModelFilesError, match=r"answered HTTP 403: access is denied"):
        resolve(cache, url)


def test_an_embedder_takes_a_url_and_names_no_file(minilm: Path, cache: Path) -> None:
    filesystem = fsspec.filesystem("memory")
    filesystem.put(f"{minilm}/", "/models/minilm/", recursive=True)
    try:
        name = "sentence-transformers/all-MiniLM-L6-v2"
        options: dict[str, Any] = {"cuda": False, "cache_dir": str(cache)}
        ours = TextEmbedding(name, specific_model_path="memory://models/minilm", **options)
        local = TextEmbedding(name, specific_model_path=str(minilm), **options)
        assert ours.model.fingerprint == local.model.fingerprint
        assert [vector.tolist() for vector in ours.embed(["a text"])] == [v.tolist() for v in local.embed(["a text"])]
    finally:
        filesystem.rm("/models/minilm", recursive=True)


def test_an_s3_server_that_does_not_answer_is_told_in_plain_words(store: Store, cache: Path) -> None:
    # As pyarrow says it.
    store.fault = OSError(
        "When resolving region for bucket 'nowhere': AWS Error NETWORK_CONNECTION during HeadBucket operation: "
        "curlCode: 6, Couldn't resolve host name"
    )
    with pytest.raises(ModelNotFoundError) as refused:
        resolve(cache)
    told = str(refused.value)
    assert (
        "memory://models/small/: the store cannot be reached (HeadBucket): Couldn't resolve host name; check the "
        "endpoint (AWS_ENDPOINT_URL), the region and the network"
    ) in told
    assert "curlCode" not in told and "AWS Error" not in told


def test_a_bucket_of_s3(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server.start()
    try:
        host, port = server.get_host_and_port()
        from pyarrow import fs

        bucket = fs.S3FileSystem(
            endpoint_override=f"{host}:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
        )
        bucket.create_dir("models")
        for name, content in FILES.items():
            with bucket.open_output_stream(f"models/my small/{name}") as file:
                file.write(content)
        options = f"?endpoint_override=http://{host}:{port}&region=us-east-1"
        folder = resolve(cache, f"s3://models/my small/{options}")
        assert copied(folder) == NEEDED
        assert run_model(folder) == [1, 2, 3]
        with bucket.open_output_stream("models/my small/tokenizer.json") as file:
            file.write(b'{"tokens": 12}')
        assert (resolve(cache, f"s3://models/my small/{options}") / "tokenizer.json").read_bytes() == b'{"tokens": 12}'
        with pytest.raises(ModelFilesError, match=re.escape("'s3://models/nowhere' of model Org/Small is no folder")):
            resolve(cache, f"s3://models/nowhere{options}")
        with pytest.raises(ModelFilesError, match=r"'s3://nobucket/small' of model Org/Small.* is no (such )?folder"):
            resolve(cache, f"s3://nobucket/small{options}")
    finally:
        server.stop()
    assert resolve(cache, f"s3://models/my small/{options}") == folder
