"""``Embed``: batches of each kind get vectors, as a class or an instance, alone and in Ray's map_batches."""

from __future__ import annotations

import doctest
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from embedders.arrow import SPARSE_TYPE, dense_matrix, dense_type, multivector_type
from pipelines import ConfigError, Embed
from pipelines.embed import batches
from pipelines.rows import ERROR_TYPE
from tests.image_model_fixtures import clip_config, encoded, random_image, write_synthetic_image_model

MODELS = {
    "dense": "sentence-transformers/all-MiniLM-L6-v2",
    "sparse": "Qdrant/bm25",
    "multivector": "colbert-ir/colbertv2.0",
}
TEXTS = ["the river bank", None, "a bat in the cave"]


@pytest.fixture
def entries(synthetic_model: Callable[[str], Path]) -> list[dict[str, Any]]:
    return [{"model": model, "path": str(synthetic_model(model))} for model in MODELS.values()]


def test_synthetic_vectors_are_the_same_in_batches_of_each_kind_and_a_bad_row_costs_itself(
    entries: list[dict[str, Any]],
) -> None:
    embed = Embed(entries)
    table = pa.table({"id": [1, 2, 3], "text": TEXTS})
    given = embed(table)
    assert given.schema == pa.schema(
        [
            *table.schema,
            ("dense", dense_type(384)),
            ("sparse", SPARSE_TYPE),
            ("multivector", multivector_type(128)),
            ("error", ERROR_TYPE),
        ]
    )
    assert given.select(["id", "text"]).equals(table)
    assert [error and error["type"] for error in given["error"].to_pylist()] == [None, "NoText", None]
    assert all(given[name].null_count == 1 for name in MODELS)
    good = given.filter(pa.array([True, False, True]))

    arrays: dict[str, Any] = embed({"id": np.arange(4), "text": np.array([*TEXTS, 5], object)})
    np.testing.assert_array_equal(arrays["dense"][[0, 2]], dense_matrix(good["dense"]))
    assert np.isnan(arrays["dense"][[1, 3]]).all() and arrays["dense"].dtype == np.float32
    assert arrays["error"][3]["message"] == "the text is int, not str" and arrays["error"][0] is None
    tokens = good["multivector"].to_pylist()
    np.testing.assert_array_equal(arrays["multivector"][2], np.array(tokens[1], np.float32))
    assert arrays["multivector"][1].shape == (0, 128)

    frame = embed(pd.DataFrame({"text": [TEXTS[0], float("nan")]}, index=[7, 8]))
    assert list(frame.index) == [7, 8] and np.isnan(frame["dense"][8]).all()
    np.testing.assert_array_equal(frame["dense"][7], arrays["dense"][0])
    assert frame["sparse"][7]["indices"].tolist() == good["sparse"].to_pylist()[0]["indices"]

    # Rows that had an error before are left alone, and keep it.
    again = embed(given.drop_columns(list(MODELS)).set_column(1, "text", pa.array(["a", "b", "c"])))
    assert again["error"].equals(given["error"]) and again["dense"].null_count == 1
    for nothing in (table.slice(0, 0), pd.DataFrame({"text": []}, dtype=str)):
        assert len(embed(nothing)) == 0
    assert embed({"text": np.array([], object)})["dense"].shape == (0, 384)
    # Ray makes NaN of a batch's nulls, where there is nothing else.
    missing: dict[str, Any] = embed({"text": np.array([np.nan], np.float32)})
    assert missing["error"][0]["type"] == "NoText" and np.isnan(missing["dense"]).all()


def test_synthetic_images_come_as_files_paths_and_arrays(tmp_path: Path) -> None:
    folder = write_synthetic_image_model(tmp_path / "clip", clip_config(), dim=512)
    embed = Embed({"model": "Qdrant/clip-ViT-B-32-vision", "path": str(folder)}, image="photo")
    picture = random_image(40, 30)
    path = tmp_path / "one.png"
    path.write_bytes(encoded(picture))
    pixels = np.asarray(picture)
    several = np.empty(6, object)
    several[:] = [path.read_bytes(), str(path), {"bytes": None, "path": str(path)}, picture, pixels, None]
    given: dict[str, Any] = embed({"photo": several})
    assert [error is None for error in given["error"]] == [True] * 5 + [False]
    np.testing.assert_array_equal(given["image"][:5], np.tile(given["image"][0], (5, 1)))
    at_once: dict[str, Any] = embed({"photo": np.stack([pixels, pixels])})
    np.testing.assert_array_equal(at_once["image"], given["image"][:2])
    broken = embed(pa.table({"photo": [b"no image", path.read_bytes()]}))
    assert [error is None for error in broken["error"].to_pylist()] == [False, True]
    wrong: dict[str, Any] = embed({"photo": np.zeros((1, 4, 4, 3), np.float32)})
    assert "float32, not uint8" in wrong["error"][0]["message"]


def test_synthetic_instance_travels_with_arguments_alone_and_finds_its_models_where_they_were_loaded(
    entries: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Path(entries[0]["path"])
    monkeypatch.chdir(folder.parent)
    embed = Embed({**entries[0], "path": folder.name})
    given = embed(pa.table({"text": TEXTS}))
    sent = pickle.dumps(embed)
    assert len(sent) < 5_000
    monkeypatch.chdir(tmp_path)
    (loaded,) = batches._LOADED[embed._key]
    other = pickle.loads(sent)
    assert other(pa.table({"text": TEXTS})).equals(given)
    assert loaded.model.stats.rows == 4
    monkeypatch.setattr(batches, "_LOADED", {})
    assert pickle.loads(sent)(pa.table({"text": TEXTS})).equals(given)


def test_what_is_wrong_is_said_with_the_key_or_the_column(entries: list[dict[str, Any]]) -> None:
    embed = Embed(entries[1])
    for batch, message in [
        (pa.table({"x": [1]}), "has no column 'text'; it has 'x': name one as text="),
        (pa.table({"text": [1]}), "'text' holds int64, and texts are embedded"),
        ({"text": np.array([1.5])}, "'text' holds float64"),
        (pa.table({"text": ["a"], "sparse": [1]}), "has a column 'sparse' already"),
        (pa.table({"text": ["a"], "error": ["my own"]}), "'error' that holds no errors of this kind"),
        (pa.table([["a"], ["b"]], names=["text", "text"]), "the batch has two columns 'text'; rename one"),
        (pd.DataFrame([["a", 1, 2]], columns=["text", "x", "x"]), "two columns 'x'"),
    ]:
        with pytest.raises(ValueError, match=message):
            embed(batch)
    with pytest.raises(TypeError, match="not <class 'list'>"):
        embed([{"text": "a"}])  # type: ignore[type-var]
    for wrong, message in [
        ("all-MiniLM", "embeddings.0.model: .*is not in the catalog"),
        ({"modle": "x"}, "embeddings.0.modle: unknown key; did you mean 'model'"),
        ([entries[1], entries[1]], "the name 'sparse' is used twice"),
        ([], "at least 1 item"),
        (3, "give a model's name, an entry as in a job, or a list of these, not 3"),
        ({**entries[1], "options": {"avg_len": "measure"}}, "a batch is no corpus to measure"),
        ({**entries[1], "name": "text"}, "'text' is the name of a column that every row has"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Embed(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="error: it names a column, and is None"):
        Embed(entries[1], error=None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'sparse' is the name of two columns"):
        Embed(entries[1], error="sparse")


@pytest.mark.usefixtures("ray_local")
def test_synthetic_classes_and_instances_embed_in_map_batches(entries: list[dict[str, Any]]) -> None:
    import ray

    rows = [{"id": number, "text": None if number == 5 else f"the river bank {number}"} for number in range(40)]
    dataset = ray.data.from_items(rows, override_num_blocks=4)
    direct = Embed(entries)(pa.table({"text": [row["text"] for row in rows]}))
    wanted = dict(enumerate(direct["dense"].to_pylist()))
    actors: Any = {"fn_constructor_args": (entries,), "compute": ray.data.ActorPoolStrategy(size=1), "num_cpus": 2}
    as_class = dataset.map_batches(Embed, batch_format="pyarrow", batch_size=8, **actors)
    table = pa.concat_tables(as_class.iter_batches(batch_format="pyarrow", batch_size=None))
    assert table.schema.field("dense").type == dense_type(384) and table.schema.field("error").type == ERROR_TYPE
    instance = Embed(entries)
    as_instance = dataset.map_batches(instance, batch_format="pandas", batch_size=8).take_all()
    as_numpy = dataset.map_batches(Embed, batch_size=8, **actors).take_all()
    for given in (table.to_pylist(), as_instance, as_numpy):
        assert sorted(row["id"] for row in given) == list(range(40))
        for row in given:
            if row["id"] == 5:
                assert row["error"]["type"] == "NoText"
                continue
            assert row["error"] is None
            np.testing.assert_allclose(row["dense"], wanted[row["id"]], atol=1e-6)


@pytest.mark.usefixtures("ray_local")
def test_example_of_the_docstring_runs(tmp_path: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quickstart" / "models").mkdir(parents=True)
    (tmp_path / "quickstart" / "models" / "all-MiniLM-L6-v2").symlink_to(minilm)
    monkeypatch.chdir(tmp_path)
    found = [test for test in doctest.DocTestFinder().find(Embed, "Embed") if test.examples]
    assert found and not sum(doctest.DocTestRunner().run(test).failed for test in found)
