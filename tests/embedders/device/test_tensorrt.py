"""What the TensorRT provider would be told; no card has run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from embedders.device.tensorrt import with_tensorrt_options
from embedders.session_settings import CPU, CUDA, TENSORRT, SessionSettings
from tests.embedders.test_text_model import load

Folder = Callable[[str], Path]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def test_profiles_hold_every_batch_and_given_options_stay() -> None:
    given = SessionSettings(providers=[(TENSORRT, {"trt_fp16_enable": "1", "trt_timing_cache_enable": "0"}), CUDA, CPU])
    facts: dict[str, Any] = {"longest": 512, "budget": 16384, "cache": Path("/cache"), "model": "a/b c"}
    told = with_tensorrt_options(given, ["input_ids", "attention_mask", "task_id"], **facts).providers
    assert told is not None
    (name, options), *others = told
    assert (name, others) == (TENSORRT, [CUDA, CPU])
    assert options == {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/cache/a--b--c",
        "trt_timing_cache_enable": "0",
        "trt_timing_cache_path": "/cache/a--b--c",
        "trt_fp16_enable": "1",
        "trt_profile_min_shapes": "input_ids:1x1,attention_mask:1x1",
        "trt_profile_opt_shapes": "input_ids:128x128,attention_mask:128x128",
        "trt_profile_max_shapes": "input_ids:512x512,attention_mask:512x512",
    }
    for other in (SessionSettings(), SessionSettings(providers=[CUDA, CPU])):
        assert with_tensorrt_options(other, ["input_ids"], **facts) is other


def test_a_synthetic_models_session_is_opened_with_them(
    synthetic_model: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = ort.InferenceSession

    def start(path: Any, sess_options: Any = None, providers: Any = ()) -> Any:
        seen.append(providers)
        return real(path, sess_options=sess_options, providers=[CPU])

    monkeypatch.setattr("embedders.session.cuda_devices", lambda: 1)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr("embedders.session.ort.InferenceSession", start)
    providers = [TENSORRT, CUDA, CPU]
    with pytest.warns(RuntimeWarning, match="did not start"):
        load(MINILM, synthetic_model(MINILM), cuda="auto", providers=providers, cache_dir=tmp_path, token_budget=960)
    name, options = seen[0][0]
    assert (name, options["trt_profile_max_shapes"].split(",")[0]) == (TENSORRT, "input_ids:30x48")
    assert options["trt_engine_cache_path"].startswith(str(tmp_path))
