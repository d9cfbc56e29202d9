"""A verification beside a collection that lives on: what its writers did since is left to the switch, and no fault."""

from __future__ import annotations

import json
from typing import Any

from qdrant_client import models

from embedders import SparseTextEmbedding
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
    done("verify", config)
    found = checks(story)
    assert "± 10 left to the switch" in found["payload"]["wanted"]
    assert found["payload"]["found"] == "57 of 59 as in the old collection, 2 changed there since"
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
    assert "<- switch takes it" in done("status", config)
    assert "(30 points), which is new" in done("switch", config)
    assert story.alias == story.collection("v2")
    assert "delete the alias, which named nothing before" in refused("run", config)


def test_what_a_failed_check_tells_to_do_mends_it(story: Story) -> None:
    live(story, 30)
    # Of which BM25 keeps no term.
    write(story.client, OLD, (30, {"text": "the"}))
    config = copying(story, until=5)
    done("run", config)
    done("verify", config)
    new = story.collection("v2")
    story.client.delete_vectors(new, ["bm25"], [4, 5, 30])
    story.client.set_payload(new, {"price": 2}, [6])
    told = refused("verify", config, "--set=reindex.verify.reembed=1")
    found = checks(story)
    assert failed(story) >= {"vectors", "payload"} and found["vectors"]["figures"]["ids"] == [4, 5]
    assert found["vectors"]["found"].startswith("29 of 31 points whole")
    assert found["vectors"]["samples"][0] == "point 4: bm25: is missing, and its text has 3 terms"
    deleted = f'delete these points of {new} (POST /collections/{new}/points/delete {{"points": '
    assert f"{deleted}[4, 5]}}), and give `fleetembed reindex run` again" in told and f"{deleted}[6]}})" in told
    told = done("status", config)
    assert "<- switch is refused" in told and "is refused: its verification failed (vectors, payload" in told
    story.client.delete(new, [4, 5, 6])
    done("run", config)
    done("verify", config)


def test_after_the_switch_nothing_is_copied_and_what_writers_did_is_told(story: Story) -> None:
    live(story, 20)
    config, named = copying(story, source=OLD), story.folder / "named.yaml"
    job = json.loads(config.read_text())
    job["source"]["qdrant"]["collection"] = "docs"
    named.write_text(json.dumps(job))
    done("run", config)
    done("verify", config)
    done("switch", config)
    new = story.collection("v2")
    # Writers go on behind the alias.
    story.client.delete("docs", [1, 2])
    write(story.client, "docs", (3, {"text": "newer"}), (50, {"text": "new"}))
    before = held(story.client, new)
    for command in ("plan", "run"):
        told = refused(command, config)
        assert f"names {new}: the switch has happened" in told and f"A run would copy {OLD} again" in told
        assert f"to let {OLD} be the truth again, `fleetembed reindex rollback`" in told and "by a job over" in told
        told = refused(command, named)
        assert "source.qdrant reads docs, which is that collection" in told and "fleetembed reindex rollback" in told
        refused(command, config, "--set", "source.limit=5")
    assert held(story.client, new) == before

    told = refused("verify", config)
    # Of points that came without vectors.
    assert failed(story) == {"vectors", "re-embedded bm25"} and f"docs names {new}" in told.splitlines()[-3]
    assert "let whoever writes them give their vectors" in checks(story)["vectors"]["mend"]
    found = checks(story)
    assert found["points"]["found"] == f"19, and 20 of {OLD}"
    assert found["ids"]["found"] == "2 in the old alone, 1 in the new alone, 18 in both"
    assert found["payload"]["found"] == "17 of 18 as in the old collection"
    for name in ("points", "ids", "payload", "fingerprint"):
        assert found[name]["outcome"] == "reported"
    assert found["fingerprint"]["found"] == "0 points of other jobs, 2 that no job wrote"
    assert "written by another program, not by a job" in found["fingerprint"]["mend"]
    # A program gives its points their vectors by the models of the collection.
    bm25 = SparseTextEmbedding("Qdrant/bm25")
    for name, words in ((3, "newer"), (50, "new")):
        terms = next(bm25.embed(words))
        vector = models.SparseVector(indices=terms.indices.tolist(), values=terms.values.tolist())
        story.client.upsert("docs", [models.PointStruct(id=name, vector={"bm25": vector}, payload={"text": words})])
    assert f": docs names {new}" in done("verify", config)

    told = done("rollback", config)
    assert "(ids alone; payloads are not compared)" in told
    assert f"the 2 of {OLD} alone are found again" in told
    assert f"catches up with {OLD} then: what was deleted in {new} alone comes back" in told
    done("run", config)
    done("switch", config, "--unverified")
    assert held(story.client, new) == {**held(story.client, OLD), 3: {"text": "newer"}, 50: {"text": "new"}}


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
    told = done("verify", config)
    assert "beside docs" in told and "but docs cannot name docs-" in told and "DELETE /collections/docs" in told
    told = refused("switch", config)
    assert "DELETE /collections/docs" in told and max(map(len, told.splitlines())) < 140
    told = done("status", config)
    assert "<- switch is refused" in told and "is refused: a collection is called docs" in told
    story.client.delete_collection("docs")
    told = done("switch", config)
    assert "docs is not there any more, so that there is nothing to catch up with" in told
    assert story.alias == story.collection("v2") and len(held(story.client, "docs")) == 20
