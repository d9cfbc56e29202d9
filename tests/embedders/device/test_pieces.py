"""Calls of many texts on the way that cards take, with the CPU provider: vectors, errors and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedders.device.on_device import OnDevice
from embedders.device.pieces import FEW_TEXTS
from embedders.tokenization import TextTokenizer
from embedders.tokenized_texts import TokenizedTexts
from tests.embedders.device.test_device_path import DEVICE_PATH
from tests.embedders.device.test_sessions import MINILM, SmallMemory, small_memory
from tests.embedders.test_text_model import assert_same, load, rows_of

__all__ = ["small_memory"]
Folder = Callable[[str], Path]

# (how many texts, words of each): few kinds of lengths or many, in any order.
MIXES = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 70)), min_size=1, max_size=5)
TEXTS = [f"the bat {number} of " + "cave " * (number % 47) for number in range(700)]


@pytest.fixture(scope="module")
def models(synthetic_model: Folder) -> tuple[Any, Any]:
    folder = synthetic_model(MINILM)
    return load(MINILM, folder), load(MINILM, folder, batches=DEVICE_PATH, sessions=2, token_budget=300)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mix=MIXES, seed=st.integers(0, 5))
def test_synthetic_vectors_are_those_of_the_plain_way_whatever_the_lengths(
    mix: list[tuple[int, int]], seed: int, models: tuple[Any, Any]
) -> None:
    texts = [f"{number} " + "cave " * words for many, words in mix for number in range(many)]
    np.random.default_rng(seed).shuffle(texts)
    plain, device = models
    before = device.stats.rows, device.stats.truncated
    np.testing.assert_allclose(device.embed_array(texts), plain.embed_array(texts), atol=1e-6)
    assert device.stats.rows - before[0] == len(texts)


@pytest.mark.parametrize(
    "stage",
    [
        (TextTokenizer, "encode"),
        (TokenizedTexts, "padded"),
        (OnDevice, "upload"),
        (OnDevice, "run"),
        (OnDevice, "reduce"),
    ],
    ids=lambda stage: stage[1],
)
@pytest.mark.parametrize("name", [MINILM, "colbert-ir/colbertv2.0"])
def test_an_error_in_any_stage_of_a_synthetic_model_is_raised_and_leaves_no_thread(
    stage: tuple[type, str], name: str, synthetic_model: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(name, synthetic_model(name), batches=DEVICE_PATH, sessions=2, token_budget=300)
    expected = rows_of(model, TEXTS[:9])
    before, calls, real = threading.active_count(), count(), getattr(*stage)

    def failing(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 2:
            raise RuntimeError("the cable is out")
        return real(*arguments, **named)

    with monkeypatch.context() as broken:
        broken.setattr(*stage, failing)
        with pytest.raises(RuntimeError, match="the cable is out"):
            model.embed_arrow(TEXTS)
    assert threading.active_count() == before
    assert_same(rows_of(model, TEXTS[:9]), expected)


@pytest.mark.usefixtures("small_memory")
def test_synthetic_batches_of_many_texts_that_do_not_fit_are_halved(
    synthetic_model: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(TEXTS) > FEW_TEXTS
    expected = load(MINILM, synthetic_model(MINILM)).embed_array(TEXTS)
    model = load(MINILM, synthetic_model(MINILM), batches=DEVICE_PATH, sessions=2, token_budget=2000)
    _ = model.text_model.runner
    monkeypatch.setattr(SmallMemory, "most", 100)
    np.testing.assert_allclose(model.embed_array(TEXTS), expected, atol=1e-6)
    assert model.text_model.runner.budget.halved
