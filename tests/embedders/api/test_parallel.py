"""``parallel``: fastembed's results in its order, from one session, or from one on each of several devices."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from fastembed import TextEmbedding as FastembedDense

from embedders import (
    HybridTextEmbedding,
    ImageEmbedding,
    ImageError,
    LateInteractionMultimodalEmbedding,
    LateInteractionTextEmbedding,
    SparseTextEmbedding,
    TextCrossEncoder,
    TextEmbedding,
)
from embedders.api import devices
from embedders.session_settings import CPU, CUDA, SessionSettings
from tests.image_model_fixtures import (
    clip_config,
    random_image,
    siglip_config,
    write_synthetic_image_model,
    write_synthetic_multimodal_model,
)
from tests.waiting import SECONDS

E5 = "intfloat/multilingual-e5-large"
TEXTS = [f"the bat number {number} of cave {number % 7}" for number in range(50)]
# Texts that one device gets at a time.
AT_ONCE = 6
Folder = Callable[[str], Path]


class DeviceStandIn:
    """A session on a CPU that says that it is on a GPU, and at the first run of each pair waits for the other one."""

    made: list[DeviceStandIn]
    meeting: threading.Barrier | None

    def __init__(self, path: Path, settings: SessionSettings) -> None:
        self._session = ort.InferenceSession(str(path), providers=[CPU])
        self.device, self.runs = settings.device_id, 0
        DeviceStandIn.made.append(self)

    def get_providers(self) -> list[str]:
        return [CUDA, CPU]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: Any, feed: Any) -> Any:
        self._meet()
        return self._session.run(outputs, feed)

    def run_with_iobinding(self, binding: Any) -> None:
        self._meet()
        self._session.run_with_iobinding(binding)

    def _meet(self) -> None:
        if DeviceStandIn.meeting is not None:
            if not self.runs:
                DeviceStandIn.meeting.wait()
            self.runs += 1


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[DeviceStandIn]]:
    monkeypatch.setattr("embedders.session.open_session", DeviceStandIn)
    DeviceStandIn.made, DeviceStandIn.meeting = [], None
    for module in ("facade", "late_interaction_text_embedding", "multimodal_embedding"):
        monkeypatch.setattr(f"embedders.api.{module}.READ_AHEAD", AT_ONCE)
    monkeypatch.setattr("embedders.api.facade.READ_AHEAD_ON_GPU", AT_ONCE)
    monkeypatch.setattr("embedders.api.devices.IMAGES_AT_ONCE", AT_ONCE)
    yield DeviceStandIn.made


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    return write_synthetic_image_model(tmp_path, clip_config(side=28), side=28, dim=512)


IMAGES = [random_image(30, 28, seed) for seed in range(20)]

# How each class is asked, and with what.
CALLS: dict[str, tuple[Any, str, Callable[[Any, int | None], Any]]] = {
    "dense": (TextEmbedding, E5, lambda model, parallel: model.embed(TEXTS, AT_ONCE, parallel)),
    "dense queries": (TextEmbedding, E5, lambda model, parallel: model.query_embed(TEXTS, AT_ONCE, parallel=parallel)),
    "dense passages": (TextEmbedding, E5, lambda model, parallel: model.passage_embed(iter(TEXTS), 4, parallel)),
    "sparse": (
        SparseTextEmbedding,
        "prithivida/Splade_PP_en_v1",
        lambda model, parallel: (one.as_dict() for one in model.embed(TEXTS, AT_ONCE, parallel)),
    ),
    "late interaction": (
        LateInteractionTextEmbedding,
        "colbert-ir/colbertv2.0",
        lambda model, parallel: model.query_embed(TEXTS, AT_ONCE, parallel),
    ),
    "reranker": (
        TextCrossEncoder,
        "Xenova/ms-marco-MiniLM-L-6-v2",
        lambda model, parallel: model.rerank_pairs([("bat", text) for text in TEXTS], 4, parallel),
    ),
    "reranked": (
        TextCrossEncoder,
        "Xenova/ms-marco-MiniLM-L-6-v2",
        lambda model, parallel: model.rerank("bat", TEXTS, 4, parallel=parallel),
    ),
    "several": (
        HybridTextEmbedding,
        "BAAI/bge-m3",
        lambda model, parallel: (one.dense for one in model.embed(TEXTS, 4, parallel)),
    ),
}


def same(ours: Any, expected: Any) -> None:
    for one, other in zip(ours, expected, strict=True):
        if isinstance(one, dict):
            assert one == pytest.approx(other, abs=1e-6)
        else:
            np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", CALLS)
def test_synthetic_models_on_two_devices_share_the_work_in_order(
    name: str, synthetic_model: Folder, stand_ins: list[DeviceStandIn]
) -> None:
    facade, model_name, call = CALLS[name]
    model = facade(
        model_name, specific_model_path=synthetic_model(model_name), device_ids=[3, 5, 3], threads=1, sessions=1
    )
    alone = list(call(model, None))
    assert [one.device for one in stand_ins] == [3]
    both = call(model, 2)
    DeviceStandIn.meeting = threading.Barrier(2, timeout=SECONDS)
    before = model.stats.rows
    same(both, alone)
    assert [one.device for one in stand_ins] == [3, 5]
    assert min(one.runs for one in stand_ins) > 0
    assert model.stats.rows - before == len(TEXTS)


@pytest.mark.parametrize("multimodal", [False, True])
def test_synthetic_image_models_on_two_devices_share_the_work_in_order(
    multimodal: bool, tmp_path: Path, stand_ins: list[DeviceStandIn]
) -> None:
    options: dict[str, Any] = {"specific_model_path": tmp_path, "device_ids": [0, 1], "threads": 1, "sessions": 1}
    if multimodal:
        config = siglip_config(height=448, width=448)
        write_synthetic_multimodal_model(tmp_path, config, tiled=False, patch=64, dim=128)
        (tmp_path / "model.onnx_data").write_bytes(b"")
        several: Any = LateInteractionMultimodalEmbedding("Qdrant/colpali-v1.3-fp16", **options)
        call = several.embed_image
    else:
        write_synthetic_image_model(tmp_path, clip_config(side=28), side=28, dim=512)
        several = ImageEmbedding("Qdrant/clip-ViT-B-32-vision", **options)
        call = several.embed
    alone = list(call(IMAGES))
    both = call(IMAGES, 2, 0)
    DeviceStandIn.meeting = threading.Barrier(2, timeout=SECONDS)
    same(both, alone)
    assert [one.device for one in stand_ins] == [0, 1]
    assert min(one.runs for one in stand_ins) > 0


def test_an_unreadable_image_is_counted_over_all_devices(image_folder: Path, stand_ins: list[DeviceStandIn]) -> None:
    options: dict[str, Any] = {"specific_model_path": image_folder, "device_ids": [0, 1]}
    model = ImageEmbedding("Qdrant/clip-ViT-B-32-vision", **options)
    with pytest.raises(ImageError, match=r"^image 15: it has no bytes"):
        list(model.embed([*IMAGES[:15], b"", *IMAGES[15:]], parallel=2))


@pytest.mark.parametrize(
    ("parallel", "devices", "used"),
    [
        (None, [0, 1, 2], [0]),
        (1, [0, 1, 2], [0]),
        (2, [0, 1, 2], [0, 1]),
        (0, [0, 1, 2], [0, 1, 2]),
        (8, [0, 1], [0, 1]),
        (4, None, [None]),
        (4, [1], [1]),
    ],
)
def test_as_many_devices_work_as_parallel_says(
    parallel: int | None,
    devices: list[int] | None,
    used: list[int],
    synthetic_model: Folder,
    stand_ins: list[DeviceStandIn],
) -> None:
    model = TextEmbedding(E5, specific_model_path=synthetic_model(E5), device_ids=devices, sessions=1)
    assert len(list(model.embed(TEXTS, parallel=parallel))) == len(TEXTS)
    assert len(list(model.embed(TEXTS, parallel=parallel))) == len(TEXTS)
    assert [one.device for one in stand_ins] == used


def test_endless_texts_are_read_ahead_of_two_devices_but_not_far(
    synthetic_model: Folder, stand_ins: list[DeviceStandIn]
) -> None:
    model = TextEmbedding(E5, specific_model_path=synthetic_model(E5), device_ids=[0, 1])
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "bat"

    vectors = model.embed(endless(), AT_ONCE, parallel=2)
    for _ in range(20):
        next(vectors)
    assert taken <= 20 + 5 * AT_ONCE
    threads = threading.active_count()
    vectors.close()  # type: ignore[attr-defined]
    assert threading.active_count() < threads


def test_one_session_serves_on_cpus_and_that_is_said_once(
    synthetic_model: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    devices._tell_that_one_session_serves.cache_clear()
    model = TextEmbedding(E5, specific_model_path=synthetic_model(E5), cuda=False, device_ids=[0, 1])
    bm25 = SparseTextEmbedding("Qdrant/bm25", specific_model_path=synthetic_model("Qdrant/bm25"))
    expected = list(model.embed(TEXTS))
    with caplog.at_level(logging.INFO, "embedders"):
        for parallel in (None, 1):
            same(model.embed(TEXTS, parallel=parallel), expected)
        assert not caplog.records
        for parallel in (2, 0, 7):
            same(model.embed(TEXTS, parallel=parallel), expected)
            assert len(list(bm25.embed(TEXTS, parallel=parallel))) == len(TEXTS)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "one session serves a model" in caplog.text


@pytest.mark.slow
def test_synthetic_results_are_those_of_fastembeds_two_processes(synthetic_model: Folder) -> None:
    folder = synthetic_model(E5)
    ours = TextEmbedding(E5, specific_model_path=folder, cuda=False)
    reference = FastembedDense(E5, specific_model_path=str(folder), cuda=False)
    expected = list(reference.embed(iter(TEXTS), batch_size=4, parallel=2))
    vectors = list(ours.embed(iter(TEXTS), batch_size=4, parallel=2))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize("name", CALLS)
def test_lazy_synthetic_models_on_a_device_load_at_the_first_result(
    name: str, synthetic_model: Folder, stand_ins: list[DeviceStandIn]
) -> None:
    facade, model_name, call = CALLS[name]
    options: dict[str, Any] = {"specific_model_path": synthetic_model(model_name), "threads": 1, "sessions": 1}
    expected = list(call(facade(model_name, device_ids=[1], **options), None))
    stand_ins.clear()
    model = facade(model_name, device_ids=[3, 5], lazy_load=True, **options)
    with pytest.raises(ValueError, match="parallel must be a number of workers"):
        call(model, -1)
    results = call(model, 2)
    assert not stand_ins
    same(results, expected)
    assert [one.device for one in stand_ins] == [3, 5]


def test_queries_that_a_table_weighs_need_no_synthetic_graph(
    synthetic_model: Folder, stand_ins: list[DeviceStandIn]
) -> None:
    name = "Qdrant/bm42-all-minilm-l6-v2-attentions"
    lazy = SparseTextEmbedding(name, specific_model_path=synthetic_model(name), device_ids=[3], lazy_load=True)
    assert len(list(lazy.query_embed(TEXTS))) == len(TEXTS)
    assert not stand_ins
    assert len(list(lazy.embed(TEXTS))) == len(TEXTS)
    assert [one.device for one in stand_ins][:1] == [3]


@pytest.mark.parametrize("parallel", [-1, "2", 1.5, True])
def test_no_number_of_workers_is_refused(parallel: Any, synthetic_model: Folder) -> None:
    model = TextEmbedding(E5, specific_model_path=synthetic_model(E5), cuda=False)
    with pytest.raises(ValueError, match="parallel must be a number of workers"):
        model.embed(TEXTS, parallel=parallel)


def test_keywords_that_fastembed_ignores_are_ignored_with_a_warning(synthetic_model: Folder) -> None:
    name = "Xenova/ms-marco-MiniLM-L-6-v2"
    reranker = TextCrossEncoder(name, specific_model_path=synthetic_model(name), cuda=False)
    with pytest.warns(UserWarning, match=r"rerank knows no top_k=, .*every document gets a score") as warned:
        scores = list(reranker.rerank("bat", TEXTS[:3], top_k=2))
    assert warned[0].filename == __file__
    assert scores == list(reranker.rerank("bat", TEXTS[:3]))
    model = TextEmbedding(E5, specific_model_path=synthetic_model(E5), cuda=False)
    for method in (model.embed, model.query_embed, model.passage_embed, model.token_count):
        with pytest.warns(UserWarning, match=r"knows no show_progress=, pool=, which changes nothing$"):
            method(TEXTS[:2], show_progress=True, pool=2)
