"""A collection that lives on is copied in passes, and nothing that its writers do meanwhile is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from pipelines.reindex.aliases import Alias
from tests.pipelines.reindex.conftest import Story, call, done, refused
from tests.pipelines.reindex.live import OLD, Payloads, copying, held, live, made_by, text, write
from tests.waiting import wait_until


class Writer:
    """Inserts, changes and deletes through the alias, one point after the other, and knows what there must be.

    No point is touched twice within many operations, so that each of them is one that a pass may meet.
    """

    def __init__(self, url: str, payloads: Payloads) -> None:
        self.believed = payloads
        self._client = QdrantClient(url=url, check_compatibility=False)
        self._ids, self._new = iter(sorted(payloads)), count(10_000)
        self._stop, self.done = threading.Event(), 0
        self.failure: BaseException | None = None

    @contextmanager
    def writing(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            wait_until(lambda: self.done > 4 or not thread.is_alive())
            yield
        finally:
            self._stop.set()
            thread.join()
            self._client.close()
        assert self.failure is None

    def _run(self) -> None:
        try:
            for name in self._ids:
                self._act(name, self.done % 4)
                self.done += 1
                if self._stop.wait(0.03):
                    return
        except BaseException as error:
            self.failure = error

    def _act(self, name: int, kind: int) -> None:
        if kind == 0:
            name = next(self._new)
            self.believed[name] = {"text": text(name), "n": name}
            write(self._client, "docs", (name, self.believed[name]))
        elif kind == 1:
            self.believed[name] = {"text": text(name, 2), "n": -name}
            write(self._client, "docs", (name, self.believed[name]))
        elif kind == 2:
            self.believed[name] = {**self.believed[name], "price": name}
            self._client.set_payload("docs", {"price": name}, [name])
        else:
            del self.believed[name]
            self._client.delete("docs", [name])


def test_what_writers_do_from_the_first_pass_to_the_switch_is_all_there(story: Story) -> None:
    payloads = live(story, 500)
    config = copying(story, until=200)
    told = done("plan", config)
    assert f"a run copies {OLD} (500 points) in a first pass, then in at most 10 more" in told
    writer = Writer(story.server.url, payloads)
    with writer.writing():
        ran = done("run", config)
        assert story.alias == OLD
        switched = done("switch", config, "--unverified")
    new = story.collection("v2")
    assert story.alias == new and "deleted while the alias moved" in switched
    assert held(story.client, new) == writer.believed
    passes = story.report("v2")["passes"]
    assert "pass 2: " in ran and sum(one["deleted"] for one in passes) < writer.done
    assert "done already" in done("switch", config)


def test_a_pass_embeds_and_deletes_only_what_changed_and_leaves_what_others_wrote(story: Story) -> None:
    live(story, 40)
    config = copying(story, until=1)
    assert "pass 2: 0 embedded, 0 payload only, 0 deleted of 40 read" in done("run", config)
    new = story.collection("v2")
    assert story.client.get_collection(new).config.metadata["fleetembed_state"] == "complete"  # type: ignore[index]
    before = made_by(story.client, new)
    # Somebody writes to both; one of his points is not in the old collection at all.
    write(story.client, OLD, (1, {"text": "from the old"}), (2, {"text": text(2, 2)}), (50, {"text": "inserted"}))
    write(story.client, new, (1, {"text": "newer"}), (60, {"text": "only here"}))
    story.client.set_payload(OLD, {"price": 3}, [3, 4])
    story.client.delete(OLD, [5, 6, 7])
    write(story.client, new, (7, {"text": "written again"}))
    told = done("run", config)
    assert "pass 1: 2 embedded, 2 payload only, 2 deleted of 38 read" in told and "pass 2: 0 embedded" in told
    assert f"3 points of {new} were written by others" in told
    report = story.report("v2")
    assert [(one["written"], one["deleted"]) for one in report["passes"]] == [(4, 2), (0, 0)]
    there, after = held(story.client, new), made_by(story.client, new)
    others: Payloads = {1: {"text": "newer"}, 60: {"text": "only here"}, 7: {"text": "written again"}}
    assert there == {**held(story.client, OLD), **others}
    assert after[2] != before[2] and after[50] and after[3] == before[3]
    assert report["sinks"][0]["points"] == len(there)
    # Once they are gone, an ordinary run of the job copies what is not there, and a pass takes that for a copy too.
    story.client.delete(new, [1, 7, 60])
    assert call("embed", "--config", config).exit_code == 0
    assert story.report("v2")["rows"]["embedded"] == 1 and held(story.client, new) == held(story.client, OLD)
    story.client.delete(OLD, [1])
    assert "0 embedded, 0 payload only, 1 deleted of 37 read" in done("run", config)


def test_copies_of_a_third_collection_are_brought_up_to_date(story: Story) -> None:
    live(story, 10)
    config = copying(story, until=1)
    done("run", config)
    # Meanwhile another collection took the place of the old one.
    story.client.create_collection("third", {"old": models.VectorParams(size=2, distance=models.Distance.COSINE)})
    write(story.client, "third", *((number, {"text": text(number), "n": number}) for number in range(8)))
    write(story.client, "third", (8, {"text": text(8, 2)}))
    story.let_alias_name("third")
    assert "pass 1: 1 embedded, 8 payload only, 0 deleted of 9 read" in done("run", config)
    new = held(story.client, story.collection("v2"))
    # What was copied of the first one alone is not the third one's to delete.
    assert new == {**held(story.client, "third"), 9: {"text": text(9), "n": 9}}


def test_writes_while_the_alias_moves_are_caught_up_and_newer_ones_stay(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(story, 40)
    config = copying(story)
    done("run", config)
    done("verify", config)
    new, client, move = story.collection("v2"), story.client, Alias.point_at
    write(client, OLD, (30, {"text": text(30, 2)}))
    client.delete(OLD, [31])

    def moves(alias: Alias, collection: str) -> None:
        # To the old one, at the last moment.
        write(client, OLD, (100, {"text": "new"}), *((name, {"text": text(name, 2)}) for name in (1, 3, 5)))
        client.delete(OLD, [2, 6])
        move(alias, collection)
        # To the new one, at once.
        client.delete("docs", [4, 5])
        write(client, "docs", (3, {"text": "newest"}), (6, {"text": "again"}), (101, {"text": "newer"}))

    monkeypatch.setattr(Alias, "point_at", moves)
    assert f"would catch up with {OLD}, before and after" in done("switch", config, "--dry-run")
    assert held(client, new)[30]["text"] == text(30)
    told = done("switch", config)
    assert "2 written and 1 deleted while the alias moved" in told and story.alias == new
    wanted = {number: {"text": text(number), "n": number} for number in range(40) if number not in (2, 4, 5, 31)}
    changed = {1: text(1, 2), 30: text(30, 2), 3: "newest", 6: "again", 100: "new", 101: "newer"}
    assert held(client, new) == {**wanted, **{name: {"text": words} for name, words in changed.items()}}
    # The job reads what the alias names, which is its own collection now.
    assert "source.qdrant reads docs, which is that collection" in refused("run", config)
    done("rollback", config)
    assert story.alias == OLD


def test_a_switch_that_died_behind_the_alias_is_gone_on_with(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    live(story, 20)
    config = copying(story)
    done("run", config)
    new, move = story.collection("v2"), Alias.point_at

    def dies(alias: Alias, collection: str) -> None:
        write(story.client, OLD, (100, {"text": "new"}))
        move(alias, collection)
        raise KeyboardInterrupt

    monkeypatch.setattr(Alias, "point_at", dies)
    refused("switch", config, "--unverified")
    assert story.alias == new and 100 not in held(story.client, new)
    assert f"would copy what was written to {OLD}" in done("switch", config, "--dry-run")
    assert "1 written and 0 deleted while the alias moved" in done("switch", config)
    assert held(story.client, new)[100] == {"text": "new"}
    assert done("switch", config).startswith("done already") and "written" not in done("switch", config)


def test_a_verification_holds_for_few_changes_and_not_for_many(story: Story) -> None:
    live(story, 40)
    config = copying(story, until=3)
    done("run", config)
    done("verify", config)
    write(story.client, OLD, *((number, {"text": text(number, 2)}) for number in range(4)))
    told = refused("switch", config)
    assert "4 points were caught up just now, more than reindex.until (3)" in told and story.alias == OLD
    assert "was not verified" in refused("switch", config)
    done("verify", config)
    write(story.client, OLD, *((number, {"text": text(number, 3)}) for number in range(3)))
    done("switch", config)
    assert story.alias == story.collection("v2") and "verified" in done("status", config)


def test_writers_that_are_faster_than_the_passes_are_told_of(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    live(story, 10)
    config = copying(story, until=2, passes=2)
    editions = count(2)

    def keeps_up(*_: Any, **__: Any) -> None:
        edition = next(editions)
        write(story.client, OLD, *((number, {"text": text(number, edition)}) for number in range(3)))

    monkeypatch.setattr("pipelines.reindex.catch_up.CatchUp._wait_for_old", keeps_up)
    told = " ".join(done("run", config).split())
    assert "pass 3: 3 embedded" in told and "pass 4" not in told
    assert "of 3 passes, the last one found 3 changes" in told and "reindex.until is 2" in told


def test_points_that_the_old_collection_does_not_show_yet_are_waited_for(story: Story) -> None:
    live(story, 20)
    config = copying(story, until=1)
    done("run", config)
    story.server.defer(3, collection=OLD, reads=1)
    assert "0 deleted of 20 read" in done("run", config)
    assert len(held(story.client, story.collection("v2"))) == 20


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"source": {"limit": 5}}, 0, "a single pass, without deletions: source.limit is 5"),
        ({"sink": "two"}, 0, "a single pass, without deletions: the job has 2 sinks"),
        ({"source": {"collection": "new"}}, 2, "is the collection that source.qdrant reads"),
    ],
    ids=["limit", "two-sinks", "itself"],
)
def test_what_cannot_be_caught_up_with_is_told(story: Story, changed: dict[str, Any], code: int, message: str) -> None:
    live(story, 10)
    config = copying(story)
    job = json.loads(config.read_text())
    source = changed.get("source", {})
    if "limit" in source:
        job["source"]["limit"] = 5
    elif "collection" in source:
        done("run", config)
        job["source"]["qdrant"]["collection"] = story.collection("v2")
    else:
        job["sink"] = [job["sink"], {"type": "parquet", "path": str(story.folder / "out")}]
    config.write_text(json.dumps(job))
    told = " ".join((refused("run", config, code=code) if code else done("run", config)).split())
    assert message in told and "pass 1" not in told


def test_an_old_server_is_refused_because_it_would_overwrite_what_writers_wrote(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(story, 10)
    version = models.VersionInfo(title="qdrant", version="1.15.4")
    monkeypatch.setattr("qdrant_client.QdrantClient.info", lambda client: version)
    told = refused("run", copying(story), code=2)
    assert "is on a Qdrant server 1.15.4" in told and "1.16 or newer" in told
