"""The cache of embeddings: what is in it is found again byte for byte, whoever wrote it, and damage costs no row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders.arrow import SPARSE_TYPE, dense_type, multivector_type
from embedders.base import VectorSpec
from pipelines.embed.embedding_cache import EmbeddingCache, content_keys
from pipelines.errors import ConfigError

# Every kind of vector, under the names of a job.
VECTORS = {
    "dense": VectorSpec("dense", dense_type(3, np.float32), dim=3),
    "half": VectorSpec("dense", dense_type(2, np.float16), dim=2),
    "sparse": VectorSpec("sparse", SPARSE_TYPE, distance="dot"),
    "tokens": VectorSpec("multivector", multivector_type(2, np.float32), dim=2),
}


def keys(texts: Sequence[str]) -> pa.Array:
    return content_keys(pa.array(texts, pa.large_string()))


def vectors(texts: Sequence[str], salt: int = 0) -> pa.Table:
    """Vectors that tell which texts they are of."""
    rngs = [np.random.default_rng([salt, *text.encode()]) for text in texts]
    columns: dict[str, list[Any]] = {
        "dense": [rng.normal(size=3).astype(np.float32) for rng in rngs],
        "half": [rng.normal(size=2).astype(np.float16) for rng in rngs],
        "sparse": [{"indices": [7, len(text)], "values": [0.5, 1.25]} for text in texts],
        "tokens": [
            list(rng.normal(size=(len(text) % 3, 2)).astype(np.float32)) for rng, text in zip(rngs, texts, strict=True)
        ],
    }
    return pa.table({name: pa.array(columns[name], spec.arrow_type) for name, spec in VECTORS.items()})


def cache(place: Path, fingerprint: str = "one") -> EmbeddingCache:
    return EmbeddingCache(str(place), fingerprint, VECTORS)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.text(max_size=3), max_size=5), max_size=8),
    st.lists(st.text(max_size=3), max_size=12),
    st.booleans(),
)
def test_what_any_writer_kept_is_found_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]], asked: list[str], fresh: bool
) -> None:
    place = tmp_path_factory.mktemp("cache")
    writers = [cache(place), cache(place)]
    for number, batch in enumerate(batches):
        if batch:
            writers[number % 2].add(keys(batch), vectors(batch))
    reader = cache(place) if fresh else writers[0]
    reader.refresh()
    kept = {text for batch in batches for text in batch}
    at, found = reader.find(keys(asked))
    assert at.tolist() == [row for row, text in enumerate(asked) if text in kept]
    assert found.equals(vectors([asked[row] for row in at]).combine_chunks())


def test_a_cache_of_hundreds_of_files_is_found_in_at_once(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(150)]
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                lambda start: cache(tmp_path).add(keys(texts[start : start + 2]), vectors(texts[start : start + 2])),
                range(0, 150, 2),
            )
        )
    at, found = cache(tmp_path).find(keys(["none", *reversed(texts)]))
    assert at.tolist() == list(range(1, 151))
    assert found.equals(vectors(texts[::-1]))


def test_fingerprints_and_kinds_of_vectors_are_kept_apart_and_names_are_not(tmp_path: Path) -> None:
    cache(tmp_path).add(keys(["a"]), vectors(["a"]))
    assert not len(cache(tmp_path, "two").find(keys(["a"]))[0])
    fewer = EmbeddingCache(str(tmp_path), "one", {"dense": VECTORS["dense"]})
    assert not len(fewer.find(keys(["a"]))[0])
    renamed = EmbeddingCache(str(tmp_path), "one", {f"my_{name}": spec for name, spec in VECTORS.items()})
    at, found = renamed.find(keys(["a"]))
    assert (at.tolist(), found.column_names) == ([0], [f"my_{name}" for name in VECTORS])


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "gone"])
def test_a_damaged_file_costs_its_own_rows_with_a_warning(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = cache(tmp_path)
    for text in ("good", "bad"):
        before.add(keys([text]), vectors([text]))
    path = sorted(tmp_path.rglob("*.parquet"))[1]
    data = path.read_bytes()
    column = pq.read_metadata(path).row_group(0).column(1)
    at = column.data_page_offset + column.total_compressed_size - 1
    spoilt = {
        "cut": data[: len(data) // 2],
        "flipped": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        "foreign": b"something else",
    }
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(spoilt[damage])
    # One that had read its keys, and one that had not.
    for reader in (before, cache(tmp_path)):
        rows, found = reader.find(keys(["bad", "good"]))
        assert rows.tolist() == [1]
        assert found.equals(vectors(["good"]))
    assert (f"damaged file, which is passed over: {path}" in caplog.text) or damage == "gone"
    before.add(keys(["bad"]), vectors(["bad"]))
    assert before.find(keys(["bad", "good"]))[0].tolist() == [0, 1]


def test_a_cache_that_cannot_be_written_warns_and_a_file_in_its_place_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr("pipelines.embed.cache_compaction.write_file", full)
        one = cache(tmp_path)
        one.add(keys(["a"]), vectors(["a"]))
    assert "the cache of embeddings cannot be written: [Errno 28]" in caplog.text
    assert not len(one.find(keys(["a"]))[0])
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"cache\.path .*file is a file, not a folder"):
        cache(tmp_path / "file")
