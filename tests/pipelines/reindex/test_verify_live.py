"""A verification beside a collection that lives on: what its writers did since is left to the switch, and no fault."""

from __future__ import annotations

import json
from typing import Any

from qdrant_client import models

from tests.pipelines.reindex.conftest import Story, done, refused
from tests.pipelines.reindex.live import OLD, copying, held, live, text, write


def checks(story: Story) -> dict[str, dict[str, Any]]:
    found = json.loads((story.folder / "reindex-verify.json").read_text())
    return {check["name"]: check for check in found["checks"]}


def failed(story: Story) -> set[str]:
    return {name for name, check in checks(story).items() if check["outcome"] == "failed"}


def test_what_writers_did_since_the_last_pass_is_told_and_no_fault_unless_it_is_much(story: Story) -> None:
    live(story, 60)
    config = copying(story, until=10)
    done("run", config)
    new = story.collection("v2")
    story.client.set_payload(OLD, {"price": 1}, [1])
    write(story.client, OLD, (2, {"text": text(2, 2)}), (500, {"text": "new"}), (501, {"text": "new"}))
    story.client.delete(OLD, [3])
    told = " ".join(done("verify", config).split())
    assert "± 10 left to the switch" in told and "57 of 59 as in the old collection, 2 changed" in told
    found = checks(story)
    assert found["points"]["figures"] == {"points": 60, "old_points": 61, "dead": 0, "max_differences": 10}
    assert found["ids"]["figures"] == {"only_old": 2, "only_new": 1, "both": 59, "dead": 0}
    assert found["payload"]["figures"] == {"points": 59, "differing": 2, "changed_since": 2}
    # Who wants to see none asks for that.
    refused("verify", config, "--set=reindex.verify.max_differences=0")
    assert failed(story) == {"points", "ids", "payload"}
    done("verify", config)

    # What no pass would mend is a fault, be it a single point.
    story.client.set_payload(new, {"price": 2}, [10])
    made = story.client.retrieve(new, [11])[0].payload
    assert made is not None
    held_by_third = {**made, "_fleetembed": {**made["_fleetembed"], "from": "third"}}
    story.client.upsert(new, [models.PointStruct(id=700, vector={}, payload=held_by_third)])
    refused("verify", config)
    assert failed(story) >= {"ids", "payload"} and checks(story)["payload"]["samples"] == ["point 10: price"]
    story.client.delete(new, [700])
    story.client.delete_payload(new, ["price"], [10])
    write(story.client, OLD, *((name, {"text": text(name, 2)}) for name in range(600, 608)))
    done("verify", config)
    write(story.client, OLD, (608, {"text": "one too many"}))
    refused("verify", config)
    assert failed(story) == {"ids"} and checks(story)["ids"]["figures"]["only_old"] == 11
    done("run", config)
    done("verify", config)
    done("switch", config)
    assert held(story.client, new) == held(story.client, OLD)


def test_a_copy_is_held_against_what_it_copies_where_the_alias_names_nothing(story: Story) -> None:
    live(story, 30)
    story.delete_alias()
    config = copying(story, source=OLD)
    why = "since the job copies a collection that lives on"
    assert f"makes no alias, {why}" in done("plan", config)
    told = done("run", config)
    assert f"is not made, {why}" in told and story.alias is None
    assert f"beside {OLD}" in done("verify", config)
    assert checks(story)["ids"]["figures"]["both"] == 30
    assert "(30 points), which is new" in done("switch", config)
    assert story.alias == story.collection("v2")


def test_points_that_came_after_the_verification_stop_the_switch(story: Story) -> None:
    first, second = story.config("v1"), story.config("v2", "german")
    for config in (first, second):
        done("run", config)
    new = story.collection("v2")
    done("verify", second)
    write(story.client, new, (7, {"text": "stray"}))
    told = " ".join(refused("switch", second).split())
    assert "has 21 points, and had 20 when it was verified" in told and "reindex verify` again" in told
    assert "somebody wrote to it" in refused("switch", second, "--dry-run") and story.alias == story.collection("v1")
    story.client.delete(new, [7])
    done("switch", second)
    # Writers go on behind the alias, until it goes back.
    write(story.client, "docs", (8, {"text": "written"}))
    done("rollback", second)
    assert "(21 points)" in done("switch", second)


def test_a_copy_takes_the_name_of_what_it_copied_once_that_is_deleted(story: Story) -> None:
    old = {"old": models.VectorParams(size=2, distance=models.Distance.COSINE)}
    story.client.create_collection("docs", old)
    write(story.client, "docs", *((number, {"text": text(number)}) for number in range(20)))
    config = copying(story)
    assert "a collection has that name" in done("run", config)
    assert "beside docs" in done("verify", config)
    assert "DELETE /collections/docs" in refused("switch", config)
    story.client.delete_collection("docs")
    told = done("switch", config)
    assert "docs is not there any more, so that there is nothing to catch up with" in told
    assert story.alias == story.collection("v2") and len(held(story.client, "docs")) == 20
