"""Named vectors that come to a collection, or leave it, after its creation (Qdrant 1.18)."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from tests.qdrant_server.engine import Call
from tests.qdrant_server.errors import invalid, wrong_input


def create(call: Call) -> dict[str, Any]:
    """``PUT /collections/{name}/vectors/{vector}``; nothing happens where the collection has it with this config."""
    config: models.DenseVectorNameConfig | models.SparseVectorNameConfig = call.body
    params = call.state.config["params"]
    if isinstance(params.get("vectors", {}).get("size"), int):
        raise wrong_input("Named vectors cannot be added to a collection with an unnamed vector")
    dense = isinstance(config, models.DenseVectorNameConfig)
    if isinstance(config, models.DenseVectorNameConfig) and not 1 <= config.dense.size <= 65_536:
        raise invalid("dense.size", f"value {config.dense.size} invalid, must be from 1 to 65536")
    call.local.create_vector_name(call.collection, call.tail, config)
    asked = (config.dense if isinstance(config, models.DenseVectorNameConfig) else config.sparse).model_dump(
        mode="json", exclude_none=True
    )
    params.setdefault("vectors" if dense else "sparse_vectors", {}).setdefault(call.tail, asked)
    return call.done()


def delete(call: Call) -> dict[str, Any]:
    """``DELETE /collections/{name}/vectors/{vector}``; nothing happens where there is none of this name."""
    call.local.delete_vector_name(call.collection, call.tail)
    for kind in ("vectors", "sparse_vectors"):
        call.state.config["params"].get(kind, {}).pop(call.tail, None)
    return call.done()
