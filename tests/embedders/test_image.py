from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastembed import ImageEmbedding as FastembedImageEmbedding
from PIL import Image

from embedders import ImageEmbedding, ImageError, ModelFilesError, ModelNotFoundError, TextEmbedding
from embedders.arrow import dense_matrix
from embedders.catalog import load_cards
from embedders.factory import make_embedder
from tests.image_model_fixtures import (
    clip_config,
    convnext_config,
    encoded,
    idefics3_config,
    jina_clip_config,
    random_image,
    siglip_config,
    write_synthetic_image_model,
)

CLIP = "Qdrant/clip-ViT-B-32-vision"
# Every model of the catalog: what its preprocessor does, what its graph gives.
MODELS: dict[str, tuple[dict[str, Any], str]] = {
    CLIP: (clip_config(), "vector"),
    "Qdrant/resnet50-onnx": (convnext_config(), "map"),
    "Qdrant/Unicom-ViT-B-16": (clip_config(), "vector"),
    "Qdrant/Unicom-ViT-B-32": (clip_config(), "vector"),
    "jinaai/jina-clip-v1": (jina_clip_config(), "vector"),
    "nomic-ai/nomic-embed-vision-v1.5": (
        clip_config(do_center_crop=False, size={"height": 224, "width": 224}),
        "tokens",
    ),
    "nomic-ai/nomic-embed-vision-v1.5-Q": (siglip_config(), "tokens"),
    "google/siglip2-base-patch16-224": (siglip_config(), "pooler"),
}
SIZES = [(224, 224), (300, 200), (64, 500), (31, 17), (640, 427), (1, 1), (225, 223)]


def synthetic(folder: Path, name: str = CLIP, config: dict[str, Any] | None = None, **options: Any) -> Path:
    card = next(card for card in load_cards("image") if card.model == name)
    known_config, kind = MODELS[name]
    # The width that the catalog says: fastembed finds the first token by it.
    dim = card.dim or 0
    return write_synthetic_image_model(
        folder, config or known_config, **{"kind": kind, "model_file": card.model_file, "dim": dim, **options}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic(tmp_path_factory.mktemp("clip"), config=clip_config(32), side=32)


@pytest.fixture(scope="module")
def model(folder: Path) -> ImageEmbedding:
    return ImageEmbedding(CLIP, specific_model_path=folder, cuda=False, threads=2)


def small_images(count: int = 12) -> list[Image.Image]:
    return [random_image(20 + 7 * number, 90 - 5 * number, seed=number) for number in range(count)]


@pytest.mark.parametrize("name", MODELS)
def test_synthetic_graphs_of_all_models_give_fastembeds_vectors(name: str, tmp_path: Path) -> None:
    folder = synthetic(tmp_path, name)
    images = [random_image(*size) for size in SIZES]
    ours = ImageEmbedding(name, specific_model_path=folder, cuda=False, threads=2)
    reference = FastembedImageEmbedding(name, specific_model_path=str(folder), cuda=False)
    expected = np.stack(list(reference.embed(images, batch_size=3)))
    vectors = ours.embed_array(images)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(images), ours.embedding_size)
    assert ours.embedding_size == reference.embedding_size == ImageEmbedding.get_embedding_size(name.upper())
    # Not all alike: the test could not tell them apart otherwise.
    assert np.abs(np.triu(vectors @ vectors.T, 1)).max() < 0.999


@pytest.mark.parametrize("name", [CLIP, "jinaai/jina-clip-v1", "google/siglip2-base-patch16-224"])
def test_photos_give_fastembeds_vectors_by_a_synthetic_graph(name: str, photos: list[Path], tmp_path: Path) -> None:
    folder = synthetic(tmp_path, name)
    reference = FastembedImageEmbedding(name, specific_model_path=str(folder), cuda=False)
    ours = ImageEmbedding(name, specific_model_path=folder, cuda=False, threads=2)
    expected = np.stack(list(reference.embed(photos)))
    np.testing.assert_allclose(ours.embed_array(photos), expected, atol=1e-5)


def odd_images() -> list[Image.Image]:
    """Images that are turned, transparent or of other modes, which this project reads otherwise than fastembed."""
    image = random_image(64, 40)
    turned = []
    for orientation in (3, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned.append(Image.open(io.BytesIO(encoded(image, "JPEG", exif=exif, quality=95))))
    clear = image.copy()
    clear.putalpha(random_image(64, 40, 1).convert("L"))
    spotted = image.quantize(16)
    spotted.info["transparency"] = 3
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return [*turned, clear, spotted, deep]


def test_synthetic_odd_images_give_fastembeds_vectors_as_fastembed(folder: Path) -> None:
    images = odd_images()
    reference = FastembedImageEmbedding(CLIP, specific_model_path=str(folder), cuda=False)
    expected = np.stack(list(reference.embed(images)))
    options: dict[str, Any] = {"specific_model_path": folder, "cuda": False}
    same = ImageEmbedding(CLIP, as_fastembed=True, **options)
    np.testing.assert_allclose(same.embed_array(images), expected, atol=1e-5)
    np.testing.assert_allclose(same.embed_array([encoded(image) for image in images[2:4]]), expected[2:4], atol=1e-5)
    usual = ImageEmbedding(CLIP, **options)
    assert np.abs(usual.embed_array(images) - expected).max(axis=1).min() > 1e-3
    plain = small_images(3)
    np.testing.assert_array_equal(same.embed_array(plain), usual.embed_array(plain))


def test_a_fingerprint_tells_of_as_fastembed_only_where_it_is_set(folder: Path, model: ImageEmbedding) -> None:
    options: dict[str, Any] = {"specific_model_path": folder, "cuda": False}
    assert ImageEmbedding(CLIP, as_fastembed=False, **options).fingerprint == model.fingerprint
    assert ImageEmbedding(CLIP, as_fastembed=True, **options).fingerprint != model.fingerprint


def test_synthetic_vectors_do_not_depend_on_batches_and_threads(folder: Path, model: ImageEmbedding) -> None:
    images = small_images()
    expected = model.embed_array(images)
    options: list[dict[str, Any]] = [
        {"threads": 1},
        {"threads": 3, "pixel_budget": 1},
        {"threads": 2, "batches_at_once": 1, "decode_threads": 5, "pixel_budget": 5 * 32 * 32},
        {"decode_threads": 1, "batches_at_once": 1},
    ]
    for chosen in options:
        other = ImageEmbedding(CLIP, specific_model_path=folder, cuda=False, **chosen)
        np.testing.assert_allclose(other.embed_array(images), expected, atol=1e-6)
        np.testing.assert_allclose(np.stack(list(other.embed(images[::-1], batch_size=2))), expected[::-1], atol=1e-6)


def test_a_single_image_of_any_kind_is_one_image(model: ImageEmbedding, tmp_path: Path) -> None:
    image = random_image(50, 40)
    content = encoded(image)
    path = tmp_path / "image.png"
    path.write_bytes(content)
    (expected,) = model.embed([image])
    with path.open("rb") as file:
        for single in (
            str(path),
            path,
            content,
            bytearray(content),
            image,
            file,
            np.asarray(image),
            {"bytes": content},
        ):
            (vector,) = model.embed(single)
            np.testing.assert_allclose(vector, expected, atol=1e-6)
            assert model.embed_array(single).shape == (1, model.dim)
    assert len(list(model.embed(np.stack([np.asarray(image)] * 3)))) == 3
    assert list(model.embed([])) == []


def test_arrow_columns_of_contents_paths_and_both(model: ImageEmbedding, tmp_path: Path) -> None:
    images = small_images(5)
    contents = [encoded(image) for image in images]
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    expected = model.embed_array(images)
    both = [
        {"bytes": content if number % 2 else None, "path": str(paths[number])}
        for number, content in enumerate(contents)
    ]
    columns = [
        pa.array(contents),
        pa.array(contents, pa.large_binary()),
        pa.chunked_array([contents[:2], contents[2:]]),
        pa.array([str(path) for path in paths]),
        pa.array(both),
    ]
    for column in columns:
        embedded = model.embed_arrow(column)
        assert embedded.type == pa.list_(pa.float32(), model.dim) == model.spec.arrow_type
        np.testing.assert_allclose(dense_matrix(embedded), expected, atol=1e-6)
    assert model.embed_queries_arrow(columns[0]).equals(model.embed_arrow(columns[0]))
    assert model.embed_arrow([]).equals(pa.array([], model.spec.arrow_type))
    assert model.embed_array([]).shape == (0, model.dim)


def test_half_precision_halves_the_column(folder: Path, model: ImageEmbedding) -> None:
    half = ImageEmbedding(CLIP, specific_model_path=folder, cuda=False, dtype="float16")
    images = small_images(3)
    column = half.embed_arrow(images)
    assert column.type == pa.list_(pa.float16(), model.dim)
    np.testing.assert_allclose(dense_matrix(column), model.embed_array(images), atol=1e-3)
    assert half.fingerprint != model.fingerprint


def test_an_unreadable_image_is_named(model: ImageEmbedding, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(encoded(random_image(60, 60), "JPEG")[:400])
    images: list[Any] = [*small_images(9), broken, b"", random_image(5, 5)]
    for embed in (model.embed_arrow, model.embed_array, lambda given: list(model.embed(given))):
        with pytest.raises(ImageError, match=r"^image 9 \(.*broken\.jpg\): it is damaged: (?i:.*truncated)"):
            embed(images)
    with pytest.raises(ImageError, match="image 1: it is null"):
        model.embed_arrow(pa.array([encoded(random_image(5, 5)), None]))


def test_unreadable_images_cost_the_others_nothing(model: ImageEmbedding) -> None:
    images: list[Any] = [b"", *small_images(4), b"no image", "nowhere.png", random_image(5, 5), None]
    before = model.stats.rows
    column, errors = model.model.embed_arrow_and_errors(images)
    assert sorted(errors) == [0, 5, 6, 8]
    assert all(isinstance(error, ImageError) for error in errors.values())
    # The key says which image it is.
    assert [str(errors[row]) for row in (0, 8)] == ["it has no bytes", "it is null: drop such rows"]
    assert column.is_null().to_pylist() == [row in errors for row in range(9)]
    good = [image for row, image in enumerate(images) if row not in errors]
    np.testing.assert_allclose(dense_matrix(column.drop_null()), model.embed_array(good), atol=1e-6)
    assert model.stats.rows == before + 2 * 5
    column, errors = model.model.embed_arrow_and_errors([b"", None])
    assert (column.null_count, column.type) == (2, model.spec.arrow_type)
    assert model.model.embed_arrow_and_errors(good)[1] == {}


def test_rows_and_seconds_of_decoder_transform_and_model_are_counted_apart(folder: Path) -> None:
    model = ImageEmbedding(CLIP, specific_model_path=folder, cuda=False)
    assert model.stats.rows == 0
    model.embed_array([encoded(image) for image in small_images(5)])
    stats = model.stats
    assert stats.rows == 5
    assert min(stats.decode_seconds, stats.transform_seconds, stats.model_seconds) > 0
    assert (stats.tokens, stats.truncated, stats.tokenize_seconds) == (0, 0, 0)


def test_endless_images_are_read_ahead_within_bounds(folder: Path) -> None:
    model = ImageEmbedding(CLIP, specific_model_path=folder, cuda=False, threads=2)
    image, taken = random_image(9, 9), 0

    def images() -> Iterator[Image.Image]:
        nonlocal taken
        while True:
            taken += 1
            yield image

    vectors = model.embed(images(), batch_size=3)
    assert taken == 0
    for _ in range(10):
        next(vectors)
    assert taken <= 10 + 3 * 4
    before = threading.active_count()
    vectors.close()  # type: ignore[attr-defined]
    assert threading.active_count() < before


def test_images_of_any_shape_work_where_nothing_is_cropped(tmp_path: Path) -> None:
    config = clip_config(do_resize=False, do_center_crop=False)
    write_synthetic_image_model(tmp_path, config, side=64, dim=512)
    ours = ImageEmbedding(CLIP, specific_model_path=tmp_path, cuda=False)
    images = [random_image(64, 64), random_image(64, 64, seed=1)]
    reference = FastembedImageEmbedding(CLIP, specific_model_path=str(tmp_path), cuda=False)
    np.testing.assert_allclose(ours.embed_array(images), list(reference.embed(images)), atol=1e-5)


def test_a_synthetic_graph_that_takes_no_tiles_is_refused(tmp_path: Path) -> None:
    write_synthetic_image_model(tmp_path, idefics3_config(32, 32, do_image_splitting=False), side=32, dim=512)
    with pytest.raises(ModelFilesError, match=r"the graph cannot embed an image"):
        ImageEmbedding(CLIP, specific_model_path=tmp_path, cuda=False)


def test_graphs_of_a_fixed_batch_get_no_more(tmp_path: Path) -> None:
    folder = synthetic(tmp_path, config=clip_config(32), side=32, batch=1)
    images = small_images(5)
    vectors = ImageEmbedding(CLIP, specific_model_path=folder, cuda=False).embed_array(images)
    assert len(vectors) == 5


def test_reduced_decoding_gives_nearly_the_same_vectors(
    folder: Path, model: ImageEmbedding, photos: list[Path]
) -> None:
    fast = ImageEmbedding(CLIP, specific_model_path=folder, cuda=False, reduced_decoding=True)
    assert fast.fingerprint != model.fingerprint
    cosines = np.sum(fast.embed_array(photos) * model.embed_array(photos), axis=1)
    assert cosines.min() > 0.99


def test_pixel_limit_is_an_option(folder: Path) -> None:
    model = ImageEmbedding(CLIP, specific_model_path=folder, cuda=False, max_pixels=100)
    with pytest.raises(ImageError, match="image 1: its 11 x 10 pixels are more than max_pixels, 100"):
        model.embed_array([random_image(10, 10), random_image(11, 10)])


@pytest.mark.parametrize("option", ["max_pixels", "decode_threads", "batches_at_once", "pixel_budget", "threads"])
def test_impossible_options_are_refused(option: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=f"{option} must be 1 or more, got 0"):
        ImageEmbedding(CLIP, specific_model_path=folder, cuda=False, **{option: 0})


def test_batch_size_below_one_is_refused_at_once(model: ImageEmbedding) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        model.embed([], batch_size=0)


def test_lazy_loading_looks_at_files_and_loads_later(tmp_path: Path) -> None:
    folder = synthetic(tmp_path, config=clip_config(32), side=32)
    (folder / "model.onnx").write_bytes(b"damaged")
    lazy = ImageEmbedding(CLIP, specific_model_path=folder, cuda=False, lazy_load=True)
    assert len(lazy.fingerprint) == 64
    with pytest.raises(ModelFilesError, match=r"model\.onnx"):
        lazy.embed_array([random_image(4, 4)])
    with pytest.raises(ModelFilesError, match=r"model\.onnx"):
        ImageEmbedding(CLIP, specific_model_path=folder, cuda=False)
    with pytest.raises(ModelFilesError, match="lacks model"):
        ImageEmbedding(CLIP, specific_model_path=tmp_path / "..", cuda=False)


def test_custom_models_are_checked_against_their_graph(tmp_path: Path) -> None:
    folder = write_synthetic_image_model(tmp_path, clip_config(32), "tokens", side=32, dim=10)
    add = ImageEmbedding.add_custom_model
    add("tests/first", folder, dim=10, pooling="cls", model_file="model.onnx", text_model="tests/text")
    add("tests/mean", folder, dim=10, pooling="mean", model_file="model.onnx", normalization=False)
    add("tests/wide", folder, dim=11, pooling="cls", model_file="model.onnx")
    add("tests/flat", folder, dim=10, model_file="model.onnx")
    images = small_images(2)
    first = ImageEmbedding("tests/first", cuda=False).embed_array(images)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6)
    assert ImageEmbedding("tests/mean", cuda=False).embed_array(images).shape == (2, 10)
    for name in ("tests/wide", "tests/flat"):
        with pytest.raises(ModelFilesError, match=r"numbers an image, and 1[01] are expected.*last_hidden_state"):
            ImageEmbedding(name, cuda=False)
    listed = {row["model"]: row for row in ImageEmbedding.list_supported_models()}
    assert listed["tests/first"]["text_model"] == "tests/text"
    with pytest.raises(ValueError, match="there already"):
        add("TESTS/First", folder, dim=10)


def test_one_name_of_two_families_is_told_apart(tmp_path: Path) -> None:
    name = "jinaai/jina-clip-v1"
    folder = synthetic(tmp_path, name)
    embedder = make_embedder(name, family="image", specific_model_path=folder, cuda=False)
    assert len(embedder.embed_arrow([random_image(8, 8)])) == 1  # type: ignore[list-item]
    with pytest.raises(ModelFilesError, match="text_model"):
        make_embedder(name, specific_model_path=folder, cuda=False)
    with pytest.raises(ModelNotFoundError, match="'Qdrant/bm25' is not in the catalog"):
        make_embedder("Qdrant/bm25", family="image")
    with pytest.raises(ValueError, match="there is no family 'images'; there are dense, "):
        make_embedder(name, family="images")


def test_catalog_facts_equal_fastembeds() -> None:
    reference = FastembedImageEmbedding.list_supported_models()
    ours = {
        row["model"]: row for row in ImageEmbedding.list_supported_models() if not row["model"].startswith("tests/")
    }
    assert list(ours) == [row["model"] for row in reference]
    texts = {row["model"] for row in TextEmbedding.list_supported_models()}
    for row in reference:
        own = ours[row["model"]]
        assert own["sources"]["hf"] == row["sources"]["hf"]
        same = row.keys() - {"description", "sources"}
        assert {name: own[name] for name in same} == {name: row[name] for name in same}
        if "text_model" in own:
            assert own["text_model"] in texts
            assert TextEmbedding.get_embedding_size(own["text_model"]) == own["dim"]


def test_unknown_models_are_refused() -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean Qdrant/clip-ViT-B-32-vision"):
        ImageEmbedding("Qdrant/clip-ViT-B-32-visions")
    with pytest.raises(TypeError, match="list_supported_models"):
        ImageEmbedding()
    with pytest.raises(TypeError, match="did you mean 'max_pixels'"):
        ImageEmbedding(CLIP, max_pixel=4)


def test_files_opened_by_the_user_stay_open(model: ImageEmbedding) -> None:
    file = io.BytesIO(encoded(random_image(8, 8)))
    model.embed_array([file])
    assert not file.closed
