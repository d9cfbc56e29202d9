"""Whichever command is killed, at whichever of its requests: given again it ends well, and no write is lost or doubled.

A stalled request is carried out after the kill, so that the kill is behind it; a dropped one never is.
"""

from __future__ import annotations

import json
from itertools import count, islice

from qdrant_client import models

from tests.pipelines.reindex.conftest import Story, done, refused
from tests.pipelines.reindex.kills import killed
from tests.pipelines.reindex.live import OLD, Payloads, copying, held, live, made_by, text, write
from tests.pipelines.reindex.test_add_vector import BM25, GERMAN, Docs
from tests.pipelines.sources.qdrant.test_jobs import points
from tests.qdrant_server import Fault
from tests.waiting import wait_until


def change(story: Story, edition: int = 2) -> None:
    """Change, insert and delete in the old collection, in the part that is read first and in the one read last."""
    points = [(name, {"text": text(name, edition)}) for name in (1, 119, 500 * edition)]
    # Past the faults, which strike PUT alone.
    operation = models.UpsertOperation(
        upsert=models.PointsList(points=[models.PointStruct(id=name, vector={}, payload=load) for name, load in points])
    )
    story.client.batch_update_points(OLD, [operation])
    story.client.delete(OLD, list(islice(count(edition, 40), 3)))


def test_a_run_that_is_killed_in_its_first_pass_goes_on(story: Story) -> None:
    live(story, 120)
    config = copying(story, until=1, blocks=16)
    stall = Fault("stall", path_suffix="/points", skip=4, times=None)
    killed(story.server, config, "run", stall, meanwhile=lambda: change(story))
    told = done("run", config)
    assert story.report("v2")["passes"][0]["embedded"] < 120 and "pass 2: 0 embedded" in told
    assert held(story.client, story.collection("v2")) == held(story.client, OLD)


def test_a_run_that_is_killed_in_a_later_pass_goes_on(story: Story) -> None:
    live(story, 120)
    config = copying(story, until=1, blocks=16)
    faults = (
        Fault("stall", path_suffix="/points", skip=4, times=None),
        Fault("stall", method="POST", path_suffix="/points/delete", times=None),
    )
    killed(story.server, config, "run", *faults, meanwhile=lambda: change(story))
    assert "pass 2: 0 embedded, 0 payload only, 0 deleted" in done("run", config)
    assert held(story.client, story.collection("v2")) == held(story.client, OLD)


def test_verify_switch_and_rollback_are_killed_at_each_of_their_steps(story: Story) -> None:
    live(story, 120)
    config = copying(story)
    done("run", config)
    new, server = story.collection("v2"), story.server
    aliases = {"method": "POST", "path_suffix": "/collections/aliases"}

    killed(server, config, "verify", Fault("drop", method="PATCH", path_suffix=new, times=None))
    assert "was not verified since its last run" in refused("switch", config)
    done("verify", config)

    # While it catches up before the alias moves: what it copied is there, and has to be looked at.
    change(story)
    killed(server, config, "switch", Fault("stall", path_suffix=f"{new}/points", times=None))
    assert story.alias == OLD and "run `fleetembed reindex run` to its end" in refused("switch", config)
    done("run", config)
    assert held(story.client, new) == held(story.client, OLD)
    done("verify", config)

    # Before anything is written down, and before the alias moves.
    killed(server, config, "switch", Fault("drop", method="PATCH", path_suffix=OLD, times=None))
    assert story.alias == OLD and "nothing to go back from" in refused("rollback", config)
    killed(server, config, "switch", Fault("drop", **aliases, times=None))
    assert story.alias == OLD and "done already" in done("rollback", config)
    assert held(story.client, new) == held(story.client, OLD)

    # Behind the alias, and while it copies what was written to the old collection at the last.
    killed(server, config, "switch", Fault("stall", **aliases), meanwhile=lambda: change(story, 3))
    wait_until(lambda: story.alias == new)
    later: Payloads = {1: {"text": "newest"}, 900: {"text": "newer"}}
    write(story.client, "docs", *later.items())
    killed(server, config, "switch", Fault("stall", path_suffix=f"{new}/points", times=None))
    assert "done already" in done("switch", config)
    wanted = {**held(story.client, OLD), **later}
    assert held(story.client, new) == wanted and {1500, 119, 900} < wanted.keys() and 3 not in wanted
    assert story.client.count(new).count == len(wanted)
    vectors = made_by(story.client, new)
    assert all(vectors[name] != "{}" for name in wanted if name not in later)

    # The way back: not yet, and then behind the alias.
    killed(server, config, "rollback", Fault("drop", **aliases, times=None))
    assert story.alias == new
    killed(server, config, "rollback", Fault("stall", **aliases))
    wait_until(lambda: story.alias == OLD)
    assert "done already" in done("rollback", config)
    done("switch", config, "--unverified")
    assert story.alias == new and held(story.client, new) == wanted


def test_adding_a_vector_is_killed_and_goes_on(story: Story) -> None:
    docs = Docs(story.folder, story.server.url)
    docs.embed(BM25)
    docs.embed(BM25, GERMAN, sink={**docs.base["sink"], "collection": "both"})
    config = story.folder / "add.yaml"
    config.write_text(json.dumps(docs.adding_job(BM25, GERMAN)))
    before = points(story.client, "docs")
    stall = Fault("stall", method="POST", path_suffix="docs/points/batch", skip=1, times=None)
    killed(story.server, config, "run", stall)
    wait_until(lambda: any("german" in point["vector"] for point in points(story.client, "docs").values()))
    done("run", config)
    report = json.loads((story.folder / "report.json").read_text())
    assert 0 < report["rows"]["embedded"] < len(before) and report["sinks"][0]["lacking"] == 0
    assert points(story.client, "docs") == points(story.client, "both")
    assert not story.server.requests("PUT", "/points")
    done("run", config)
    assert json.loads((story.folder / "report.json").read_text())["rows"]["embedded"] == 0
