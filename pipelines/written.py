"""Which files and folders a job writes to, and the plan of its source, which leaves them alone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from embedders.errors import ModelNotFoundError
from embedders.files.cache import cache_root
from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError
from pipelines.sources import SourcePlan, plan_source
from pipelines.sources.written import Written
from pipelines.urls import is_absolute

# What Ray gives to the entrypoint of a submitted job (ray/_private/runtime_env/constants.py), and the folder below
# which each node unpacks what was uploaded. Named here because the import of Ray takes long.
SUBMITTED, UPLOADS = "RAY_JOB_CONFIG_JSON_ENV_VAR", "working_dir_files"
# Where jobs/evaluate.py writes unless it is told another place.
EVALUATIONS = "output/evaluation"
LETTERS = "errors.path (dead letters, beside the report)"


def plan_job_source(config: JobConfig) -> SourcePlan:
    """Plan a job's source without what the job itself writes; raises as `plan_source` does."""
    return plan_source(config.source, images=config.takes_images, written=written_places(config))


def written_places(config: JobConfig) -> list[Written]:
    """List the places of sinks, dead letters, report, downloaded models and evaluations, with the keys to change."""
    places = [
        Written(f"sink.{number}.path", sink.folder)
        for number, sink in enumerate(config.sink)
        if sink.folder is not None
    ]
    dead_letters = "errors.path" if config.errors.path else LETTERS
    places += [Written(dead_letters, config.dead_letters), Written("report", config.report)]
    # Without a home, the cache may be nowhere.
    with suppress(ModelNotFoundError):
        places.append(Written("the cache of models (FLEETEMBED_CACHE_DIR)", str(cache_root()), foreign=True))
    places += [
        Written(f"embeddings.{number}.cache_dir", embedding.cache_dir, foreign=True)
        for number, embedding in enumerate(config.embeddings)
        if embedding.cache_dir is not None
    ]
    return [*places, Written("jobs/evaluate.py --out", EVALUATIONS, foreign=True)]


def is_submitted() -> bool:
    """Tell whether this is a job submitted to a Ray, or runs in a folder that Ray unpacked and will remove."""
    return SUBMITTED in os.environ or UPLOADS in Path.cwd().parts


def refuse_vanishing(config: JobConfig) -> None:
    """Raise ConfigError for a submitted job that writes to relative paths, which Ray would remove with its folder."""
    # Dead letters that have no path go where the report goes.
    places = [place for place in written_places(config) if not place.foreign and place.key != LETTERS]
    relative = [place.shown for place in places if not is_absolute(place.path)]
    if relative and is_submitted():
        raise ConfigError(
            f"this job was submitted to a Ray, which removes the folder that it runs in, and all that it writes there: "
            f"{', '.join(relative)}; write absolute paths or URLs, or set compute.base_path to the folder or URL (as "
            "s3://bucket/prefix) below which they are to be"
        )
