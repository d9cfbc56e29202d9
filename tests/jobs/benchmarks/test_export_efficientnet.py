from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from fastembed import ImageEmbedding as FastembedImageEmbedding
from PIL import Image

from benchmarks.export_efficientnet import export_efficientnet, export_packaged_efficientnet, packaged_efficientnet
from benchmarks.torch_file import read_torch_checkpoint
from embedders import ImageEmbedding, ModelFilesError, ModelNotFoundError

PALACE, DAISY = 698, 985


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    try:
        return packaged_efficientnet()
    except ModelNotFoundError as error:
        pytest.skip(f"needs real weights: {error}")


@pytest.fixture(scope="module")
def efficientnet(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = export_packaged_efficientnet(tmp_path_factory.mktemp("efficientnet"))
    facts: dict[str, Any] = {"model_file": "model.onnx", "license": "apache-2.0"}
    ImageEmbedding.add_custom_model("tests/efficientnet", folder, dim=1280, **facts)
    ImageEmbedding.add_custom_model(
        "tests/efficientnet-classes", folder, dim=1000, output_name="logits", normalization=False, **facts
    )
    return folder


@pytest.fixture(scope="module")
def scenes(shared_data: Path) -> dict[str, Image.Image]:
    folder = shared_data / "images-photos"
    names = ("china.jpg", "flower.jpg", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
    return {name.partition(".")[0]: Image.open(folder / name).convert("RGB") for name in names}


def test_real_efficientnet_sees_a_palace_and_a_daisy(efficientnet: Path, shared_data: Path) -> None:
    model = ImageEmbedding("tests/efficientnet-classes", cuda=False, threads=2)
    photos = [shared_data / "images-photos" / name for name in ("china.jpg", "flower.jpg")]
    logits = model.embed_array(photos)
    assert logits.argmax(axis=1).tolist() == [PALACE, DAISY]
    second = np.sort(logits, axis=1)[:, -2]
    assert (logits.max(axis=1) - second > 1).all()


def test_real_efficientnet_finds_parts_of_a_scene_near_each_other(
    efficientnet: Path, scenes: dict[str, Image.Image]
) -> None:
    model = ImageEmbedding("tests/efficientnet", cuda=False, threads=2)
    crops = []
    for image in scenes.values():
        width, height = image.size
        crops += [image, image.crop((width // 10, height // 10, width, height))]
    vectors = model.embed_array(crops)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    assert cosines.argmax(axis=1).tolist() == [number ^ 1 for number in range(len(crops))]


def test_real_efficientnet_gives_fastembeds_vectors(efficientnet: Path, photos: list[Path]) -> None:
    name = "Qdrant/resnet50-onnx"
    reference = FastembedImageEmbedding(name, specific_model_path=str(efficientnet), cuda=False)
    ours = ImageEmbedding(name, specific_model_path=efficientnet, cuda=False, threads=2)
    chosen = photos[::3]
    np.testing.assert_allclose(ours.embed_array(chosen), list(reference.embed(chosen)), atol=1e-4)
    assert ours.embedding_size == 1280


def test_real_efficientnet_hardly_minds_reduced_decoding(
    efficientnet: Path, photos: list[Path], tmp_path: Path
) -> None:
    models = [ImageEmbedding("tests/efficientnet", cuda=False, reduced_decoding=reduced) for reduced in (False, True)]
    large = []
    for path in photos[::4]:
        large.append(tmp_path / f"{path.stem}.jpg")
        with Image.open(path) as image:
            scale = 1600 / max(image.size)
            image.convert("RGB").resize((round(image.width * scale), round(image.height * scale))).save(large[-1])
    exact, reduced = (model.embed_array(large) for model in models)
    assert np.sum(exact * reduced, axis=1).min() > 0.99


def test_exports_are_the_same_bytes_and_checked_by_digest(checkpoint: Path, efficientnet: Path, tmp_path: Path) -> None:
    again = export_packaged_efficientnet(tmp_path)
    for name in ("model.onnx", "preprocessor_config.json"):
        assert (again / name).read_bytes() == (efficientnet / name).read_bytes()
    digest = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ModelFilesError, match=rf"expected {digest}: fetch the file again"):
        export_efficientnet(checkpoint, tmp_path, weights_sha256=digest)
    session = ort.InferenceSession(str(again / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_outputs()] == ["image_embeds", "logits"]


class FloatStorage:
    pass


class LongStorage:
    pass


def fake_rebuild(*arguments: Any) -> Any:
    raise AssertionError("only written, never called")


class Tensor:
    """Pickled as PyTorch pickles a tensor."""

    def __init__(self, array: np.ndarray[Any, Any], key: str) -> None:
        self.array, self.key = array, key

    def __reduce__(self) -> tuple[Any, ...]:
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        return fake_rebuild, (Storage(self), 0, self.array.shape, strides, False, OrderedDict())


class Storage:
    def __init__(self, tensor: Tensor) -> None:
        kind = FloatStorage if tensor.array.dtype == np.float32 else LongStorage
        self.id = ("storage", kind, tensor.key, "cpu", tensor.array.size)


class Pickler(pickle.Pickler):
    def persistent_id(self, item: Any) -> Any:
        return item.id if isinstance(item, Storage) else None


def pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(value)
    renamed = buffer.getvalue()
    here = __name__.encode()
    for name, module, new in (
        (b"fake_rebuild", b"torch._utils", b"_rebuild_tensor_v2"),
        (b"FloatStorage", b"torch", b"FloatStorage"),
        (b"LongStorage", b"torch", b"LongStorage"),
    ):
        renamed = renamed.replace(b"c%s\n%s\n" % (here, name), b"c%s\n%s\n" % (module, new))
    return renamed


def as_archive(state: Any, tensors: list[Tensor]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", pickled(state))
        for tensor in tensors:
            archive.writestr(f"model/data/{tensor.key}", tensor.array.tobytes())
    return buffer.getvalue()


def as_one_file(state: Any, tensors: list[Tensor]) -> bytes:
    keys = [tensor.key for tensor in tensors]
    head = [pickled(value) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, state, keys)]
    numbers = [struct.pack("<q", tensor.array.size) + tensor.array.tobytes() for tensor in tensors]
    return b"".join([*head, *numbers])


FORMATS: list[Callable[[Any, list[Tensor]], bytes]] = [as_archive, as_one_file]


def example() -> tuple[dict[str, Any], list[Tensor]]:
    matrix = Tensor(np.arange(6, dtype=np.float32).reshape(2, 3), "7")
    count = Tensor(np.array(41, dtype=np.int64), "8")
    state = OrderedDict([("a.weight", matrix), ("inner", {"count": count, "name": "x", "rate": 0.5})])
    return state, [matrix, count]


@pytest.mark.parametrize("write", FORMATS)
def test_checkpoints_of_both_formats_are_read(write: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(write(*example()))
    tensors = read_torch_checkpoint(path)
    assert list(tensors) == ["a.weight", "inner.count"]
    np.testing.assert_array_equal(tensors["a.weight"], np.arange(6).reshape(2, 3))
    assert tensors["a.weight"].dtype == np.float32
    assert tensors["inner.count"] == 41


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", FORMATS)
def test_checkpoints_cannot_run_code(write: Callable[..., bytes], tmp_path: Path) -> None:
    path, harm = tmp_path / "model.pth", tmp_path / "harm"
    path.write_bytes(write({"a": Harm(harm)}, []))
    with pytest.raises(ModelFilesError, match=r"model\.pth is not a checkpoint of tensors alone: it wants .*mkdir"):
        read_torch_checkpoint(path)
    assert not harm.exists()


@pytest.mark.parametrize("write", FORMATS)
def test_damaged_checkpoints_are_refused(write: Callable[..., bytes], tmp_path: Path) -> None:
    path, content = tmp_path / "model.pth", write(*example())
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFilesError, match=r"model\.pth"):
            read_torch_checkpoint(path)
    large = Tensor(np.zeros(4, np.float32), "1")
    large.array = np.lib.stride_tricks.as_strided(large.array, (100,), (0,))
    path.write_bytes(write({"a": large}, []))
    with pytest.raises(ModelFilesError, match=r"model\.pth"):
        read_torch_checkpoint(path)
    with pytest.raises(ModelFilesError, match="cannot be read"):
        read_torch_checkpoint(tmp_path / "none.pth")


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(as_archive(*example()))
    with pytest.raises(ModelFilesError, match=r"has no tensor _bn0\.weight: it is not a checkpoint of EfficientNet"):
        export_efficientnet(path, tmp_path / "out")
