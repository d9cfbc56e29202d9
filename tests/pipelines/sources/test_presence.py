from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.sources import plan_source, scan_split
from tests.pipelines.sources.reading import FILES_OF_A_TEST, duplicates_of, presence_of, read_once

# A row of an id: a document, one that is dead, or a deletion.
FEED = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["live", "dead", "deleted"])), min_size=1)
ROWS: dict[str, dict[str, object]] = {"live": {"text": "x"}, "dead": {"text": None}, "deleted": {"gone": True}}


@FILES_OF_A_TEST
@given(FEED, st.sets(st.sampled_from("abcdefghijkl")))
def test_what_a_sink_holds_and_the_source_lacks_is_found_as_by_sets(
    tmp_path: Path, feed: list[tuple[str, str]], held: set[str]
) -> None:
    path = tmp_path / "feed.jsonl"
    path.write_text("".join(json.dumps({"id": name, **ROWS[kind]}) + "\n" for name, kind in feed))
    source = SourceConfig(path=str(path), id="id", deleted="gone")
    scans = [scan_split(split, source) for split in plan_source(source).splits]
    found = presence_of(scans, keep_keys=True)

    there = {name for name, kind in feed if kind != "deleted"}
    live = {name for name, kind in feed if kind == "live"}
    deleted = [name for name, kind in feed if kind == "deleted"]
    documents = sorted(held)
    lacking = {
        name
        for name, gone in zip(documents, found.lacks(pa.array(documents, pa.string())).tolist(), strict=True)
        if gone
    }
    assert lacking == held - there
    assert set(found.deleted) == set(deleted) - there and len(set(found.deleted)) == len(found.deleted)
    assert presence_of(scans, keep_keys=False).deleted == found.deleted

    # Deletions of live documents are dead rows, each of which counts as a document that is read.
    rows = read_once(path, id="id", deleted="gone")
    refused = sum(name in live for name in deleted)
    assert len(rows) == sum(scan.rows for scan in scans) + duplicates_of(scans).deletions
    assert duplicates_of(scans).deletions == refused
    assert sorted(row["document_id"] for row in rows if row["error"] is None) == sorted(live)
