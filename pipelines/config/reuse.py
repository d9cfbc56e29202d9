"""The key by which a sink gives its vectors to documents that moved."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

ReuseMoved: TypeAlias = Annotated[
    bool,
    Field(
        description="Whether a row that no sink holds, and whose text this one holds under another id with the job's "
        "fingerprint, takes its vectors from there and goes through no model: documents that got new ids, chunks after "
        "one that was put in. In Qdrant it makes a payload index on _fleetembed.text_hash, with Parquet it takes 16 "
        "bytes of memory a row. Texts are told apart by hashes of 64 bits",
    ),
]
