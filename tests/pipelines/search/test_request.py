"""Which servers are asked for which fusions."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.config.search import SearchConfig
from pipelines.errors import ConfigError
from pipelines.search.request import refuse_old_server


def way(**settings: Any) -> SearchConfig:
    return SearchConfig.model_validate({"using": ["dense", "bm25"], **settings})


@pytest.mark.parametrize(
    ("version", "settings", "message"),
    [
        ("1.15.5", {"rrf_k": 60}, r"docs is on a Qdrant server 1\.15\.5, and rrf_k \(here 60\) is known from 1\.16 on"),
        ("1.9.0", {"rrf_k": 60}, "set rrf_k to 2, which every server knows"),
        ("1.15.5", {"weights": [2, 1]}, r"weights are known from 1\.17 on: update the server, or leave them out"),
        ("1.16.3-dev", {"rrf_k": 60, "weights": [2, 1]}, r"1\.16\.3-dev, and weights are known from 1\.17 on"),
    ],
    ids=str,
)
def test_a_fusion_that_an_old_server_does_not_know_is_refused(
    version: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        refuse_old_server(way(**settings), version, "docs")


@pytest.mark.parametrize(
    ("version", "settings"),
    [
        ("1.16.0", {"rrf_k": 60}),
        ("1.17.0", {"rrf_k": 60, "weights": [2, 1]}),
        ("2.0.0", {"rrf_k": 60, "weights": [2, 1]}),
        ("1.15.5", {"rrf_k": 2}),
        ("1.15.5", {"fusion": "dbsf"}),
        ("1.15.5", {"using": ["dense"], "rrf_k": 60}),
        ("dev", {"rrf_k": 60}),
        ("", {"rrf_k": 60}),
    ],
    ids=str,
)
def test_all_others_are_asked(version: str, settings: dict[str, Any]) -> None:
    refuse_old_server(way(**settings), version, "docs")
