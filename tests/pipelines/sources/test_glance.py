"""A scan that does not parse rows finds the documents and the repeated ids that one of all rows finds."""

from __future__ import annotations

import bz2
import csv
import json
import random
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.run import scan as scanning
from pipelines.run.scan import ScannedSource, scan
from pipelines.sources import plan_source
from pipelines.sources.glance import glance_at_split
from pipelines.sources.id_comparison import compare_ids_here

from .reading import FILES_OF_A_TEST, write_lines
from .test_columns import LINES, ODD_LINES, TEXTS

IDS = st.sampled_from(["a", "b", "id", "é", "7", "0", "-1", '"', "a\\b", "", "x,y", "x\ny", " "])
PLAIN = st.integers(0, 30).map(lambda number: f'{{"id": "{number}", "text": "t"}}')
NUMBERED = st.sampled_from([0, 7, 30, -1, 2**63, 2**64, True, 1.0, None]).map(lambda number: {"id": number})
TRICKY = st.sampled_from(
    [
        '{"id": "1", "text": "t", "i\\u0064": "2"}',
        '{"id": "1", "text": "t", "\\u0069d": "2"}',
        '{"id": "1", "text": "t", "id": "2"}',
        '{"id": "1", "text": "id", "a": {"id": "2"}}',
        '{"id": "1", "text": "say \\"id\\": 2"}',
        '{"a": {"id": "1"}, "text": "t", "id": "2"}',
        '{"a": {"id": "1"}, "text": "t"}',
        '{"id": "1", "text": null}',
        '{"id": "1", "text": "cut',
        '{"id":"1","text":"t"}',
        '{ "id" : "2" , "text": "t"}',
        '{"id": 12, "text": "t"}',
        '{"id": 012, "text": "t"}',
        '{"id": 12}',
        '{"id": "\\u0031", "text": "t"}',
    ]
)


def scanned(path: Path, size: int, *, glance: bool) -> tuple[ScannedSource, int]:
    """Scan the files of a folder in small pieces; also how many splits were glanced at."""
    source = SourceConfig(path=str(path), id="id")
    found = []

    def glancing(split, config):  # type: ignore[no-untyped-def]
        found.append(glance_at_split(split, config) if glance else None)
        return found[-1]

    with (
        mock.patch("pipelines.sources.jsonl.SPLIT_BYTES", size),
        mock.patch("pipelines.sources.lines.CHUNK_BYTES", size),
        mock.patch.object(scanning, "glance_at_split", glancing),
    ):
        return scan(plan_source(source).splits, source, compare_ids_here), sum(one is not None for one in found)


def assert_same(path: Path, size: int = 1 << 20) -> int:
    expected, _ = scanned(path, size, glance=False)
    found, glances = scanned(path, size, glance=True)
    assert (found.documents, found.splits) == (expected.documents, expected.splits)
    assert {number: rows.tolist() for number, rows in found.duplicates.rows.items()} == {
        number: rows.tolist() for number, rows in expected.duplicates.rows.items()
    }
    return glances


@FILES_OF_A_TEST
@given(
    lines=st.lists(st.one_of(PLAIN, PLAIN, PLAIN, TRICKY, LINES, ODD_LINES, NUMBERED.map(json.dumps)), max_size=12),
    size=st.sampled_from([25, 200, 1 << 20]),
    end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    mark=st.booleans(),
)
@example(lines=['{"id": "1", "text": null}', '{"id": "1", "text": "t"}'], size=25, end=b"\n", last=True, mark=True)
def test_json_lines(tmp_path: Path, lines: list[str], size: int, end: bytes, last: bool, mark: bool) -> None:
    content = end.join(line.encode(errors="surrogatepass") for line in ['{"id": "known", "text": ""}', *lines])
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" * mark + content + end * last)
    write_lines(tmp_path / "b.jsonl", [{"id": str(number), "text": "t"} for number in range(5)])
    assert assert_same(tmp_path, size) > 0


@FILES_OF_A_TEST
@given(
    rows=st.lists(st.tuples(IDS | st.integers(0, 30).map(str), TEXTS | IDS, IDS), max_size=10),
    odd=st.sampled_from(
        [
            "",
            "",
            "",
            '"open',
            'a,"b"c,d\n',
            "1,2\n",
            ",,\n",
            "\r",
            "\n\n",
            "a,b\rc,d\n",
            "\udcff,t,1\n",
            'a"b,"t""",c\n',
        ]
    ),
    order=st.permutations(["id", "text", "a"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    size=st.sampled_from([7, 60, 1 << 20]),
)
def test_csv(
    tmp_path: Path, rows: list[tuple[str, ...]], odd: str, order: list[str], end: str, quoting: int, size: int
) -> None:
    with (tmp_path / "a.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator=end, quoting=quoting)
        writer.writerow(order)
        writer.writerows(rows[:5])
        file.write(odd)
        writer.writerows(rows[5:])
    (tmp_path / "b.csv").write_text("text,id\nt,1\nt,2\n")
    assert assert_same(tmp_path, size) > 0


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_rows_are_parsed_only_where_an_id_is_repeated(tmp_path: Path, name: str) -> None:
    for number in range(3):
        rows = [{"id": f"{number}-{row}", "text": 'a "quoted", text\n'} for row in range(50)]
        if number == 2:
            rows.append({"id": "1-3", "text": "once more"})
        path = tmp_path / f"{number}{name}"
        if path.suffix == ".jsonl":
            write_lines(path, rows)
        else:
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, ["id", "text"])
                writer.writeheader()
                writer.writerows(rows)
    with mock.patch.object(scanning, "scan_split", side_effect=scanning.scan_split) as parsed:
        assert assert_same(tmp_path) == 3
    # Once each by the scan that parses all.
    assert [call.args[0].name[0] for call in parsed.call_args_list] == ["0", "1", "2", "1", "2"]


def test_a_compressed_table_is_glanced_at_where_its_first_bytes_give_nothing_yet(tmp_path: Path) -> None:
    # A block of bzip2 has up to 900 KB, which come at once.
    random_bytes = random.Random(1).randbytes
    rows = "".join(f"{number},{random_bytes(50).hex()}\n" for number in range(3000))
    (tmp_path / "a.csv.bz2").write_bytes(bz2.compress(f"\ufeffid,text\n{rows}5,once more\n".encode()))
    assert (tmp_path / "a.csv.bz2").stat().st_size > 2 * 64 << 10
    source = SourceConfig(path=str(tmp_path), id="id")
    found = scan(plan_source(source).splits, source, compare_ids_here)
    # Lines are counted as in the file: the header is the first.
    assert (found.documents, found.duplicates.rows[0].tolist()) == (3001, [[3001, 0, 6]])


def test_a_key_of_one_letter_is_counted_in_lines_with_zeros(tmp_path: Path) -> None:
    write_lines(tmp_path / "b.jsonl", [{"a": "2", "text": "t"}])
    lines = ['{"a": "1", "text": "t", "a": "2"}', '{"a": "3", "text": "\0"a" \0"a""}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source = SourceConfig(path=str(tmp_path), id="a")
    assert scan(plan_source(source).splits, source, compare_ids_here).duplicates.rows.keys() == {1}
