"""What Ray is to read: errors of readers let nobody in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.errors import ConfigError
from pipelines.sources.memory.unread import GivenDataset, RayReader


def test_what_a_reader_says_of_its_arguments_has_no_secret_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "SECRET")
    monkeypatch.setenv("DB_LONGER", "SECRET-and-more")
    monkeypatch.setenv("DB_EMPTY", "")

    def read_sql(sql: str, parts: list[Any]) -> None:
        raise OSError(f"cannot connect with {parts} to postgresql://me:HIDDEN@host/x?sslmode=require&password=HIDDEN")

    reader = RayReader(
        "read_sql", {"sql": "select 1", "parts": [{"pw": "${DB_PASSWORD}"}, "${DB_LONGER}", "${DB_EMPTY}", 7]}
    )
    with pytest.raises(ConfigError, match=r"source\.arguments: read_sql refuses them: cannot connect") as refused:
        reader.dataset(SimpleNamespace(read_sql=read_sql))
    told = str(refused.value)
    assert "[{'pw': '${DB_PASSWORD}'}, '${DB_LONGER}', '', 7]" in told
    assert "postgresql://host/x?sslmode=require&password=***" in told
    assert "SECRET" not in told and "HIDDEN" not in told
    assert GivenDataset(None).shown("s3://id:HIDDEN@bucket is gone") == "s3://bucket is gone"
