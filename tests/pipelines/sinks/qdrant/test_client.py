"""Addresses that lead nowhere."""

from __future__ import annotations

import pytest

from pipelines.errors import SinkError
from pipelines.sinks.factory import make_sink
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows

FACTS = rows.job()


def test_a_server_that_is_not_there_is_named_with_its_address() -> None:
    with pytest.raises(SinkError, match=r"http://127\.0\.0\.1:9.*looking for the collection failed"):
        make_sink(qdrant.config(url="http://user:hunter2@127.0.0.1:9", retry_seconds=1)).open(FACTS)


def test_a_url_that_is_none_is_named() -> None:
    with pytest.raises(SinkError, match=r"sink\.url ftp://host is no address"):
        make_sink(qdrant.config(url="ftp://user:hunter2@host")).open(FACTS)
