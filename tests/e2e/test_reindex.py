"""A live collection gets another model on Ray, while it is written to and searched, and drivers are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pytest
from qdrant_client import QdrantClient, models

from pipelines.search import Searcher
from tests.conftest import ROOT
from tests.pipelines.reindex.conftest import done as done_here
from tests.qdrant_server import Fault, QdrantTestServer
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

COUNT = 600
# Points that the writer leaves alone, so that there is always something to be found.
KEPT = 50
# "runs" has the stem of "running" in English alone, "Häuser" that of "Haus" in German alone: an answer tells by which
# model the collection was filled, and the same one must have encoded the query.
QUERY, FOUND = "runs Häuser", {"english": "running", "german": "Haus"}

Payloads = dict[str, dict[str, Any]]
Write = tuple[Literal["put", "set", "delete"], str, dict[str, Any]]


def text(number: int, edition: int = 0) -> str:
    start = "she was running past" if number % 2 else "ein Haus hinter"
    return f"{start} word{number} edition{edition}"


def after(points: Payloads, writes: Iterable[Write]) -> Payloads:
    """What there is after some writes."""
    points = dict(points)
    for kind, name, payload in writes:
        if kind == "delete":
            points.pop(name, None)
        else:
            points[name] = payload if kind == "put" else {**points[name], **payload}
    return points


class Live:
    """A thread that acts again and again, and what went wrong in it."""

    def __init__(self, act: Callable[[], None], seconds: float) -> None:
        self._act, self._seconds, self._stop = act, seconds, threading.Event()
        self.failure: BaseException | None = None

    @contextmanager
    def going(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._seconds):
                self._act()
        except BaseException as error:
            self.failure = error


class Writer:
    """Inserts, replaces, changes payloads and deletes through the alias, one point at a time.

    It goes round the points, so that none is touched twice while an alias moves.
    """

    def __init__(self, client: QdrantClient, names: Iterable[str]) -> None:
        self._client, self.names, self.writes = client, deque(names), list[Write]()
        self.between = threading.Lock()

    def act(self) -> None:
        with self.between:
            number = len(self.writes)
            kind, name = number % 4, str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))
            if kind:
                name = self.names.popleft()
            if kind != 3:
                self.names.append(name)
            if kind < 2:
                payload = {"text": text(COUNT + number // 4, number + 1), "n": number}
                self._client.upsert("docs", [models.PointStruct(id=name, vector={}, payload=payload)])
                self.writes.append(("put", name, payload))
            elif kind == 2:
                self._client.set_payload("docs", {"price": number}, [name])
                self.writes.append(("set", name, {"price": number}))
            else:
                self._client.delete("docs", [name])
                self.writes.append(("delete", name, {}))

    def wait_for(self, number: int) -> None:
        """Wait until there were so many more writes."""
        enough = len(self.writes) + number
        wait_until(lambda: len(self.writes) >= enough)


class Asker:
    """Asks through the alias, and keeps of each answer the language of the collection that gave it."""

    def __init__(self, searcher: Searcher, languages: dict[str, str]) -> None:
        self._searcher, self._languages = searcher, languages
        self.answers: list[str] = []

    def act(self) -> None:
        hits = self._searcher.search(QUERY, limit=8)
        # A collection is called after the fingerprint of its points.
        made_by = {hit.payload["_fleetembed"]["fingerprint"][:12] for hit in hits}
        (language,) = {self._languages[f"docs-{fingerprint}"] for fingerprint in made_by}
        assert all(FOUND[language] in hit.payload["text"] for hit in hits), (language, hits)
        self.answers.append(language)


class Story:
    """The old job, whose source are files, the new one, which copies what the alias names, and its commands."""

    def __init__(self, folder: Path, server: QdrantTestServer, client: QdrantClient, ray: str) -> None:
        self.folder, self.server, self.client, self._ray = folder, server, client, ray
        (folder / "corpus.jsonl").write_text(
            "".join(json.dumps({"id": f"d{n}", "text": text(n), "n": n}) + "\n" for n in range(COUNT))
        )
        files = {"path": str(folder / "corpus.jsonl"), "id": "id", "payload": ["n"]}
        self.old_job = self._write("english", files, {"engine": "local"})
        living = {"qdrant": {"url": server.url, "collection": "docs", "page_points": 64}}
        self.new_job = self._write("german", living, {"engine": "ray", "block_rows": 32})

    def _write(self, language: str, source: dict[str, Any], compute: dict[str, Any]) -> Path:
        job = {
            "corpus": "books",
            "source": source,
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25", "options": {"language": language}}],
            "sink": {"type": "qdrant", "url": self.server.url, "alias": "docs", "batch_points": 32},
            "compute": compute,
            # Passes go on while writers are so fast; the old and the new model find different things here.
            "reindex": {
                "until": 60,
                "passes": 2,
                "verify": {"sample": 100, "reembed": 50, "searches": 20, "margin": 1},
            },
            "report": str(self.folder / f"{language}.json"),
        }
        path = self.folder / f"{language}.yaml"
        path.write_text(json.dumps(job))
        return path

    def status(self, job: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(done_here("status", job, "--json"))
        return found

    @property
    def report(self) -> dict[str, Any]:
        """The report of the new job's last run."""
        found: dict[str, Any] = json.loads((self.folder / "german.json").read_text())
        return found

    @property
    def told(self) -> str:
        """What the last command said."""
        return (self.folder / "told.txt").read_text()

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """A run of the new job in a process of its own, which is killed where it has not ended by then."""
        arguments = [sys.executable, "jobs/reindex.py", "run", "--config", str(self.new_job)]
        with (self.folder / "told.txt").open("w") as told:
            environment = {**os.environ, "RAY_ADDRESS": self._ray}
            process = subprocess.Popen(arguments, stdout=told, stderr=told, cwd=ROOT, env=environment)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def killed_run(self, collection: str, *, skip: int, after: str = "") -> None:
        """Run, and kill the driver when some points are written after something was said, and further ones are not."""
        path = f"{collection}/points"
        with self.started() as process:
            wait_until(lambda: after in self.told or process.poll() is not None)
            self.server.clear()
            self.server.inject(Fault("stall", path_suffix=path, skip=skip, times=None))
            wait_until(lambda: len(self.server.requests("PUT", path)) > skip or process.poll() is not None)
            assert process.poll() is None, self.told
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        # What was under way comes in after the driver's end.
        self.server.clear()

    def records(self, collection: str) -> list[models.Record]:
        found = self.client.scroll(collection, limit=10_000, with_vectors=True)[0]
        assert len(found) == self.client.count(collection, exact=True).count
        return found

    def held(self, collection: str) -> Payloads:
        """A collection's payloads, without what jobs add."""
        found: Payloads = {}
        for record in self.records(collection):
            payload = dict(record.payload or {})
            found[str(record.id)] = {key: payload[key] for key in ("text", "n", "price") if key in payload}
        return found


@pytest.fixture
def story(tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient, ray_local: None) -> Story:
    import ray

    return Story(tmp_path, qdrant_server, qdrant_client, ray.get_runtime_context().gcs_address)


def test_no_write_is_lost_and_no_answer_mixes_models_until_the_rollback(story: Story) -> None:
    done_here("run", story.old_job)
    old, new = (story.status(job)["collection"] for job in (story.old_job, story.new_job))
    first = story.held(old)
    assert len(first) == COUNT
    writer = Writer(story.client, sorted(first)[KEPT:])
    with Searcher.from_config(story.new_job) as searcher:
        asker = Asker(searcher, {old: "english", new: "german"})
        with Live(asker.act, 0.1).going(), Live(writer.act, 0.2).going():
            story.killed_run(new, skip=3)
            assert 0 < story.client.count(new).count < COUNT
            story.killed_run(new, skip=0, after="pass 1: ")
            done_here("run", story.new_job, "--set", "reindex.until=2000")
            assert story.report["rows"]["dead"] == 0
            # What the killed runs copied is not embedded again.
            assert story.report["passes"][0]["embedded"] < COUNT / 2
            done_here("verify", story.new_job, "--set", "reindex.until=2000")
            told = done_here("switch", story.new_job, "--set", "reindex.until=2000")
            assert f"names {new}" in told and "deleted while the alias moved" in told
            writer.wait_for(8)
            with writer.between:
                moved, known = len(writer.writes), after(first, writer.writes)
                before = story.held(old)
                assert story.held(new) == known
                check_vectors(story, new, searcher)
                # What is in one collection alone is not there to be changed after the way back.
                writer.names = deque(name for name in writer.names if name in before and name in known)
            told = done_here("rollback", story.new_job)
            assert f"names {old}" in told and f"points are in {new} alone" in told
            writer.wait_for(8)
    assert [language for language, _ in groupby(asker.answers)] == ["english", "german", "english"]
    later = writer.writes[moved:]
    here, there = story.held(new), story.held(old)
    # Each write after the switch is in the one or in the other collection.
    (back,) = (
        number
        for number in range(len(later) + 1)
        if after(known, later[:number]) == here and after(before, later[number:]) == there
    )
    assert 0 < back < len(later)


def check_vectors(story: Story, collection: str, searcher: Searcher) -> None:
    """Every copied point has the vector of its text; those that the writer made since the switch have none."""
    searcher.follow()
    copied = 0
    for record in story.records(collection):
        payload, vectors = record.payload or {}, record.vector
        if "_fleetembed" not in payload:
            assert not vectors
            continue
        assert isinstance(vectors, dict)
        wanted, found = searcher.encode(payload["text"], ["bm25"])["bm25"], vectors["bm25"]
        assert payload["_fleetembed"]["fingerprint"][:12] in collection
        assert isinstance(found, models.SparseVector) and set(found.indices) == set(wanted.indices), payload
        copied += 1
    assert copied > COUNT / 2


def test_a_vector_is_added_in_place_on_ray(story: Story) -> None:
    done_here("run", story.old_job)
    job = json.loads(story.new_job.read_text())
    english = json.loads(story.old_job.read_text())["embeddings"]
    german = {**job["embeddings"][0], "name": "german"}
    adding = story.folder / "adding.yaml"
    adding.write_text(json.dumps({**job, "embeddings": [*english, german], "reindex": {"mode": "add_vector"}}))
    (name,) = (one.name for one in story.client.get_collections().collections)
    before = {record.id: record for record in story.records(name)}
    assert f"all points of {name} have german" in done_here("run", adding)
    assert story.report["rows"]["embedded"] == COUNT
    with Searcher.from_config(adding) as searcher:
        for record in story.records(name):
            payload, vectors = record.payload or {}, record.vector
            assert isinstance(vectors, dict) and isinstance(vectors["german"], models.SparseVector)
            wanted = searcher.encode(payload["text"], ["german"])["german"]
            assert set(vectors["german"].indices) == set(wanted.indices)
            assert vectors["bm25"] == before.pop(record.id).vector["bm25"]  # type: ignore[call-overload,index]
    assert not before
