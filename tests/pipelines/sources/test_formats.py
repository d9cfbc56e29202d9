from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError
from pipelines.sources.formats import FORMATS, format_named, format_of
from tests.conftest import ROOT

# What the documentation and the schema of a job promise.
PROMISED = {
    "parquet": ".parquet .pq",
    "jsonl": ".jsonl .ndjson .jsonlines .json",
    "csv": ".csv .tsv",
    "text": ".txt .text .md .markdown .rst",
    "image": ".jpg .jpeg .jfif .mpo .jp2 .j2k .webp .avif .avifs .tif .tiff "
    ".png .apng .gif .bmp .ico .ppm .pgm .pbm .qoi .psd .dds",
    "webdataset": ".tar",
    "arrow": ".arrow .arrows .ipc .feather",
    "huggingface": "",
}
COMPRESSED = ("jsonl", "csv", "text", "webdataset")


def job(**source: Any) -> dict[str, Any]:
    return {
        "source": {"path": "docs", **source},
        "embeddings": [{"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2"}],
        "sink": {"type": "parquet", "path": "out"},
    }


@pytest.mark.parametrize("name", PROMISED)
def test_endings_tell_the_formats_that_are_promised(name: str) -> None:
    for ending in PROMISED[name].split():
        for file in (f"a/b{ending}", f"x.y{ending.upper()}"):
            found = format_of(file)
            assert found is not None and found.name == name
            for packed in (".gz", ".bz2", ".zst", ".GZ"):
                inner = format_of(file + packed)
                assert (inner and inner.name) == (name if name in COMPRESSED else None)
    for ending in (".docx", ".gz", ".parquet.txt~", "", ".arrow.bak"):
        assert format_of(f"a{ending}") is None


def test_every_format_is_promised_and_can_be_asked_for() -> None:
    assert [kind.name for kind in FORMATS] == list(PROMISED)
    for kind in FORMATS:
        assert format_named(kind.name) is kind
        assert " ".join(kind.endings) == PROMISED[kind.name]
        assert load_config(job(format=kind.name)).source.format == kind.name


def test_the_schema_of_a_job_shows_the_choices() -> None:
    schema = JobConfig.model_json_schema()["$defs"]["SourceConfig"]["properties"]["format"]
    assert (schema["default"], schema["type"]) == ("auto", "string")
    assert schema["enum"] == ["auto", *PROMISED]
    assert all(endings in schema["description"] for endings in PROMISED.values())
    assert schema["description"].endswith(f".gz, .bz2 or .zst may follow that of {', '.join(COMPRESSED)})")


@pytest.mark.parametrize(
    ("format", "end"),
    [("paquet", r"\(got 'paquet'\); did you mean 'parquet'\?"), ("x", r"\(got 'x'\)"), ("Auto", r".*mean 'auto'\?")],
)
def test_an_unknown_format_is_told_the_choices(format: str, end: str) -> None:
    with pytest.raises(ConfigError, match=rf"source\.format: input should be 'auto', 'parquet', .* or '\w+' {end}$"):
        load_config(job(format=format))


@pytest.mark.parametrize("format", ["text", "image", "webdataset"])
def test_a_column_of_images_needs_a_format_with_columns(format: str) -> None:
    with pytest.raises(ConfigError, match=f"image names a column, and format {format} has none; leave image out"):
        load_config(job(format=format, image="picture"))
    assert load_config(job(format="arrow", image="picture")).source.image == "picture"


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda path: path.stem)
def test_files_that_the_example_jobs_name_are_of_known_formats(path: Path) -> None:
    for named in load_config(path).source.paths:
        assert format_of(named) is not None or "." not in named.rpartition("/")[2]
