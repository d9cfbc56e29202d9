"""Several sessions, batches prepared ahead, and what happens where memory does not suffice: on real graphs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from embedders import session as session_module
from embedders.device.memory import Activations, TokenBudget, free_memory
from embedders.device.on_device import OnDevice
from embedders.device.sessions import default_sessions
from embedders.device.settings import BatchSettings
from embedders.device.shapes import bucket_lengths, bucket_rows
from embedders.errors import FleetembedError, ModelFilesError
from embedders.session import ReopenError, cuda_devices
from embedders.session_settings import CPU, CUDA
from tests.embedders.device.test_device_path import DEVICE_PATH, MANY
from tests.embedders.test_text_model import assert_same, load, rows_of
from tests.waiting import SECONDS

Folder = Callable[[str], Path]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MESSAGE = "Failed to allocate memory for requested buffer of size 536870912"


class SmallMemory:
    """A real session that cannot hold calls of more than ``most`` tokens."""

    most = 10**9
    opened = 0
    message = MESSAGE

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        SmallMemory.opened += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: Any, feed: Any) -> Any:
        self._refuse(feed["input_ids"].size)
        return self._session.run(outputs, feed)

    def run_with_iobinding(self, binding: Any) -> None:
        self._refuse(binding._numpy_obj_references["input_ids"].size)
        self._session.run_with_iobinding(binding)

    def _refuse(self, size: int) -> None:
        if size > self.most:
            raise RuntimeException(self.message)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[SmallMemory]]:
    open_session = session_module.open_session
    monkeypatch.setattr(
        session_module, "open_session", lambda path, settings: SmallMemory(open_session(path, settings))
    )
    monkeypatch.setattr(SmallMemory, "most", 10**9)
    monkeypatch.setattr(SmallMemory, "opened", 0)
    monkeypatch.setattr(SmallMemory, "message", MESSAGE)
    yield SmallMemory


@pytest.mark.parametrize("settings", [BatchSettings(), DEVICE_PATH], ids=["numpy", "device"])
@pytest.mark.parametrize("name", [MINILM, "colbert-ir/colbertv2.0", "prithivida/Splade_PP_en_v1"])
def test_synthetic_models_halve_what_does_not_fit_and_lose_no_text(
    name: str,
    settings: BatchSettings,
    synthetic_model: Folder,
    small_memory: type[SmallMemory],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = rows_of(load(name, synthetic_model(name)), MANY)
    model = load(name, synthetic_model(name), batches=settings, sessions=2, token_budget=2000)
    _ = model.text_model.runner
    before, small_memory.most = small_memory.opened, 100
    with caplog.at_level(logging.WARNING, "embedders"):
        assert_same(rows_of(model, MANY), expected)
    budget = model.text_model.runner.budget
    assert (budget.halved, budget.most <= 100) == (True, True)
    assert len([record for record in caplog.records if "do not fit the device's memory" in record.message]) == 1
    # Two that failed, in one of two sessions, make a new one of it.
    assert small_memory.opened > before
    again = small_memory.opened
    assert_same(rows_of(model, MANY), expected)
    assert small_memory.opened == again


def test_a_synthetic_text_that_does_not_fit_alone_fails_and_other_errors_halve_nothing(
    synthetic_model: Folder, small_memory: type[SmallMemory]
) -> None:
    model = load(MINILM, synthetic_model(MINILM))
    small_memory.most = 20
    assert len(rows_of(model, ["a bat"] * 3)) == 3
    with pytest.raises(RuntimeException, match="Failed to allocate"):
        rows_of(model, ["bat", "cave " * 40])
    small_memory.message = "Non-zero status code returned while running Gather node"
    other = load(MINILM, synthetic_model(MINILM))
    with pytest.raises(RuntimeException, match="Gather"):
        rows_of(other, ["cave " * 40] * 4)
    assert not other.text_model.runner.budget.halved


@pytest.mark.parametrize("name", [MINILM, "colbert-ir/colbertv2.0", "prithivida/Splade_PP_en_v1", "Qdrant/minicoil-v1"])
def test_synthetic_models_are_shared_by_threads_and_count_all_texts(name: str, synthetic_model: Folder) -> None:
    texts = [*MANY, *(f"the {number} birds of river {number % 3}" for number in range(500))]
    expected = rows_of(load(name, synthetic_model(name)), texts)
    model = load(name, synthetic_model(name), batches=DEVICE_PATH, sessions=2, token_budget=400)
    results: dict[int, Any] = {}
    threads = [threading.Thread(target=lambda at=at: results.update({at: rows_of(model, texts)})) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    for at in range(3):
        assert_same(results[at], expected)
    assert model.stats.rows == 3 * len(texts)
    assert 0 < model.stats.tokens < model.stats.padded_tokens


def test_synthetic_models_name_a_bad_text_by_its_position_in_pieces(synthetic_model: Folder) -> None:
    model = load(MINILM, synthetic_model(MINILM), batches=DEVICE_PATH, token_budget=400)
    texts = [f"the bat {number} " + "cave " * (number % 9) for number in range(600)]
    for bad, kind in (("\udc80", ValueError), (None, ValueError)):
        with pytest.raises(kind, match=r"text 433\b"):
            model.embed_arrow([*texts[:433], bad, *texts[433:]])


def test_an_interrupt_ends_the_threads(synthetic_model: Folder, small_memory: type[SmallMemory]) -> None:
    model = load(MINILM, synthetic_model(MINILM), batches=DEVICE_PATH, sessions=2, token_budget=100)
    tokens, _ = model.text_model.tokenize(MANY * 3)
    before = threading.active_count()
    batches = model.text_model.run(tokens)
    next(batches)
    with pytest.raises(KeyboardInterrupt):
        batches.throw(KeyboardInterrupt)
    assert threading.active_count() == before


def test_buckets_are_few_and_never_beyond_the_limit() -> None:
    lengths = np.arange(1, 2049)
    rounded = bucket_lengths(lengths, 1500)
    assert (rounded >= lengths).all()
    assert sorted(set(bucket_lengths(lengths, 4096))) == [
        *range(4, 129, 4),
        *range(136, 257, 8),
        *range(272, 513, 16),
        *range(544, 2049, 32),
    ]
    assert sorted(set(bucket_lengths(lengths, 4096, 32))) == [
        *range(32, 129, 32),
        *range(192, 257, 64),
        *range(384, 513, 128),
        *range(768, 2049, 256),
    ]
    assert (rounded[: 1500 - 1] <= 1500).all()
    assert bucket_lengths(np.array([1490, 1600]), 1500).tolist() == [1500, 1600]
    assert [bucket_rows(rows, 100) for rows in (1, 2, 3, 5, 8, 9, 97)] == [1, 2, 4, 8, 8, 16, 97]


def test_budgets_follow_free_memory_and_long_texts() -> None:
    base = Activations(hidden=768, inner=3072, heads=12, output=768)
    roomy = TokenBudget(16384, model="x", activations=base, free=80 * 2**30)
    assert roomy.at(512) == 16384
    small, shared = (TokenBudget(16384, model="x", activations=base, free=2**30, sessions=n) for n in (1, 2))
    assert 1000 < small.at(512) < small.at(32) < 16384
    assert shared.at(128) == pytest.approx(small.at(128) / 2, rel=0.01)
    assert TokenBudget(16384, model="x").at(512) == 16384
    roomy.halve(32, 512)
    assert roomy.at(512) == 8192 < roomy.at(32) <= 16384


def test_the_largest_batch_is_tried_when_a_synthetic_model_is_loaded_on_a_gpu(
    synthetic_model: Folder, small_memory: type[SmallMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmallMemory, "get_providers", lambda self: [CUDA, CPU], raising=False)
    model = load(MINILM, synthetic_model(MINILM), token_budget=4096)
    assert len(model.text_model.runner.pool.sessions) == 2
    assert not model.text_model.runner.budget.halved
    small_memory.most = 1000
    model = load(MINILM, synthetic_model(MINILM), token_budget=4096)
    assert (model.text_model.runner.budget.halved, model.text_model.runner.budget.at(48) <= 1024) == (True, True)
    small_memory.most = 40
    model = load(MINILM, synthetic_model(MINILM), token_budget=4096)
    assert len(rows_of(model, ["a bat", "a cave"])) == 2


def test_small_models_get_two_sessions_on_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x")
    assert (default_sessions(path, on_gpu=True), default_sessions(path, on_gpu=False)) == (2, 1)
    with (tmp_path / "model.onnx_data").open("wb") as file:
        file.truncate(700_000_000)
    assert default_sessions(path, on_gpu=True) == 1


@pytest.mark.skipif(cuda_devices() > 0, reason="this machine has a GPU")
def test_free_memory_is_unknown_without_a_driver() -> None:
    assert free_memory() is None


@pytest.mark.parametrize("how", ["not at all", "on the CPU"])
def test_a_synthetic_text_fails_alone_where_its_session_cannot_be_loaded_again(
    how: str, synthetic_model: Folder, small_memory: type[SmallMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmallMemory, "get_providers", lambda self: [CUDA, CPU], raising=False)
    model = load(MINILM, synthetic_model(MINILM), batches=DEVICE_PATH, sessions=1)
    session = model.text_model.session
    device = session.on_device
    expected = rows_of(model, ["a bat"])
    small_memory.most = 20
    with monkeypatch.context() as short:
        if how == "not at all":
            short.setattr(session_module, "open_session", lambda path, settings: refuse(path))
        else:
            short.setattr(SmallMemory, "get_providers", lambda self: [CPU])
        with pytest.raises(RuntimeException, match="Failed to allocate") as raised:
            rows_of(model, ["cave " * 40])
        assert isinstance(raised.value.__cause__, ReopenError)
        with pytest.raises(ReopenError, match="again"):
            rows_of(model, ["a bat"])
        assert not issubclass(ReopenError, FleetembedError)
        assert (session.on_gpu, session.providers, session.on_device) == (True, [CUDA, CPU], device)
    assert_same(rows_of(model, ["a bat"]), expected)


def refuse(path: Path) -> ort.InferenceSession:
    raise ModelFilesError(f"ONNX Runtime cannot load {path}: {MESSAGE}")


def test_threads_run_one_synthetic_session_of_a_cpu_at_once(
    synthetic_model: Folder, small_memory: type[SmallMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(MINILM, synthetic_model(MINILM))
    expected = rows_of(model, ["a bat"])
    # Each run waits for another one.
    meeting = threading.Barrier(2, timeout=SECONDS)
    monkeypatch.setattr(small_memory, "_refuse", lambda self, size: meeting.wait())
    with ThreadPoolExecutor(2) as pool:
        for rows in pool.map(rows_of, [model] * 2, [["a bat"]] * 2):
            assert_same(rows, expected)


def test_a_synthetic_batch_that_does_not_fit_when_it_is_uploaded_is_halved(
    synthetic_model: Folder, small_memory: type[SmallMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(MINILM, synthetic_model(MINILM), batches=DEVICE_PATH, token_budget=2000)
    expected = rows_of(model, MANY)
    upload = OnDevice.upload

    def refusing(self: OnDevice, feed: dict[str, Any]) -> dict[str, Any]:
        if feed["input_ids"].size > 100:
            raise RuntimeError(MESSAGE)
        return upload(self, feed)

    monkeypatch.setattr(OnDevice, "upload", refusing)
    assert_same(rows_of(model, MANY), expected)
    assert not model.text_model.runner.budget.halved
    small_memory.most = 100
    assert_same(rows_of(model, MANY), expected)
    assert model.text_model.runner.budget.halved
