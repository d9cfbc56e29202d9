from __future__ import annotations

import pytest

from benchmarks.load import load
from benchmarks.nightly import day_rows, nightly
from benchmarks.read_collection import read_collection


@pytest.mark.server
def test_loading_and_reading_are_measured_and_lose_no_point(
    qdrant_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    load(points=60, repeats=1, url=qdrant_url, ray=False)
    read_collection(points=60, repeats=1, url=qdrant_url)
    printed = capsys.readouterr().out
    assert "load, 60 points, dense + bm25" in printed
    assert printed.count("client.upload_points") == 3
    assert "read-collection, 60 points" in printed


@pytest.mark.server
def test_the_night_after_embeds_what_changed_alone(qdrant_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    nightly(documents=200, dense=False, engine="local", url=qdrant_url)
    printed = capsys.readouterr().out
    assert "nightly, 200 documents, BM25" in printed
    night = next(line for line in printed.splitlines() if "the night after" in line)
    # Seconds, embedded, payload only, deleted, skipped, written, dead.
    assert night.replace("│", " ").split()[4:] == ["2", "2", "2", "194", "4", "0"]


def test_three_of_a_hundred_documents_differ_on_the_second_day() -> None:
    first, second = ({row["id"]: row for row in day_rows(300, day)} for day in (0, 1))
    assert len(first) == len({row["text"] for row in first.values()}) == 300
    assert len(second) == 297
    assert second.keys() < first.keys()
    texts = [name for name in second if second[name]["text"] != first[name]["text"]]
    payloads = [name for name in second if second[name]["price"] != first[name]["price"]]
    assert (len(texts), len(payloads), set(texts) & set(payloads)) == (3, 3, set())
