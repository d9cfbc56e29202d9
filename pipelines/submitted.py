"""What a job must not do that was submitted to a Ray: what it leaves in its own folder is lost."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError
from pipelines.urls import is_absolute
from pipelines.written import DELETED, LETTERS, PAGE, written_places

# What Ray gives to the entrypoint of a submitted job (ray/_private/runtime_env/constants.py), and the folder below
# which each node unpacks what was uploaded. Named here because the import of Ray takes long.
SUBMITTED, UPLOADS = "RAY_JOB_CONFIG_JSON_ENV_VAR", "working_dir_files"


def is_submitted() -> bool:
    """Tell whether this is a job submitted to a Ray, or runs in a folder that Ray unpacked and will remove."""
    if SUBMITTED in os.environ:
        return True
    # A folder that is gone is none of Ray's.
    with suppress(OSError):
        return UPLOADS in Path.cwd().parts
    return False


def refuse_in_submitted(config: JobConfig) -> None:
    """Raise ConfigError for a submitted job that writes to relative paths, or wants another Ray than the one around."""
    if not is_submitted():
        return
    if config.compute.address == "local":
        raise ConfigError(
            "compute.address: this job was submitted to a Ray, and local would start another one, which does not have "
            "what was uploaded; leave it out to run on the cluster, or write compute.engine: local for one process"
        )
    # What has no path of its own goes where the report goes.
    places = [
        place for place in written_places(config) if not place.foreign and place.key not in (LETTERS, DELETED, PAGE)
    ]
    relative = [place.shown for place in places if not is_absolute(place.path)]
    if relative:
        raise ConfigError(
            "this job was submitted to a Ray, which removes the folder that it runs in, and all that is written there: "
            f"{', '.join(relative)}; write absolute paths or URLs, or set compute.base_path to the folder or URL (as "
            "s3://bucket/prefix) below which they are to be"
        )
