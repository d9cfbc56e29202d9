"""A source that changes between the scan and the end of the run: nothing is deleted, and the next run does it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.run import run as run_module
from tests.pipelines.run.test_deletions import Corpus, names, rows

Change = Callable[[Corpus], None]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Twenty documents that the sink holds, and a source that lost the last one."""
    made = Corpus(tmp_path, "parquet", sink={"deletions": "sweep", "max_delete": 1})
    made.write(rows(*range(20)))
    made.run()
    made.write(rows(*range(19)))
    return made


@pytest.fixture
def after_the_scan(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Lets something happen once, when the source was scanned and nothing of it was read."""

    def let(happen: Callable[[], None]) -> None:
        scan, left = run_module.scan, [happen]

        def scan_and_change(*arguments: Any, **keys: Any) -> Any:
            scanned = scan(*arguments, **keys)
            while left:
                left.pop()()
            return scanned

        monkeypatch.setattr(run_module, "scan", scan_and_change)

    return let


def replace_row(corpus: Corpus) -> None:
    """As many rows and bytes, one of them of another document."""
    corpus.write([*rows(*range(18)), *rows(77)])


def replace_row_unseen(corpus: Corpus) -> None:
    """The same by a program that keeps the time of the file."""
    state = corpus.path.stat()
    replace_row(corpus)
    assert corpus.path.stat().st_size == state.st_size
    os.utime(corpus.path, ns=(state.st_atime_ns, state.st_mtime_ns))


def add_file(corpus: Corpus) -> None:
    (corpus.path.parent / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(19)))


def move_file(corpus: Corpus) -> None:
    """Gone from where it was, and all of its documents are still in the source."""
    corpus.path.rename(corpus.path.with_name("moved.jsonl"))


@pytest.mark.parametrize(
    ("change", "why", "gone"),
    [
        (replace_row, "the file rows.jsonl changed after the source was scanned", names(18, 19)),
        (replace_row_unseen, "1 document was written that the source did not have when it was scanned", names(18, 19)),
        (add_file, "the file more.jsonl came after the source was scanned", []),
        (move_file, "the file rows.jsonl went after the source was scanned", names(19)),
        (lambda corpus: corpus.path.unlink(), "the source's files cannot be listed again", names(19)),
    ],
)
def test_where_files_changed_after_the_scan_nothing_is_swept_and_the_next_run_does_it(
    corpus: Corpus,
    after_the_scan: Callable[[Callable[[], None]], None],
    change: Change,
    why: str,
    gone: list[str],
) -> None:
    after_the_scan(lambda: change(corpus))
    report = corpus.run()
    assert set(corpus.documents()) >= set(names(*range(20)))
    assert (report.status, report.rows["deleted"], report.deleted_points) == ("complete", 0, None)
    (notice,) = (notice for notice in report.notices if "swept" in notice)
    assert notice.startswith(f"nothing was swept: {why}") and notice.endswith("; run the job again, which looks anew")

    if not list(corpus.path.parent.iterdir()):
        corpus.write(rows(*range(19)))
    again = corpus.run()
    assert again.notices == [] and again.rows["deleted"] == len(gone)
    came = ["d77"] if change in (replace_row, replace_row_unseen) else []
    assert corpus.documents() == sorted({*names(*range(20)), *came} - set(gone))


@pytest.mark.parametrize("unseen", [False, True])
def test_a_document_that_came_back_after_the_scan_is_not_deleted_by_what_the_feed_said_before(
    corpus: Corpus, after_the_scan: Callable[[Callable[[], None]], None], unseen: bool
) -> None:
    corpus.sink, corpus.source = {}, {"deleted": "gone"}
    corpus.write([{"id": "d00", "gone": True}, *rows(1)])

    def come_back() -> None:
        state = corpus.path.stat()
        corpus.write([{"id": "d00", "text": "ok"}, *rows(1)])
        assert corpus.path.stat().st_size == state.st_size
        if unseen:
            os.utime(corpus.path, ns=(state.st_atime_ns, state.st_mtime_ns))

    after_the_scan(come_back)
    report = corpus.run()
    assert corpus.documents() == names(*range(20)) and report.rows["deleted"] == 0
    (notice,) = (notice for notice in report.notices if "deleted" in notice)
    assert notice.startswith("no document that the source says is deleted was: ")
    assert ("1 document was written" if unseen else "the file rows.jsonl changed") in notice


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/swept", recursive=True)


def test_objects_of_a_store_are_compared_by_what_its_listing_tells(
    corpus: Corpus, store: fsspec.AbstractFileSystem, after_the_scan: Callable[[Callable[[], None]], None]
) -> None:
    def put(name: str, *numbers: int) -> None:
        store.pipe(f"/swept/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows(*numbers)).encode())

    corpus.source = {"path": "memory://swept"}
    put("a", *range(10))
    put("b", *range(10, 19))
    # The same rows once more, of which nothing but the listing tells.
    after_the_scan(lambda: put("b", *range(10, 19)))
    report = corpus.run()
    assert report.notices[-1].startswith("nothing was swept: the file b.jsonl changed after the source was scanned")
    assert corpus.documents() == names(*range(20))
    assert corpus.run().rows["deleted"] == 1 and corpus.documents() == names(*range(19))
