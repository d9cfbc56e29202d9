"""The recipe in docs/migrating_from_fastembed.md: qdrant-client's inference by this project's classes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image_model_fixtures import clip_config, random_image, write_synthetic_image_model
from tests.model_fixtures import MINILM
from tests.waiting import SECONDS

DOCS = Path(__file__).resolve().parents[3] / "docs" / "migrating_from_fastembed.md"
SPLADE, COLBERT, CLIP = "prithivida/Splade_PP_en_v1", "colbert-ir/colbertv2.0", "Qdrant/clip-ViT-B-32-vision"

# In front of the recipe: who imports the package after all fails.
BLOCK = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "fastembed":
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Refusing())
"""

SEARCH = """
import json, sys
folders, image = json.loads(sys.argv[1]), sys.argv[2]

def document(text, model):
    return models.Document(text=text, model=model, options={"specific_model_path": folders[model]})

def picture(model):
    return models.Image(image=image, model=model, options={"specific_model_path": folders[model]})

dense, sparse, late, clip = MINILM, SPLADE, COLBERT, CLIP
texts = ["paris is the capital of france", "the bat flies into its cave", "money in the bank", ""]
client = QdrantClient(":memory:")
by = models.Distance.COSINE
several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
client.create_collection("texts", vectors_config={
    "dense": models.VectorParams(size=384, distance=by),
    "late": models.VectorParams(size=128, distance=by, multivector_config=several),
    "image": models.VectorParams(size=512, distance=by),
}, sparse_vectors_config={"sparse": models.SparseVectorParams()})
client.upsert("texts", [
    models.PointStruct(id=number, vector={
        "dense": document(text, dense), "late": document(text, late), "sparse": document(text or "x", sparse),
        "image": picture(clip),
    }) for number, text in enumerate(texts)
])
found = {}
for using, query in (("dense", document("where is paris", dense)), ("late", document("the bat", late)),
                     ("sparse", document("bank money", sparse)), ("image", picture(clip))):
    points = client.query_points("texts", query=query, using=using).points
    found[using] = {str(point.id): point.score for point in points}
print(json.dumps(found))
"""


def blocks() -> list[str]:
    """The Python blocks of the document's section."""
    _, _, section = DOCS.read_text(encoding="utf-8").partition("## qdrant-client's inference")
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def run(script: str, folders: dict[str, str], image: Path) -> dict[str, dict[str, float]]:
    names = {"MINILM": MINILM, "SPLADE": SPLADE, "COLBERT": COLBERT, "CLIP": CLIP}
    known = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    done = subprocess.run(
        [sys.executable, "-c", script + known + SEARCH, json.dumps(folders), str(image)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_documents_and_images_have_fastembeds_scores_without_the_package(
    minilm: Path, synthetic_model: Callable[[str], Path], tmp_path: Path
) -> None:
    clip = write_synthetic_image_model(tmp_path / "clip", clip_config(32), side=32, dim=512)
    random_image(40, 30).save(tmp_path / "image.png")
    folders = {MINILM: minilm, CLIP: clip, **{name: synthetic_model(name) for name in (SPLADE, COLBERT)}}
    places = {name: str(folder) for name, folder in folders.items()}
    recipe, _ = blocks()
    ours = run(BLOCK + recipe, places, tmp_path / "image.png")
    theirs = run("from qdrant_client import QdrantClient, models\n", places, tmp_path / "image.png")
    assert ours.keys() == theirs.keys() == {"dense", "late", "sparse", "image"}
    for using, scores in theirs.items():
        assert ours[using] == pytest.approx(scores, abs=1e-4), using
    assert max(theirs["dense"], key=lambda number: theirs["dense"][number]) == "0"


def test_the_real_minilm_answers_by_the_documents_example(minilm: Path) -> None:
    recipe, example = blocks()
    place = f"options={{'specific_model_path': {str(minilm)!r}}}"
    script = BLOCK + recipe + example.replace("model=model)", f"model=model, {place})") + "print(hits[0].score)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout.split()[-1]) < 1


def test_without_the_recipe_the_client_asks_for_fastembed() -> None:
    script = BLOCK + "from qdrant_client.fastembed_common import FastEmbedMisc\nprint(FastEmbedMisc.is_installed())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout.split() == ["False"]
