"""Which models encode a collection's queries, and how often they are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from embedders.late_interaction import LateInteraction
from pipelines.search import Searcher
from pipelines.search.query_models import make_encoders, with_models

FOLDED = ["colbert", "colbert_multivector"]


@pytest.mark.parametrize("given", [{}, {"colbert": {"max_length": 64}}, {"colbert_multivector": {"max_length": 64}}])
def test_vectors_of_one_embedding_share_an_encoder(searcher: Searcher, given: dict[str, Any]) -> None:
    description = searcher.description
    encoders = make_encoders(with_models(description, given), description, "here")
    assert list(encoders) == ["dense", "bm25", *FOLDED]
    assert encoders["colbert"] is encoders["colbert_multivector"]
    assert encoders["colbert"].embedding.max_length == (64 if given else None)
    assert len(set(map(id, encoders.values()))) == 3


def test_all_vectors_of_an_embedding_are_made_by_one_call_of_its_model(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first query loads the models, which are tried out then.
    searcher.encode("a question", FOLDED)
    asked: list[list[str]] = []
    embed = LateInteraction.embed_queries_arrow

    def counted(self: LateInteraction, texts: list[str]) -> pa.Array:
        asked.append(texts)
        return embed(self, texts)

    monkeypatch.setattr(LateInteraction, "embed_queries_arrow", counted)
    assert list(searcher.encode("two vectors", ["dense", *FOLDED])) == ["dense", *FOLDED]
    assert asked == [["two vectors"]]


def test_a_name_takes_the_place_of_an_embedding_and_keys_change_it(searcher: Searcher, tmp_path: Path) -> None:
    description = searcher.description
    named = with_models(description, {"dense": "BAAI/bge-small-en-v1.5"})["dense"]
    assert (named.name, named.model, named.path) == ("dense", "BAAI/bge-small-en-v1.5", None)
    changed = with_models(description, {"dense": {"path": str(tmp_path)}})["dense"]
    assert changed == description.embeddings["dense"].model_copy(update={"path": str(tmp_path)})
