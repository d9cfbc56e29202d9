"""A verification: what passes, what fails and with which figure, what is kept of it, and what a switch makes of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from pipelines.config.source import SourceConfig
from tests.pipelines.reindex.conftest import DOCUMENTS, Story, call, done, refused


def with_keys(config: Path, **keys: Any) -> Path:
    """Give a job further keys."""
    config.write_text(json.dumps({**json.loads(config.read_text()), **keys}))
    return config


def checks(story: Story) -> dict[str, dict[str, Any]]:
    found = json.loads((story.folder / "reindex-verify.json").read_text())
    return {check["name"]: check for check in found["checks"]}


def outcomes(story: Story) -> dict[str, str]:
    return {name: check["outcome"] for name, check in checks(story).items()}


def both_models(config: Path, minilm: Path) -> Path:
    """Give a job a dense model beside BM25."""
    dense = {"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2", "path": str(minilm)}
    return with_keys(config, embeddings=[dense, *json.loads(config.read_text())["embeddings"]])


def test_a_switch_waits_for_a_verification_since_the_last_run(story: Story, minilm: Path) -> None:
    english, dense = story.config("v1"), both_models(story.config("v2"), minilm)
    assert "not there yet" in refused("verify", english)
    done("run", english)
    told = done("verify", english)
    assert "verified in" in told and "the alias names no other collection" in told
    assert "done already" in done("switch", english)
    first = story.alias

    done("run", dense)
    assert "was not verified since its last run" in refused("switch", dense)
    assert "--unverified" in refused("switch", dense, "--dry-run") and story.alias == first
    assert f"docs may name {story.collection('v2')}" in done("verify", dense)
    found = checks(story)
    assert outcomes(story) == {
        "state": "passed",
        "points": "passed",
        "ids": "reported",
        "fingerprint": "passed",
        "vectors": "passed",
        "payload": "reported",
        "re-embedded dense": "passed",
        "re-embedded bm25": "passed",
        "recall@10 dense": "passed",
        "known-item MRR@10": "passed",
        "overlap@10": "reported",
    }
    assert found["points"]["figures"] == {"points": 20, "points_in_report": 20}
    assert found["ids"]["figures"] == {"only_old": 0, "only_new": 0, "both": 20, "dead": 0}
    assert found["payload"]["figures"] == {"points": 20, "differing": 0}
    assert found["re-embedded dense"]["figures"]["lowest"] == pytest.approx(1, abs=1e-3)
    assert found["re-embedded bm25"]["figures"]["points"] == 20
    assert found["recall@10 dense"]["figures"]["recall"] == 1
    figures = found["known-item MRR@10"]["figures"]
    assert figures["queries"] == 20 and figures["new"] > 0.9 and figures["old"] > 0.9
    page = (story.folder / "reindex-verify.html").read_text()
    assert (
        "known-item MRR@10" in page
        and "prefers-color-scheme: dark" in page
        and "http" not in page.replace(story.server.url, "")
    )
    assert "complete, verified" in done("status", dense)

    # A run takes the record away, whatever it wrote.
    done("run", dense)
    assert "was not verified since its last run" in refused("switch", dense)
    done("verify", dense)
    done("switch", dense)
    assert story.alias == story.collection("v2") != first


def test_each_thing_that_is_wrong_fails_its_check_with_a_number(story: Story, minilm: Path) -> None:
    english, dense = story.config("v1"), both_models(story.config("v2"), minilm)
    for config in (english, dense):
        done("run", config)
    done("switch", english, "--unverified")
    name = story.collection("v2")
    points, _ = story.client.scroll(name, limit=4)
    gone, other, turned, stemmed = (point.id for point in points)
    story.client.delete(name, [gone])
    story.client.set_payload(name, {"fingerprint": "f" * 64}, [other], key="_fleetembed")
    story.client.update_vectors(name, [models.PointVectors(id=turned, vector={"dense": [1.0] * 384})])
    wrong = models.SparseVector(indices=[7], values=[1.0])
    story.client.update_vectors(name, [models.PointVectors(id=stemmed, vector={"bm25": wrong})])
    story.client.delete_vectors(name, ["dense"], [stemmed])

    told = " ".join(refused("verify", dense).split())
    assert "docs stays where it is" in told and f"point {other}: fingerprint {'f' * 12}" in told
    found, failed = checks(story), outcomes(story)
    assert {key for key, outcome in failed.items() if outcome == "failed"} == {
        "points",
        "fingerprint",
        "vectors",
        "re-embedded dense",
        "re-embedded bm25",
        "known-item MRR@10",
    }
    assert found["points"]["figures"] == {"points": 19, "points_in_report": 20}
    assert found["ids"]["figures"]["only_old"] == 1
    assert found["fingerprint"]["figures"]["points_of_others"] == 1
    assert found["vectors"]["samples"] == [f"point {stemmed}: dense: is missing"]
    assert f'points/delete {{"points": ["{stemmed}"]}}' in found["vectors"]["mend"]
    assert all(found[key]["mend"] for key, outcome in failed.items() if outcome == "failed")
    assert all(not check["mend"] for check in found.values() if check["outcome"] == "passed")
    assert found["re-embedded dense"]["figures"]["below"] == 2
    assert found["re-embedded bm25"]["samples"] == [f"point {stemmed}, bm25: 0.0000"]
    assert "did not pass its verification" in refused("switch", dense) and story.alias != name
    assert "failed verify" in done("status", dense)
    done("switch", dense, "--unverified")
    assert story.alias == name


def test_queries_and_judgements_of_a_file_hold_the_new_collection_to_the_old_one(story: Story) -> None:
    english, none = story.config("v1"), story.config("v2", "german")
    queries, qrels = story.folder / "queries.jsonl", story.folder / "qrels.tsv"
    queries.write_text('{"_id": "q1", "text": "runs"}\n{"_id": "q2", "text": "filler3 text"}\n')
    qrels.write_text("query-id\tcorpus-id\tscore\nq1\td0\t1\nq2\td5\t1\n")
    for config in (english, none):
        done("run", config)
    done("switch", english, "--unverified")
    given = [f"--set=reindex.verify.queries={queries}", f"--set=reindex.verify.qrels={qrels}"]
    # German finds no "running" by "runs".
    refused("verify", none, *given)
    found = checks(story)
    assert found["nDCG@10"]["outcome"] == "failed"
    assert (found["nDCG@10"]["figures"]["old"], found["nDCG@10"]["figures"]["new"]) == (1.0, 0.5)
    assert found["overlap@10"]["figures"]["queries"] == 2 and found["overlap@10"]["outcome"] == "reported"
    done("verify", none, *given, "--set=reindex.verify.margin=0.5")
    assert checks(story)["nDCG@10"]["outcome"] == "passed"

    assert "qrels need queries" in refused("verify", none, given[1], code=2)
    assert "did you mean 'queries'" in refused("verify", none, "--set=reindex.verify.querys=x", code=2)
    queries.write_text("{}\n")
    assert "line 1: write" in refused("verify", none, given[0], code=2)
    assert "cannot be read" in refused("verify", none, "--set=reindex.verify.queries=nowhere", code=2)


def test_a_collection_of_other_software_is_not_asked_and_the_reason_is_told(story: Story) -> None:
    config = story.config("v1")
    done("run", config)
    story.client.create_collection("theirs", models.VectorParams(size=2, distance=models.Distance.DOT))
    story.client.upsert("theirs", [models.PointStruct(id=1, vector=[1.0, 0.0], payload={"content": "x"})])
    story.let_alias_name("theirs")
    told = done("verify", config)
    found = checks(story)
    assert found["ids"]["figures"] == {"only_old": 1, "only_new": 20, "both": 0, "dead": 0}
    assert found["known-item MRR@10"]["outcome"] == "reported" and found["overlap@10"]["outcome"] == "skipped"
    # Once, below the table, which stays as narrow as others.
    (why,) = found["overlap@10"]["samples"]
    assert "does not say which models made its vectors" in why and "(of the unnamed one: --model =MODEL)" in why
    assert "which stops no switch" in why and told.count("does not say which models") == 1
    table = told[told.index("check ") : told.index("overlap@10: ")]
    assert max(map(len, table.splitlines())) <= 120
    # Each check is told of on the way, where there is no terminal too.
    assert re.search(r"\d\.\d s  verifying: texts embedded again", told)
    told = call("search", "--config", config, "x").output
    assert "or give --config of a job whose sink has this collection, and no alias" in told


@pytest.mark.skipif("qdrant" not in SourceConfig.model_fields, reason="a collection is no source here")
def test_a_copy_must_have_the_ids_and_payloads_of_what_it_was_copied_from(story: Story) -> None:
    english = story.config("v1")
    done("run", english)
    done("switch", english, "--unverified")
    source = {"qdrant": {"url": story.server.url, "collection": "docs"}}
    german = with_keys(story.config("v2", "german"), source=source)
    done("run", german)
    done("verify", german)
    assert outcomes(story)["ids"] == outcomes(story)["payload"] == outcomes(story)["points"] == "passed"
    old, new = story.collection("v1"), story.collection("v2")
    points, _ = story.client.scroll(old, limit=3)
    first, second = (point.id for point in points[:2])
    story.client.delete(new, [first])
    story.client.set_payload(new, {"price": 2}, [second])
    story.client.upsert(new, [models.PointStruct(id=7, vector={}, payload={"document_id": "new"})])
    refused("verify", german)
    found = checks(story)
    assert {name for name, check in found.items() if check["outcome"] == "failed"} >= {"ids", "payload", "fingerprint"}
    assert found["fingerprint"]["found"] == "0 points of other jobs, 1 that no job wrote"
    assert found["fingerprint"]["samples"] == ["point 7: no fingerprint, since another program wrote it"]
    assert found["ids"]["figures"] == {"only_old": 1, "only_new": 1, "both": 19, "dead": 0}
    assert sorted(found["ids"]["samples"]) == sorted([f"{first} is in the old alone", "7 is in the new alone"])
    assert found["payload"]["samples"] == [f"point {second}: price"]
    story.client.delete(new, [7])
    refused("verify", german)
    done("verify", german, "--set=reindex.verify.max_differences=1")


def test_vectors_that_the_original_lacks_too_are_no_fault_of_its_copy(story: Story) -> None:
    params = models.VectorParams(size=2, distance=models.Distance.DOT)
    story.client.create_collection("old", vectors_config={"d": params, "e": params})
    vectors = [{"e": [1.0, n]} if n % 3 == 0 else {"d": [n, 1.0], "e": [1.0, n]} for n in range(12)]
    points = [models.PointStruct(id=n, vector=one, payload={"text": f"t{n}"}) for n, one in enumerate(vectors)]
    story.client.upsert("old", points, wait=True)
    story.let_alias_name("old")
    job = {
        "source": {"qdrant": {"url": story.server.url, "collection": "docs", "vectors": True}},
        "sink": {"type": "qdrant", "url": story.server.url, "alias": "docs"},
        "compute": {"engine": "local"},
        "report": str(story.folder / "copy.json"),
    }
    config = story.folder / "copy.yaml"
    config.write_text(json.dumps(job))
    done("run", config)
    done("verify", config)
    assert checks(story)["vectors"]["figures"] == {"points": 12, "faulty": 0}
    (new,) = {one.name for one in story.client.get_collections().collections} - {"old"}
    story.client.delete_vectors(new, ["d"], [5])
    refused("verify", config)
    assert checks(story)["vectors"]["samples"] == ["point 5: d: is missing"]


def test_narrow_terminals_lose_no_word(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    config = story.config("v1")
    done("run", config)
    monkeypatch.setenv("COLUMNS", "50")
    told = call("reindex", "verify", "--config", config).output
    assert all(name in told for name in ("state", "fingerprint", "wanted:", "re-embedded")) and "…" not in told
    assert len(DOCUMENTS) == 20 and "20" in told
