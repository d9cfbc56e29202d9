"""Sources in a bucket: globs, large listings, images."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from moto.s3.models import s3_backends

from pipelines.config.source import SourceConfig
from pipelines.sources import plan_source
from tests.image_model_fixtures import clip_config, encoded, random_image, write_synthetic_image_model
from tests.object_storage.jobs import BucketJob, documents, lines
from tests.object_storage.server import Fault, S3TestServer
from tests.pipelines.sources.reading import read


def names(path: str) -> list[str]:
    return sorted({split.name for split in plan_source(SourceConfig(path=path)).splits})


def test_a_glob_matches_as_it_does_on_a_disk(s3: S3TestServer, tmp_path: Path) -> None:
    keys = ["a.txt", "b.txt", "c d.txt", "deep/a.txt", "deep/er/b.txt", "deep/er/x.md", ".hidden.txt", "_out/a.txt"]
    for key in keys:
        s3.put(f"docs/{key}", key)
        local = tmp_path / "docs" / key
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_text(key)
    for pattern in ("", "*.txt", "**/*.txt", "*/*.txt", "deep", "d*", "[ab].txt", "**/er/*", "c%20d.txt", "a.txt"):
        local_pattern = pattern.replace("%20", " ")
        assert names(s3.place(f"docs/{pattern}")) == names(f"{tmp_path}/docs/{local_pattern}"), pattern


def test_many_files_are_listed_a_thousand_at_a_time(s3: S3TestServer) -> None:
    (backend,) = (backends["aws"] for backends in s3_backends.values() if s3.bucket in backends["aws"].buckets)
    for number in range(3_000):
        backend.put_object(s3.bucket, f"docs/{number % 100:02d}/{number:05d}.txt", b"text")
    with s3.counted() as counts:
        plan = plan_source(SourceConfig(path=s3.place("docs/**/*.txt"), format="text"))
    assert plan.files == 3_000
    # Three pages, and what the path is.
    assert counts["List"] <= 6 and sum(counts.values()) <= 8


def test_a_column_chunk_is_read_again_from_where_it_broke(s3: S3TestServer, one_attempt: None) -> None:
    rows = [{**row, "text": row["text"] * 2000} for row in documents(300)]
    stream = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), stream, compression="none", use_dictionary=False, row_group_size=30)
    s3.put("a.parquet", stream.getvalue().to_pybytes())
    breaks = Fault("Get", 1, times=2, after=3), Fault("Get", times=1, after=7)
    with s3.broken(*breaks):
        found = read(s3.place("a.parquet"), id="id")
    assert [(row["document_id"], row["text"]) for row in found] == [(row["id"], row["text"]) for row in rows]
    assert all(one.met > one.after + one.times for one in breaks)


def test_images_below_a_folder_are_embedded(s3: S3TestServer, tmp_path: Path) -> None:
    model = write_synthetic_image_model(tmp_path / "model", clip_config(32), side=32, dim=12)
    for number in range(5):
        s3.put(f"docs/photos/{number}.png", encoded(random_image(40, 30, number)))
    s3.put("docs/photos/broken.png", b"no image")
    embedding = {"name": "photo", "model": {"path": str(model), "family": "image", "license": "apache-2.0"}}
    source = {"path": s3.place("docs"), "format": "image"}
    job = BucketJob(s3, tmp_path, extra={"source": source, "embeddings": [embedding]})
    with s3.counted() as counts:
        code, output = job.run()
    assert code == 3, output
    assert job.documents() == [f"photos/{number}.png" for number in range(5)]
    assert all(len(row["photo"]) == 12 for row in job.rows())
    assert list(job.dead()) == ["photos/broken.png"]
    # An image's size and its content, and what is left for the rest of the job.
    assert sum(counts.values()) < 2 * 6 + 50


def test_rows_name_images_beside_them(s3: S3TestServer) -> None:
    image = encoded(random_image(8, 8))
    s3.put("docs/photos/a.png", image)
    references = ["photos/a.png", s3.place("docs/photos/a.png"), "photos/none.png"]
    s3.put("docs/rows.jsonl", lines({"id": str(at), "text": "", "image": one} for at, one in enumerate(references)))
    found = read(s3.place("docs/rows.jsonl"), id="id", image="image")
    assert [row["_image"] for row in found] == [image, image, None]
    assert "photos/none.png: there is no such file" in found[2]["error"]["message"]
