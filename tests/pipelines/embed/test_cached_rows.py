"""Rows with a cache beside rows without: the same columns, whatever part of them was there. Synthetic weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.config.embeddings import EmbeddingConfig
from pipelines.embed.cached_rows import CachedRowEmbedder
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.rows import IMAGE_COLUMN, RowError, add_errors, set_column
from tests.image_model_fixtures import clip_config, encoded, random_image, write_synthetic_image_model
from tests.pipelines.embed.test_row_embedder import m3, rows, several  # noqa: F401

TEXTS = ["a bird", "the river", "money bank", "a cave", "a bird", "hello world"]


def assert_cached_as_made(
    config: EmbeddingConfig, table: pa.Table, place: Path, first: list[int], *, hits: int
) -> None:
    """Embed some rows, then all: those that were there, so many ``hits``, take what was made to the last bit."""
    writer, reader, late = (CachedRowEmbedder(config, {}, str(place)) for _ in range(3))
    made = writer.embed(table.take(pa.array(first)))
    whole, expected = reader.embed(table), RowEmbedder(config).embed(table)
    assert (writer.cached, reader.cached) == (0, hits)
    assert whole.schema.names == expected.schema.names
    assert whole["error"].equals(expected["error"])
    for name in reader.vectors:
        assert whole[name].type == expected[name].type
        assert whole[name].take(pa.array(first)).combine_chunks().equals(made[name].combine_chunks())
        assert whole[name].is_valid().equals(expected[name].is_valid())
    assert late.embed(table).equals(whole)


@pytest.mark.parametrize("keep", [None, False, True])
def test_several_vectors_of_a_model_are_cached_together(m3: Path, tmp_path: Path, keep: bool | None) -> None:  # noqa: F811
    muvera: dict[str, Any] = {"k_sim": 2, "dim_proj": 4, "r_reps": 2}
    settings = {} if keep is None else {"muvera": {**muvera, "keep_multivector": keep}}
    config = several(m3, ["dense", "sparse", "multivector"], **settings).config
    table = add_errors(rows(TEXTS), {5: RowError("read", "Bad", "it was bad before")})
    assert_cached_as_made(config, table, tmp_path / "cache", [0, 3], hits=3)


def test_images_are_cached_by_their_bytes(tmp_path: Path) -> None:
    folder = write_synthetic_image_model(tmp_path / "clip", clip_config(32), side=32, dim=512)
    config = EmbeddingConfig(name="clip", model="Qdrant/clip-ViT-B-32-vision", path=str(folder))
    images = [encoded(random_image(40, 32, seed)) for seed in range(4)]
    table = set_column(rows(TEXTS), IMAGE_COLUMN, pa.array([*images, None, b"no image"], pa.large_binary()))
    assert_cached_as_made(config, table, tmp_path / "cache", [1, 2], hits=2)
