"""Models of images with their real weights, where the user's cache holds them: ``pytest -m hub``.

As in test_cached_models.py: nothing is downloaded, fastembed's results on the same files and the values that its tests
publish for one photo are expected.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedders import ImageEmbedding, LateInteractionMultimodalEmbedding
from embedders.catalog import ModelCard, list_cards
from embedders.errors import ModelFilesError, ModelNotFoundError
from embedders.files.resolve import resolve_model
from tests.conftest import USER_CACHE

pytestmark = pytest.mark.hub

# Quantized graphs differ with what shares their batch.
TOLERANCE, VARYING_TOLERANCE = 1e-4, 5e-2
TEXTS = ["hello world", "flag embedding"]

images = pytest.mark.parametrize("card", list_cards("image"), ids=lambda card: card.model)
multimodal = pytest.mark.parametrize("card", list_cards("multimodal"), ids=lambda card: card.model)


@pytest.fixture
def folder(card: ModelCard) -> Path:
    try:
        return resolve_model(card, cache_dir=USER_CACHE, local_files_only=True)
    except (ModelNotFoundError, ModelFilesError):
        pytest.skip(f"{card.model} is not in {USER_CACHE}: python jobs/models.py download {card.model}")


@pytest.fixture(scope="session")
def published(shared_data: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((shared_data / "reference-vectors" / "fastembed_canonical.json").read_text())
    return content


@pytest.fixture(scope="session")
def photo(shared_data: Path) -> Path:
    return shared_data / "images-photos" / "fastembed_image.jpeg"


@images
def test_image_model_gives_fastembeds_vectors(card: ModelCard, folder: Path, photos: list[Path]) -> None:
    from fastembed import ImageEmbedding as Reference

    ours = ImageEmbedding(card.model, specific_model_path=folder, cuda=False)
    theirs = Reference(card.model, specific_model_path=str(folder), cuda=False)
    tolerance = VARYING_TOLERANCE if card.varies_with_batch else TOLERANCE
    expected = list(theirs.embed(photos[:6], batch_size=1))
    np.testing.assert_allclose(list(ours.embed(photos[:6])), expected, atol=tolerance)


@images
def test_image_model_gives_its_published_values(
    card: ModelCard, folder: Path, photo: Path, published: dict[str, Any]
) -> None:
    expected = published["image_onnx_embeddings"]["CANONICAL_VECTOR_VALUES"][card.model]
    (vector,) = ImageEmbedding(card.model, specific_model_path=folder, cuda=False).embed(photo)
    np.testing.assert_allclose(vector[: len(expected)], expected, atol=1e-3)


@multimodal
def test_multimodal_model_gives_its_published_values(
    card: ModelCard, folder: Path, photo: Path, published: dict[str, Any]
) -> None:
    tables = published["late_interaction_multimodal"]
    model = LateInteractionMultimodalEmbedding(card.model, specific_model_path=folder, cuda=False)
    for table, matrix in (
        ("CANONICAL_IMAGE_VALUES", next(model.embed_image(photo))),
        ("CANONICAL_QUERY_VALUES", next(iter(model.embed_text(TEXTS)))),
    ):
        expected = np.array(tables[table][card.model])
        rows, columns = expected.shape
        np.testing.assert_allclose(matrix[:rows, :columns], expected, atol=2e-3)
