"""Points for the test server's own tests."""

from __future__ import annotations

from qdrant_client import models


def dense_points(count: int) -> list[models.PointStruct]:
    """Points whose dense vectors turn from the first axis to the second as the id grows."""
    return [
        models.PointStruct(id=i, vector={"dense": [count - i, i, 0.0, 0.0]}, payload={"n": i, "even": i % 2 == 0})
        for i in range(count)
    ]
