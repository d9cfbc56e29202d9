from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedders.errors import ModelFilesError
from embedders.files.archive import MAX_HEADER_BYTES, extract_archive

MIB = 1 << 20


@pytest.fixture(autouse=True, params=["with tarfile's filter", "without it"])
def tarfile_filter(request: pytest.FixtureRequest) -> Iterator[None]:
    """Archives are unpacked and refused alike where a patch release of Python has no ``tarfile.data_filter`` yet."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "without it":
            patch.delattr(tarfile, "data_filter")
        yield


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def everything_in(folder: Path) -> dict[str, bytes]:
    return {item.relative_to(folder).as_posix(): item.read_bytes() for item in folder.rglob("*") if item.is_file()}


names = st.text("abcXYZ09-_. é日", min_size=1, max_size=8).filter(lambda name: name.strip(".") == name)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(names, st.binary(max_size=3000), max_size=6))
def test_plain_files_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("plain")
    archive = packed(folder / "a.tar.gz", *((member(f"model/{name}"), content) for name, content in files.items()))
    extract_archive(archive, folder / "out", max_bytes=MIB)
    assert everything_in(folder / "out") == {f"model/{name}": content for name, content in files.items()}


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (member("/etc/evil"), "absolute"),
        (member("//evil"), "absolute"),
        (member("C:/evil"), "absolute"),
        (member("../evil"), r"'\.\.'"),
        (member("model/../../evil"), r"'\.\.'"),
        (member("model\\..\\..\\evil"), "backslash"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (member("link", tarfile.SYMTYPE, "harmless"), "link"),
        (member("link", tarfile.LNKTYPE, "../../evil"), "link"),
        (member("device", tarfile.CHRTYPE), "neither"),
        (member("device", tarfile.BLKTYPE), "neither"),
        (member("pipe", tarfile.FIFOTYPE), "neither"),
        (member("sparse", tarfile.GNUTYPE_SPARSE), "neither"),
    ],
    ids=lambda value: f"{value.name}-{value.type!r}" if isinstance(value, tarfile.TarInfo) else "",
)
def test_a_hostile_member_is_refused_and_nothing_leaves_the_target(
    tmp_path: Path, info: tarfile.TarInfo, reason: str
) -> None:
    archive = packed(tmp_path / "a.tar.gz", (member("good.txt"), b"good"), (info, b""), (member("late.txt"), b"late"))
    with pytest.raises(ModelFilesError, match=reason):
        extract_archive(archive, tmp_path / "in" / "out", max_bytes=MIB)
    assert everything_in(tmp_path / "in") == {"out/good.txt": b"good"}
    assert {item.name for item in tmp_path.iterdir()} == {"a.tar.gz", "in"}


def test_writing_through_an_earlier_link_is_impossible(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    archive = packed(
        tmp_path / "a.tar.gz",
        (member("model", tarfile.SYMTYPE, str(tmp_path / "outside")), b""),
        (member("model/evil"), b"evil"),
    )
    with pytest.raises(ModelFilesError, match="link"):
        extract_archive(archive, tmp_path / "out", max_bytes=MIB)
    assert not list((tmp_path / "outside").iterdir())


def test_a_bomb_stops_at_the_size_limit(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar.gz", (member("zeros"), bytes(8 * MIB)))
    with pytest.raises(ModelFilesError, match="more than 2097152 bytes"):
        extract_archive(archive, tmp_path / "out", max_bytes=2 * MIB)
    assert sum(len(content) for content in everything_in(tmp_path / "out").values()) <= 2 * MIB


def test_a_bomb_behind_the_last_member_is_noticed(tmp_path: Path) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        tar.addfile(member("a"), io.BytesIO())
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(plain.getvalue() + bytes(8 * MIB)))
    with pytest.raises(ModelFilesError, match="more than 2097152 bytes"):
        extract_archive(tmp_path / "a.tar.gz", tmp_path / "out", max_bytes=2 * MIB)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_too_large_for_memory_is_refused(tmp_path: Path, kind: bytes) -> None:
    header = member("a", kind, size=64 * MAX_HEADER_BYTES).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(header + bytes(64 * MAX_HEADER_BYTES)))
    with pytest.raises(ModelFilesError, match="header of"):
        extract_archive(tmp_path / "a.tar.gz", tmp_path / "out", max_bytes=1 << 40)


def test_a_size_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    header = member("a", size=1 << 60).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(header + bytes(2 * MIB)))
    with pytest.raises(ModelFilesError, match="damaged"):
        extract_archive(tmp_path / "a.tar.gz", tmp_path / "out", max_bytes=4 * MIB)


def test_a_member_given_twice_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar.gz", (member("a"), b"one"), (member("a"), b"two"))
    with pytest.raises(ModelFilesError, match="twice"):
        extract_archive(archive, tmp_path / "out", max_bytes=MIB)


def test_a_file_used_as_a_folder_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar.gz", (member("a"), b"one"), (member("a/b"), b"two"))
    with pytest.raises(ModelFilesError, match="twice"):
        extract_archive(archive, tmp_path / "out", max_bytes=MIB)


def test_a_folder_used_as_a_file_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar.gz", (member("a/b"), b"two"), (member("a"), b"one"))
    with pytest.raises(ModelFilesError, match="twice"):
        extract_archive(archive, tmp_path / "out", max_bytes=MIB)


def test_a_folder_given_twice_is_one_folder(tmp_path: Path) -> None:
    folder = member("a", tarfile.DIRTYPE)
    archive = packed(tmp_path / "a.tar.gz", (folder, b""), (member("a/b"), b"two"), (folder, b""))
    extract_archive(archive, tmp_path / "out", max_bytes=MIB)
    assert everything_in(tmp_path / "out") == {"a/b": b"two"}


def test_mode_bits_of_the_archive_are_not_taken_over(tmp_path: Path) -> None:
    info = member("tool")
    info.mode = 0o6777
    extract_archive(packed(tmp_path / "a.tar.gz", (info, b"x")), tmp_path / "out", max_bytes=MIB)
    assert (tmp_path / "out" / "tool").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("damage", ["cut", "checksum", "flipped", "no gzip", "no tar"])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: str) -> None:
    content = packed(tmp_path / "a.tar.gz", (member("a"), bytes(range(256)) * 100)).read_bytes()
    broken = {
        "cut": content[: len(content) // 2],
        "checksum": content[:-8] + bytes(4) + content[-4:],
        "flipped": content[:100] + bytes([content[100] ^ 0xFF]) + content[101:],
        "no gzip": b"<html>sign in first</html>",
        "no tar": gzip.compress(b"<html>sign in first</html>" * 100),
    }[damage]
    (tmp_path / "a.tar.gz").write_bytes(broken)
    with pytest.raises(ModelFilesError, match=r"a\.tar\.gz is damaged or no \.tar\.gz"):
        extract_archive(tmp_path / "a.tar.gz", tmp_path / "out", max_bytes=MIB)
