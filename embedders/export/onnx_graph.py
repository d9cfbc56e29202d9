"""An ONNX graph that is being written, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embedders.errors import FleetembedError

if TYPE_CHECKING:
    import onnx

MODEL_FILE = "model.onnx"
OPSET = 17
IR_VERSION = 8


def missing_extra(package: str) -> FleetembedError:
    """The error for a missing package that only exporting needs."""
    return FleetembedError(f'exporting a checkpoint needs the package {package}: pip install "fleetembed[dev]"')


@dataclass
class OnnxGraph:
    """Nodes and constants of a graph that is being written."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Append a node with one output; return the output's name."""
        from onnx import helper

        output = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add a constant unless the graph has one of this name; return the name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.array(value, dtype=dtype, order="C"), name)
        return name

    def keep_only(self, outputs: Sequence[str]) -> None:
        """Drop what the outputs do not depend on."""
        needed = set(outputs)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {name: tensor for name, tensor in self.constants.items() if name in needed}
