"""fleetembed doctor: on this machine as it is, and what it says of machines that it is told of."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import onnxruntime as ort
import pytest
from typer.testing import CliRunner

from pipelines.cli.doctor import app
from pipelines.doctor.driver import Card, Driver, Graphics
from pipelines.doctor.finding import Finding
from pipelines.doctor.gpu import EXTRA, gpu_findings, start_provider
from pipelines.doctor.machine import cache_finding, hub_finding, package_findings, ray_finding
from tests.hub_server import HubServer

H100 = Card("NVIDIA H100 80GB HBM3", (9, 0), 85_000_000_000, 84_000_000_000)
CUDA = "CUDAExecutionProvider"


def findings(graphics: Graphics, why: str | None = None) -> dict[str, Finding]:
    started: list[str] = []

    def start(name: str) -> str | None:
        started.append(name)
        return why if name == CUDA else None

    found = {one.name: one for one in gpu_findings(graphics, start)}
    assert (CUDA in started) == bool(graphics.driver and graphics.driver.cards)
    return found


def test_this_machine_is_told_as_a_table_and_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETEMBED_CACHE_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    table, told = CliRunner().invoke(app), CliRunner().invoke(app, ["--json"])
    found = {one["name"]: one for one in json.loads(told.stdout)}
    wrong = [name for name, one in found.items() if one["status"] == "wrong"]
    assert table.exit_code == told.exit_code == bool(wrong)
    assert all(name in table.stdout for name in found)
    assert found["CPUExecutionProvider"]["told"].startswith("computes")
    assert found["cache of models"]["told"].startswith(f"{tmp_path / 'models'}, ")
    assert not (tmp_path / "models").exists()


def test_a_provider_computes_or_says_why_it_does_not() -> None:
    assert start_provider("CPUExecutionProvider") is None
    if CUDA in ort.get_available_providers() and not Path("/dev/nvidia0").exists():
        assert start_provider(CUDA)


def test_a_machine_without_nvidia_lacks_nothing() -> None:
    found = findings(Graphics(None, "the driver's library (libcuda.so.1) is not there", 0))
    assert [one.status for one in found.values()] == ["ok"] * len(found)


def test_a_card_without_a_driver_is_wrong_and_told_what_to_install() -> None:
    driver = findings(Graphics(None, "the driver's library (libcuda.so.1) is not there", 2))["NVIDIA driver"]
    assert driver.status == "wrong" and "2 NVIDIA cards in this machine, but" in driver.told
    assert driver.mend and "nvidia-driver-" in driver.mend and "--gpus all" in driver.mend


@pytest.mark.skipif(CUDA not in ort.get_available_providers(), reason="needs an ONNX Runtime with CUDA")
def test_a_card_that_works_and_one_whose_libraries_are_missing() -> None:
    graphics = Graphics(Driver("580.159.04", (13, 0), (H100,)), None, 1)
    fine = findings(graphics)
    assert fine["NVIDIA driver"].told == "driver 580.159.04, CUDA up to 13.0, 1 card"
    assert fine["GPU 0"].told == (
        "NVIDIA H100 80GB HBM3, 85.0 GB, 84.0 GB free, capability 9.0, fast in float16 and bfloat16"
    )
    assert fine[CUDA].told.startswith("computes")
    broken = findings(graphics, "libcublasLt.so.13: cannot open shared object file")
    assert (broken[CUDA].status, broken[CUDA].mend) == ("wrong", EXTRA)
    assert "libcublasLt.so.13" in broken[CUDA].told


@pytest.mark.skipif(CUDA not in ort.get_available_providers(), reason="needs an ONNX Runtime with CUDA")
def test_a_driver_that_is_too_old_for_this_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.doctor.gpu.cuda_of_onnxruntime", lambda: 13)
    found = findings(Graphics(Driver("535.1", (12, 2), (H100,)), None, 1))["CUDA in ONNX Runtime"]
    assert found.status == "wrong" and "the driver goes up to 12.2" in found.told
    assert found.mend and "update the driver" in found.mend and "onnxruntime-gpu[cuda,cudnn]==1.23.*" in found.mend


def test_two_packages_of_one_module_are_wrong() -> None:
    assert [one.status for one in package_findings({"onnxruntime-gpu": "1.31.1"})] == ["ok"]
    *_, clash = package_findings({"onnxruntime-gpu": "1.31.1", "onnxruntime": "1.30.0"})
    assert clash.status == "wrong" and clash.mend and clash.mend.startswith("pip uninstall -y onnxruntime")


def test_a_cache_that_is_no_folder_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FLEETEMBED_CACHE_DIR", str(tmp_path / "file"))
    found = cache_finding()
    assert found.status == "wrong" and found.mend and "FLEETEMBED_CACHE_DIR" in found.mend


def test_the_hub_and_a_ray_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with HubServer() as hub:
        assert hub_finding(hub.url) == Finding("model hub", f"{hub.url} answers")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        # Bound, and listening to nobody.
        away = hub_finding(f"http://{address}")
        assert away.status == "note" and away.mend and "HTTPS_PROXY" in away.mend
        ray = ray_finding(address)
        assert (ray.status, ray.mend) == ("wrong", f"ray start --head --port={taken.getsockname()[1]}")
        taken.listen()
        assert ray_finding(address) == Finding("Ray", f"{address} takes connections")


def test_an_endpoint_that_is_no_url_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    found = hub_finding("http://mirror:port")
    assert found.status == "note" and found.told == "http://mirror:port does not answer (InvalidURL)"


@pytest.mark.parametrize("address", ["ray://127.0.0.1:1", "no-such-host.invalid:6379", "127.0.0.1:port"])
def test_a_ray_that_no_command_here_would_start_is_to_be_started_there(address: str) -> None:
    found = ray_finding(address)
    assert (found.status, found.mend) == ("wrong", "start Ray there, or change RAY_ADDRESS")
