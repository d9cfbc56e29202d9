"""Rows that have images go through the whole job: what can be had of them arrives, what cannot is a dead letter."""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset as pads

from tests.e2e.jobs import ON_BOTH, Job
from tests.pipelines.sources.images.images import picture


@ON_BOTH
def test_rows_with_images_are_written_once_and_again_only_where_an_image_changed(tmp_path: Path, engine: str) -> None:
    source = {"path": str(tmp_path / "corpus.jsonl"), "id": "id", "image": "image"}
    job = Job(
        tmp_path,
        tmp_path,
        [{"type": "parquet", "path": str(tmp_path / "out")}],
        {
            "source": source,
            "embeddings": [{"name": "image", "model": "Qdrant/bm25"}],
            "errors": {"max_rate": 0.5},
        },
        engine,
    )
    for number in range(50):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    job.write([{"id": number, "text": f"photo {number}", "image": f"{number}.png"} for number in range(51)])
    report = job.run()
    assert (report.rows["written"], report.rows["dead"]) == (50, 1)
    reason = f"UnreadableImage: image 50.png: there is no such file (looked for {tmp_path}/50.png)"
    assert job.dead() == {"corpus.jsonl:51": reason}
    table = pads.dataset(tmp_path / "out", format="parquet").to_table()
    assert sorted(table["document_id"].to_pylist(), key=int) == [str(number) for number in range(50)]
    assert not {"_image"} & set(table.column_names)

    (tmp_path / "7.png").write_bytes(picture(1000))
    report = job.run()
    assert (report.rows["written"], report.rows["skipped"]) == (1, 49)
