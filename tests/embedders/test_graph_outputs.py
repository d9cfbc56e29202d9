"""The widths that a file declares, against those of ONNX Runtime on the same graphs."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from embedders import TextEmbedding
from embedders.graph_outputs import declared_inputs, declared_width
from embedders.session import OnnxSession
from embedders.session_settings import SessionSettings
from tests.model_fixtures import write_synthetic_model


def write_graph(path: Path, *shapes: list[int | str | None] | None) -> Path:
    """A synthetic graph whose outputs, which copy its input of 1 MB of weights, declare these shapes."""
    taken = helper.make_tensor_value_info("given", TensorProto.FLOAT, ["rows", "tokens", 7])
    outputs = [
        helper.make_tensor_value_info(f"out_{number}", TensorProto.FLOAT, shape) for number, shape in enumerate(shapes)
    ]
    nodes = [helper.make_node("Identity", ["given"], [output.name]) for output in outputs]
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [1 << 18], bytes(1 << 20), raw=True)
    graph = helper.make_graph(nodes, "g", [taken], outputs, [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_synthetic_outputs_have_the_width_that_onnx_runtime_gives_them(tmp_path: Path) -> None:
    paths = [write_synthetic_model(tmp_path / "model", "two_outputs", dim=6) / "model.onnx"]
    paths.append(write_graph(tmp_path / "own.onnx", ["rows", "tokens", 7], ["rows", "tokens", 7]))
    for path in paths:
        session = OnnxSession(path, SessionSettings(threads=1, cuda=False))
        for position in (0, 1):
            name = session.output_name(position)
            assert declared_width(path, position) == declared_width(path, name) == session.output_width(name)
            assert session.output_width(name) in (6, 7)


def test_an_open_width_and_an_output_that_is_not_there_have_none(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "open.onnx", ["rows", "tokens", "width"], ["rows", "tokens", None], None)
    for output in (0, 1, 2, 3, -1, "pooled"):
        assert declared_width(path, output) is None


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\xff" * 40], ids=["empty", "text", "bytes"])
def test_what_is_no_graph_has_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    assert declared_width(tmp_path / "model.onnx", 0) is None
    assert declared_width(tmp_path / "nowhere.onnx", 0) is None


def test_a_graph_that_is_cut_anywhere_is_left_to_onnx_runtime(tmp_path: Path) -> None:
    whole = write_graph(tmp_path / "whole.onnx", ["rows", 7]).read_bytes()
    for size in (1, 20, 1000, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.onnx").write_bytes(whole[:size])
        assert declared_width(tmp_path / "cut.onnx", 0) is None


def test_the_dimension_of_a_users_synthetic_files_is_known_without_their_weights(tmp_path: Path) -> None:
    folder = write_synthetic_model(tmp_path, "two_outputs", dim=6)
    model = TextEmbedding(
        "sentence-transformers/all-MiniLM-L6-v2", specific_model_path=str(folder), cuda=False, lazy_load=True
    ).model
    assert model.spec.dim == 6
    assert "session" not in vars(model.text_model)


def test_inputs_are_read_of_a_synthetic_file_and_none_of_a_damaged_one(tmp_path: Path) -> None:
    path = write_synthetic_model(tmp_path) / "model.onnx"
    assert declared_inputs(path) == ["input_ids", "attention_mask"]
    path.write_bytes(b"\xff" * 9)
    assert declared_inputs(path) == declared_inputs(tmp_path / "absent.onnx") == []
