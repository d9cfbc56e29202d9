"""Whether a job can add to a folder of Parquet files: what is wrong with a file that is there, and what to do."""

from __future__ import annotations

import pyarrow as pa

from pipelines.errors import SinkError
from pipelines.sinks.base import JobFacts
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.parquet.files import FileDescription, file_schema, is_part_name
from pipelines.sinks.provenance import differences


def refuse_unless_fit(config: ParquetSinkConfig, name: str, file: FileDescription, job: JobFacts) -> None:
    """Raise SinkError for a file that another tool wrote, or another job whose rows do not go with this one's."""
    if file.provenance is None:
        raise SinkError(
            f"{config.place}/{name} was not written by this tool; choose another path for this job (sink.path)"
        )
    found = differences(file.provenance, job)
    if not found and (file.payload is not None) != (config.payload == "columns"):
        held = "json" if file.payload is None else "columns"
        found = [f"there the payload is kept as {held}, in this job as {config.payload} (sink.payload)"]
    schema = file_schema(job, store_text=config.store_text, new_columns=file.has_new_columns, payload=file.payload)
    if not found and not schema.equals(file.schema):
        found = [f"its columns are {_columns(file.schema)}, this job's are {_columns(schema)}"]
    if found:
        advice = "Choose another path for this job (sink.path), or delete that folder if nobody needs it"
        raise SinkError(f"{config.place} holds what another job made: {'; '.join(found)}. {advice}")


def unreadable(config: ParquetSinkConfig, name: str, error: Exception) -> SinkError:
    """Tell what to do about a file whose metadata cannot be read: just now, or because it is damaged."""
    if not isinstance(error, pa.ArrowInvalid) and "deserialize thrift" not in str(error):
        return SinkError(f"{config.place}/{name} cannot be read: {error}")
    advice = "choose another path for this job"
    if is_part_name(name):
        advice = "delete it, and its rows will be embedded again"
    return SinkError(f"{config.place}/{name} is damaged ({error}); {advice}")


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
