"""What is dropped of an alias's old collections, what is kept and why, and what a rollback leaves behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from qdrant_client import models

from pipelines.sinks.lease.holder import Holder
from tests.pipelines.reindex.conftest import Story, done, refused

LANGUAGES = ("english", "german", "russian", "french")


def days_ago(days: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(days=days)).isoformat()


def make_old(story: Story, *names: str) -> None:
    """Let collections look as they were left ten days ago."""
    for name in names:
        before = story.client.get_collection(name).config.metadata or {}
        ago = {key: days_ago(10) for key in ("fleetembed_state_at", "fleetembed_alias_left_at") if key in before}
        if before.get("fleetembed_alias_before") is not None:
            held = before["fleetembed_alias_before"]
            ago["fleetembed_alias_before"] = held.replace(held.split('"at": "')[1].split('"')[0], days_ago(10))
        story.client.update_collection(name, metadata=ago)


@pytest.fixture
def versions(story: Story) -> list[Path]:
    """Jobs of one alias, each of which was switched to."""
    configs = [story.config(f"v{number}", language) for number, language in enumerate(LANGUAGES[:3])]
    for config in configs:
        done("run", config)
        done("switch", config, "--unverified")
    return configs


def names_of(story: Story) -> set[str]:
    return {one.name for one in story.client.get_collections().collections}


def test_old_collections_go_but_for_the_previous_one_and_young_ones(story: Story, versions: list[Path]) -> None:
    first, second, third = (story.collection(f"v{number}") for number in range(3))
    assert (told := done("clean", versions[2])).count("keeps docs-") == 2 and "younger than 7 days" in told
    make_old(story, first, second, third)
    story.client.create_collection("docs-0123456789ab", models.VectorParams(size=2, distance=models.Distance.DOT))
    told = done("clean", versions[2], "--dry-run")
    assert f"would drop {first} (20 points, 10.0 days old)" in told
    assert f"keeps {second} (20 points, 10.0 days old): kept for a rollback" in told
    # Nobody made it with this tool.
    assert third not in told and "docs-0123456789ab" not in told
    assert "give --yes" in refused("clean", versions[2], code=2)
    assert names_of(story) == {first, second, third, "docs-0123456789ab"}
    assert f"dropped {first}" in done("clean", versions[2], "--yes")
    assert names_of(story) == {second, third, "docs-0123456789ab"} and story.alias == third
    done("rollback", versions[2])
    assert story.alias == second
    # Both could be dropped by age; what was rolled back from is previous now, and is the one to switch to again.
    make_old(story, second, third)
    assert f"keeps {third}" in done("clean", versions[1], "--yes")
    assert f"dropped {third}" in done("clean", versions[1], "--yes", "--set=reindex.keep=0")


def test_what_is_named_written_to_or_of_unknown_age_is_never_dropped(story: Story, versions: list[Path]) -> None:
    first, second, third = (story.collection(f"v{number}") for number in range(3))
    make_old(story, first, second, third)
    other = models.CreateAlias(collection_name=first, alias_name="archive")
    story.client.update_collection_aliases([models.CreateAliasOperation(create_alias=other)])
    assert first not in done("clean", versions[2], "--yes")
    story.client.update_collection_aliases(
        [models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="archive"))]
    )
    # Of another machine, so that one look cannot tell whether it is over.
    holder = replace(Holder.of_this_process("run-1", "books"), machine="another")
    story.client.update_collection(first, metadata={"fleetembed_lease": holder.to_text()})
    assert f"keeps {first} (20 points, 10.0 days old): held by run run-1" in done("clean", versions[2], "--yes")
    nothing = {"fleetembed_state_at": None, "fleetembed_alias_left_at": None, "fleetembed_alias_before": None}
    story.client.update_collection(first, metadata={"fleetembed_lease": None, **nothing})
    told = done("clean", versions[2], "--yes", "--set=reindex.keep_days=0.00001")
    assert f"keeps {first} (20 points, of unknown age)" in told
    make_old(story, first)
    # A new collection that is not switched to yet is this job's own.
    french = story.config("v3", "french")
    done("run", french)
    make_old(story, story.collection("v3"))
    told = done("clean", french, "--yes")
    assert f"keeps {story.collection('v3')}" in told and "this job fills it" in told and f"dropped {first}" in told
    assert names_of(story) == {second, third, story.collection("v3")}
    assert "nothing to clean" not in told


def test_an_alias_that_moves_while_it_is_asked_keeps_its_collection(
    story: Story, versions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = story.collection("v0")
    make_old(story, first)

    def confirm(question: str, abort: bool) -> None:
        assert question == "drop this collection for good?" and abort
        back = models.CreateAlias(collection_name=first, alias_name="docs")
        story.client.update_collection_aliases([models.CreateAliasOperation(create_alias=back)])

    monkeypatch.setattr("pipelines.cli.reindex.typer.confirm", confirm)
    monkeypatch.setattr("pipelines.cli.reindex.nobody_to_ask", lambda: False)
    assert f"left alone: {first}, an alias names it by now" in done("clean", versions[2])
    assert first in names_of(story) and story.alias == first


def test_a_rollback_tells_what_is_found_no_more(story: Story, versions: list[Path]) -> None:
    second, third = story.collection("v1"), story.collection("v2")
    vector = {"bm25": models.SparseVector(indices=[1], values=[1.0])}
    story.client.upsert(third, [models.PointStruct(id=number, vector=vector, payload={}) for number in (5, 6)])
    told = f"2 points are in {third} alone (the first: 5, 6), 0 in {second} alone, 20 in both"
    assert told in done("rollback", versions[2], "--dry-run") and story.alias == third
    assert told in done("rollback", versions[2]) and story.alias == second
