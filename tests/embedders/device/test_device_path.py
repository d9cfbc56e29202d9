"""Reduced where the graph ran, in buckets, ahead and by several sessions: what NumPy gives, batch after batch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from embedders.catalog import find_card
from embedders.device.settings import BatchSettings
from embedders.factory import make_model
from tests.embedders.test_text_model import NETWORKS, TEXTS, assert_same, load, rows_of

Folder = Callable[[str], Path]

DEVICE_PATH = BatchSettings(reduce_on_device=True, buckets=True, ahead=2)
MODELS = [*NETWORKS, "BAAI/bge-small-en-v1.5", "jinaai/jina-embeddings-v3", "jinaai/jina-clip-v1"]
MANY = [*TEXTS, *(f"the bat number {number} of " + "cave " * (number % 40) for number in range(60))]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("query", [False, True])
def test_synthetic_models_give_the_same_on_the_device_path(name: str, query: bool, synthetic_model: Folder) -> None:
    plain = load(name, synthetic_model(name))
    device = load(name, synthetic_model(name), batches=DEVICE_PATH, sessions=2, token_budget=700)
    runner = device.text_model.runner
    assert (runner.settings, len(runner.pool.sessions)) == (DEVICE_PATH, 2)
    expected = rows_of(plain, MANY, query=query)
    assert_same(rows_of(device, MANY, query=query), expected, 1e-6)
    assert_same(rows_of(device, MANY, 3, query=query), expected, 1e-6)
    assert_same(rows_of(device, MANY[:1], query=query), expected[:1], 1e-6)
    if plain.card.family != "rerank":
        assert device.fingerprint == plain.fingerprint


@pytest.mark.parametrize("options", [{"dim": 8}, {"dtype": "float16"}, {"dim": 8, "dtype": "float16"}], ids=str)
def test_synthetic_vectors_are_cut_and_converted_on_the_device(
    options: dict[str, Any], synthetic_model: Folder
) -> None:
    name = "nomic-ai/nomic-embed-text-v1.5"
    card = replace(find_card(name), matryoshka=(8,), custom=True, dim=None)
    given = {"specific_model_path": synthetic_model(name), "cuda": False, "threads": 1, **options}
    plain, device = (make_model(card, {**given, **more}) for more in ({}, {"batches": DEVICE_PATH}))
    ours, expected = device.embed_array(MANY), plain.embed_array(MANY)
    assert ours.dtype == expected.dtype
    np.testing.assert_allclose(ours, expected, atol=1e-6 if ours.dtype == np.float32 else 1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_synthetic_m3_gives_all_vectors_on_the_device_path(dtype: str, synthetic_model: Folder) -> None:
    name = "BAAI/bge-m3"
    kinds = ("dense", "sparse", "multivector")
    plain, device = (
        load(name, synthetic_model(name), outputs=kinds, dtype=dtype, **more) for more in ({}, {"batches": DEVICE_PATH})
    )
    expected, given = plain.embed_each(MANY), device.embed_each(MANY)
    tolerance = 1e-6 if dtype == "float32" else 1e-3
    np.testing.assert_allclose(given["dense"], expected["dense"], atol=tolerance)
    np.testing.assert_allclose(given["multivector"].vectors, expected["multivector"].vectors, atol=tolerance)
    np.testing.assert_array_equal(given["multivector"].offsets, expected["multivector"].offsets)
    for ours, theirs in zip(given["sparse"].to_pylist(), expected["sparse"].to_pylist(), strict=True):
        assert ours["indices"] == theirs["indices"]
        assert ours["values"] == pytest.approx(theirs["values"], abs=1e-6)


def test_a_synthetic_output_in_double_is_reduced_on_the_host(synthetic_model: Folder, tmp_path: Path) -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    folder = Path(shutil.copytree(synthetic_model(name), tmp_path / "double"))
    path = folder / find_card(name).model_file
    model = onnx.load(path)
    output = model.graph.output[0]
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["single" if one == output.name else one for one in names]
    model.graph.node.append(onnx.helper.make_node("Cast", ["single"], [output.name], to=onnx.TensorProto.DOUBLE))
    output.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    onnx.save(model, path)
    expected = rows_of(load(name, synthetic_model(name)), MANY)
    assert_same(rows_of(load(name, folder, batches=DEVICE_PATH), MANY), expected, 1e-6)
