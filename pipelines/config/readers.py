"""Which functions of Ray Data read documents, by their names alone: to import Ray Data takes a second."""

from __future__ import annotations

import ast
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pipelines.config.shown import shown

# What a reader imports, and the distribution that has it; of those that a plain Ray Data lacks.
PACKAGES = {
    "read_audio": {"soundfile": "soundfile"},
    "read_avro": {"fastavro": "fastavro"},
    "read_bigquery": {
        "google.cloud.bigquery": "google-cloud-bigquery",
        "google.cloud.bigquery_storage": "google-cloud-bigquery-storage",
    },
    "read_clickhouse": {"clickhouse_connect": "clickhouse-connect"},
    "read_delta": {"deltalake": "deltalake"},
    "read_delta_sharing_tables": {"delta_sharing": "delta-sharing"},
    "read_hudi": {"hudi": "hudi-python"},
    "read_iceberg": {"pyiceberg": "pyiceberg"},
    "read_kafka": {"confluent_kafka": "confluent-kafka"},
    "read_lance": {"lance": "pylance"},
    "read_lerobot": {"lerobot": "lerobot"},
    "read_mcap": {"mcap": "mcap"},
    "read_mongo": {"pymongo": "pymongo", "pymongoarrow": "pymongoarrow"},
    "read_snowflake": {"snowflake.connector": "snowflake-connector-python"},
    "read_tfrecords": {"tensorflow": "tensorflow"},
    "read_videos": {"decord": "decord"},
    "read_zarr": {"zarr": "zarr"},
}


@cache
def public_readers() -> tuple[str, ...]:
    """Names of the functions ``ray.data.read_*`` that Ray says are public, sorted."""
    found = find_spec("ray")
    if found is None or not found.submodule_search_locations:
        return ()
    source = Path(found.submodule_search_locations[0], "data", "__init__.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "__all__" for to in node.targets):
            names = ast.literal_eval(node.value)
            return tuple(sorted({name for name in names if name.startswith("read_")} | _also_public(source)))
    return ()


def _also_public(source: str) -> set[str]:
    """Readers that ``ray.data`` imports from its public module and does not list."""
    return {
        one.name
        for node in ast.parse(source).body
        if isinstance(node, ast.ImportFrom) and node.module == "ray.data.read_api"
        for one in node.names
        if one.name.startswith("read_")
    }


def known_reader(name: str) -> str:
    """Return the name of a reader, which may begin with ``ray.data.``; raises ValueError with the nearest names."""
    bare = name.removeprefix("ray.data.")
    readers = public_readers()
    if bare in readers:
        return bare
    near = get_close_matches(bare, readers, 2, 0.6) or get_close_matches(f"read_{bare}", readers, 2, 0.8)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are: {', '.join(readers)}"
    raise ValueError(f"ray.data has no public reader {shown(name)}; {hint}")


def missing_packages(reader: str) -> list[str]:
    """Distributions that a reader needs and that are not installed."""
    return [distribution for module, distribution in PACKAGES.get(reader, {}).items() if not _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    # A package above it is missing.
    except ModuleNotFoundError:
        return False
