from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedders import ModelFilesError, SparseTextEmbedding
from tests.embedders.texts import ODD_TEXTS
from tests.synthetic_models import build_network

NAME = "prithivida/Splade_PP_en_v1"


def test_synthetic_weights_are_the_greatest_log_of_the_logits(synthetic_model: Callable[[str], Path]) -> None:
    model = SparseTextEmbedding(NAME, specific_model_path=synthetic_model(NAME), cuda=False)
    text_model = model.model.text_model
    for text in ODD_TEXTS[:12]:
        tokens, _ = text_model.tokenize([text])
        (batch,) = text_model.run(tokens)
        greatest = np.log1p(np.maximum(batch.values[0], 0)).max(axis=0)
        (vector,) = model.embed(text)
        np.testing.assert_array_equal(vector.indices, np.flatnonzero(greatest))
        np.testing.assert_allclose(vector.values, greatest[vector.indices], atol=1e-6)


def test_synthetic_queries_are_embedded_as_documents(synthetic_model: Callable[[str], Path]) -> None:
    model = SparseTextEmbedding(NAME, specific_model_path=synthetic_model(NAME), cuda=False)
    assert model.embed_queries_arrow(ODD_TEXTS).equals(model.embed_arrow(ODD_TEXTS))
    assert (model.spec.kind, model.spec.distance, model.spec.idf) == ("sparse", "dot", False)


def test_a_graph_that_gives_one_vector_a_text_is_refused(tmp_path: Path) -> None:
    from tests.synthetic_graphs import pooled
    from tests.synthetic_models import Plan

    build_network(tmp_path, Plan(pooled), model_file="model.onnx")
    with pytest.raises(ModelFilesError, match=r"shape \(2, 16\).*SPLADE takes logits.*text_embeds \(batch, 16\)"):
        SparseTextEmbedding(NAME, specific_model_path=tmp_path)
