from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.tar import tar_members

BLOCK = tarfile.BLOCKSIZE
NAMES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=8),
    st.text("äbc ", min_size=90, max_size=300),
    st.lists(st.text("ab", min_size=1, max_size=60), min_size=2, max_size=6).map("/".join),
).filter(lambda name: name.strip("/.") != "" and not name.endswith("/"))
FILES = st.lists(st.tuples(NAMES, st.one_of(st.binary(max_size=20), st.integers(0, 1600).map(bytes))), max_size=8)
KINDS = {
    "folder": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "device": tarfile.CHRTYPE,
}


def pack(files: Iterable[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def unpack(data: bytes, chunk: int = 1000) -> list[tuple[str, bytes]]:
    return [(member.name, member.read()) for member in tar_members(cut(data, chunk))]


@given(FILES, st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.integers(1, 3000))
@settings(max_examples=60, deadline=None)
def test_members_are_those_that_tarfile_finds(files: list[tuple[str, bytes]], format: int, chunk: int) -> None:
    try:
        archive = pack(files, format)
    except ValueError:
        # ustar has no room for long names.
        archive = pack(files)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        expected = [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    assert unpack(archive, chunk) == expected


@given(st.integers(0, 6), st.integers(1, 5000))
def test_members_need_not_be_read(skipped: int, chunk: int) -> None:
    files = [(f"{number}", bytes([number]) * number * 700) for number in range(6)]
    found = [member.read() for member in tar_members(cut(pack(files), chunk)) if int(member.name) != skipped]
    assert found == [data for name, data in files if int(name) != skipped]


def test_links_folders_and_devices_are_passed_over_whatever_size_they_claim() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind in KINDS.items():
            info = tarfile.TarInfo(f"{name}.jpg")
            info.type, info.linkname, info.size = kind, "/etc/passwd", 4096
            tar.addfile(info)
        info = tarfile.TarInfo("a.jpg")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"image"))
    assert unpack(file.getvalue()) == [("a.jpg", b"image")]


def test_archives_one_behind_another_are_read_as_one() -> None:
    assert unpack(pack([("a", b"1")]) + pack([("b", b"2")])) == [("a", b"1"), ("b", b"2")]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_archive_gives_what_is_whole_and_then_an_error(data: st.DataObject) -> None:
    files = [("a" * 120, b"x" * 600), ("b", b""), ("c", b"y" * 1024), ("d", b"z")]
    archive = pack(files, data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])))
    end = len(archive.rstrip(b"\0"))
    whole = archive[: end + -end % BLOCK]
    size = data.draw(st.integers(0, len(whole)))
    found = []
    with pytest.raises(EOFError):
        for member in tar_members([whole[:size]]):
            found.append((member.name, member.read()))
    assert found == files[: len(found)]
    assert len(found) == 4 or size < len(whole)


def test_damage_is_told_by_its_place() -> None:
    archive = bytearray(pack([("a", b"1"), ("b", b"2")]))
    archive[2 * BLOCK + 5] ^= 0xFF
    found = []
    with pytest.raises(OSError, match="header at byte 1024 is damaged"):
        for member in tar_members([bytes(archive)]):
            found.append(member.name)
    assert found == ["a"]


@given(st.binary(max_size=3 * BLOCK), st.integers(0, 2 * BLOCK), st.integers(0, 255))
@settings(deadline=None)
def test_no_bytes_raise_what_readers_do_not_expect(noise: bytes, at: int, value: int) -> None:
    archive = bytearray(pack([("a" * 200, b"1")]))
    archive[at] = value
    for content in (noise, bytes(archive), bytes(archive) + noise):
        with suppress(OSError, EOFError):
            unpack(content)
