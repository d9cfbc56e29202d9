"""The whole way: fill, switch, fill anew with another model, switch, go back; and what is refused on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from qdrant_client import models

from tests.pipelines.reindex.conftest import DOCUMENTS, HOUSE, RUNNER, Story, call, done, found, refused
from tests.qdrant_server.faults import Fault


def status(config: Path) -> dict[str, object]:
    told: dict[str, object] = json.loads(done("status", config, "--json"))
    return told


def test_a_live_collection_is_replaced_and_brought_back_while_searches_go_on(story: Story) -> None:
    english, german = story.config("v1"), story.config("v2", "german")

    planned = done("plan", english)
    assert "it will be created" in planned and "is not there yet" in planned and "nothing was changed" in planned
    assert "at its end, makes the alias" in planned
    assert story.client.get_collections().collections == []
    told = done("clean", english)
    assert "nothing to clean: alias 'docs' at" in told and "is not there, and neither is a collection for it" in told
    missing = call("search", "--config", english, "runs")
    assert missing.exit_code == 1 and "fleetembed reindex run" in missing.output
    assert "is not there yet" in refused("switch", english)

    assert "named nothing and names it now" in done("run", english)
    (first,) = (one.name for one in story.client.get_collections().collections)
    assert first == f"docs-{story.report('v1')['fingerprint'][:12]}" and story.alias == first
    assert "done already" in done("switch", english)
    assert "no collection of it is without an alias" in done("clean", english)
    assert "nothing to go back to" in refused("rollback", english)
    assert found(english) == {RUNNER}

    # The second run dies half way: the alias stays, a switch is refused, and the next run goes on.
    planned = done("plan", german)
    assert f"names {first} now" in planned and "leaves the alias; after verify, switch" in planned
    story.server.inject(Fault("507", method="PUT", path_suffix="/points", skip=2, times=None))
    assert "quota is used up" in refused("run", german)
    story.server.clear()
    assert "stopped before the end" in refused("switch", german)
    assert story.alias == first and found(german) == found(english) == {RUNNER}
    assert "next is verify, then switch" in done("run", german)
    rows = story.report("v2")["rows"]
    assert (rows["skipped"], rows["written"]) == (8, len(DOCUMENTS) - 8)
    second = f"docs-{story.report('v2')['fingerprint'][:12]}"
    assert story.alias == first and second != first and found(german) == {RUNNER}
    told = status(german)
    assert (told["names"], told["switch_to"], told["rollback_to"]) == (first, second, None)

    story.server.clear()
    done("switch", german, "--unverified")
    changes = [(one.method, one.path) for one in story.server.requests() if one.method not in ("GET", "HEAD")]
    assert [path for _, path in changes][-2:] == [f"/collections/{second}", "/collections/aliases"]
    assert story.alias == second and found(english) == found(german) == {HOUSE}
    assert json.loads(call("search", "--config", english, "Häuser", "--json").output)[0]["payload"]["text"] == HOUSE
    told = status(german)
    assert (told["names"], told["switch_to"], told["rollback_to"]) == (second, None, first)
    assert told["collections"] == [
        {"collection": name, "points": 20, "state": "complete", "models": {"bm25": "Qdrant/bm25"}, "verified": None}
        for name in sorted((first, second))
    ]

    assert "would let" in done("rollback", german, "--dry-run")
    assert story.alias == second
    assert f"names {first} (20 points) in the place of {second} (20 points)" in done("rollback", german)
    assert story.alias == first and found(german) == {RUNNER}
    assert "done already" in done("rollback", german) and story.alias == first
    told_of = done("status", german)
    assert "<- switch is refused" in told_of and f"{second} is refused: not verified since its last run" in told_of
    done("switch", german, "--unverified")
    assert story.alias == second and "rollback takes it" in done("status", german)
    story.client.delete_collection(first)
    assert "is not there any more" in refused("rollback", german)
    assert story.alias == second


def test_only_a_whole_run_makes_an_alias_that_nothing_is_asked_by(story: Story) -> None:
    config = story.config("v1")
    assert "makes no alias, since source.limit is 3" in done("plan", config, "--set", "source.limit=3")
    told = done("run", config, "--set", "source.limit=3")
    assert "is not made, since source.limit is 3" in told and story.alias is None
    would = f"would let alias 'docs' at {story.server.url} name {story.collection('v1')} (3 points), which is new"
    assert would in done("switch", config, "--dry-run", "--unverified") and story.alias is None
    story.server.inject(Fault("507", method="PUT", path_suffix="/points", skip=2, times=None))
    refused("run", config)
    story.server.clear()
    assert story.alias is None
    # The server goes away between the run and the alias: the next one makes it, and embeds nothing.
    story.server.inject(Fault("500", method="POST", path_suffix="/aliases", times=None))
    assert "naming docs-" in refused("run", config, "--set", "sink.retry_seconds=0")
    story.server.clear()
    assert story.alias is None
    for _ in range(2):
        assert "names it now" in done("run", config)
        assert story.report("v1")["rows"]["skipped"] == len(DOCUMENTS) and story.alias == story.collection("v1")
        story.delete_alias()


def test_embed_fills_the_same_collection_and_leaves_the_alias(story: Story) -> None:
    config = story.config("v1")
    assert call("embed", "--config", config).exit_code == 0
    assert story.alias is None
    done("run", config)
    assert story.report("v1")["rows"]["skipped"] == len(DOCUMENTS)
    assert "nothing to switch" in done("plan", config)
    # A nightly run adds to the collection that the alias names, and takes nothing from searchers meanwhile.
    assert call("embed", "--config", config).exit_code == 0
    assert found(config) == {RUNNER}
    # A collection whose name only begins so is another's.
    story.client.create_collection("docs-archive", models.VectorParams(size=2, distance=models.Distance.DOT))
    assert "docs-archive" not in done("status", config)


def test_two_sinks_cannot_fill_the_collection_of_one_alias(story: Story) -> None:
    config = story.config("v1")
    done("run", config)
    (name,) = (one.name for one in story.client.get_collections().collections)
    job = json.loads(config.read_text())
    config.write_text(json.dumps({**job, "sink": [job["sink"], {**job["sink"], "alias": None, "collection": name}]}))
    assert "named by another sink too" in refused("run", config, code=2)
    config.write_text(json.dumps({**job, "sink": [job["sink"], {**job["sink"], "alias": "other"}]}))
    assert "2 sinks have an alias" in refused("switch", config, code=2)


def test_the_name_of_a_live_collection_is_no_alias_and_the_way_out_is_told(story: Story) -> None:
    story.client.create_collection("docs", models.VectorParams(size=2, distance=models.Distance.DOT))
    config = story.config("v1")
    assert "a collection has that name" in done("plan", config)
    told = done("status", config)
    assert "a collection is called docs" in told and "points  state" not in told
    assert "not there yet" in told and status(config)["clash"] in told
    assert "a collection has that name" in done("run", config)
    told = refused("switch", config, "--unverified")
    assert "choose another alias" in told and "DELETE /collections/docs" in told
    assert story.client.count("docs").count == 0 and story.alias is None
    story.client.delete_collection("docs")
    done("switch", config, "--unverified")
    assert found(config) == {RUNNER}
    # Whoever gives the collection's name in the place of the alias is not told to delete what is asked.
    told = done("plan", config, "--set", f"sink.alias={story.alias}")
    assert "the collection behind alias docs, which is asked now" in told and "DELETE" not in told


def test_an_alias_that_names_a_third_collection_is_not_taken_back(story: Story) -> None:
    english, german = story.config("v1"), story.config("v2", "german")
    for config in (english, german):
        done("run", config)
        done("switch", config, "--unverified")
    before = story.alias
    # Its own switch was the first; another job's collection is named now.
    assert "nothing to go back to" in refused("rollback", english)
    russian = story.config("v3", "russian")
    assert "no switch to it is written down" in refused("rollback", russian)
    done("run", russian)
    done("switch", russian, "--unverified")
    assert "give the configuration of the job that was switched to" in " ".join(refused("rollback", german).split())
    assert before in done("rollback", russian) and story.alias == before


def test_what_is_not_what_the_job_makes_is_not_switched_to(story: Story) -> None:
    config = story.config("v1")
    done("run", config)
    (name,) = (one.name for one in story.client.get_collections().collections)
    held = story.client.get_collection(name).config.metadata
    assert held is not None
    story.delete_alias()
    story.client.update_collection(name, metadata={"fleetembed": {**held["fleetembed"], "fingerprint": "other"}})
    assert "was filled by another job" in refused("switch", config)
    story.client.update_collection(name, metadata={"fleetembed": held["fleetembed"], "fleetembed_state": None})
    assert "older than Qdrant 1.16" in refused("switch", config)
    story.client.update_collection(name, metadata={"fleetembed_state": "complete"})
    story.client.delete(name, models.Filter())
    assert "is empty" in refused("switch", config)
    assert story.alias is None


@pytest.mark.parametrize(
    ("sink", "message"),
    [
        ({"collection": "docs"}, "give exactly one of collection"),
        ({"alias": None}, "give exactly one of collection"),
        ({"alias": "a/b"}, "sink.0.alias"),
        ({"url": None, "path": "out"}, "alias needs a server"),
        ({"alias": None, "collection": "docs"}, "no sink has an alias"),
    ],
    ids=["both", "neither", "bad-name", "folder", "no-alias"],
)
def test_a_sink_without_one_alias_on_a_server_is_refused(
    story: Story, sink: dict[str, str | None], message: str
) -> None:
    assert message in refused("switch", story.config("v1", **sink), code=2)


@pytest.mark.parametrize("command", ["plan", "run", "switch", "status"])
def test_a_length_that_is_to_be_measured_names_no_collection(story: Story, command: str) -> None:
    config = story.config("v1")
    told = refused(command, config, "--set", "embeddings.0.options.avg_len=measure", code=2)
    assert "write a number for avg_len" in told
    assert story.client.get_collections().collections == []


def test_a_server_that_is_away_or_has_no_aliases_is_told_of(story: Story) -> None:
    config = story.config("v1", retry_seconds=0)
    story.server.inject(Fault("503", method="GET", path_suffix="/aliases", times=None))
    told = refused("switch", config)
    assert "alias 'docs' at" in told and "too old" in told
    assert "127.0.0.1:9" in refused("status", config, "--set", "sink.url=http://127.0.0.1:9")
