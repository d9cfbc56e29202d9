from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastembed.image.transform.operators import Compose
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedders.errors import ImageError, ModelFilesError
from embedders.images.preprocessing import MAX_RESIZED_PIXELS, ImageTransform
from embedders.images.preprocessor_config import image_settings, load_image_settings
from tests.image_model_fixtures import (
    clip_config,
    convnext_config,
    idefics3_config,
    jina_clip_config,
    random_image,
    siglip_config,
    write_image_config,
)

CONFIGS: dict[str, dict[str, Any]] = {
    "clip": clip_config(),
    "clip, lower case without a type": {**clip_config(48, crop=40), "image_processor_type": "CLIPImageProcessor"},
    "clip, crop larger than the image": clip_config(30, crop={"height": 41, "width": 56}),
    "clip, crop alone": clip_config(crop={"height": 33, "width": 64}, do_resize=False),
    "clip, resize alone": clip_config(31, do_center_crop=False),
    "clip, levels of no mean": clip_config(32, do_normalize=False, rescale_factor=1 / 128),
    "clip, levels as they are": clip_config(32, do_rescale=False, image_mean=127, image_std=[60, 61, 62]),
    "siglip": siglip_config(),
    "siglip, not square": siglip_config(23, 38, resample=1),
    "convnext below 384": convnext_config(),
    "convnext from 384": convnext_config(384, resample=2),
    "convnext, not resized": convnext_config(do_resize=False),
    "jina clip": jina_clip_config(),
    "jina clip, lanczos on white": jina_clip_config(37, interpolation="lanczos", fill_color="white"),
    "jina clip, padded": jina_clip_config(64, resize_mode="longest", fill_color="red"),
    "jina clip, box": jina_clip_config(50, interpolation=4),
    "idefics3": idefics3_config(96, 32),
    "idefics3, one tile": idefics3_config(96, 32, do_image_splitting=False, resample=2),
    "idefics3, not resized": idefics3_config(96, 40, do_resize=False),
}
# Square, long, narrow, smaller than every crop, odd.
SIZES = [(1, 1), (2, 97), (31, 33), (32, 32), (57, 300), (224, 224), (225, 223), (333, 41), (640, 427), (1201, 800)]


def grey_level(config: dict[str, Any]) -> float:
    """What one grey level is worth after the configuration's scaling."""
    chosen = image_settings(config)
    return chosen.scale / min(chosen.deviation)


def assert_equals_fastembed(config: dict[str, Any], image: Image.Image) -> None:
    expected = Compose.from_config(config)([image])[0]
    prepared = ImageTransform(image_settings(config))(image)
    tiled = isinstance(expected, list)
    expected = np.array(expected, dtype=np.float32)
    assert prepared.pixels.shape == expected.shape
    assert prepared.pixels.dtype == np.float32
    assert prepared.pixels.flags.c_contiguous
    # Equal, in fact: far below one grey level.
    np.testing.assert_allclose(prepared.pixels, expected, atol=1e-3 * grey_level(config), rtol=1e-5)
    rows, columns = prepared.grid
    assert not tiled or len(expected) == rows * columns + 1


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_generated_images_are_transformed_as_by_fastembed(name: str, size: tuple[int, int]) -> None:
    assert_equals_fastembed(CONFIGS[name], random_image(*size))


@pytest.mark.parametrize("name", ["clip", "siglip", "convnext below 384", "convnext from 384", "jina clip"])
def test_photos_are_transformed_as_by_fastembed(name: str, photos: list[Path]) -> None:
    assert len(photos) > 3
    for path in photos:
        with Image.open(path) as image:
            assert_equals_fastembed(CONFIGS[name], image.convert("RGB"))


@pytest.mark.slow
def test_photos_are_cut_into_tiles_as_by_fastembed(photos: list[Path]) -> None:
    assert len(photos) > 3
    for path in photos[:3]:
        with Image.open(path) as image:
            assert_equals_fastembed(idefics3_config(), image.convert("RGB"))


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(4, 48),
    st.integers(4, 64),
    st.integers(4, 64),
    st.sampled_from([0, 1, 2, 3, 4, 5]),
    st.sampled_from(["clip", "jina", "convnext", "idefics3"]),
)
def test_any_size_and_crop_gives_fastembeds_pixels(
    size: tuple[int, int], side: int, height: int, width: int, resample: int, kind: str
) -> None:
    configs = {
        "clip": clip_config(side, crop={"height": height, "width": width}, resample=resample),
        "jina": jina_clip_config(side, interpolation=resample),
        "convnext": convnext_config(side, resample=resample),
        "idefics3": idefics3_config(max(side, 8), 8, resample=resample),
    }
    assert_equals_fastembed(configs[kind], random_image(*size))


def test_a_type_is_clip_unless_named() -> None:
    config = clip_config(40)
    del config["image_processor_type"]
    assert image_settings(config) == image_settings(clip_config(40))


def test_a_long_and_narrow_image_costs_no_more_than_its_window() -> None:
    image = random_image(3, 3000)
    whole = ImageTransform(image_settings(clip_config(224)))(image).pixels
    assert whole.shape == (3, 224, 224)
    # Resized as a whole it would have 1,600 million pixels.
    longest = Image.new("RGB", (1, 32000), (9, 9, 9))
    pixels = ImageTransform(image_settings(clip_config(224)))(longest).pixels
    assert 20 * MAX_RESIZED_PIXELS < 224 * 224 * 32000
    np.testing.assert_allclose(pixels, pixels[:, :1, :1].repeat(224, 1).repeat(224, 2), atol=1e-6)
    with pytest.raises(ImageError, match=r"1 x 32000 .* too long and narrow"):
        ImageTransform(image_settings(clip_config(224, do_center_crop=False)))(longest)


def test_the_approximate_transform_stays_within_a_few_grey_levels() -> None:
    config = clip_config(64)
    for size in ((700, 500), (1999, 1333), (65, 64)):
        image = random_image(*size)
        exact, close = (ImageTransform(image_settings(config), approximate=flag)(image).pixels for flag in (0, 1))
        assert np.abs(exact - close).max() <= 4 * grey_level(config)


ODD_CONFIGS = [
    (clip_config(image_processor_type="ViTImageProcessor"), "ViTImageProcessor.* known are CLIPImageProcessor"),
    (clip_config(size={"longest_edge": 5}), "size must give shortest_edge, or height and width"),
    (clip_config(size=224), "size must be an object"),
    (clip_config(size={"shortest_edge": "224"}), r"size\.shortest_edge must be a whole number"),
    (clip_config(size={"shortest_edge": True}), r"size\.shortest_edge must be a whole number"),
    (clip_config(size={"height": 4, "width": 0}), r"size\.width must be a whole number"),
    (clip_config(crop={"height": 4}), r"crop_size\.width must be a whole number"),
    (clip_config(crop="4"), "crop_size must be a whole number"),
    (clip_config(do_resize="yes"), "do_resize must be true or false"),
    (clip_config(resample=9), r"resample must be one of Pillow's filters, nearest \(0\).*not 9"),
    (clip_config(rescale_factor="1/255"), "rescale_factor must be a number"),
    (clip_config(image_mean=[0.5, 0.5]), "image_mean must be a number, or three"),
    (clip_config(image_std=[1, 0, 1]), "image_std must not be 0"),
    (clip_config(image_std=None), "image_std must be a number, or three"),
    (convnext_config(size={"height": 4, "width": 4}), r"size\.shortest_edge must be a whole number"),
    (convnext_config(crop_pct=1.5), "crop_pct must be more than 0 and at most 1"),
    (jina_clip_config(size=[4, 4]), "size must be a whole number"),
    (jina_clip_config(interpolation="smooth"), "interpolation must be one of Pillow's filters"),
    (jina_clip_config(fill_color=[1, 2]), "fill_color must be a colour"),
    (idefics3_config(size={"shortest_edge": 4}), r"size\.longest_edge must be a whole number"),
    (idefics3_config(max_image_size=512), "max_image_size must be an object"),
]


@pytest.mark.parametrize(("config", "message"), ODD_CONFIGS, ids=[message[:40] for _, message in ODD_CONFIGS])
def test_odd_configurations_are_named_with_their_file(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_image_config(tmp_path, config)
    with pytest.raises(ModelFilesError, match=rf"preprocessor_config\.json: .*{message}"):
        load_image_settings(tmp_path)


@pytest.mark.parametrize(("content", "message"), [(None, "missing"), ("{", "not valid JSON"), ("[]", "JSON object")])
def test_missing_and_broken_files_are_named(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(ModelFilesError, match=rf"preprocessor_config\.json.*{message}"):
        load_image_settings(tmp_path)


def test_needed_sizes_and_shapes() -> None:
    clip = image_settings(clip_config(224))
    assert clip.needed_size((3000, 2000)) == (336, 224)
    assert clip.shape == (3, 224, 224)
    assert image_settings(siglip_config(20, 30)).shape == (3, 20, 30)
    assert image_settings(idefics3_config(96, 32)).shape is None
    assert image_settings(idefics3_config(96, 32)).needed_size((300, 100)) == (96, 32)
    assert image_settings(json.loads(json.dumps(idefics3_config(9, 8, do_image_splitting=False)))).shape == (1, 3, 8, 8)
