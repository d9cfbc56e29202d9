"""A small synthetic model with external data, its card, and what tests do with them."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from embedders.catalog import ModelCard
from embedders.files.download import Timeouts
from embedders.files.resolve import resolve_model
from tests.hub_server import HubServer
from tests.waiting import SECONDS

ROOT = Path(__file__).resolve().parents[3]
REPO = "org/small"
TOKEN = "hf_aSecretThatMustNotBeSeen"
QUICK = Timeouts(connect=2, read=0.7, total=20, attempts=3, backoff=0.01)
CARD = ModelCard(
    model="Org/Small",
    family="dense",
    model_file="onnx/model.onnx",
    license="mit",
    description="synthetic",
    hf=REPO,
    additional_files=("onnx/model.onnx_data",),
)

# A program that resolves CARD into the cache that its argument names.
RESOLVE = """
import sys
from embedders.catalog import ModelCard
from embedders.files.download import Timeouts
from embedders.files.resolve import resolve_model
card = ModelCard(model="Org/Small", family="dense", model_file="onnx/model.onnx", license="mit", description="",
                 hf="org/small", additional_files=("onnx/model.onnx_data",))
print(resolve_model(card, cache_dir=sys.argv[1], timeouts=Timeouts(read=60, attempts=1)))
"""


def onnx_with_external_data() -> dict[str, bytes]:
    """Graph y = x + w whose w is kept in model.onnx_data."""
    weight = numpy_helper.from_array(np.arange(64, dtype=np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [64]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "add", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.external_data_helper.convert_model_to_external_data(model, location="model.onnx_data", size_threshold=0)
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    return {"onnx/model.onnx": model.SerializeToString(), "onnx/model.onnx_data": data}


FILES = {
    **onnx_with_external_data(),
    "tokenizer.json": b'{"tokens": 1}',
    "tokenizer_config.json": b"{}",
    "README.md": b"not needed",
    "pytorch_model.bin": b"not needed either",
}
NEEDED = {name: content for name, content in FILES.items() if "not needed" not in content.decode("latin-1")}


def run_model(folder: Path) -> list[float]:
    session = onnxruntime.InferenceSession(folder / CARD.model_file, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": np.ones(64, np.float32)})[0][:3])


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".manifest.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def resolve(cache: Path, card: ModelCard = CARD, **options: bool) -> Path:
    return resolve_model(card, cache_dir=cache, timeouts=QUICK, **options)  # type: ignore[arg-type]


def downloads(hub: HubServer, name: str) -> int:
    """How often the hub, or the host that it sends to for large files, was asked for a file's content."""
    return len(hub.paths(path_end="/" + name))


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """The folder, made with these files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def on_a_terminal(*command: str, **variables: str) -> str:
    """What a process writes to standard error, where that is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, **variables}
    )
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 1 << 16):
            seen += piece
    except OSError:
        pass  # how Linux tells that nobody holds the terminal any more
    assert process.wait(timeout=SECONDS) == 0
    return seen.decode()
