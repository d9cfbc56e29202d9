"""Which files a path, URL or glob names: each real file once, under exactly the name that was asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pytest

from pipelines.config.source import SourceConfig
from pipelines.errors import ConfigError, SourceError
from pipelines.filesystem import open_filesystem
from pipelines.sources import plan_source
from tests.pipelines.sources.images.images import picture
from tests.pipelines.sources.reading import read, write_lines, write_parquet

ODD_NAMES = [
    "a b.txt",
    "a%20b.txt",
    "a%2520b.txt",
    "100%.txt",
    "a?b.txt",
    "a.txt?b=c.txt",
    "a#b.txt",
    "a.txt#b.txt",
    "a+b.txt",
    "a&b.txt",
    "a[1].txt",
    "a*.txt",
    "a{b}.txt",
    "a::b.txt",
    "a;b=c,d.txt",
    "a\\b.txt",
    "a\nb.txt",
    "ü 日本.txt",
    "~.txt",
    "'a\".txt",
]
# What a wrong reading of one of those would name.
DECOYS = ["a.txt", "ab.txt", "a1.txt", "aXb.txt", "100.txt"]


def ids(path: Path | str | list[str], **config: object) -> list[str]:
    return [row["document_id"] for row in read(path, **config)]


def write_texts(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


# Links and spellings


def test_a_link_to_a_folder_above_does_not_repeat_what_is_below(tmp_path: Path) -> None:
    write_texts(tmp_path, "docs/a.txt", "docs/sub/b.txt")
    (tmp_path / "docs/sub/parent").symlink_to("..")
    (tmp_path / "docs/itself").symlink_to("itself")
    (tmp_path / "docs/gone.txt").symlink_to("nowhere.txt")
    for path in ("docs", "docs/", "docs/**", "docs/**/*.txt"):
        assert ids(f"{tmp_path}/{path}") == ["a.txt", "sub/b.txt"]
    assert ids(f"{tmp_path}/docs/*") == ["a.txt", "sub/b.txt"]


def test_folders_that_lead_into_each_other_are_read_once(tmp_path: Path) -> None:
    write_texts(tmp_path, *(f"{name}/{name}.txt" for name in "abcdefghijkl"))
    for name in "abcdefghijkl":
        for other in "abcdefghijkl":
            (tmp_path / name / f"to_{other}").symlink_to(f"../{other}")
    expected = [f"{name}/{name}.txt" for name in "abcdefghijkl"]
    assert ids(tmp_path) == ids(f"{tmp_path}/**") == ids(f"{tmp_path}/**/*.txt") == expected


def test_a_file_beside_a_link_to_it_has_its_own_name(tmp_path: Path) -> None:
    write_texts(tmp_path, "v1/x.txt", "y.txt")
    (tmp_path / "current").symlink_to("v1")
    (tmp_path / "also.txt").symlink_to("y.txt")
    assert ids(tmp_path) == ids(f"{tmp_path}/**") == ids(f"{tmp_path}/*") == ["v1/x.txt", "y.txt"]
    assert ids(f"{tmp_path}/*/x.txt") == ["v1/x.txt"]
    assert ids(f"{tmp_path}/cur*/x.txt") == ids(f"{tmp_path}/cur*") == ["current/x.txt"]
    assert ids(tmp_path / "current") == ["x.txt"]


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path: Path) -> None:
    write_texts(tmp_path, "docs/a.txt", "elsewhere/b.txt", "elsewhere/deep/c.txt")
    (tmp_path / "docs/link").symlink_to("../elsewhere")
    (tmp_path / "docs/one.txt").symlink_to("../elsewhere/deep/c.txt")
    assert ids(tmp_path / "docs") == ["a.txt", "link/b.txt", "link/deep/c.txt"]


@pytest.mark.parametrize(
    "spelled",
    [
        lambda root: f"{root}/docs/../docs/a.txt",
        lambda root: f"{root}/./docs//a.txt",
        lambda root: f"{root}/link/a.txt",
        lambda root: f"{root}/link/*.txt",
        lambda root: f"{root}/docs/./*.txt",
        lambda root: (root / "docs/a.txt").as_uri(),
        lambda root: os.path.relpath(root / "docs"),
        lambda root: f"local://{root}/docs",
    ],
)
def test_a_file_that_is_spelled_twice_is_read_once(tmp_path: Path, spelled: Callable[[Path], str]) -> None:
    write_texts(tmp_path, "docs/a.txt")
    (tmp_path / "link").symlink_to("docs")
    assert ids([f"{tmp_path}/docs", spelled(tmp_path)]) == ids([spelled(tmp_path), f"{tmp_path}/docs"]) == ["a.txt"]


def test_a_data_file_that_is_spelled_twice_is_read_once(tmp_path: Path) -> None:
    write_lines(tmp_path / "v1" / "a.jsonl", [{"text": "a"}])
    (tmp_path / "current").symlink_to("v1")
    assert [row["origin"] for row in read([f"{tmp_path}/current", f"{tmp_path}/v1/*.jsonl"])] == ["a.jsonl:1"]


def test_hard_links_are_two_files(tmp_path: Path) -> None:
    write_texts(tmp_path, "a.txt")
    (tmp_path / "b.txt").hardlink_to(tmp_path / "a.txt")
    assert ids(tmp_path) == ["a.txt", "b.txt"]


def test_archives_that_are_opened_as_stores_are_two_stores(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_lines(tmp_path / name / "x.jsonl", [{"text": name}])
        archive = fsspec.filesystem("zip", fo=str(tmp_path / f"{name}.zip"), mode="w")
        archive.pipe("x.jsonl", (tmp_path / name / "x.jsonl").read_bytes())
        archive.close()
    paths = [f"zip://*.jsonl::file://{tmp_path}/{name}.zip" for name in "ab"]
    assert [plan_source(SourceConfig(path=path.replace("*.jsonl", "x.jsonl"))).files for path in paths] == [1, 1]
    both = [path.replace("*.jsonl", "x.jsonl") for path in paths]
    assert [row["text"] for row in read(both)] == ["a", "b"]


# Globs that match folders


def test_a_folder_that_a_glob_matches_is_read_as_a_folder(tmp_path: Path) -> None:
    for day in ("day1", "day2"):
        folder = tmp_path / "data" / f"{day}.parquet"
        folder.mkdir(parents=True)
        write_parquet(folder / "part-00000-c000.snappy.parquet", {"text": [day]})
        (folder / "_SUCCESS").touch()
    write_parquet(tmp_path / "data" / "day3.parquet", {"text": ["day3"]})
    for pattern in ("data/*.parquet", "data/*", "*", "d*/day*.parquet", "**", "data/**/*.parquet"):
        assert [row["text"] for row in read(f"{tmp_path}/{pattern}")] == ["day1", "day2", "day3"], pattern
    for pattern in ("data/*.parquet/", "data/**/", "*/*/"):
        assert [row["text"] for row in read(f"{tmp_path}/{pattern}")][:2] == ["day1", "day2"], pattern
    assert len(read(f"{tmp_path}/data/*.parquet/")) == 2
    (tmp_path / "data/day3.parquet").unlink()
    assert [row["origin"] for row in read(f"{tmp_path}/data/*.parquet")] == [
        "day1.parquet/part-00000-c000.snappy.parquet:row 1",
        "day2.parquet/part-00000-c000.snappy.parquet:row 1",
    ]


def test_a_folder_with_the_ending_of_a_file_is_a_folder(tmp_path: Path) -> None:
    write_lines(tmp_path / "x.jsonl" / "deep" / "part-0.json", [{"text": "a"}])
    for path in ("x.jsonl", "x.jsonl/", "*.jsonl", "*.jsonl/", "x.jsonl/*"):
        assert [row["text"] for row in read(f"{tmp_path}/{path}")] == ["a"]


def test_a_given_format_passes_over_others_in_a_folder_that_a_glob_matches(tmp_path: Path) -> None:
    write_lines(tmp_path / "day1" / "part-0000", [{"text": "a"}])
    write_texts(tmp_path, "day1/README.md")
    assert [row["text"] for row in read(f"{tmp_path}/day*", format="jsonl")] == ["a"]


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/lake", recursive=True)


def test_a_glob_in_a_store_matches_folders_as_on_disk(memory: fsspec.AbstractFileSystem) -> None:
    for name in ("day1.jsonl/part-0.json", "day1.jsonl/_SUCCESS", "day2.jsonl/x/part-0.json", "day3.jsonl"):
        memory.pipe(f"/lake/data/{name}", b'{"text": "%s"}\n' % name[:4].encode())
    for pattern in ("data/*.jsonl", "data/*", "*", "*/*.jsonl", "**", "*/"):
        assert [row["text"] for row in read(f"memory://lake/{pattern}")] == ["day1", "day2", "day3"], pattern
    assert [row["text"] for row in read("memory://lake/data/*.jsonl/")] == ["day1", "day2"]
    assert len(read(["memory://lake/data/*", "memory://lake/*/day*.jsonl", "memory://lake"])) == 3


# Names that are not UTF-8


needs_bytes = pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")


def write_bytes_name(folder: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    with open(path, "w") as file:  # noqa: PTH123
        file.write("odd")


@needs_bytes
@pytest.mark.parametrize("pattern", ["", "/*", "/**", "/**/*.txt", "/*.txt"])
def test_a_name_that_is_not_utf8_costs_itself_alone(tmp_path: Path, pattern: str) -> None:
    write_texts(tmp_path, "good.txt")
    write_bytes_name(tmp_path, b"caf\xe9.txt")
    write_bytes_name(tmp_path, b".caf\xe9.txt")
    write_bytes_name(tmp_path, b"_caf\xe9/hidden.txt")
    assert ids(f"{tmp_path}{pattern}") == ["good.txt"]
    plan = plan_source(SourceConfig(path=f"{tmp_path}{pattern}"))
    assert (plan.files, plan.unnamed_files) == (1, 1)
    assert plan.notices == (
        r"1 file has a name that is not UTF-8, and not read (the first: 'caf\xe9.txt'); rename what is to be read",
    )


@needs_bytes
def test_a_folder_whose_name_is_not_utf8_costs_what_is_in_it(tmp_path: Path) -> None:
    write_texts(tmp_path, "good.txt", "z/good.txt")
    write_bytes_name(tmp_path, b"caf\xe9/a.txt")
    write_bytes_name(tmp_path, b"caf\xe9/b.txt")
    (tmp_path / "link.txt").symlink_to(os.fsdecode(b"caf\xe9/a.txt"))
    assert ids(tmp_path) == ["good.txt", "link.txt", "z/good.txt"]
    (notice,) = plan_source(SourceConfig(path=str(tmp_path))).notices
    assert notice.startswith("1 file has a name that is not UTF-8, and not read (the first: 'caf\\xe9/b.txt')")


@needs_bytes
def test_a_source_of_nothing_but_such_names_says_so(tmp_path: Path) -> None:
    write_bytes_name(tmp_path, b"caf\xe9.txt")
    with pytest.raises(SourceError, match=r"there is no file to read\. 1 file has a name that is not UTF-8"):
        plan_source(SourceConfig(path=str(tmp_path)))


@needs_bytes
def test_a_name_in_an_archive_that_is_not_utf8_costs_itself_alone(tmp_path: Path) -> None:
    import tarfile

    write_bytes_name(tmp_path / "in", b"caf\xe9.txt")
    write_texts(tmp_path, "in/good.txt")
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(tmp_path / "in", arcname=".")
    plan = plan_source(SourceConfig(path=f"tar://::file://{tmp_path}/a.tar"))
    assert (plan.files, plan.unnamed_files) == (1, 1)


@needs_bytes
def test_a_start_in_a_folder_whose_name_is_not_utf8_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes_name(tmp_path, b"caf\xe9/docs/a.txt")
    monkeypatch.chdir(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9")))  # noqa: PTH118
    with pytest.raises(SourceError, match=r"source\.path docs: it is in a folder whose name is not UTF-8"):
        plan_source(SourceConfig(path="docs"))


# Odd characters


@pytest.fixture
def odd_folder(tmp_path: Path) -> Path:
    return write_texts(tmp_path, *ODD_NAMES, *DECOYS)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_path_or_url_names_exactly_that_file(odd_folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(odd_folder)
    for path in (f"{odd_folder}/{name}", name, f"./{name}", (odd_folder / name).as_uri()):
        assert [(row["document_id"], row["text"]) for row in read(path)] == [(name, name)]
    # Written into a URL as it is, it is the file or refused.
    try:
        found = ids(f"file://{odd_folder}/{name}")
    except (ConfigError, SourceError) as error:
        assert "?" in name or "#" in name, error
    else:
        assert found == (["a b.txt"] if name == "a%20b.txt" else ["a%20b.txt"] if "%25" in name else [name])


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_folder_of_an_odd_name_is_that_folder(tmp_path: Path, name: str) -> None:
    for folder in (*ODD_NAMES, *DECOYS):
        write_texts(tmp_path, f"{folder}/x.txt")
    uri = (tmp_path / name).as_uri()
    for path in (f"{tmp_path}/{name}", f"{tmp_path}/{name}/*.txt", f"{tmp_path}/{name}/x.txt", uri, f"{uri}/*.txt"):
        assert [row["text"] for row in read(path)] == [f"{name}/x.txt"]


def test_a_pattern_in_a_url_is_decoded_as_its_folder_is(tmp_path: Path) -> None:
    write_texts(tmp_path, "d/a b.txt", "d/a%20b.txt", "d/a*c.txt", "d/abc.txt")
    assert ids(f"file://{tmp_path}/*/a%20b.txt") == ["d/a b.txt"]
    assert ids(f"file://{tmp_path}/*/a%2520b.txt") == ["d/a%20b.txt"]
    assert ids(f"file://{tmp_path}/*/a%2Ac.txt") == ["d/a*c.txt"]
    assert ids(f"file://{tmp_path}/*/a*c.txt") == ["d/a*c.txt", "d/abc.txt"]


@pytest.mark.parametrize(("path", "mark"), [("a?b.txt", "%3F"), ("?.txt", "%3F"), ("a#b.txt", "%23")])
def test_a_file_url_with_options_or_a_fragment_is_refused(odd_folder: Path, path: str, mark: str) -> None:
    with pytest.raises(ConfigError, match=f"is no part of a name in a file:// URL; write {mark} for it"):
        plan_source(SourceConfig(path=f"file://{odd_folder}/{path}"))


@pytest.mark.parametrize("url", ["file:///tmp/%FF.txt", "file:///tmp/%00.txt"])
def test_a_file_url_that_is_not_utf8_once_decoded_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not UTF-8 once it is decoded"):
        open_filesystem(url)


@pytest.mark.parametrize("scheme", ["s3", "gs"])
@pytest.mark.parametrize(
    ("name", "key"),
    [
        *((name, name) for name in ODD_NAMES if "?" not in name and "%2" not in name),
        *((quote(name), name) for name in ODD_NAMES),
        ("a/b c/d.txt", "a/b c/d.txt"),
    ],
)
def test_a_url_of_a_bucket_names_exactly_that_key(scheme: str, name: str, key: str) -> None:
    if scheme == "gs":
        filesystem, inside = open_filesystem(f"gs://anonymous@bucket/{name}")
    else:
        filesystem, inside = open_filesystem(f"s3://bucket/{name}?region=us-east-1&endpoint_override=localhost:1")
    assert (filesystem.type_name, inside) == (f"py::{scheme}", f"bucket/{key}")


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_question_mark_in_the_url_of_a_bucket_is_refused(scheme: str) -> None:
    with pytest.raises(ConfigError, match=r"a '\?' begins the options of its store; write %3F") as caught:
        open_filesystem(f"{scheme}://key:secret@bucket/a?b.txt")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in ODD_NAMES if "::" not in name])
def test_a_url_of_fsspec_stands_for_itself(memory: fsspec.AbstractFileSystem, name: str) -> None:
    for other in (*ODD_NAMES, *DECOYS):
        memory.pipe(f"/lake/{other}", other.encode())
    assert [row["text"] for row in read(f"memory://lake/{name}")] == [name]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_texts(tmp_path, "docs/a.txt", "~nobody-of-that-name/b.txt")
    (tmp_path / "docs/p.png").write_bytes(picture(1))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in ("~/docs/a.txt", "~/docs/*.txt", "~/d*/a.txt", ["~/docs/a.txt", f"{tmp_path}/docs/a.txt"]):
        assert [row["text"] for row in read(path)] == ["docs/a.txt"]
    assert ids("~/docs") == ["a.txt", "p.png"]
    assert ids("~nobody-of-that-name") == ["b.txt"]
    write_lines(tmp_path / "rows.jsonl", [{"text": "a", "image": "p.png"}])
    (row,) = read("~/rows.jsonl", image="image", image_root="~/docs")
    assert row["error"] is None and row["_image"] == picture(1)


def test_a_folder_that_may_not_be_listed_refuses_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_texts(tmp_path, "a.txt", "closed/b.txt")
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(SourceError, match=r"Permission denied.*closed"):
        plan_source(SourceConfig(path=str(tmp_path)))


def test_a_table_whose_folders_are_links_in_a_circle_has_each_row_once(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": pa.array(["a"])})
    (tmp_path / "again").symlink_to(".")
    assert [row["origin"] for row in read(tmp_path)] == ["a.parquet:row 1"]
