"""The sections of sinks: what a job asks of each, whatever its kind."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import pytest

from pipelines.config.file import load_config
from pipelines.config.sinks import SECTIONS, SINKS
from pipelines.errors import ConfigError

SERVER = {"type": "qdrant", "collection": "c", "url": "http://user:hunter2@host:1/?key=hunter2"}
FOLDER = {"type": "qdrant", "collection": "c", "path": "out"}
FILES = {"type": "parquet", "path": "out"}


def job(*sinks: dict[str, Any]) -> dict[str, Any]:
    return {"source": {"path": "x"}, "embeddings": [{"name": "e", "model": "Qdrant/bm25"}], "sink": list(sinks)}


def test_each_section_stands_under_its_own_word() -> None:
    words = [get_args(section.model_fields["type"].annotation) for section in SECTIONS]  # type: ignore[attr-defined]
    assert words == [(word,) for word in SINKS]


def test_a_configuration_is_checked_without_the_libraries_of_its_sinks() -> None:
    looked = (
        "import sys, pipelines.config.file, pipelines.sinks.factory; print({'qdrant_client', 'ray'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize(
    "sinks",
    [
        (FILES, {**FILES, "writers": 3}),
        (FOLDER, {**FOLDER, "store_text": False}),
        (SERVER, FILES, {**SERVER, "prefer_grpc": True}),
    ],
    ids=["files", "folder", "server"],
)
def test_one_place_named_twice_is_refused(sinks: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(ConfigError, match="sink: the same place is named twice"):
        load_config(job(*sinks))


def test_places_that_share_a_path_a_server_or_a_name_are_several() -> None:
    sinks = [FILES, FOLDER, {**FOLDER, "collection": "d"}, SERVER, {**SERVER, "collection": "d"}]
    assert len(load_config(job(*sinks)).sink) == 5


def test_a_place_is_shown_without_user_and_password() -> None:
    sinks = load_config(job(SERVER, FOLDER, FILES, {**FILES, "path": "s3://me:hunter2@bucket/out?key=hunter2"})).sink
    assert [sink.place for sink in sinks] == ["c at http://host:1/", "c at out", "out", "s3://bucket/out"]


def test_a_secret_may_stand_only_where_a_section_keeps_one() -> None:
    assert load_config(job({**SERVER, "api_key": "${KEY}"})).sink[0].api_key == "${KEY}"  # type: ignore[attr-defined]
    for sink in ({**SERVER, "url": "${KEY}"}, {**FILES, "path": "${KEY}"}):
        with pytest.raises(ConfigError, match=r"sink\.0\.(url|path): environment variables may only stand for secrets"):
            load_config(job(sink))
    with pytest.raises(ConfigError, match=r"sink\.0\.api_key: write exactly \$\{NAME\}"):
        load_config(job({**SERVER, "api_key": "prefix ${KEY}"}))
