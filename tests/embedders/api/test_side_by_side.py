"""fastembed 0.9.1 and this project, asked alike: equal results, or a difference that the documentation names."""

from __future__ import annotations

import builtins
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from loguru import logger as fastembed_logger

from embedders.catalog import catalog
from embedders.session import cuda_devices
from tests.embedders.api.side_by_side import all_calls
from tests.embedders.api.side_by_side.library import (
    COLMODERNVBERT,
    COLPALI,
    CUDA,
    IMAGE,
    MODEL_OF,
    Call,
    Library,
    write_images,
)
from tests.image_model_fixtures import (
    clip_config,
    random_image,
    siglip_config,
    write_synthetic_image_model,
    write_synthetic_multimodal_model,
)

ROOT = Path(__file__).resolve().parents[3]
TOLERANCE = 1e-5
CUDA_WITHOUT_A_DEVICE = CUDA in ort.get_available_providers() and not cuda_devices()

# The page with the table of differences.
DOCUMENT = ROOT / "docs" / "about" / "differences_from_fastembed.md"
# Names of calls (patterns), and the row of that table that says why they differ.
DIFFERENCES: Mapping[str, str] = {
    r"(embed|count|embed_text|rerank_pairs) unknown keyword|rerank top_k": "unknown keywords",
    r"\(\) unknown keyword": "unknown keywords",
    r"(embed|rerank|rerank_pairs) (a number|None in a list)": "what is no text",
    r"^TextEmbedding(\.embed list|\(\) (mmap|threads|lazy_load)), minishlab": "static models",
    r"^SparseText.*types of numbers": "types of sparse numbers",
    r"task_id=1 without tasks": "`task_id` without tasks",
    r"rerank a str": "`rerank` of one text",
    r"turned by EXIF|transparent": "images",
    r"ImageEmbedding.embed (bytes|array)": "kinds of images",
    r"ImageEmbedding.embed (no file|no image|None)": "unreadable images",
    r"embed_text of several lengths": "ColPali's texts",
    r"\(\) cuda=True$": "`cuda=True` without a GPU",
    r"model_name in other letters": "`model_name`",
    r"no folder, Qdrant/bm25": "stop words",
    r"^(Text|SparseText|LateInteractionText)Embedding.list_supported_models names": "`list_supported_models`",
    r"list_supported_models description": "`list_supported_models`",
    r"add_custom_model wrong dim": "models of one's own",
    r"SparseEmbedding of different lengths": "`SparseEmbedding`",
    r"Muvera (other numbers|types of numbers)": "MUVERA",
    r"^DefaultEmbedding": "names of old",
}

CALLS = all_calls()


@pytest.fixture(scope="module")
def folder(synthetic_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    image = write_synthetic_image_model(tmp_path_factory.mktemp("clip"), clip_config(32), side=32, dim=512)
    colpali = write_synthetic_multimodal_model(
        tmp_path_factory.mktemp("colpali"),
        siglip_config(448, 448, resample=3),
        tiled=False,
        dim=128,
        patch=64,
        special_map={"pad_token": "[PAD]", "more": ["<s>", "<pad>"]},
    )
    (colpali / "model.onnx_data").touch()
    # Made, and never loaded.
    tiled = tmp_path_factory.mktemp("colmodernvbert")
    (tiled / "model_v2.onnx").touch()
    own = {IMAGE: image, COLPALI: colpali, COLMODERNVBERT: tiled}
    return lambda name: own.get(name) or synthetic_model(name)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), random_image)


@pytest.fixture(scope="module")
def libraries(folder: Callable[[str], Path], images: Path) -> Iterator[tuple[Library, Library]]:
    """Ours and fastembed; models that they add are forgotten at the end."""
    from fastembed.rerank.cross_encoder.custom_text_cross_encoder import CustomTextCrossEncoder
    from fastembed.text.custom_text_embedding import CustomTextEmbedding

    fastembed_logger.disable("fastembed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "_custom_cards", {})
        patch.setattr(CustomTextEmbedding, "SUPPORTED_MODELS", [])
        patch.setattr(CustomTextEmbedding, "POSTPROCESSING_MAPPING", {})
        patch.setattr(CustomTextCrossEncoder, "SUPPORTED_MODELS", [])
        # A download that the calls ask for fails at once.
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield Library("embedders", folder, images), Library("fastembed", folder, images)
    fastembed_logger.enable("fastembed")


Outcome = tuple[str, Any, frozenset[str]]


def outcome_of(call: Call, library: Library) -> Outcome:
    """What comes of a call: a value or the kind of its exception, and the categories of warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found: tuple[str, Any] = "value", plain(call.run(library), kinds=call.kinds)
        except Exception as error:
            found = "raises", error
    return *found, frozenset(one.category.__name__ for one in caught)


def plain(value: Any, *, kinds: bool) -> Any:
    """A value as lists, dicts and arrays; ``kinds`` keeps the types of numbers."""
    if hasattr(value, "as_dict"):
        both = {"values": np.asarray(value.values).dtype.name, "indices": np.asarray(value.indices).dtype.name}
        return both if kinds else value.as_dict()
    if isinstance(value, np.ndarray):
        return value.dtype.name if kinds else value
    if isinstance(value, dict):
        return {key: plain(item, kinds=kinds) for key, item in value.items()}
    if isinstance(value, list | tuple) or hasattr(value, "__next__"):
        return [plain(item, kinds=kinds) for item in value]
    return value


def kind_of(error: Exception) -> type[Exception]:
    """The built-in exception that somebody who catches it would name; ONNX Runtime's have none but Exception."""
    return next(one for one in type(error).__mro__ if one.__module__ == builtins.__name__)


def alike(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, dict):
        return (
            isinstance(ours, dict) and ours.keys() == theirs.keys() and all(alike(ours[k], theirs[k]) for k in theirs)
        )
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(alike, ours, theirs))
    if isinstance(theirs, np.ndarray | float) and not isinstance(ours, str):
        return np.shape(ours) == np.shape(theirs) and np.allclose(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE)
    return type(ours) is type(theirs) and bool(ours == theirs)


def difference(ours: Outcome, theirs: Outcome) -> str | None:
    if ours[0] != theirs[0]:
        return f"ours {ours[0]} {ours[1]!r}, fastembed {theirs[0]} {theirs[1]!r}"
    if ours[0] == "raises":
        kind = kind_of(theirs[1])
        return None if isinstance(ours[1], kind) else f"ours raises {ours[1]!r}, fastembed {theirs[1]!r}"
    return None if alike(ours[1], theirs[1]) else f"ours gives {ours[1]!r}, fastembed {theirs[1]!r}"


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_call_gives_what_fastembed_gives_or_the_difference_is_named(
    call: Call, libraries: tuple[Library, Library]
) -> None:
    if ("cuda=True" in call.name or "of a GPU" in call.name) and not CUDA_WITHOUT_A_DEVICE:
        pytest.skip("needs an ONNX Runtime with CUDA, and no GPU")
    ours, theirs = (outcome_of(call, library) for library in libraries)
    found = difference(ours, theirs)
    if found is None and ours[2] != theirs[2]:
        found = f"ours warns {set(ours[2])}, fastembed {set(theirs[2])}"
    named = [row for pattern, row in DIFFERENCES.items() if re.search(pattern, call.name)]
    if named:
        assert found is not None, f"{call.name} is alike: it need not be named under {named}"
    else:
        assert found is None, found


def test_each_named_difference_is_of_a_call_and_stands_in_the_document() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    _, _, section = text.partition("# Differences from fastembed")
    rows = {line.split("|")[1].strip() for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")}
    for pattern, row in DIFFERENCES.items():
        assert row in rows, f"the table of differences has no row {row!r}"
        assert any(re.search(pattern, call.name) for call in CALLS), f"{pattern} is the name of no call"


def test_there_are_some_hundred_calls_over_all_classes() -> None:
    assert len(CALLS) > 600
    for facade in MODEL_OF:
        assert sum(call.name.startswith(facade) for call in CALLS) > 40
