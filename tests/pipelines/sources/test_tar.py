from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

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
    with pytest.raises(EOFError, match=r"^the archive (ends within|has no end mark)"):
        for member in tar_members([whole[:size]]):
            found.append((member.name, member.read()))
    assert found == files[: len(found)]
    assert len(found) == 4 or size < len(whole)


FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
# Offsets and sizes of a header's fields (POSIX.1-2001, ustar); the eighth byte of the check sum says nothing.
FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "uid": (108, 8),
    "gid": (116, 8),
    "size": (124, 12),
    "mtime": (136, 12),
    "chksum": (148, 7),
    "typeflag": (156, 1),
    "linkname": (157, 100),
    "magic": (257, 6),
    "version": (263, 2),
    "uname": (265, 32),
    "gname": (297, 32),
    "devmajor": (329, 8),
    "devminor": (337, 8),
    "prefix": (345, 155),
}
SMALL = [("a" * 60 + "/" + "b" * 60, b"x" * 600), ("empty", b""), ("ü", b"y" * 1024), ("d", b"z")]


def until_an_error(archive: bytes) -> tuple[list[tuple[str, bytes]], Exception]:
    """Read what can be read; an archive that does not end in an error fails the test."""
    found: list[tuple[str, bytes]] = []
    try:
        for member in tar_members([archive]):
            found.append((member.name, member.read()))
    except (OSError, EOFError) as error:
        return found, error
    pytest.fail(f"nothing is said of the damage; {len(found)} members were read")


def headers(archive: bytes) -> list[int]:
    """Places of all headers, also of those that extend the next one."""
    return [at for at in range(0, len(archive), BLOCK) if archive[at + 257 : at + 262] == b"ustar"]


@pytest.mark.parametrize("kind", FORMATS)
def test_an_archive_that_is_cut_anywhere_says_so(kind: str) -> None:
    archive = pack(SMALL, FORMATS[kind])
    end = len(archive.rstrip(b"\0"))
    end += -end % BLOCK
    for boundary in range(0, end + 1, BLOCK):
        for size in {max(boundary - 1, 0), boundary, min(boundary + 1, end)}:
            found, error = until_an_error(archive[:size])
            assert isinstance(error, EOFError)
            assert found == SMALL[: len(found)]
    assert unpack(archive[: end + BLOCK]) == SMALL


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", FORMATS)
def test_one_wrong_byte_in_a_header_is_told_by_its_place(kind: str, field: str) -> None:
    archive = pack(SMALL, FORMATS[kind])
    start, length = FIELDS[field]
    assert len(headers(archive)) >= len(SMALL)
    for header in headers(archive):
        for at in {start, start + length // 2, start + length - 1}:
            for flipped in (0x01, 0x80, 0xFF):
                damaged = bytearray(archive)
                damaged[header + at] ^= flipped
                found, error = until_an_error(bytes(damaged))
                assert f"header at byte {header} is damaged" in str(error)
                assert found == SMALL[: len(found)]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_header_of_zeros_is_no_end_mark(kind: str) -> None:
    archive = pack(SMALL, FORMATS[kind])
    for header in headers(archive):
        found, error = until_an_error(archive[:header] + bytes(BLOCK) + archive[header + BLOCK :])
        assert "damaged" in str(error) or isinstance(error, EOFError)
        assert found == SMALL[: len(found)]


def test_an_extension_of_a_header_that_never_comes_is_damage() -> None:
    archive = pack([("ü", b"")])
    assert len(headers(archive)) == 2
    found, error = until_an_error(archive[: headers(archive)[1]] + bytes(4 * BLOCK))
    assert (found, str(error)) == ([], "the header at byte 1024 is damaged (nothing but zeros)")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b"12 path=", b"92 path="),
        (b"12 path=", b"13 path="),
        (b"12 path=", b"11 path="),
        (b"12 path=", b"00 path="),
        (b"12 path=", b"x2 path="),
        (b"12 path=", b" 2 path="),
        (b"12 path=", b"12_path="),
        (b"path=b", b"path b"),
        (b"12 path=b\xc3\xbc\n", b"12 size=-99\n"),
    ],
)
def test_damaged_records_of_pax_are_told_by_their_place(right: bytes, wrong: bytes) -> None:
    archive = pack([("a", b"1"), ("bü", b"2")])
    assert archive.count(right) == 1
    found, error = until_an_error(archive.replace(right, wrong))
    assert found == [("a", b"1")]
    assert "header before byte 2048 is damaged (pax)" in str(error)


@pytest.mark.parametrize("format", ["gnu", "posix"])
def test_sparse_files_are_refused(tmp_path: Path, format: str) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    command = ["tar", "--sparse", f"--format={format}", "-C", str(tmp_path), "-cf", "-", "sparse.jpg"]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    assert len(packed) < 1 << 20
    with pytest.raises(OSError, match=r"^sparse\.jpg is stored as a sparse file; pack the archive without --sparse$"):
        unpack(packed)


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
