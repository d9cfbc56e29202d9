"""Models on a cluster whose nodes each have a cache of their own, and a hub that counts what it is asked for."""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.dataset as pads
import pytest
import ray
from rich.console import Console

from embedders.errors import ModelFilesError
from pipelines import EmbeddingPipeline
from pipelines.config.file import load_config
from pipelines.embed.checked import JobEmbedders
from pipelines.embed.job_models import JobModels, job_models
from pipelines.errors import PreflightError
from pipelines.run.cluster import prepare
from pipelines.run.placement.fitting import Actor
from tests.cluster.nodes import Nodes, cluster
from tests.hub_server import Fault, HubServer
from tests.model_fixtures import write_synthetic_model
from tests.waiting import SECONDS, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

REPO = "org/small"
MODEL_FILE = "onnx/model.onnx"


@dataclass
class Site:
    """A cluster of a head and two nodes, the hub, and where each has its cache."""

    nodes: Nodes
    hub: HubServer
    folder: Path

    def add(self, name: str, **env: str) -> Any:
        """A node with a cache of its own."""
        return self.nodes.add(num_cpus=2, env={"FLEETEMBED_CACHE_DIR": str(self.cache(name)), **env})

    def cache(self, name: str) -> Path:
        return self.folder / "caches" / name

    def downloads(self) -> int:
        """How often the hub was asked for the model file's content."""
        return len([item for item in self.hub.requests if item.cdn and item.path.endswith(MODEL_FILE)])

    def config(self, folder: Path, **model: Any) -> dict[str, Any]:
        return {
            "source": {"path": str(folder / "in.jsonl")},
            "embeddings": [{"name": "dense", "model": {"pooling": "mean", **(model or {"hf": REPO})}}],
            "sink": {"type": "parquet", "path": str(folder / "out")},
            "compute": {"engine": "ray", "block_rows": 10, "stages": {"dense": {"workers": 4, "cpus": 0.5}}},
            "report": str(folder / "report.json"),
            "errors": {"path": str(folder / "dead")},
        }

    def models(self, folder: Path, **model: Any) -> JobModels:
        """What nodes are told of a job's models, which this process has."""
        config = load_config(self.config(folder, **model))
        return job_models(config, JobEmbedders().load(config))


def put_model(hub: HubServer, folder: Path, repo: str, **options: Any) -> None:
    write_synthetic_model(folder, model_file=MODEL_FILE, **options)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.add_repo(repo, files)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch, HubServer() as hub:
        put_model(hub, folder / "model", REPO)
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        patch.setenv("FLEETEMBED_CACHE_DIR", str(folder / "caches" / "head"))
        with cluster(num_cpus=1) as nodes:
            found = Site(nodes, hub, folder)
            found.add("a")
            found.add("b")
            ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.ERROR)
            try:
                yield found
            finally:
                ray.shutdown()


def test_each_node_downloads_a_model_once_though_several_actors_run_there(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"hello {number}"}) + "\n" for number in range(80)))
    with caplog.at_level(logging.INFO, "fleetembed"):
        config = site.config(tmp_path) | {"chunking": {"tokenizer": str(site.folder / "model"), "overlap": 0}}
        report = EmbeddingPipeline.from_config(config).run(console=Console(quiet=True))
    assert report.status == "complete"
    assert pads.dataset(str(tmp_path / "out")).count_rows() == 80
    # The driver shares the head's.
    assert site.downloads() == 3
    assert all((site.cache(name) / "org--small" / MODEL_FILE).is_file() for name in ("head", "a", "b"))
    lines = [record.message for record in caplog.records]
    assert "preparing 2 models on 3 nodes" in lines
    assert any(re.fullmatch(r"prepared 2 models on 3 nodes in \d+ s", line) for line in lines)


def test_a_node_without_network_and_one_with_another_model_are_told_of_together(site: Site, tmp_path: Path) -> None:
    put_model(site.hub, tmp_path / "other", "org/other", dim=23)
    models = site.models(tmp_path)
    prepare.prepare_nodes(lambda: models, {}, SECONDS)
    stale = site.cache("stale") / "org--small"
    shutil.copytree(site.cache("a") / "org--small", stale)
    # Of the same size, so that the cache takes it for what was once downloaded.
    graph = bytearray((stale / MODEL_FILE).read_bytes())
    graph[-200:-196] = b"\0\0\0\0"
    (stale / MODEL_FILE).write_bytes(graph)
    offline = site.add("offline", HF_ENDPOINT="http://127.0.0.1:9", FLEETEMBED_DOWNLOAD_ATTEMPTS="1")
    changed = site.add("stale")
    try:
        # None of them has a GPU, or more than two CPUs, or such a label or disk, so none is going to run it.
        elsewhere: list[dict[str, Any]] = [
            {"gpus": 1},
            {"cpus": 3},
            {"selectors": ({"pool": "gpu"},)},
            {"resources": {"disk": 1}},
        ]
        for wants in elsewhere:
            prepare.prepare_nodes(lambda: models, {"dense": Actor("dense", **{"cpus": 1, **wants})}, SECONDS)
        with pytest.raises(PreflightError, match=r"^2 of 5 nodes cannot run the job's models:\n") as refused:
            prepare.prepare_nodes(lambda: models, {}, SECONDS)
    finally:
        for node in (offline, changed):
            site.nodes.stop(node)
    message = str(refused.value)
    _, *told, advice = message.splitlines()
    # Which node, which files, from where, to where, and what to do.
    text = "\n".join(told)
    assert f"({offline.node_id[:8]}): embeddings.0: model org/small: its files are in none of the places tried:" in text
    assert f"cache {site.cache('offline') / 'org--small'}: {MODEL_FILE} is not in the cache" in text
    assert "Hugging Face hub, org/small: http://127.0.0.1:9/api/models/org/small" in text
    assert f"({changed.node_id[:8]}): embeddings.0: there is another model at {stale}: {MODEL_FILE} has sha256" in text
    assert "`fleetembed models download`" in advice and "FLEETEMBED_CACHE_DIR" in advice
    # Who has the model is named nowhere.
    assert f"({site.nodes.head.node_id[:8]})" not in message


def test_a_relative_folder_is_looked_for_on_the_nodes(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(site.folder / "model", tmp_path / "models" / "mine")
    there = Path.cwd() / "models" / "mine"
    monkeypatch.chdir(tmp_path)
    models = site.models(tmp_path, path="models/mine")
    with pytest.raises(PreflightError, match=r"3 of 3 nodes cannot run") as refused:
        prepare.prepare_nodes(lambda: models, {}, SECONDS)
    assert f"embeddings.0: there is no folder models/mine; it was looked for at {str(there)!r}" in str(refused.value)
    assert str(refused.value).count("there is no folder") == 1


def test_a_node_that_takes_too_long_is_named_and_one_that_dies_is_passed_over(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    models = site.models(tmp_path)
    site.hub.fail(f"/{MODEL_FILE}", Fault("stall", times=None))
    slow = site.add("slow")
    monkeypatch.setattr(prepare, "SECONDS_BETWEEN_LINES", 0.5)
    name = rf"[\d.]+ \({slow.node_id[:8]}\) \(dense \(own model\), \d+ s\)"

    def told_of_the_slow_one_alone() -> bool:
        return any(re.fullmatch(f"still preparing {name}", record.message) for record in caplog.records)

    def clock() -> float:
        # The time is over once all other nodes are through.
        return time.monotonic() + (SECONDS if told_of_the_slow_one_alone() else 0)

    monkeypatch.setattr(prepare, "time", SimpleNamespace(monotonic=clock))
    try:
        with (
            caplog.at_level(logging.INFO, "fleetembed"),
            pytest.raises(
                PreflightError,
                match=rf"^1 node did not .* models ready within {SECONDS} s .*prepare_seconds\): {name}\. What",
            ),
        ):
            prepare.prepare_nodes(lambda: models, {}, SECONDS)
        assert told_of_the_slow_one_alone()
        monkeypatch.setattr(prepare, "time", time)
        asked = len(site.hub.requests)
        killer = threading.Thread(
            target=lambda: (wait_until(lambda: len(site.hub.requests) > asked + 1), site.nodes.kill(slow))
        )
        killer.start()
        prepare.prepare_nodes(lambda: models, {}, SECONDS)
        killer.join()
    finally:
        site.hub.faults.clear()
    assert any("was lost while it was prepared" in record.message for record in caplog.records)


def test_an_actor_refuses_a_model_that_changed_after_its_node_was_prepared(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "hello world"}\n' * 40)
    folder = tmp_path / "model"
    shutil.copytree(site.folder / "model", folder)
    inner = prepare.prepare_nodes

    def then_changed(*arguments: Any) -> None:
        inner(*arguments)
        graph = bytearray((folder / MODEL_FILE).read_bytes())
        graph[-200:-196] = b"\0\0\0\0"
        (folder / MODEL_FILE).write_bytes(graph)

    monkeypatch.setattr("pipelines.run.cluster.engine.prepare_nodes", then_changed)
    config = site.config(tmp_path, path=str(folder))
    config["compute"]["stages"]["dense"]["workers"] = 1
    pipeline = EmbeddingPipeline.from_config(config)
    with pytest.raises(
        ModelFilesError, match=rf"has another model at {folder} than the one that the job was planned with"
    ):
        pipeline.run(console=Console(quiet=True))
