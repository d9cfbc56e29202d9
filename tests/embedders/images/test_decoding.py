from __future__ import annotations

import csv
import io
import struct
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from embedders.errors import FleetembedError, ImageError
from embedders.images.decoding import MAX_PIXELS, decode_image
from tests.image_model_fixtures import encoded, random_image

# Pillow shows their pixels when asked a second time, after it has raised.
LOADED_AT_SECOND_TRY = {"truncated_end_chunk.png", "broken_data_stream.png", "apng__chunk_no_fctl.png"}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def levels(image: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(image).astype(np.int64)


def odd_images(folder: Path) -> list[dict[str, str]]:
    with (folder / "MANIFEST.tsv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file, delimiter="\t") if (folder / row["file"]).exists()]


def pillow_loads(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                return False
            image.load()
    except Exception:
        return False
    return True


def test_every_odd_image_that_pillow_loads_is_decoded_and_every_other_has_a_reason(shared_data: Path) -> None:
    folder = shared_data / "images-odd"
    rows = odd_images(folder)
    assert len(rows) > 100
    decoded = 0
    for row in rows:
        path = folder / row["file"]
        if pillow_loads(path):
            image = decode_image(path)
            decoded += 1
            assert image.mode == "RGB"
            width, height = map(int, row["size"].split("x"))
            assert sorted(image.size) == sorted((width, height)), path.name
            turned = row["exif_orientation"] in ("5", "6", "7", "8") and not path.name.startswith("avif__rot")
            assert image.size == ((height, width) if turned else (width, height)) or path.suffix == ".avif"
        else:
            with pytest.raises(ImageError, match=r"^it (is|has) .{10,}"):
                decode_image(path)
        said_fine = row["Pillow_result"] == "ok" and path.name not in LOADED_AT_SECOND_TRY
        assert said_fine == pillow_loads(path), path.name
    assert decoded > 90
    with pytest.raises(ImageError, match="no bytes"):
        decode_image(folder / "EMPTY_zero_bytes.jpg")


def test_photos_turned_by_their_exif_data_come_out_upright(shared_data: Path) -> None:
    folder = shared_data / "images-odd"
    upright = levels(decode_image(folder / "hopper.jpg"))
    for number in range(2, 9):
        for suffix in ("jpg", "webp"):
            turned = levels(decode_image(folder / f"hopper_orientation_{number}.{suffix}"))
            # They were compressed anew, each on its own.
            assert np.abs(turned - upright).mean() < 6, (number, suffix)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_files_and_to_opened_images(orientation: int) -> None:
    image = random_image(7, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, exif=exif.tobytes())
    with Image.open(io.BytesIO(content)) as opened:
        expected = levels(ImageOps.exif_transpose(opened))
        np.testing.assert_array_equal(levels(decode_image(opened)), expected)
        assert opened.size == (7, 4)
    np.testing.assert_array_equal(levels(decode_image(content)), expected)


def test_all_kinds_of_sources_give_the_same_pixels(tmp_path: Path) -> None:
    image = random_image(31, 20)
    content = encoded(image)
    path = tmp_path / "a b é.png"
    path.write_bytes(content)
    with path.open("rb") as file, path.open("rb") as read_before:
        read_before.read(9)
        sources = [
            path,
            str(path),
            content,
            bytearray(content),
            memoryview(content),
            file,
            read_before,
            io.BytesIO(content),
            image,
            np.asarray(image),
            np.asarray(image)[:, ::-1][:, ::-1],
            {"bytes": content, "path": "elsewhere.png"},
            {"bytes": None, "path": str(path)},
        ]
        for source in sources:
            np.testing.assert_array_equal(levels(decode_image(source)), levels(image))


def test_arrays_are_grey_rgb_or_rgba() -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    np.testing.assert_array_equal(levels(decode_image(grey)), levels(Image.fromarray(grey).convert("RGB")))
    clear = np.dstack([np.full((4, 5, 3), 100, np.uint8), np.full((4, 5), 128, np.uint8)])
    np.testing.assert_allclose(levels(decode_image(clear)), 177, atol=1)
    for array in (grey / 255, grey.astype(np.uint16), np.zeros((4, 5, 2), np.uint8), np.zeros((1, 4, 5, 3), np.uint8)):
        with pytest.raises(ImageError, match=r"must be uint8 of \(height, width\).*not .* of \("):
            decode_image(array)
    with pytest.raises(ImageError, match="no pixels: 5 x 0"):
        decode_image(np.zeros((0, 5, 3), np.uint8))


def test_transparency_is_laid_on_white() -> None:
    image = random_image(8, 8)
    mask = Image.fromarray(np.repeat([[0, 64, 128, 255]], 8, axis=0).repeat(2, axis=1).astype(np.uint8))
    clear = image.copy()
    clear.putalpha(mask)
    shares = levels(mask)[..., None] / 255
    expected = levels(image) * shares + 255 * (1 - shares)
    for variant in (clear, clear.convert("RGBa")):
        np.testing.assert_allclose(levels(decode_image(variant)), expected, atol=2.5)
    grey = image.convert("L")
    grey.putalpha(mask)
    expected = levels(image.convert("L")) * shares[..., 0] + 255 * (1 - shares[..., 0])
    np.testing.assert_allclose(levels(decode_image(grey))[..., 0], expected, atol=1)


def test_transparent_colours_of_palettes_and_of_plain_images_are_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        decoded = decode_image(encoded(image, kind, transparency=0))
        assert levels(decoded).tolist() == [[[255, 255, 255], [40, 50, 60]]]
    plain = Image.new("RGB", (2, 1), (1, 2, 3))
    plain.putpixel((1, 0), (4, 5, 6))
    assert levels(decode_image(encoded(plain, transparency=(1, 2, 3)))).tolist() == [[[255, 255, 255], [4, 5, 6]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind: str) -> None:
    deep = np.array([[0, 128, 257, 32768, 65407, 65535]], dtype=np.uint16)
    decoded = levels(decode_image(encoded(Image.fromarray(deep), kind)))
    np.testing.assert_array_equal(decoded[..., 0], np.rint(deep / 257))
    assert (decoded == decoded[..., :1]).all()


def test_twelve_bits_of_a_tiff_are_scaled_to_eight(shared_data: Path) -> None:
    path = shared_data / "images-odd" / "12bit.cropped.tif"
    with Image.open(path) as image:
        deep = np.asarray(image).astype(np.float64)
    np.testing.assert_array_equal(levels(decode_image(path))[..., 0], np.rint(deep * 255 / 4095))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 99.6, 255.0], [0, 100, 255]),
        ([-10.0, 0.0, 10.0], [0, 128, 255]),
        ([np.nan, 0.0, np.inf, 1.0], [0, 0, 255, 255]),
        ([7.0, 7.0], [7, 7]),
    ],
)
def test_floats_are_scaled_by_their_range(given: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([given], dtype=np.float32))
    np.testing.assert_allclose(levels(decode_image(image))[0, :, 0], expected, atol=1)


def test_wide_integers_are_scaled_by_their_range() -> None:
    for given, expected in (([0, 32896, 65535], [0, 128, 255]), ([-70000, 0, 70000], [0, 128, 255])):
        image = Image.fromarray(np.array([given], dtype=np.int32))
        np.testing.assert_allclose(levels(decode_image(image))[0, :, 0], expected, atol=1)


def test_single_bits_and_print_colours_become_rgb() -> None:
    image = random_image(9, 6)
    one_bit = image.convert("1")
    np.testing.assert_array_equal(levels(decode_image(one_bit)), levels(one_bit.convert("RGB")))
    printed = image.convert("CMYK")
    content = encoded(printed, "TIFF")
    np.testing.assert_allclose(levels(decode_image(content)), levels(image), atol=2)


def test_lab_colours_become_srgb(shared_data: Path) -> None:
    red, green = (
        levels(decode_image(shared_data / "images-odd" / f"lab-{name}.tif")).mean((0, 1)) for name in ("red", "green")
    )
    assert red[0] - red[1] > 50
    assert green[1] - green[0] > 50


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "green", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.abs(levels(decode_image(content)) - [255, 0, 0]).max() <= 2, kind


NOT_IMAGES: list[tuple[Any, str]] = [
    (b"", "has no bytes"),
    (b"\x00" * 100, "not an image of a known format, or damaged at its start"),
    (b"<!DOCTYPE html><html>not found</html>", "it seems to be a web page"),
    (b'<?xml version="1.0"?>\n<svg width="4"/>', "it seems to be an SVG drawing"),
    (b'{"error": 404}', "it seems to be JSON"),
    (b"\x00\x00\x00\x1cftypheic0000", "HEIC"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ("https://example.org/a.jpg", "is an address, not a path"),
    ("nowhere/a.jpg", "there is no file 'nowhere/a.jpg'"),
    (".", "cannot be read: Is a directory"),
    ("a\0b.jpg", "embedded null"),
    (None, "it is null"),
    ({"bytes": None, "path": None}, "it is null"),
    (7, "it is int; an image is a path, bytes"),
    ([1, 2], "it is list"),
    (io.StringIO("text"), "opened in text mode"),
]


@pytest.mark.parametrize(("source", "message"), NOT_IMAGES, ids=[message for _, message in NOT_IMAGES])
def test_what_is_no_image_gets_a_reason(source: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        decode_image(source)
    assert not isinstance(caught.value, FleetembedError)
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000"])
def test_files_cut_anywhere_are_errors_or_images_and_never_anything_else(kind: str) -> None:
    content = encoded(random_image(40, 30), kind)
    for length in range(0, len(content), max(1, len(content) // 60)):
        try:
            image = decode_image(content[:length])
        except ImageError as error:
            assert str(error)
        else:
            # Some decoders tell a whole image from its first bytes on.
            assert image.size == (40, 30)
            assert length > len(content) // 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "ICO", "PPM", "TGA"])
def test_files_with_flipped_bytes_are_errors_or_images_and_never_anything_else(kind: str) -> None:
    content = bytearray(encoded(random_image(32, 32), kind))
    random = np.random.default_rng(5)
    for _ in range(60):
        damaged = content.copy()
        for place in random.integers(0, len(content), 4):
            damaged[place] ^= 1 << random.integers(0, 8)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert decode_image(bytes(damaged), max_pixels=1 << 20).mode == "RGB"
        except ImageError as error:
            assert str(error)


def bomb(width: int, height: int) -> bytes:
    """A BMP header that promises many pixels, and nothing behind it."""
    head = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def test_large_images_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(ImageError, match="9000 x 9000 pixels are more than max_pixels, 1,000,000"):
        decode_image(bomb(9000, 9000), max_pixels=1_000_000)
    with pytest.raises(ImageError, match="larger than Pillow allows"):
        decode_image(bomb(60000, 60000))
    content = encoded(random_image(40, 30))
    assert decode_image(content, max_pixels=1200).size == (40, 30)
    for source in (content, random_image(40, 30), np.zeros((30, 40), np.uint8)):
        with pytest.raises(ImageError, match="raise that limit"):
            decode_image(source, max_pixels=1199)


def test_reduced_decoding_shrinks_jpegs_in_whole_steps_and_nothing_else() -> None:
    image = random_image(800, 600)
    jpeg = encoded(image, "JPEG", quality=90)

    def to(*needed: int) -> Callable[[tuple[int, int]], tuple[int, int]]:
        return lambda size: (needed[0], needed[1])

    assert decode_image(jpeg, needed_size=to(20, 15)).size == (100, 75)
    assert decode_image(jpeg, needed_size=to(60, 45)).size == (200, 150)
    assert decode_image(jpeg, needed_size=to(400, 300)).size == (800, 600)
    assert decode_image(encoded(image), needed_size=to(20, 15)).size == (800, 600)
    half = levels(decode_image(jpeg, needed_size=to(130, 100)))
    assert np.abs(half - levels(decode_image(jpeg).resize((400, 300), Image.Resampling.BOX))).mean() < 6


def test_reduced_decoding_knows_which_side_is_up() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    jpeg = encoded(random_image(800, 400), "JPEG", exif=exif.tobytes())
    seen = []

    def needed(size: tuple[int, int]) -> tuple[int, int]:
        seen.append(size)
        return 25, 50

    assert decode_image(jpeg, needed_size=needed).size == (100, 200)
    assert seen == [(400, 800)]


def test_threads_may_decode_one_opened_image_at_once() -> None:
    image = random_image(300, 200)
    expected = levels(image)
    with Image.open(io.BytesIO(encoded(image))) as opened, ThreadPoolExecutor(8) as pool:
        for decoded in pool.map(decode_image, [opened] * 32):
            np.testing.assert_array_equal(levels(decoded), expected)
