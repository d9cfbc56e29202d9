"""A job over images: real photos and odd files, embedded with a real EfficientNet, and searched."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pads
import pytest
from PIL import Image
from rich.console import Console

from benchmarks.export_efficientnet import export_packaged_efficientnet
from embedders import TextEmbedding
from embedders.catalog import find_card
from embedders.errors import ModelNotFoundError
from pipelines import EmbeddingPipeline
from pipelines.config.file import load_config
from pipelines.errors import ConfigError
from pipelines.run.report.report import RunReport
from pipelines.search import Searcher
from pipelines.search.contact_sheet import write_sheet
from tests.synthetic_graphs import pooled
from tests.synthetic_models import Plan, build_network


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return export_packaged_efficientnet(tmp_path_factory.mktemp("efficientnet"))
    except ModelNotFoundError as error:
        pytest.skip(f"needs real weights: {error}")


def job(folder: Path, images: Path, model: Path, *, engine: str = "local", **source: Any) -> dict[str, Any]:
    return {
        "corpus": "images",
        "source": {"path": str(images), "format": "image", **source},
        "embeddings": [{"name": "photo", "model": {"path": str(model), "family": "image", "license": "apache-2.0"}}],
        "sink": [
            {"type": "qdrant", "path": str(folder / "qdrant"), "collection": "images"},
            {"type": "parquet", "path": str(folder / "out")},
        ],
        "errors": {"max_rate": 1},
        "compute": {"engine": engine},
        "report": str(folder / "report.json"),
    }


def run(config: dict[str, Any]) -> RunReport:
    return EmbeddingPipeline.from_config(config).run(console=Console(quiet=True))


@pytest.fixture(scope="module")
def photos(
    tmp_path_factory: pytest.TempPathFactory, efficientnet: Path, shared_data: Path, ray_local: None
) -> dict[str, Any]:
    """A job over photos and crops of them that a Ray has finished."""
    folder = tmp_path_factory.mktemp("photos")
    images = folder / "images"
    images.mkdir()
    for name in ("china.jpg", "flower.jpg", "chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png"):
        with Image.open(shared_data / "images-photos" / name) as image:
            scene = image.convert("RGB")
        scene.save(images / f"{Path(name).stem}.png")
        scene.crop((scene.width // 10, scene.height // 10, scene.width, scene.height)).save(
            images / f"{Path(name).stem}-crop.jpg"
        )
    config = job(folder, images, efficientnet, engine="ray")
    report = run(config)
    assert (report.exit_code, report.rows["written"]) == (0, 12)
    return config


@pytest.mark.ray
def test_an_image_finds_the_crop_of_its_own_scene(photos: dict[str, Any], tmp_path: Path) -> None:
    images = Path(photos["source"]["path"])
    with Searcher.from_config(photos) as searcher:
        for scene in ("china", "flower", "chelsea", "coffee", "rocket", "astronaut"):
            hits = searcher.search(images / f"{scene}.png", limit=2)
            assert [hit.title for hit in hits] == [f"{scene}.png", f"{scene}-crop.jpg"]
        with pytest.raises(ConfigError, match="has no text model that shares its space"):
            searcher.search("a temple")
        with pytest.raises(ConfigError, match="cannot be searched with"):
            searcher.search(images / "nowhere.png")
        (tmp_path / "broken.png").write_bytes(b"no image")
        with pytest.raises(ConfigError, match=r"broken\.png cannot be searched with: it is not an image of a known"):
            searcher.search(tmp_path / "broken.png")


@pytest.mark.ray
def test_a_text_is_encoded_by_the_synthetic_text_model_that_shares_the_space(
    photos: dict[str, Any], tmp_path: Path
) -> None:
    text_model = "Qdrant/clip-ViT-B-32-text"
    build_network(tmp_path, Plan(pooled), model_file=find_card(text_model).model_file, dim=1280)
    (embedding,) = photos["embeddings"]
    own = {**embedding["model"], "options": {"text_model": text_model}}
    config = {**photos, "embeddings": [{**embedding, "model": own, "text_path": str(tmp_path)}]}
    with Searcher.from_config(config) as searcher:
        hits = searcher.search("the river bank", limit=12)
    vectors = {
        row["document_id"]: row["photo"] for row in pads.dataset(photos["sink"][1]["path"]).to_table().to_pylist()
    }
    asked = next(iter(TextEmbedding(text_model, specific_model_path=tmp_path, cuda=False).embed("the river bank")))
    cosine = {name: np.dot(asked, vector) / np.linalg.norm(asked) for name, vector in vectors.items()}
    assert [hit.title for hit in hits] == sorted(cosine, key=lambda name: -cosine[name])


@pytest.mark.ray
@pytest.mark.parametrize("ending", ["html", "png"])
def test_a_contact_sheet_shows_the_images_found(photos: dict[str, Any], ending: str, tmp_path: Path) -> None:
    config = load_config(photos)
    query = Path(photos["source"]["path"]) / "flower.png"
    with Searcher.from_config(config) as searcher:
        hits = searcher.search(query, limit=6)
    sheet = tmp_path / f"sheet.{ending}"
    write_sheet(sheet, query, hits, config.source)
    if ending == "png":
        with Image.open(sheet) as picture:
            assert picture.width > 1000 and np.asarray(picture).std() > 20
    else:
        page = sheet.read_text()
        assert page.count("<img") == 7 and "flower-crop.jpg" in page
    with pytest.raises(ConfigError, match=r"must end with \.html or \.png"):
        write_sheet(tmp_path / "sheet.gif", query, hits, config.source)


@pytest.mark.slow
def test_odd_images_are_embedded_or_dead_as_the_manifest_says(
    efficientnet: Path, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "images-odd"
    images = tmp_path / "images"
    images.mkdir()
    with (source / "MANIFEST.tsv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if (source / row["file"]).exists()]
    # Three files that Pillow opens have an error in this column, and fail when they are loaded.
    listed = {row["file"]: row["Pillow_result"] for row in rows if not row["exif_orientation"].startswith("err")}
    listed |= {row["file"]: "err" for row in rows if row["exif_orientation"].startswith("err")}
    for name in listed:
        shutil.copyfile(source / name, images / name)
    report = run(job(tmp_path, images, efficientnet, exif=True))
    fine = {name for name, result in listed.items() if result.startswith("ok")}
    embedded = set(pads.dataset(tmp_path / "out", format="parquet").to_table()["document_id"].to_pylist())
    dead = {row["document_id"]: row["error"] for row in dead_letters(tmp_path)}
    assert embedded | dead.keys() == set(listed) and not embedded & dead.keys()
    assert report.rows["written"] + report.rows["dead"] == report.rows["read"] == len(listed)
    assert fine <= embedded | {name for name, error in dead.items() if "pixels" in error["message"]}
    assert all(error["message"] for error in dead.values())
    # A row of the dead letters has its file; a place in the batch beside it says nothing.
    assert not [error for error in dead.values() if re.search(r"image \d", error["message"])]
    assert dead["broken_data_stream.png"]["message"].startswith("it is damaged: ")


def dead_letters(folder: Path) -> list[dict[str, Any]]:
    files = sorted(str(path) for path in (folder / "dead_letters").rglob("*.parquet"))
    return list(pads.dataset(files).to_table().to_pylist()) if files else []


def test_rows_with_image_bytes_and_payload_are_searched_beside_a_row_without(
    efficientnet: Path, shared_data: Path, tmp_path: Path
) -> None:
    rows = [{"id": name, "file": f"{name}.png", "place": name} for name in ("coffee", "rocket")]
    for row in rows:
        shutil.copyfile(
            shared_data / "images-photos" / ("rocket.jpg" if row["id"] == "rocket" else "coffee.png"),
            tmp_path / row["file"],
        )
    rows.append({"id": "none", "file": "nowhere.png", "place": "nowhere"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = job(tmp_path, tmp_path / "rows.jsonl", efficientnet, format="jsonl", image="file", id="id")
    report = run(config)
    assert (report.rows["written"], report.rows["dead"]) == (2, 1)
    assert [row["document_id"] for row in dead_letters(tmp_path)] == ["none"]
    table = pads.dataset(tmp_path / "out", format="parquet").to_table()
    assert json.loads(table["payload"].to_pylist()[0])["place"] in ("coffee", "rocket")
    assert "_image" not in table.column_names
    shown = io.StringIO()
    report.show(Console(file=shown, width=120))
    assert "photo" in shown.getvalue()
