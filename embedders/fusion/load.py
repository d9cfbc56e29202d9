"""Fuses the attention of a file's graph as it is loaded; see ``embedders.fusion``."""

from __future__ import annotations

import mmap
from enum import Enum
from pathlib import Path

from embedders.fusion.blocks import attention_block
from embedders.fusion.cpu import fuse_for_cpu
from embedders.fusion.gpu import fuse_for_gpu
from embedders.fusion.graph_view import GraphView
from embedders.onnx_messages import FLOAT, MICROSOFT, OnnxFile

# Protocol Buffers end at 2 GiB.
MOST_BYTES = 2**31 - 2**24
# Of ReduceSum whose axes are an input.
LEAST_OPSET = 13


class FusedFor(str, Enum):
    """What a graph is fused for."""

    CPU = "cpu"
    GPU = "gpu"


def fused_graph(path: Path, kind: FusedFor) -> bytes | None:
    """Read an ONNX file and fuse its attention; None where it has none of a known spelling, or is too large.

    The masks that a float16 graph for a GPU is fed must have the ones of each row side by side.
    """
    if path.stat().st_size > MOST_BYTES:
        return None
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _fused(OnnxFile(data), kind)
    except (OSError, ValueError):
        # What is wrong with the file ONNX Runtime says best.
        return None


def _fused(file: OnnxFile, kind: FusedFor) -> bytes | None:
    model = file.model
    if not any(opset.domain in ("", "ai.onnx") and opset.version >= LEAST_OPSET for opset in model.opset_import):
        return None
    graph = GraphView(model.graph, file.tensors)
    blocks = [block for node in model.graph.node if (block := attention_block(graph, node)) is not None]
    if kind is FusedFor.CPU:
        blocks = [block for block in blocks if block.dtype == FLOAT]
    if not blocks:
        return None
    needed = fuse_for_cpu(graph, blocks) if kind is FusedFor.CPU else fuse_for_gpu(graph, blocks)
    if all(opset.domain != MICROSOFT for opset in model.opset_import):
        opset = model.opset_import.add()
        opset.domain, opset.version = MICROSOFT, 1
    return file.serialize(needed)
