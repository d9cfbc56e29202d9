from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastembed import LateInteractionMultimodalEmbedding as Fastembed
from PIL import Image

from embedders import ImageError, LateInteractionMultimodalEmbedding, ModelFilesError, ModelNotFoundError
from embedders.catalog import find_card
from embedders.factory import make_embedder
from embedders.multimodal_template import PromptTemplate, tile_tokens
from tests.image_model_fixtures import (
    encoded,
    idefics3_config,
    random_image,
    siglip_config,
    write_synthetic_colpali,
    write_synthetic_multimodal_model,
)

COLPALI, COLMODERNVBERT = "Qdrant/colpali-v1.3-fp16", "Qdrant/colmodernvbert"
TEXTS = ["hello world", "", "the quick brown fox jumps", "a", "paris is the capital of", "hello world"]
SIZES = [(96, 96), (200, 90), (40, 130), (31, 17), (300, 299), (20, 20)]
TILE_TOKENS = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
pytestmark = [
    pytest.mark.filterwarnings("ignore:The model 'Qdrant/colmodernvbert' has been updated"),
    pytest.mark.filterwarnings("ignore:Qdrant/colmodernvbert was exported anew"),
]
SPECIAL = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<|begin_of_text|>"]


@pytest.fixture(scope="module")
def colpali_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_synthetic_colpali(tmp_path_factory.mktemp("colpali"))
    return folder


@pytest.fixture(scope="module")
def tiled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colmodernvbert")
    special = {"pad_token": "[PAD]", "more": [*SPECIAL, *TILE_TOKENS]}
    config = idefics3_config(96, 32)
    write_synthetic_multimodal_model(
        folder, config, tiled=True, model_file="model_v2.onnx", dim=128, limit=2000, special_map=special
    )
    (folder / "processor_config.json").write_text('{"image_seq_len": 4}')
    (folder / "config.json").write_text('{"pad_token_id": 0, "vision_config": {"image_size": 32}}')
    return folder


@pytest.fixture(scope="module")
def colpali(colpali_folder: Path) -> LateInteractionMultimodalEmbedding:
    return LateInteractionMultimodalEmbedding(COLPALI, specific_model_path=colpali_folder, cuda=False, threads=2)


@pytest.fixture(scope="module")
def tiled(tiled_folder: Path) -> LateInteractionMultimodalEmbedding:
    return LateInteractionMultimodalEmbedding(COLMODERNVBERT, specific_model_path=tiled_folder, cuda=False, threads=2)


def assert_all_close(matrices: Any, expected: Any, atol: float = 1e-5) -> None:
    for matrix, other in zip(matrices, expected, strict=True):
        assert matrix.shape == other.shape
        np.testing.assert_allclose(matrix, other, atol=atol)


def rows(column: pa.Array) -> list[Any]:
    return [np.array(item.as_py(), dtype=np.float32).reshape(-1, 128) for item in column]


def test_synthetic_colpali_embeds_texts_as_fastembed_one_by_one(
    colpali: LateInteractionMultimodalEmbedding, colpali_folder: Path
) -> None:
    reference = Fastembed(COLPALI, specific_model_path=str(colpali_folder), cuda=False)
    # In a larger batch, fastembed gives out the vectors of padding, too.
    expected = list(reference.embed_text(TEXTS, batch_size=1))
    assert_all_close(colpali.embed_text(TEXTS), expected)
    assert_all_close(colpali.embed_text(iter(TEXTS), batch_size=2), expected)
    for extension in (False, True):
        count = reference.token_count(TEXTS, include_extension=extension)
        assert colpali.token_count(TEXTS, include_extension=extension) == count
    assert colpali.token_count(TEXTS, include_extension=True) == sum(map(len, expected))


def test_synthetic_colpali_embeds_images_as_fastembed(
    colpali: LateInteractionMultimodalEmbedding, colpali_folder: Path, photos: list[Path]
) -> None:
    images = [*(random_image(*size) for size in SIZES[:3]), photos[0]]
    expected = list(Fastembed(COLPALI, specific_model_path=str(colpali_folder), cuda=False).embed_image(images))
    matrices = list(colpali.embed_image(images))
    assert_all_close(matrices, expected)
    assert all(matrix.shape == (1030, 128) and matrix.dtype == np.float32 for matrix in matrices)


def test_synthetic_colmodernvbert_embeds_texts_as_fastembed(
    tiled: LateInteractionMultimodalEmbedding, tiled_folder: Path
) -> None:
    reference = Fastembed(COLMODERNVBERT, specific_model_path=str(tiled_folder), cuda=False)
    assert_all_close(tiled.embed_text(TEXTS), reference.embed_text(TEXTS))
    assert_all_close(tiled.embed_text("hello"), reference.embed_text("hello"))
    for extension in (False, True):
        count = reference.token_count(TEXTS, include_extension=extension)
        assert tiled.token_count(TEXTS, include_extension=extension) == count


def test_synthetic_colmodernvbert_embeds_images_as_fastembed(
    tiled: LateInteractionMultimodalEmbedding, tiled_folder: Path, photos: list[Path]
) -> None:
    images = [*(random_image(*size) for size in SIZES), *photos[:3]]
    reference = Fastembed(COLMODERNVBERT, specific_model_path=str(tiled_folder), cuda=False)
    for batch_size in (1, 3):
        expected = list(reference.embed_image(images, batch_size=batch_size))
        assert_all_close(tiled.embed_image(images, batch_size=batch_size), expected)
    # Tiles differ in number, and so do their tokens.
    assert len({len(matrix) for matrix in expected}) > 2


def test_synthetic_tiles_of_several_images_share_a_call(tiled_folder: Path) -> None:
    one, many = (
        LateInteractionMultimodalEmbedding(
            COLMODERNVBERT, specific_model_path=tiled_folder, cuda=False, threads=2, **options
        )
        for options in ({}, {"batches_at_once": 3, "decode_threads": 3})
    )
    images = [random_image(*size, seed=seed) for seed in range(3) for size in SIZES]
    assert_all_close(one.embed_image(images), list(many.embed_image(images)), atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_synthetic_vectors_of_padding_are_left_out_on_either_side(side: str, tmp_path: Path) -> None:
    folder = write_synthetic_multimodal_model(
        tmp_path, siglip_config(448, 448), tiled=False, dim=128, patch=64, padding_side=side
    )
    (folder / "model.onnx_data").touch()
    model = LateInteractionMultimodalEmbedding(COLPALI, specific_model_path=folder, cuda=False)
    reference = Fastembed(COLPALI, specific_model_path=str(folder), cuda=False)
    assert_all_close(model.embed_text(TEXTS), reference.embed_text(TEXTS, batch_size=1))


def test_arrow_columns_hold_the_same_vectors(tiled: LateInteractionMultimodalEmbedding) -> None:
    images = [random_image(*size) for size in SIZES]
    contents = pa.array([encoded(image) for image in images])
    column = tiled.embed_arrow(contents)
    assert column.type == pa.list_(pa.list_(pa.float32(), 128)) == tiled.spec.arrow_type
    assert_all_close(rows(column), list(tiled.embed_image(images)), atol=1e-6)
    queries = tiled.embed_queries_arrow(pa.array(TEXTS))
    assert queries.type == column.type
    assert_all_close(rows(queries), list(tiled.embed_text(TEXTS)), atol=1e-6)
    for empty in (tiled.embed_arrow([]), tiled.embed_queries_arrow([])):
        assert empty.equals(pa.array([], tiled.spec.arrow_type))


def test_half_precision_and_other_options_change_the_fingerprint(
    tiled: LateInteractionMultimodalEmbedding, tiled_folder: Path
) -> None:
    def other(**options: Any) -> LateInteractionMultimodalEmbedding:
        return LateInteractionMultimodalEmbedding(
            COLMODERNVBERT, specific_model_path=tiled_folder, cuda=False, lazy_load=True, **options
        )

    half = other(dtype="float16")
    column = half.embed_arrow([random_image(40, 40)])
    assert column.type == pa.list_(pa.list_(pa.float16(), 128))
    prints = {tiled.fingerprint, half.fingerprint, other(reduced_decoding=True).fingerprint}
    assert len(prints) == 3
    assert other(threads=1).fingerprint == tiled.fingerprint


def test_unreadable_images_are_named_and_cost_the_others_nothing(tiled: LateInteractionMultimodalEmbedding) -> None:
    images: list[Any] = [random_image(40, 40), b"no image", random_image(90, 30), None]
    with pytest.raises(ImageError, match="image 1: it is not an image"):
        tiled.embed_arrow(images)
    column, errors = tiled.model.embed_arrow_and_errors(images)
    assert sorted(errors) == [1, 3]
    assert column.is_null().to_pylist() == [False, True, False, True]
    assert_all_close(rows(column.drop_null()), list(tiled.embed_image([images[0], images[2]])), atol=1e-6)
    column, errors = tiled.model.embed_arrow_and_errors([b""])
    assert (column.null_count, len(errors), column.type) == (1, 1, tiled.spec.arrow_type)


def test_invalid_texts_are_named(tiled: LateInteractionMultimodalEmbedding) -> None:
    with pytest.raises(ValueError, match="text 2 of the batch is NoneType"):
        tiled.embed_queries_arrow(["a", "a", None])  # type: ignore[list-item]
    for embed in (tiled.embed_text, tiled.embed_image):
        with pytest.raises(ValueError, match="batch_size"):
            embed([], batch_size=0)


def test_synthetic_texts_and_images_are_counted(tiled_folder: Path) -> None:
    model = LateInteractionMultimodalEmbedding(COLMODERNVBERT, specific_model_path=tiled_folder, cuda=False)
    assert (model.stats.rows, model.stats.tokens) == (0, 0)
    (matrix,) = model.embed_image(random_image(40, 40))
    assert (model.stats.rows, model.stats.tokens) == (1, len(matrix))
    assert min(model.stats.decode_seconds, model.stats.transform_seconds, model.stats.model_seconds) > 0
    vectors = list(model.embed_text(["fox", "hello"]))
    assert (model.stats.rows, model.stats.tokens) == (3, len(matrix) + sum(map(len, vectors)))


def test_the_factory_makes_the_family(tiled_folder: Path, tiled: LateInteractionMultimodalEmbedding) -> None:
    embedder = make_embedder(COLMODERNVBERT, specific_model_path=tiled_folder, cuda=False)
    assert embedder.spec == tiled.spec
    assert embedder.fingerprint == tiled.fingerprint


def test_files_that_do_not_fit_are_named(tiled_folder: Path, tmp_path: Path) -> None:
    for path in tiled_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    def load(**options: Any) -> LateInteractionMultimodalEmbedding:
        return LateInteractionMultimodalEmbedding(COLMODERNVBERT, specific_model_path=tmp_path, cuda=False, **options)

    (tmp_path / "processor_config.json").write_text('{"image_seq_len": "64"}')
    with pytest.raises(ModelFilesError, match="image_seq_len must be a whole number from 1 on, not '64'"):
        load()
    (tmp_path / "processor_config.json").write_text('{"image_seq_len": 4}')
    short = load(max_length=60)
    with pytest.raises(ModelFilesError, match="the tokens of 3 x 3 tiles are more than max_length, 60"):
        next(short.embed_image(random_image(200, 199)))
    (tmp_path / "processor_config.json").unlink()
    with pytest.raises(ModelFilesError, match=r"processor_config\.json is missing"):
        load()


def test_templates_are_checked() -> None:
    card = find_card(COLPALI)
    assert PromptTemplate.of(card).query_start == (2, 5098)
    assert PromptTemplate.of(card).image_tokens == 1024
    for options, message in (
        ({"image_tokken": 1}, "no option 'image_tokken'"),
        ({}, "either tile_prompt or image_token"),
        ({"tile_prompt": "a {img}"}, r"no \{image\}"),
    ):
        with pytest.raises(ValueError, match=message):
            PromptTemplate.of(type(card)(**{**vars(card), "options": options}))


def test_tiles_are_written_as_by_idefics3() -> None:
    assert tile_tokens(0, 0, 2) == "<fake_token_around_image><global-img><image><image><fake_token_around_image>"
    around, image = "<fake_token_around_image>", "<image>"
    assert tile_tokens(1, 2, 1) == (
        f"{around}<row_1_col_1>{image}{around}<row_1_col_2>{image}\n\n{around}<global-img>{image}{around}"
    )


def test_catalog_facts_equal_fastembeds() -> None:
    reference = Fastembed.list_supported_models()
    ours = {row["model"]: row for row in LateInteractionMultimodalEmbedding.list_supported_models()}
    assert list(ours) == [row["model"] for row in reference]
    for row in reference:
        own = ours[row["model"]]
        assert own["sources"]["hf"] == row["sources"]["hf"]
        same = row.keys() - {"description", "sources"}
        assert {name: own[name] for name in same} == {name: row[name] for name in same}
        assert LateInteractionMultimodalEmbedding.get_embedding_size(row["model"]) == row["dim"]
    with pytest.raises(ModelNotFoundError, match=r"Did you mean Qdrant/colpali-v1\.3-fp16"):
        LateInteractionMultimodalEmbedding("Qdrant/colpali-v1.4")


def test_synthetic_turned_and_transparent_pages_give_fastembeds_matrices_as_fastembed(colpali_folder: Path) -> None:
    turn = Image.Exif()
    turn[0x0112] = 6
    turned = Image.open(io.BytesIO(encoded(random_image(90, 40), "JPEG", exif=turn)))
    clear = random_image(60, 60)
    clear.putalpha(random_image(60, 60, 1).convert("L"))
    options: dict[str, Any] = {"specific_model_path": colpali_folder, "cuda": False}
    reference = Fastembed(COLPALI, specific_model_path=str(colpali_folder), cuda=False)
    expected = list(reference.embed_image([turned, clear]))
    same = LateInteractionMultimodalEmbedding(COLPALI, as_fastembed=True, **options)
    assert_all_close(same.embed_image([turned, clear]), expected)
    usual = LateInteractionMultimodalEmbedding(COLPALI, **options)
    for matrix, other in zip(usual.embed_image([turned, clear]), expected, strict=True):
        assert np.abs(matrix - other).max() > 1e-3
    plain = LateInteractionMultimodalEmbedding(COLPALI, as_fastembed=False, **options)
    assert plain.fingerprint == usual.fingerprint != same.fingerprint
