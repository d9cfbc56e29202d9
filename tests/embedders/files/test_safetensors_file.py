from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from embedders.errors import ModelFilesError
from embedders.files.safetensors_file import read_safetensors, widen_bfloat16
from tests.synthetic_models import safetensors_bytes

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)), max_size=6))
def test_tensors_are_those_that_the_safetensors_package_wrote(
    tmp_path: Path, shapes: list[tuple[str, list[int]]]
) -> None:
    random = np.random.default_rng(0)
    tensors = {
        f"t{number}": np.asarray(random.random(shape) * 100).astype(dtype)
        for number, (dtype, shape) in enumerate(shapes)
    }
    save_file(tensors, tmp_path / "model.safetensors", metadata={"made": "here"})
    read = read_safetensors(tmp_path / "model.safetensors")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        np.testing.assert_array_equal(read[name], tensor)


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    values = np.array([0, 1, -2.5, 3.140625, np.inf, -np.inf, 2.0**-126, 1.5 * 2.0**100], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    np.testing.assert_array_equal(widen_bfloat16(bits), values)
    (tmp_path / "x").write_bytes(safetensors_bytes({"a": ("BF16", bits.reshape(2, 4))}))
    tensor = read_safetensors(tmp_path / "x")["a"]
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor, values.reshape(2, 4))
    assert np.isnan(widen_bfloat16(np.array([0x7FC0], np.uint16)))


def test_tensors_at_odd_places_are_read(tmp_path: Path) -> None:
    tensors = {"one": ("U8", np.arange(3, dtype=np.uint8)), "two": ("F32", np.arange(4, dtype=np.float32))}
    (tmp_path / "x").write_bytes(safetensors_bytes(tensors))
    np.testing.assert_array_equal(read_safetensors(tmp_path / "x")["two"], np.arange(4))


def header(**facts: Any) -> bytes:
    content = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **facts}}).encode()
    return len(content).to_bytes(8, "little") + content + b"\0" * 8


GOOD = save({"a": np.ones((4, 4), np.float32)})
DAMAGED = {
    "empty": b"",
    "short": b"abc",
    "cut in the header": GOOD[:20],
    "cut in a tensor": GOOD[:-1],
    "header beyond the file": (1 << 40).to_bytes(8, "little") + b"{}",
    "header is no JSON": (4).to_bytes(8, "little") + b"{{{{",
    "header is no object": (2).to_bytes(8, "little") + b"[]",
    "unknown type": header(dtype="F8"),
    "wrong size": header(shape=[3]),
    "negative": header(data_offsets=[-8, 0]),
    "backwards": header(data_offsets=[8, 0]),
    "beyond the end": header(data_offsets=[8, 16]),
    "no shape": header(shape=None),
    "negative shape": header(shape=[-2]),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files_are_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFilesError, match=r"model\.safetensors"):
        read_safetensors(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="nothing-here"):
        read_safetensors(tmp_path / "nothing-here")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 90), st.binary(min_size=1, max_size=4))
def test_a_few_wrong_bytes_are_an_error_or_another_tensor(tmp_path: Path, place: int, patch: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(GOOD[:place] + patch + GOOD[place + len(patch) :])
    try:
        tensors = read_safetensors(path)
    except ModelFilesError:
        return
    assert all(tensor.nbytes <= len(GOOD) for tensor in tensors.values())
