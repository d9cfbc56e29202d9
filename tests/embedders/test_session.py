from __future__ import annotations

import gc
import logging
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from embedders.errors import DeviceError, ModelFilesError
from embedders.session import OnnxSession, choose_providers, cuda_devices
from embedders.session_settings import CPU, CUDA, TENSORRT, Device, SessionSettings
from tests.model_fixtures import write_synthetic_model

without_gpu = pytest.mark.skipif(cuda_devices() > 0, reason="this machine has a GPU")
with_cuda_build = pytest.mark.skipif(CUDA not in ort.get_available_providers(), reason="ONNX Runtime without CUDA")

FEED = {
    "input_ids": np.array([[2, 9, 3], [2, 3, 0]]),
    "attention_mask": np.array([[1, 1, 1], [1, 1, 0]]),
    "token_type_ids": np.zeros((2, 3), np.int64),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_synthetic_model(tmp_path, "two_outputs", dim=6) / "model.onnx"


def test_synthetic_graph_runs_one_output_and_is_fed_only_what_the_graph_takes(model: Path) -> None:
    session = OnnxSession(model, SessionSettings(threads=1, cuda=False))
    assert session.inputs == {"input_ids", "attention_mask"}
    assert session.run("sentence_embedding", FEED).shape == (2, 6)
    assert session.run("last_hidden_state", FEED).shape == (2, 3, 6)
    both = session.run_outputs(["sentence_embedding", "last_hidden_state"], FEED)
    assert [output.shape for output in both] == [(2, 6), (2, 3, 6)]
    assert (session.providers, session.on_gpu) == ([CPU], False)


def test_synthetic_outputs_go_by_position_and_by_name(model: Path) -> None:
    session = OnnxSession(model, SessionSettings(cuda=False))
    assert session.output_name(1) == session.output_name("sentence_embedding") == "sentence_embedding"
    assert session.output_width("sentence_embedding") == 6
    for wrong in (2, "pooler_output"):
        with pytest.raises(ModelFilesError, match="last_hidden_state, sentence_embedding"):
            session.output_name(wrong)


@pytest.mark.parametrize(
    "settings",
    [
        {"allow_spinning": True, "threads": 2},
        {"session_options": {"enable_cpu_mem_arena": False, "enable_mem_pattern": True}},
        {"session_config": {"session.set_denormal_as_zero": "1"}},
        {"providers": [(CPU, {})]},
        {"providers": ["CPUExecutionProvider"]},
    ],
    ids=str,
)
def test_settings_do_not_change_a_synthetic_models_numbers(settings: dict[str, Any], model: Path) -> None:
    plain = OnnxSession(model, SessionSettings(cuda=False)).run("sentence_embedding", FEED)
    changed = OnnxSession(model, SessionSettings(**settings)).run("sentence_embedding", FEED)
    np.testing.assert_allclose(changed, plain, atol=1e-6)


@without_gpu
@pytest.mark.parametrize("settings", [{"cuda": True}, {"cuda": "cuda"}], ids=str)
def test_insisting_on_cuda_without_a_device_is_an_error(settings: dict[str, Any], model: Path) -> None:
    with pytest.raises(DeviceError, match=r"cuda=False runs on the CPU"):
        OnnxSession(model, SessionSettings(**settings))


@without_gpu
@with_cuda_build
@pytest.mark.parametrize("providers", [[CUDA, CPU], [CUDA], [(CUDA, {"device_id": 1}), CPU]], ids=str)
def test_a_cuda_provider_without_a_device_warns_and_the_cpu_runs(providers: list[Any], model: Path) -> None:
    with pytest.warns(RuntimeWarning, match=r"CUDAExecutionProvider cannot start: no CUDA device.*fleetembed\[gpu\]"):
        session = OnnxSession(model, SessionSettings(providers=providers))
    assert session.providers == [CPU]
    assert session.run("sentence_embedding", FEED).shape == (2, 6)


@pytest.mark.parametrize("cuda", [True, "cuda", Device.CUDA], ids=str)
def test_providers_are_taken_where_cuda_is_asked_for_too(cuda: Any, model: Path) -> None:
    with pytest.warns(UserWarning, match="both choose the device: providers are taken"):
        session = OnnxSession(model, SessionSettings(cuda=cuda, providers=[CPU]))
    assert session.providers == [CPU]


def test_a_cuda_provider_that_does_not_start_is_warned_of(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedders.session.cuda_devices", lambda: 1)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    # ONNX Runtime itself takes the CPU where CUDA's libraries are missing.
    start = ort.InferenceSession
    monkeypatch.setattr(ort, "InferenceSession", lambda path, **options: start(path, providers=[CPU]))
    with pytest.warns(RuntimeWarning, match="CUDAExecutionProvider did not start"):
        assert OnnxSession(model, SessionSettings(providers=[CUDA, CPU])).providers == [CPU]
    with pytest.raises(DeviceError, match="CUDAExecutionProvider did not start"):
        OnnxSession(model, SessionSettings(cuda=True))


@without_gpu
def test_auto_takes_the_cpu_where_no_device_is(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert OnnxSession(model, SessionSettings()).providers == [CPU]
    assert "onnxruntime" not in capfd.readouterr().err


def test_auto_takes_a_device_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedders.session.cuda_devices", lambda: 2)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    (name, options), fallback = choose_providers(SessionSettings(device_id=1, provider_options={"gpu_mem_limit": "1"}))
    assert (name, options["device_id"], options["gpu_mem_limit"], fallback) == (CUDA, 1, "1", (CPU, {}))
    with pytest.raises(DeviceError, match="device 2 was asked for, but this machine has 2"):
        choose_providers(SessionSettings(cuda=True, device_id=2))


def test_providers_that_are_named_run_on_the_device_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedders.session.cuda_devices", lambda: 4)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    named = SessionSettings(device_id=3, providers=[TENSORRT, (CUDA, {"device_id": 1}), CPU])
    assert choose_providers(named) == [(TENSORRT, {"device_id": 3}), (CUDA, {"device_id": 1}), (CPU, {})]


def test_a_device_the_runtime_cannot_use_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("embedders.session.cuda_devices", lambda: 1)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    with caplog.at_level(logging.WARNING, "embedders"):
        assert choose_providers(SessionSettings()) == [(CPU, {})]
    assert "fleetembed[gpu]" in caplog.text
    with pytest.raises(DeviceError, match="has only CPUExecutionProvider"):
        choose_providers(SessionSettings(cuda=True))


def test_unknown_providers_are_named_with_those_there_are() -> None:
    for kind in (DeviceError, ValueError):
        with pytest.raises(kind, match=r"no MadeUpProvider; it has .*CPUExecutionProvider"):
            choose_providers(SessionSettings(providers=["MadeUpProvider"]))


def test_unknown_session_options_are_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="enable_warp"):
        OnnxSession(model, SessionSettings(session_options={"enable_warp": True}))


def test_missing_and_damaged_models_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    for path in (broken, tmp_path / "absent.onnx"):
        with pytest.raises(ModelFilesError, match=path.name):
            OnnxSession(path, SessionSettings(cuda=False))


def test_a_synthetic_session_that_is_dropped_gives_its_memory_back_at_once(model: Path) -> None:
    session = OnnxSession(model, SessionSettings(threads=1, cuda=False))
    session.reopen()
    dropped = weakref.ref(session.on_device)
    gc.disable()
    try:
        del session
        assert dropped() is None
    finally:
        gc.enable()
