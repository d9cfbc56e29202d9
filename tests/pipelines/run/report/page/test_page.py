"""A run's report as a page, of this version's reports, of older ones, and of damaged ones."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.run.report.page.comparison import comparison_of
from pipelines.run.report.page.difference import change
from pipelines.run.report.page.numbers import count, seconds
from pipelines.run.report.page.page import page_of
from tests.pipelines.run.report.filled_report import filled_report
from tests.pipelines.run.report.page.full_report import LONG, full_report, old_report

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FULL, OLD = full_report(), old_report()
HEADINGS = (
    *("Notices", "Counts", "Dead letters", "Throughput over time", "Where the time went", "Length of texts", "Padding"),
    *("Models", "Sinks", "Retries and losses", "Passes", "Machine", "Configuration"),
)


class Read(HTMLParser):
    """The text of a page, its headings, and what it would ask a network for; raises where an element is not closed."""

    ALONE = frozenset(("meta", "rect", "line", "polyline", "polygon"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.tags: set[str] = set()
        self.asked: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.asked += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.ALONE:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
            if self.open[-1:] == ["h2"]:
                self.headings.append(data)


def test_a_page_has_all_that_the_report_tells_and_asks_no_network_for_anything() -> None:
    page = page_of(FULL)
    read = Read(page)
    assert tuple(read.headings) == HEADINGS
    for told in (
        *("complete, but for 321 dead letters", "1,169,500", "40 min 00 s", "8.33", "at 12.5 an hour"),
        *("read: InvalidJson", "(a.jsonl:1): <i>no JSON</i>", "12,345", "cut at 300 tokens", "8.3%", "f" * 64),
        *("apache-2.0", "3 × 16 CPUs, 1 GPU (H100), 64.0 GiB for work", "qdrant", "path: s3://a-bucket"),
    ):
        assert told in read.text, told
    assert read.asked == [] and "script" not in read.tags and "url(" not in page and "@import" not in page
    assert "hidden" not in read.text


def test_a_run_that_found_all_in_place_says_so_beside_the_rows_written() -> None:
    rows = {"read": 900, "chunked": 900, "skipped": 900, "written": 0}
    assert "of 900 rows; 900 were there already" in Read(page_of(FULL | {"rows": rows})).text
    assert "were there already" not in Read(page_of(FULL | {"rows": {**rows, "skipped": 0}})).text


def test_a_run_that_a_check_ended_is_said_to_have_embedded_nothing() -> None:
    ended = {
        "status": "failed",
        "startup": {"imports": 3.0},
        "startup_seconds": 0.0,
        "seconds": 11.0,
        "rows": {"read": 0},
    }
    read = Read(page_of({key: value for key, value in FULL.items() if key != "timeline"} | ended))
    assert "until it ended" in read.text and "0.0 s of it start-up" not in read.text
    assert "embedding, writing, closing" not in read.text


def test_an_object_of_a_report_makes_the_same_page_as_its_file() -> None:
    assert "10.0%" in Read(page_of(filled_report())).text


def test_a_report_of_an_older_version_has_its_page_which_says_what_is_left_out() -> None:
    read = Read(page_of(OLD))
    assert set(HEADINGS) - set(read.headings) == {
        *("Throughput over time", "Length of texts", "Machine", "Configuration", "Passes"),
    }
    assert (
        "did not keep throughput over time, lengths of texts, the reasons of dead letters, the machine and" in read.text
    )
    assert "(in.jsonl:8): read: InvalidJson" in read.text
    assert Read(page_of(FULL)).text.count("earlier version") == 0


def test_a_run_that_found_all_in_place_is_not_worse() -> None:
    assert change(81.6, 0, better="more") == ("−100.0%", "")
    assert change(81.6, 40, better="more")[1] == "bad" and change(0.2, 0, better="less")[1] == "good"
    assert change(0, 40, shown=count) == ("+40", "") and change(0, 1.32, shown=seconds) == ("+1.3 s", "")


def test_two_reports_are_compared_by_what_differs() -> None:
    other = full_report("another") | {"seconds": 1200.0, "fingerprint": "e" * 64}
    other["config"] = {**other["config"], "corpus": "another"}
    other["models"]["dense"]["precision"] = "int8"
    read = Read(comparison_of(FULL, other, ("one.json", "two.json")))
    assert read.headings == [
        *("In short", "Course", "Settings that differ", "Models and fingerprints that differ", "Counts", "Start-up"),
        *("Stages", "Sinks", "Machines: what differs"),
    ]
    rows = re.findall(
        r"<tr><td>(.+?)</td><td.*?>(.*?)</td><td.*?>(.*?)</td>(?:<td class=\"(.*?)\">(.*?)</td>)?",
        comparison_of(FULL, other),
    )
    found = {row[0]: row[1:] for row in rows}
    assert found["whole run"] == ("40 min 00 s", "20 min 00 s", "number good", "−50.0%")
    assert found["corpus"][:2] == ("left out", "another")
    assert found["dense: precision"][:2] == ("not there", "int8")
    assert found["the job&#x27;s fingerprint"][:2] == ("f" * 12, "e" * 12)
    assert found["dead: read: InvalidJson"] == ("300", "300", "number faint", "the same")
    assert f"qdrant {LONG}: points" in found
    assert "All settings are the same" in comparison_of(FULL, FULL)
    with_old = Read(comparison_of(OLD, FULL)).text
    assert "earlier version, which did not keep the settings" in with_old and "too few samples" in with_old
    assert "not known" in with_old


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(sorted(FULL)), JSON, max_size=6), st.sampled_from([FULL, OLD]))
def test_damaged_reports_have_pages_too(damage: dict[str, Any], report: dict[str, Any]) -> None:
    damaged = report | damage
    for page in (page_of(damaged), comparison_of(damaged, FULL), comparison_of(OLD, damaged)):
        Read(page)


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.sampled_from(["stages", "timeline", "token_lengths", "machine", "models", "rows"]),
        st.dictionaries(st.sampled_from(["dense", "read", "seconds", "rows", "gpus", "nodes", "up_to"]), JSON),
        min_size=1,
    )
)
def test_damage_inside_of_a_part_does_no_harm_either(damage: dict[str, Any]) -> None:
    damaged = {**FULL, **{key: {**FULL[key], **some} for key, some in damage.items()}}
    Read(page_of(damaged))
    Read(comparison_of(FULL, damaged))


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_a_run_that_did_not_end_well_says_so(status: str) -> None:
    text = Read(page_of({**FULL, "status": status, "error": "no <room> left"})).text
    assert f"{status}: no <room> left" in text
