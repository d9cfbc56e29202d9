from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from pipelines.sources.images.exif import MAX_CHARACTERS, MAX_ITEMS, read_exif
from tests.pipelines.sources.images.images import picture
from tests.pipelines.sources.reading import read, write_parquet


def camera(kind: str = "JPEG", **more: Any) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera Works\0\0"
    exif[ExifTags.Base.Model] = "M" * 1000
    exif[ExifTags.Base.Orientation] = 6
    exif[0xFDE8] = "a tag that has no name"
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = "2024:02:29 12:00:00"
    details[ExifTags.Base.FNumber] = IFDRational(28, 10)
    details[ExifTags.Base.ExposureTime] = IFDRational(1, 0)
    details[ExifTags.Base.MakerNote] = b"\x00\xff\x17" * 50
    details[ExifTags.Base.UserComment] = b"ASCII\0\0\0hello"
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef] = "N"
    place[ExifTags.GPS.GPSLatitude] = (IFDRational(48, 1), IFDRational(8, 1), IFDRational(135, 10))
    return picture(kind=kind, exif=exif, **more)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_tags_have_names_and_json_values(kind: str) -> None:
    found = read_exif(camera(kind))
    json.dumps(found, allow_nan=False)
    assert found["Make"] == "Camera Works"
    assert found["Model"] == "M" * MAX_CHARACTERS
    assert found["Orientation"] == 6
    assert found["DateTimeOriginal"] == "2024:02:29 12:00:00"
    assert found["FNumber"] == 2.8
    assert found["UserComment"] == "hello"
    assert found["GPSInfo"] == {"GPSLatitudeRef": "N", "GPSLatitude": [48.0, 8.0, 13.5]}
    assert {"MakerNote", "ExposureTime", "ExifOffset"}.isdisjoint(found)


def test_a_tiff_has_its_own_tags() -> None:
    found = read_exif(camera("TIFF"))
    assert (found["Make"], found["ImageWidth"], found["BitsPerSample"]) == ("Camera Works", 8, [8, 8, 8])


def test_long_lists_are_cut() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.BitsPerSample] = tuple(range(1000))
    found = read_exif(picture(kind="JPEG", exif=exif))
    assert found == {"BitsPerSample": list(range(MAX_ITEMS))}


@pytest.mark.parametrize("image", [picture(kind="JPEG"), picture(), b"", b"no image", camera()[:200]])
def test_images_without_tags_have_none(image: bytes) -> None:
    assert read_exif(image) == {}


@given(st.integers(0, 700), st.binary(min_size=1, max_size=8))
def test_damage_never_raises(at: int, noise: bytes) -> None:
    image = camera()
    json.dumps(read_exif(image[:at] + noise + image[at + len(noise) :]), allow_nan=False)


def test_tags_are_kept_in_the_payload_where_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(camera())
    (tmp_path / "b.jpg").write_bytes(picture(kind="JPEG"))
    (tmp_path / "c.jpg").write_bytes(b"no image")
    payloads = [json.loads(row["payload"]) for row in read(tmp_path, exif=True)]
    assert payloads[0]["exif"]["Make"] == "Camera Works"
    assert payloads[1:] == [{"path": "b.jpg"}, {"path": "c.jpg"}]
    assert json.loads(read(tmp_path)[0]["payload"]) == {"path": "a.jpg"}
    write_parquet(tmp_path / "d.parquet", {"image": [camera()], "n": [1]})
    (row,) = read(tmp_path / "d.parquet", image="image", exif=True, payload=["exif", "n"])
    assert json.loads(row["payload"])["exif"]["Orientation"] == 6
