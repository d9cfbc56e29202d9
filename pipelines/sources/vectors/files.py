"""What a file with vectors says of itself: what made its vectors, and in which columns they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedders.arrow import SPARSE_TYPE, dense_type, multivector_type
from embedders.base import VectorSpec
from embedders.fingerprint import facts_digest
from pipelines.errors import SourceError
from pipelines.sinks.parquet.files import METADATA_KEY
from pipelines.sources.files import filesystem_of

# Where qdrant-to-parquet writes a collection's configuration, and where that has what a job of ours wrote down.
COLLECTION_KEY, PROVENANCE = b"qdrant.collection_config", "fleetembed"
_DTYPES = {"float16": np.float16, "uint8": np.uint8}


@dataclass(frozen=True)
class Content:
    """What is in a file: its provenance (see ``provenance_of``), and each vector's VectorSpec and column, by its name.

    ``exported`` tells that rows are points, whose payload holds all but id and vectors.
    """

    provenance: dict[str, Any]
    specs: dict[str, VectorSpec]
    columns: dict[str, str]
    exported: bool
    rows: int

    @property
    def is_foreign(self) -> bool:
        """Whether no job of this tool made the vectors."""
        return not self.provenance.get("models")


@contextmanager
def opened(root: str, path: str) -> Iterator[pq.ParquetFile]:
    """Open a file; raises OSError or ArrowException."""
    with filesystem_of(root).open_input_file(path) as source:
        yield pq.ParquetFile(source, pre_buffer=True)


def content_of(file: pq.ParquetFile, name: str) -> Content:
    """Read what a file says of itself; raises SourceError, with its name, where that is not what its vectors are."""
    metadata = file.schema_arrow.metadata or {}
    try:
        held = json.loads(metadata.get(METADATA_KEY, "null"))
        if held is not None and "fingerprint" in held:
            content = _of_sink(held, file.schema_arrow)
        elif held is not None:
            raise SourceError(
                f"source.vectors: {name} has rows that embed() or to_arrow() gave, which do not tell what they were "
                "made of as those of a Parquet sink do; run the job with a sink, or write the rows to a collection "
                "with QdrantDatasink"
            )
        elif COLLECTION_KEY in metadata:
            content = content_of_collection(json.loads(metadata[COLLECTION_KEY]))
        else:
            raise SourceError(
                f"source.vectors: {name} does not say what made its vectors: it is neither of a Parquet sink of this "
                "tool nor an export of qdrant-to-parquet; to embed the documents in it, write source.path"
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"source.vectors: {name}: its metadata cannot be read ({error!r})") from None
    missing = [column for column in content.columns.values() if column not in file.schema_arrow.names]
    if missing:
        raise SourceError(f"source.vectors: {name} has no column {missing[0]!r}, which its metadata tells of")
    for vector, spec in content.specs.items():
        _refuse_other_type(file.schema_arrow.field(content.columns[vector]).type, spec, vector, name)
    return Content(content.provenance, content.specs, content.columns, content.exported, file.metadata.num_rows)


def _refuse_other_type(kind: pa.DataType, spec: VectorSpec, vector: str, name: str) -> None:
    if spec.kind == "sparse":
        fits = pa.types.is_struct(kind) and {field.name for field in kind} >= {"indices", "values"}
    else:
        depth, size = 0, spec.dim
        while hasattr(kind, "value_type"):
            size = kind.list_size if pa.types.is_fixed_size_list(kind) else size
            depth, kind = depth + 1, kind.value_type
        fits = depth == (1 if spec.kind == "dense" else 2) and size == spec.dim and _is_number(kind)
    if not fits:
        raise SourceError(
            f"source.vectors: {name}: the column of the vector {vector!r} does not hold {spec.kind} vectors"
            + ("" if spec.dim is None else f" of {spec.dim} numbers")
            + ", as its metadata says"
        )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _of_sink(provenance: dict[str, Any], schema: pa.Schema) -> Content:
    specs = {
        name: VectorSpec(one["kind"], schema.field(name).type, one["dim"], one["distance"], one["idf"])
        for name, one in provenance["vectors"].items()
    }
    return Content(provenance, specs, {name: name for name in specs}, exported=False, rows=0)


def content_of_collection(config: Mapping[str, Any]) -> Content:
    """Read what a collection's configuration, as Qdrant's API has it, says of its points.

    A collection that no job of this tool filled has no fingerprint: it gets one of its vectors' properties, so that
    only collections with other vectors are kept apart, not those of other models.
    """
    params = config["params"]
    dense = params.get("vectors") or {}
    dense = {"": dense} if "size" in dense and not isinstance(dense["size"], dict) else dense
    specs = {name: _dense_spec(one) for name, one in sorted(dense.items())}
    for name, one in sorted((params.get("sparse_vectors") or {}).items()):
        specs[name] = VectorSpec("sparse", SPARSE_TYPE, distance="dot", idf=(one or {}).get("modifier") == "idf")
    columns = {name: f"vector_{name}" if name else "vector" for name in specs}
    held = (config.get("metadata") or {}).get(PROVENANCE)
    if isinstance(held, dict) and held.get("fingerprint") and held.get("vectors", {}).keys() == specs.keys():
        # Qdrant has no distance of sparse vectors, and a job has one.
        ours = {
            name: replace(specs[name], distance=one["distance"], idf=one["idf"])
            for name, one in held["vectors"].items()
        }
        return Content(held, ours, columns, exported=True, rows=0)
    vectors = {
        name: {"kind": one.kind, "dim": one.dim, "distance": one.distance, "idf": one.idf, "type": str(one.arrow_type)}
        for name, one in specs.items()
    }
    foreign = {"fingerprint": facts_digest({"collection": vectors}), "chunked": False, "vectors": vectors}
    return Content(foreign, specs, columns, exported=True, rows=0)


def _dense_spec(params: dict[str, Any]) -> VectorSpec:
    size, distance = int(params["size"]), params["distance"].lower()
    dtype = _DTYPES.get(params.get("datatype") or "", np.float32)
    if params.get("multivector_config"):
        return VectorSpec("multivector", multivector_type(size, dtype), size, distance)
    return VectorSpec("dense", dense_type(size, dtype), size, distance)
