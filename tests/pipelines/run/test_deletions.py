"""Documents that leave the source leave the sinks, when it is certain that they left, and no others."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from qdrant_client import QdrantClient
from rich.console import Console
from typer.testing import CliRunner

from pipelines import EmbeddingPipeline
from pipelines.cli.main import app
from pipelines.run.report.report import RunReport
from pipelines.sinks.qdrant.client import open_folder
from tests.qdrant_server.faults import Fault
from tests.qdrant_server.process import QdrantTestServer

KINDS = ["parquet", "folder", pytest.param("server", marks=pytest.mark.server)]
LONG = " ".join(f"word{number}" for number in range(300))


@dataclass
class Corpus:
    """A job over JSON lines, embedded by BM25, and one sink of some kind."""

    folder: Path
    kind: str
    url: str = ""
    name: str = "books"
    sink: dict[str, Any] = field(default_factory=lambda: {"deletions": "sweep"})
    source: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / self.name / "rows.jsonl"

    def write(self, rows: Sequence[Any]) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))

    def config(self) -> dict[str, Any]:
        places: dict[str, dict[str, Any]] = {
            "parquet": {"type": "parquet", "path": str(self.folder / "out")},
            "folder": {"type": "qdrant", "path": str(self.folder / "qdrant"), "collection": "books"},
            "server": {"type": "qdrant", "url": self.url, "collection": "books", "writers": 1},
        }
        return {
            "corpus": self.name,
            "source": {"path": str(self.path.parent), "id": "id", **self.source},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
            "sink": {**places[self.kind], **self.sink},
            "compute": {"engine": "local", "block_rows": 16},
            "errors": {"max_rate": 1},
            "report": str(self.folder / f"{self.name}.json"),
            **self.extra,
        }

    def run(self, *overrides: str) -> RunReport:
        return EmbeddingPipeline.from_config(self.config(), overrides).run(console=Console(quiet=True))

    def points(self) -> list[tuple[str, str]]:
        """Corpus and document of each point that the sink holds."""
        if self.kind == "parquet":
            files = sorted((self.folder / "out").glob("part-*.parquet"))
            made = [(json.loads(pq.read_metadata(file).metadata[b"fleetembed"])["corpus"], file) for file in files]
            return [(name, row) for name, file in made for row in pq.read_table(file)["document_id"].to_pylist()]
        with closing(self._client()) as client:
            found, _ = client.scroll("books", limit=10_000)
        return [(one.payload["_fleetembed"]["corpus"], one.payload["document_id"]) for one in found if one.payload]

    def _client(self) -> QdrantClient:
        if self.kind == "folder":
            return open_folder(str(self.folder / "qdrant"))
        return QdrantClient(url=self.url, check_compatibility=False)

    def documents(self) -> list[str]:
        """Documents of this corpus in the sink, each once."""
        return sorted({document for corpus, document in self.points() if corpus == self.name})

    def went(self, report: RunReport) -> list[tuple[str, str]]:
        """Document and reason of what the file of deleted points has."""
        assert report.deleted_points is not None
        rows = pq.read_table(report.deleted_points).to_pylist()
        return sorted((row["document_id"], row["why"]) for row in rows)


def rows(*numbers: int, text: str = "the whale and the sea") -> list[dict[str, Any]]:
    return [{"id": f"d{number:02}", "text": f"{text} {number}", "n": number} for number in numbers]


def cut_by(tokenizer: Path) -> dict[str, Any]:
    return {"chunking": {"tokenizer": str(tokenizer), "max_tokens": 256, "overlap": 0}}


def names(*numbers: int) -> list[str]:
    return [row["id"] for row in rows(*numbers)]


@pytest.fixture
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    kind = getattr(request, "param", "parquet")
    server = kind == "server" and request.getfixturevalue("qdrant_server")
    return Corpus(tmp_path, kind, server.url if server else "")


@pytest.mark.parametrize("corpus", KINDS, indirect=True)
def test_what_left_the_source_leaves_the_sink_with_all_its_chunks_and_nothing_else_does(
    corpus: Corpus, minilm: Path
) -> None:
    corpus.extra = cut_by(minilm) if corpus.kind != "folder" else {}
    other = Corpus(corpus.folder, corpus.kind, corpus.url, "films", extra=corpus.extra)
    other.write(rows(*range(5)))
    other.run()
    corpus.write(rows(*range(20), text=LONG))
    first = corpus.run()
    assert first.rows["deleted"] == 0 and first.deleted_points is None and first.sinks[0]["deleted"] == 0
    of_all = corpus.points()
    chunks = of_all.count(("books", "d00"))
    assert len(of_all) == 5 + 20 * chunks and (chunks > 2 or not corpus.extra)

    # 15% are gone, a row is changed, one is new, and one is dead but there.
    changed = [
        {**row, "text": "a changed text"} if row["id"] == "d07" else row for row in rows(*range(1, 18), text=LONG)
    ]
    corpus.write([*changed, *rows(30), {"id": "d18", "text": None}])
    report = corpus.run("sink.max_delete=0.15")

    assert corpus.documents() == names(*range(1, 19), 30)
    assert [name for corpus_name, name in corpus.points() if corpus_name == "films"] and other.documents() == names(
        *range(5)
    )
    expected = [(name, "no longer in the source") for name in names(0, 19) for _ in range(chunks)]
    assert corpus.went(report) == expected
    assert report.rows["deleted"] == report.sinks[0]["deleted"] == len(expected)
    assert report.sinks[0]["points"] == len(corpus.points())
    assert (report.exit_code, report.rows["dead"]) == (3, 1)
    assert report.notices == [] and not report.deletions_refused
    again = corpus.run()
    assert (again.rows["deleted"], again.rows["written"], again.deleted_points) == (0, 0, None)


@pytest.mark.parametrize("corpus", KINDS, indirect=True)
def test_more_than_max_delete_is_refused_with_both_numbers_until_it_is_allowed(corpus: Corpus) -> None:
    corpus.write(rows(*range(50)))
    corpus.run()
    corpus.write(rows(*range(42)))
    report = corpus.run()
    assert (report.status, report.exit_code, report.deletions_refused) == ("complete", 3, True)
    assert corpus.documents() == names(*range(50)) and report.deleted_points is None
    (notice,) = report.notices
    assert "8 of 50 points of corpus 'books'" in notice and "max_delete 0.15" in notice
    assert notice.endswith("--set sink.0.max_delete=0.16")

    allowed = corpus.run("sink.0.max_delete=0.16")
    assert corpus.documents() == names(*range(42))
    assert (allowed.exit_code, allowed.rows["deleted"], allowed.deletions_refused) == (0, 8, False)


@pytest.mark.parametrize(
    ("feed", "source", "why"),
    [
        ([], {}, "the source has no document"),
        (rows(1, 2), {"limit": 2}, "source.limit is 2"),
        ([*rows(*range(19)), "{broken\n"], {}, "1 row of the source cannot be read or have no id"),
        ([*rows(*range(19)), {"id": None, "text": None}], {}, "1 row of the source cannot be read or have no id"),
        ([*rows(*range(19)), '{"id": "d\\ud800", "text": "x"}\n'], {}, "1 row of the source cannot be read"),
    ],
)
def test_nothing_is_swept_where_it_is_not_certain_what_the_source_has(
    corpus: Corpus, feed: list[Any], source: dict[str, Any], why: str
) -> None:
    corpus.write(rows(*range(20)))
    corpus.run()
    corpus.write(feed)
    corpus.source = source
    report = corpus.run("sink.max_delete=1")
    assert corpus.documents() == names(*range(20))
    assert report.status == "complete" and report.rows["deleted"] == 0 and report.deleted_points is None
    (notice,) = report.notices
    assert notice.startswith("nothing was swept: ") and why in notice
    # A nightly job must notice that an export was empty, whatever max_delete is.
    assert report.deletions_refused == (feed == [])
    if not feed:
        assert report.exit_code == 3 and "all 20 points of corpus 'books' in parquet" in notice
        corpus.name = "films"
        corpus.write([])
        assert corpus.run().exit_code == 0


def test_a_damaged_file_or_a_file_that_is_gone_sweeps_nothing(corpus: Corpus) -> None:
    corpus.write(rows(*range(20)))
    corpus.run()
    corpus.write(rows(*range(19)))
    (corpus.path.parent / "damaged.parquet").write_bytes(b"PAR1 and no more")
    report = corpus.run()
    assert corpus.documents() == names(*range(20))
    assert report.notices == [notice for notice in report.notices if "nothing was swept: 1 row" in notice] != []


def test_a_failed_run_and_one_without_the_key_delete_nothing(corpus: Corpus) -> None:
    corpus.write(rows(*range(20)))
    corpus.run()
    corpus.write([*rows(*range(18)), {"id": "d18", "text": None}])
    with pytest.raises(Exception, match=r"more than errors\.max_rate 0 allows"):
        corpus.run("errors.max_rate=0")
    assert corpus.documents() == names(*range(20))
    # Deletions are rows of the feed, too: two of seven are dead.
    feed = [{"id": name, "gone": True} for name in names(*range(4))]
    corpus.source, before = {"deleted": "gone"}, corpus.path.read_text()
    corpus.write([*feed, *rows(4), {"id": "d05", "gone": "yes"}, {"id": "d06", "text": None}])
    with pytest.raises(Exception, match=r"2 of 7 rows .* 'gone' is 'yes', not true .* 4 deletions were left waiting\."):
        corpus.run("errors.max_rate=0.28", "sink.deletions=keep")
    held = json.loads((corpus.folder / "books.json").read_text())
    assert (held["deletions_read"], held["deletions_waiting"], corpus.documents()) == (4, 4, names(*range(20)))
    corpus.source = {}
    corpus.path.write_text(before)
    report = corpus.run("sink.deletions=keep")
    assert corpus.documents() == names(*range(20)) and "deleted" not in report.sinks[0]
    assert corpus.run().rows["deleted"] == 1


def test_ids_made_from_the_content_change_with_it_and_the_old_ones_are_swept(corpus: Corpus) -> None:
    corpus.source = {"id": None}
    corpus.write([{"text": f"text {number}"} for number in range(20)])
    corpus.run()
    corpus.write([{"text": f"text {number}"} for number in range(19)] + [{"text": "another text"}])
    report = corpus.run()
    assert (report.rows["written"], report.rows["deleted"], len(corpus.points())) == (1, 1, 20)


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines import EmbeddingPipeline
from pipelines.sinks.parquet import sink as parquet
from pipelines.sinks.qdrant import folder

if sys.argv[2] == "parquet":
    kept = parquet.ParquetSink._keep
    def keep(self, name, rows):
        kept(self, name, rows)
        os.kill(os.getpid(), signal.SIGKILL)
    parquet.ParquetSink._keep = keep
else:
    folder.FolderSink.delete = lambda self, points: os.kill(os.getpid(), signal.SIGKILL)
EmbeddingPipeline.from_config(Path(sys.argv[1])).run()
"""


@pytest.mark.parametrize("corpus", ["parquet", "folder"], indirect=True)
def test_a_run_that_is_killed_while_it_deletes_has_told_what_goes_and_the_next_one_goes_on(corpus: Corpus) -> None:
    corpus.sink |= {"max_delete": 1}
    corpus.write(rows(*range(40)))
    corpus.run()
    corpus.write(rows(*range(5, 35)))
    job = corpus.folder / "job.json"
    job.write_text(json.dumps(corpus.config()))
    ended = subprocess.run([sys.executable, "-c", KILLED, str(job), corpus.kind], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    gone = names(*range(5), *range(35, 40))
    (told,) = (corpus.folder / "deleted_points").glob("deleted-*.parquet")
    assert sorted(pq.read_table(told)["document_id"].to_pylist()) == gone
    left = corpus.documents()
    # Of two files with rows that go, one had been written anew.
    anew = (names(*range(5, 40)), names(*range(35))) if corpus.kind == "parquet" else (names(*range(40)),)
    assert left in anew

    report = corpus.run()
    assert corpus.documents() == names(*range(5, 35))
    assert [name for name, _ in corpus.went(report)] == sorted(set(gone) & set(left))
    assert (
        len(list((corpus.folder / "deleted_points").iterdir())) == 2 + (corpus.folder / "deleted_points/_tmp").exists()
    )


@pytest.mark.server
def test_pages_and_requests_are_tried_again_and_points_go_by_their_ids(
    corpus: Corpus, qdrant_server: QdrantTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sinks.qdrant.deletion.PAGE_POINTS", 7)
    monkeypatch.setattr("pipelines.sinks.qdrant.deletion.BATCH", 4)
    corpus.kind, corpus.url = "server", qdrant_server.url
    corpus.write(rows(*range(40)))
    corpus.run()
    corpus.write(rows(*range(30)))
    qdrant_server.inject(Fault("503", method="POST", path_suffix="/points/scroll", skip=3, times=1))
    qdrant_server.inject(Fault("503", method="POST", path_suffix="/points/delete", skip=1, times=1))
    report = corpus.run("sink.max_delete=0.25")
    assert (report.rows["deleted"], corpus.documents()) == (10, names(*range(30)))
    assert [path for path in (one.path for one in qdrant_server.requests()) if path.endswith("/points/delete")][3:]


@pytest.mark.parametrize("corpus", KINDS, indirect=True)
def test_rows_of_a_feed_that_are_deletions_take_their_documents_out_of_the_sink(corpus: Corpus, minilm: Path) -> None:
    corpus.extra = cut_by(minilm) if corpus.kind != "folder" else {}
    corpus.sink = {}
    other = Corpus(corpus.folder, corpus.kind, corpus.url, "films", sink={}, extra=corpus.extra)
    for one in (other, corpus):
        one.write(rows(*range(6), text=LONG))
        one.run()
    before = corpus.points()
    corpus.source = {"deleted": "gone"}
    marks: list[Any] = [True, 1, "true", "TRUE"]
    deletions = [{"id": f"d{number:02}", "gone": mark} for number, mark in enumerate(marks)]
    lives = [{**row, "gone": mark} for row, mark in zip(rows(4, 10, 11, 12), [False, 0, "", None], strict=True)]
    odd = [{"id": "d05", "text": "x", "gone": "2024-05-01"}, {"gone": True}]
    corpus.write([*deletions, {"id": "never", "gone": True}, *lives, *odd])
    report = corpus.run()

    assert corpus.documents() == names(4, 5, 10, 11, 12) and other.documents() == names(*range(6))
    gone = [name for corpus_name, name in before if corpus_name == "books" and name in names(0, 1, 2, 3)]
    assert corpus.went(report) == [(name, "deleted in the source") for name in sorted(gone)]
    assert report.rows["deleted"] == report.sinks[0]["deleted"] == len(gone)
    assert (report.deletions_read, report.rows["read"], report.rows["dead"]) == (5, 6, 2)
    assert report.documents == 6 and report.notices == []
    assert "'gone' is '2024-05-01', not true or false" in report.dead_samples[0]
    assert "is a deletion, and has no id" in report.dead_samples[1]
    if corpus.kind == "parquet":
        tables = pads.dataset(sorted((corpus.folder / "out").glob("part-*.parquet"))).to_table()
        assert not any("gone" in json.loads(payload) for payload in tables["payload"].to_pylist())
    # A feed may have nothing but deletions, of documents that are gone already.
    corpus.write(deletions)
    screen = Console(file=io.StringIO(), width=120)
    again = EmbeddingPipeline.from_config(corpus.config()).run(console=screen)
    assert re.search(r"read +0 *\n *deletions read +4 *\n", screen.file.getvalue())  # type: ignore[attr-defined]
    assert again.deletions_waiting == 0
    assert (again.rows["deleted"], again.deletions_read, again.deleted_points, again.documents) == (0, 4, None, 0)


def test_a_document_that_is_deleted_and_there_in_one_feed_stays_and_the_deletion_is_a_dead_row(corpus: Corpus) -> None:
    corpus.sink, corpus.source = {}, {"deleted": "gone"}
    corpus.write(rows(*range(4)))
    corpus.run()
    corpus.write([{"id": "d00", "gone": True}, *rows(0, 1), {"id": "d01", "gone": True}, {"id": "d02", "gone": 1}] * 1)
    report = corpus.run()
    assert corpus.documents() == names(0, 1, 3)
    assert (report.rows["read"], report.rows["dead"], report.rows["deleted"], report.deletions_read) == (4, 2, 1, 1)
    assert "DuplicateId: document id 'd00' is deleted here, and is a document at rows.jsonl:2" in report.dead_samples[0]
    assert "document id 'd01' is deleted here, and is a document at rows.jsonl:3" in report.dead_samples[1]


def test_a_deletion_waits_while_a_limit_hides_rows_by_which_its_document_may_stay(corpus: Corpus) -> None:
    corpus.sink, corpus.source = {}, {"deleted": "gone"}
    corpus.write(rows(*range(4)))
    corpus.run()
    corpus.write([{"id": "d00", "gone": True}, {"id": "d01", "gone": True}, *rows(0)])
    report = corpus.run("source.limit=2")
    assert corpus.documents() == names(*range(4)) and report.rows["deleted"] == 0
    assert report.notices == [
        "no document that the source says is deleted was: source.limit is 2, so that the source is not read whole"
    ]
    assert report.deletions_waiting == 2
    assert corpus.run().rows["deleted"] == 1 and corpus.documents() == names(0, 2, 3)


def test_a_column_of_deletions_that_no_row_has_is_told_with_the_nearest_name(corpus: Corpus) -> None:
    corpus.sink, corpus.source = {}, {"deleted": "gonne"}
    corpus.write([{**row, "gone": True} for row in rows(*range(3))])
    near = "Did you mean 'gone'? There are: id, text, n, gone"
    (planned,) = EmbeddingPipeline.from_config(corpus.config()).plan().notices
    assert planned == (
        "source.deleted: no row that was looked at has a column 'gonne'; where none has it, nothing is deleted. " + near
    )
    (told,) = corpus.run().notices
    assert told == "source.deleted: no row of the source has a column 'gonne', and no document was deleted. " + near
    # One row anywhere is enough, as a live one or as a deletion, which the plan need not have seen.
    for last in ({**rows(1500)[0], "gonne": None}, {"id": "d00", "gonne": True}):
        corpus.write([*rows(*range(1100)), last])
        assert corpus.run().notices == []


def test_deletions_and_a_sweep_go_together_and_only_the_sweep_counts_against_max_delete(corpus: Corpus) -> None:
    corpus.source = {"deleted": "gone"}
    corpus.write(rows(*range(20)))
    corpus.run()
    deleted = [{"id": name, "gone": True} for name in names(*range(8))]
    corpus.write([*deleted, *rows(*range(8, 17))])
    report = corpus.run()
    assert corpus.documents() == names(*range(8, 17)) and report.rows["deleted"] == 11
    assert [why for _, why in corpus.went(report)].count("no longer in the source") == 3


def test_a_plan_says_what_would_be_swept_and_the_schema_explains_the_keys(corpus: Corpus) -> None:
    corpus.source = {"deleted": "gone"}
    corpus.write(rows(1))
    job = corpus.folder / "job.json"

    def plan(*options: str) -> str:
        job.write_text(json.dumps(corpus.config()))
        result = CliRunner().invoke(app, ["embed", "--config", str(job), "--plan", *options])
        assert result.exit_code == 0, result.output
        return result.output

    told = plan()
    assert (
        "whose documents the source no longer has, 15% of them at most (max_delete); how many is decided at the end"
        in told
    )
    assert "would delete from all sinks the documents in whose row 'gone' is true" in told
    assert str(corpus.folder / "deleted_points") in told
    assert "would sweep nothing" in plan("--set", "source.limit=5")
    properties = CliRunner().invoke(app, ["embed", "--schema"]).output
    assert (
        "two jobs that sweep need a corpus of their own each" in properties and "--set sink.0.max_delete" in properties
    )


def test_the_column_of_deletions_must_be_one_of_its_own_and_needs_ids(corpus: Corpus) -> None:
    corpus.write(rows(1))
    for source, match in (({"id": None, "deleted": "gone"}, "needs id"), ({"deleted": "text"}, "that of id, text")):
        corpus.source = source
        with pytest.raises(ValueError, match=match):
            corpus.run()


@pytest.mark.usefixtures("ray_local")
def test_a_run_on_ray_sweeps_a_folder_that_another_process_holds(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, "folder", extra={"compute": {"engine": "ray", "block_rows": 16}})
    corpus.write(rows(*range(20)))
    corpus.run()
    corpus.source = {"deleted": "gone"}
    corpus.write([*rows(*range(17)), {"id": "d17", "gone": True}])
    report = corpus.run()
    assert report.engine == "ray" and report.rows["deleted"] == 3
    assert corpus.documents() == names(*range(17))
