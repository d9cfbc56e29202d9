"""Folders are copied into one another, into a server's collection and back; a folder has no alias to switch."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from pipelines.sinks.qdrant.client import open_folder
from pipelines.sinks.qdrant.folder_engine import engine_of
from tests.pipelines.reindex.conftest import RUNNER, Story, call, done, found, refused

COSINE, DOT, EUCLID = models.Distance.COSINE, models.Distance.DOT, models.Distance.EUCLID
POINTS = 40


def write(folder: Path, name: str, source: dict[str, Any], sink: dict[str, Any], **more: Any) -> Path:
    """Write the configuration of a job that copies a collection, or embeds one where ``embeddings`` are given."""
    job = {
        "source": {"qdrant": source},
        "sink": {"type": "qdrant", **sink},
        "compute": {"engine": "local"},
        "report": str(folder / f"{name}.json"),
        **more,
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(job))
    return path


def by_qdrant_client(path: Path) -> None:
    """Fill a folder with qdrant-client alone, as a program does that has nothing to do with this tool."""
    random = np.random.default_rng(2)
    max_sim = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    with closing(QdrantClient(path=str(path))) as client:
        client.create_collection(
            "docs",
            vectors_config={
                "cosine": models.VectorParams(size=8, distance=COSINE),
                "dot": models.VectorParams(size=5, distance=DOT),
                "euclid": models.VectorParams(size=5, distance=EUCLID),
                "tokens": models.VectorParams(size=4, distance=COSINE, multivector_config=max_sim),
            },
            sparse_vectors_config={"sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        )
        client.upsert(
            "docs",
            [
                models.PointStruct(
                    id=number if number % 2 else f"00000000-0000-4000-8000-{number:012}",
                    vector={
                        "cosine": (3 * random.standard_normal(8)).tolist(),
                        "dot": random.standard_normal(5).tolist(),
                        "euclid": random.standard_normal(5).tolist(),
                        "tokens": random.standard_normal((1 + number % 3, 4)).tolist(),
                        "sparse": models.SparseVector(indices=[number, 99], values=[1.5, 0.25]),
                    },
                    payload={"text": f"text {number}", "nested": {"n": [number, None, "ü"]}, "price": number / 7},
                )
                for number in range(POINTS)
            ],
        )


def test_a_folder_of_qdrant_client_is_copied_from_engine_to_engine_and_verified(tmp_path: Path) -> None:
    by_qdrant_client(tmp_path / "first")
    places = [("first", "second", "edge"), ("second", "third", "edge"), ("third", "fourth", "local")]
    for old, new, engine in places:
        source = {"path": str(tmp_path / old), "collection": "docs", "vectors": True}
        config = write(tmp_path, new, source, {"path": str(tmp_path / new), "collection": "docs", "engine": engine})
        told = done("plan", config)
        assert f"a run copies collection docs at {tmp_path / old} in a single pass (no model runs)" in told
        assert not (tmp_path / new).exists()
        assert "is not there yet" in refused("verify", config)
        assert f"mv {tmp_path / new} {tmp_path / old}" in done("run", config)
        assert engine_of(tmp_path / new) == engine
        told = done("verify", config)
        for line in (f"0 in the new alone, {POINTS} in both", f"{POINTS} of {POINTS} as in the old collection"):
            assert line in told
        assert f"docs at {tmp_path / new} may take the place of collection docs at {tmp_path / old}" in told
        verified = json.loads((tmp_path / "reindex-verify.json").read_text())
        assert verified["passed"] and verified["alias"] is None
        assert "for the alias" not in (tmp_path / "reindex-verify.html").read_text()
    for command in ("switch", "rollback", "status", "clean"):
        told = refused(command, config, code=2)
        assert "has no alias, which only a server has" in told
    assert f"mv {tmp_path / 'third'} {tmp_path / 'third'}.before" in refused("switch", config, code=2)
    # Done as it is told.
    (tmp_path / "third").rename(tmp_path / "third.before")
    (tmp_path / "fourth").rename(tmp_path / "third")
    ends = []
    for name in ("first", "third"):
        with closing(open_folder(str(tmp_path / name))) as client:
            asked = client.query_points("docs", query=[1.0] * 8, using="cosine", limit=POINTS, with_payload=["price"])
            ends.append([(hit.id, round(hit.score, 4), hit.payload["price"]) for hit in asked.points if hit.payload])
    assert ends[0] == ends[1] and len(ends[0]) == POINTS


def test_points_that_lack_vectors_are_copied_so_and_pass(tmp_path: Path) -> None:
    by_qdrant_client(tmp_path / "old")
    with closing(open_folder(str(tmp_path / "old"))) as client:
        client.delete_vectors("docs", ["dot", "tokens"], [5, 7])
        client.delete_vectors("docs", ["cosine", "sparse"], [9])
    source = {"path": str(tmp_path / "old"), "collection": "docs", "vectors": True}
    config = write(tmp_path, "job", source, {"path": str(tmp_path / "new"), "collection": "docs"})
    done("run", config)
    assert f"{POINTS} of {POINTS} as in the old collection" in done("verify", config)
    with closing(open_folder(str(tmp_path / "new"))) as client:
        client.update_vectors("docs", [models.PointVectors(id=5, vector={"dot": [1.0] * 5})])
        (whole,) = client.retrieve("docs", [11], with_vectors=["cosine", "dot", "euclid", "sparse"])
        client.upsert("docs", [models.PointStruct(id=11, vector=whole.vector, payload=whole.payload)])
    told = refused("verify", config)
    assert "point 5: dot" in told and "point 11: tokens" in told
    assert f"{POINTS - 2} of {POINTS} as in the old collection" in told


def test_what_is_wrong_with_a_copy_is_found_at_each_point(tmp_path: Path) -> None:
    by_qdrant_client(tmp_path / "old")
    source = {"path": str(tmp_path / "old"), "collection": "docs", "vectors": True}
    config = write(tmp_path, "job", source, {"path": str(tmp_path / "new"), "collection": "docs"})
    done("run", config)
    with closing(open_folder(str(tmp_path / "new"))) as client:
        client.update_vectors("docs", [models.PointVectors(id=5, vector={"dot": [1.0] * 5})])
        client.update_vectors("docs", [models.PointVectors(id=7, vector={"tokens": [[1.0] * 4]})])
        client.set_payload("docs", {"price": 3}, [9])
        client.delete("docs", [11])
        client.upsert("docs", [models.PointStruct(id=10**6, vector={}, payload={})])
    told = refused("verify", config)
    for line in (
        "point 5: dot",
        "point 7: tokens",
        "point 9: price",
        "11 is in the old alone",
        "1000000 is in the new alone",
        f"{POINTS - 3} of {POINTS - 1} as in the old collection",
    ):
        assert line in told
    assert "was not made by this tool" in refused("run", config)
    with closing(open_folder(str(tmp_path / "new"))) as client:
        client.delete("docs", [10**6])
    # Another run mends what is missing, and not what was changed in the copy, as is said.
    done("run", config)
    told = refused("verify", config)
    assert f"0 in the new alone, {POINTS} in both" in told and "point 9: price" in told
    assert "delete the copy then, and run again" in told


def test_a_folder_fills_a_servers_alias_and_that_fills_a_folder(story: Story) -> None:
    folder = story.folder
    filled = story.config("files", path=str(folder / "old"), collection="docs", url=None, alias=None)
    assert call("embed", "--config", filled).exit_code == 0
    assert "source: reindexing into a folder" in refused("run", filled, code=2)
    old = {"path": str(folder / "old"), "collection": "docs", "vectors": True}
    to_server = write(folder, "up", old, {"url": story.server.url, "alias": "docs"})
    assert "named nothing and names it now" in done("run", to_server)
    assert story.alias == story.collection("up") and found(to_server) == {RUNNER}
    assert "verified in" in done("verify", to_server)

    # Of vectors whose model nobody told, no question can be made.
    by_qdrant_client(folder / "foreign")
    foreign = write(
        folder,
        "foreign",
        {"path": str(folder / "foreign"), "collection": "docs", "vectors": True},
        {"url": story.server.url, "alias": "foreign"},
    )
    done("run", foreign)
    done("verify", foreign)
    last = json.loads((folder / "reindex-verify.json").read_text())["checks"][-1]
    assert (last["name"], last["outcome"]) == ("old against new", "skipped") and "nobody told" in last["found"]

    server = {"url": story.server.url, "collection": "docs"}
    to_folder = write(folder, "down", {**server, "vectors": True}, {"path": str(folder / "new"), "collection": "docs"})
    assert f"give searchers the path {folder / 'new'}" in done("run", to_folder)
    assert "20 in both" in done("verify", to_folder)
    assert found(to_folder) == {RUNNER}
    # With another model, into a third one: its texts are embedded anew, and all but the vectors is the same.
    german = [{"name": "bm25", "model": "Qdrant/bm25", "options": {"language": "german"}}]
    anew = write(
        folder,
        "anew",
        {"path": str(folder / "new"), "collection": "docs"},
        {"path": str(folder / "german"), "collection": "docs"},
        embeddings=german,
        corpus="books",
    )
    assert "its texts are embedded anew" in done("plan", anew)
    done("run", anew)
    told = done("verify", anew)
    assert "re-embedded bm25" in told and "20 of 20 as in the old collection" in told
    # The job that filled the first folder goes on in the copy of its copy.
    again = story.config("again", path=str(folder / "new"), collection="docs", url=None, alias=None)
    assert call("embed", "--config", again).exit_code == 0
    assert story.report("again")["rows"]["skipped"] == 20


def test_several_folders_are_refused(tmp_path: Path) -> None:
    sinks = [{"type": "qdrant", "path": str(tmp_path / name), "collection": "docs"} for name in ("one", "two")]
    source = {"path": str(tmp_path / "old"), "collection": "docs", "vectors": True}
    config = tmp_path / "job.yaml"
    config.write_text(json.dumps({"source": {"qdrant": source}, "sink": sinks}))
    assert "2 sinks are Qdrant folders" in refused("plan", config, code=2)
