"""Searching a collection that tells by itself how its queries are encoded: MiniLM, BM25, folded token vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embedders import Muvera, TextCrossEncoder, TextEmbedding
from pipelines.config.search import DEFAULT_RRF_K, SearchConfig
from pipelines.errors import ConfigError, SinkError, TooManyErrorsError
from pipelines.search import Hit, Searcher
from pipelines.search.page import Page
from pipelines.sinks.qdrant.client import open_folder
from pipelines.sinks.qdrant.folder_engine import EDGE_FILE
from tests.pipelines.search.conftest import DOCUMENTS, Collection, embeddings_of
from tests.qdrant_server import QdrantTestServer

WAYS: list[dict[str, Any]] = [
    {"using": "dense"},
    {"using": ["dense", "bm25"]},
    {"using": "colbert", "rescore": "colbert_multivector"},
]


def titles(hits: list[Hit]) -> list[str]:
    return [hit.title for hit in hits]


def test_a_collection_tells_its_vectors_and_which_find_candidates(searcher: Searcher) -> None:
    kinds = {name: (spec.kind, spec.dim, spec.distance) for name, spec in searcher.vectors.items()}
    assert kinds == {
        "dense": ("dense", 384, "cosine"),
        "bm25": ("sparse", None, "dot"),
        "colbert": ("dense", 20 * 2**4 * 32, "dot"),
        "colbert_multivector": ("multivector", 384, "cosine"),
    }
    assert searcher.names == ("dense", "bm25", "colbert")


@pytest.mark.parametrize(
    ("query", "using", "best"),
    [
        ("reptiles", "dense", "python"),
        ("E1234", "bm25", "code"),
        ("venomous snakes", "colbert", "cobra"),
        ("venomous snakes", "colbert_multivector", "cobra"),
        ("island volcanoes", ["dense", "bm25"], "java"),
        ("island volcanoes", None, "java"),
    ],
)
def test_each_vector_is_searched_with_its_own_side(searcher: Searcher, query: str, using: Any, best: str) -> None:
    assert titles(searcher.search(query, using, 1)) == [best]


def test_the_multivector_orders_candidates_by_maxsim(searcher: Searcher) -> None:
    query = "a snake that squeezes"
    staged = searcher.search(query, "colbert", 6, rescore="colbert_multivector")
    alone = searcher.search(query, "colbert_multivector", 6)
    assert [(hit.title, pytest.approx(hit.score, abs=1e-4)) for hit in staged] == [(h.title, h.score) for h in alone]
    tokens = np.array(searcher.encode(query, ["colbert_multivector"])["colbert_multivector"])
    points, _ = searcher.client.scroll("docs", limit=10, with_vectors=True)
    stored = {point.payload["document_id"]: np.array(point.vector["colbert_multivector"]) for point in points}
    # MaxSim by cosine: each of the query's tokens finds its nearest one of the document's.
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    assert alone[0].score == pytest.approx((unit @ stored[alone[0].title].T).max(axis=1).sum(), abs=1e-3)


def test_a_query_is_folded_with_the_jobs_own_parameters(searcher: Searcher) -> None:
    both = searcher.encode("a question", ["colbert", "colbert_multivector"])
    muvera = Muvera(384, k_sim=4, dim_proj=32)
    expected = muvera.process_query(np.array(both["colbert_multivector"], np.float32))
    np.testing.assert_allclose(both["colbert"], expected, atol=1e-5)


def test_fewer_candidates_reach_the_second_stage_than_there_are_points(searcher: Searcher) -> None:
    def best(candidates: int) -> list[str]:
        return titles(searcher.search(query, "bm25", 1, rescore="colbert_multivector", candidates=candidates))

    query = "snake disk island"
    first, second, *_ = searcher.search(query, "bm25", 4)
    assert first.title == "java" and first.score > second.score
    assert titles(searcher.search(query, "colbert_multivector", 1)) == ["python"]
    assert (best(1), best(4)) == (["java"], ["python"])
    # Those that bm25 does not find are no candidates.
    narrow = searcher.search("snakes", "bm25", 5, rescore="colbert_multivector", candidates=5)
    assert titles(narrow) == ["python", "cobra"]


@pytest.mark.parametrize("settings", [{}, {"fusion": "dbsf"}, {"rrf_k": 60}, {"weights": [1, 0]}, {"weights": [0, 1]}])
def test_fusions_and_weights(searcher: Searcher, settings: dict[str, Any]) -> None:
    found = searcher.search("E1234", ["dense", "bm25"], 3, **settings)
    assert "code" in titles(found)
    if settings.get("weights") == [1, 0]:
        dense = searcher.search("E1234", "dense", 3)
        assert titles(found)[0] == titles(dense)[0]
    elif settings.get("weights") == [0, 1]:
        assert titles(found)[0] == "code"


@pytest.mark.parametrize(
    ("settings", "k", "weights"),
    [
        ({}, DEFAULT_RRF_K, (1, 1)),
        ({"rrf_k": 1}, 1, (1, 1)),
        ({"rrf_k": 2}, 2, (1, 1)),
        ({"rrf_k": 60}, 60, (1, 1)),
        ({"weights": [3, 1]}, DEFAULT_RRF_K, (3, 1)),
        ({"rrf_k": 60, "weights": [3, 1]}, 60, (3, 1)),
    ],
    ids=str,
)
def test_reciprocal_ranks_are_added_as_the_documentation_says(
    searcher: Searcher, settings: dict[str, Any], k: int, weights: tuple[int, int]
) -> None:
    query, expected = "a venomous snake on an island", dict.fromkeys((row["id"] for row in DOCUMENTS), 0.0)
    for name, weight in zip(("dense", "bm25"), weights, strict=True):
        for rank, title in enumerate(titles(searcher.search(query, name, 6))):
            expected[title] += 1 / (k + (rank + 1) / weight - 1)
    found = searcher.search(query, ["dense", "bm25"], 6, **settings)
    assert {hit.title: hit.score for hit in found} == pytest.approx(expected)


def test_a_jobs_search_may_say_k(copied: Collection) -> None:
    searches = {"even": {"using": ["dense", "bm25"], "rrf_k": 60}}
    with Searcher.from_config({**copied.job, "searches": searches}) as searcher:
        named = searcher.search("snakes", way="even")
        assert named == searcher.search("snakes", ["dense", "bm25"], rrf_k=60)
        assert named[0].score < 2 / 60 + 1e-6 < searcher.search("snakes", way="even", rrf_k=2)[0].score


def test_a_way_may_be_named_in_the_job(copied: Collection) -> None:
    with Searcher.from_config(copied.job) as searcher:
        named = searcher.search("snakes", way="staged", limit=3)
        assert named == searcher.search("snakes", "colbert", 3, rescore="colbert_multivector", candidates=4)
        assert named == searcher.search("snakes", limit=3, way=searcher.ways["staged"])
        with pytest.raises(ConfigError, match=r"no search 'stage'; the job names staged"):
            searcher.search("snakes", way="stage")


def test_limit_and_offset_walk_through_the_hits(searcher: Searcher) -> None:
    for using in ("dense", ["dense", "bm25"]):
        whole = searcher.search("snakes", using, 6)
        assert searcher.search("snakes", using, 2, offset=2) == whole[2:4]
    assert searcher.search("snakes", "dense", 5, offset=60) == []
    for limit, offset in ((0, 0), (1, -1)):
        with pytest.raises(ConfigError, match="must be a whole number of"):
            searcher.search("snakes", "dense", limit, offset=offset)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("lang=de", {"vulkan"}),
        (["year>=2010", "lang=en"], {"java", "c", "code"}),
        ("year=2001|2020", {"python", "c"}),
        ("lang!=en", {"vulkan"}),
        ("year=2020.0", {"c"}),
        (["year!=2020.0", "year>=2010"], {"java", "code", "vulkan"}),
        ('lang="de"|fr', {"vulkan"}),
        ("year='2020'", set()),
        ("year>=2.02e3", {"c", "code", "vulkan"}),
        ({"must": [{"is_empty": {"key": "year"}}]}, {"cobra"}),
        ('{"must": [{"key": "year", "range": {"lt": 2010}}]}', {"python"}),
        (models.Filter(must=[models.FieldCondition(key="lang", match=models.MatchValue(value="fr"))]), set()),
    ],
    ids=range(12),
)
@pytest.mark.parametrize("way", WAYS, ids=range(3))
def test_filters_hold_in_every_stage(searcher: Searcher, filter: Any, expected: set[str], way: dict[str, Any]) -> None:
    query = "java snakes code alphabet Vulkane"
    assert set(titles(searcher.search(query, limit=6, filter=filter, **way))) == expected


def test_the_payload_is_given_in_whole_in_part_or_not_at_all(searcher: Searcher) -> None:
    assert searcher.search("E1234", "bm25")[0].payload["text"] == DOCUMENTS[3]["text"]
    for wanted in ("year", ["year"]):
        assert searcher.search("E1234", "bm25", with_payload=wanted)[0].payload == {"year": 2024}
    assert searcher.search("E1234", "bm25", with_payload=False)[0].payload == {}


@pytest.mark.parametrize("query", ["", "   ", "the of and", "¿?"])
def test_a_query_without_terms_finds_nothing_in_bm25_and_leaves_a_fusion_to_the_others(
    searcher: Searcher, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert searcher.search(query, "bm25") == []
    assert "no term that bm25 knows" in caplog.text
    assert titles(searcher.search(query, ["dense", "bm25"], 6)) == titles(searcher.search(query, "dense", 6))
    assert len(searcher.search(query, ["dense", "bm25"], 6, fusion="dbsf")) == 6
    assert len(searcher.search(query, "colbert", 6, rescore="colbert_multivector")) == 6


def test_a_query_longer_than_the_model_takes_is_cut_and_said_so(
    copied: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    with Searcher.from_config(copied.job) as searcher:
        long = "snakes and " * 5_000
        assert len(searcher.search(long, limit=6)) == 6
    assert "longer than" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"using": "dens"}, r"'dens' is no vector .* there are dense, bm25, colbert, colbert_multivector"),
        ({"using": ["dense", "dense"]}, "named twice"),
        ({"rescore": "nothing"}, "'nothing' is no vector"),
        ({"fusion": "sum"}, "fusion: Input should be 'rrf' or 'dbsf'"),
        ({"using": ["dense", "bm25"], "weights": [1]}, "give one for each vector in using, 2"),
        ({"using": ["dense", "bm25"], "weights": [0, 0]}, "one above 0"),
        ({"using": ["dense", "bm25"], "weights": [1, 2], "fusion": "dbsf"}, "weights belong to rrf"),
        ({"rrf_k": 0}, "rrf_k: Input should be greater than or equal to 1"),
        ({"rrf_k": 10**12}, "rrf_k: Input should be less than or equal to 1000000"),
        ({"using": ["dense", "bm25"], "rrf_k": 60, "fusion": "dbsf"}, "rrf_k belongs to rrf"),
        ({"speed": 9}, "speed: Extra inputs are not permitted"),
        ({"filter": "lang"}, "write key=value"),
        ({"filter": "year>soon"}, "neither a number nor a date"),
        ({"filter": "{"}, "not valid JSON"),
        ({"filter": '{"foo": 1}'}, "filter: foo: "),
        ({"filter": '{"must":[' * 2000}, "filter: "),
        ({"filter": "year<nan"}, "'nan' is neither a number nor a date"),
        ({"filter": "year>=1e400"}, "neither a number nor a date"),
        ({"filter": "year=>5"}, "write key=value"),
        ({"filter": "lang==en"}, "write key=value"),
        ({"filter": [5]}, "give conditions such as"),
        ({"limit": "3"}, "limit must be a whole number"),
        ({"offset": 0.5}, "offset must be a whole number"),
        ({"using": 5}, "using: "),
        ({"way": {"speed": 1}}, "speed: "),
        ({"weights": [1]}, "weights need using"),
        ({"filter": {"must": 5}}, "filter: must"),
        ({"filter": "year=1|x"}, "or whole numbers only between bars"),
        ({"rerank": {"model": "no/such"}}, "rerank.model"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_a_clear_error(searcher: Searcher, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        searcher.search("snakes", **arguments)


def test_queries_of_other_kinds_are_refused(searcher: Searcher) -> None:
    with pytest.raises(ConfigError, match="embeds texts: search it with a text"):
        searcher.search(Path("photo.jpg"))
    with pytest.raises(ConfigError, match="not valid text"):
        searcher.search("\ud800")
    with pytest.raises(ConfigError, match="must be a text"):
        searcher.search(b"snakes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", [{"k_sim": 5, "dim_proj": 16}, {"seed": 7}, {"r_reps": 10, "dim_proj": 64}, {"final_dim": 10_240 // 2}]
)
def test_a_query_folded_with_other_parameters_is_refused(copied: Collection, change: dict[str, int]) -> None:
    own = copied.job["embeddings"]
    muvera = {**own[2]["muvera"], **change}
    with Searcher.from_config({**copied.job, "embeddings": [*own[:2], {**own[2], "muvera": muvera}]}) as searcher:
        assert titles(searcher.search("E1234", "bm25")) == ["code"]
        with pytest.raises(ConfigError, match=r"'colbert' were made with other model files or settings"):
            searcher.search("snakes", "colbert")


def test_a_query_of_another_model_is_refused(copied: Collection) -> None:
    path = copied.address["path"]
    with (
        Searcher.open("docs", path=path, models={"dense": {"max_length": 99}}) as searcher,
        pytest.raises(ConfigError, match="'dense' were made with other model files or settings"),
    ):
        searcher.search("snakes", "dense")


def test_files_that_were_moved_are_given_anew(copied: Collection, minilm: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(minilm)
    with Searcher.open("docs", path=copied.address["path"], models={"dense": {"path": str(moved)}}) as searcher:
        assert titles(searcher.search("reptiles", "dense", 1)) == ["python"]


def test_a_collection_that_is_not_there_is_named_with_those_that_are(copied: Collection, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"other .*does not exist yet; run the job first \(there are docs\)"):
        Searcher.open("other", path=copied.address["path"])
    with pytest.raises(SinkError, match="there is no folder"):
        Searcher.open("docs", path=tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SinkError, match="is no Qdrant folder"):
        Searcher.open("docs", path=tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())
    with pytest.raises(ConfigError, match="no qdrant sink"):
        Searcher.from_config({**copied.job, "sink": {"type": "parquet", "path": "x"}})
    with pytest.raises(ConfigError, match="give exactly one of url"):
        Searcher.open("docs")


def test_a_half_built_collection_is_searched_with_a_warning(
    minilm: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = Collection(tmp_path, {"path": str(tmp_path / "half"), "collection": "docs"}, embeddings_of(minilm)[1:2])
    with pytest.raises(TooManyErrorsError, match="1 of 3 rows"):
        half.fill([*DOCUMENTS[:2], {"id": "without a text"}])
    with Searcher.open(**half.address) as searcher:
        assert titles(searcher.search("snakes")) == ["python"]
    assert "documents may be missing" in caplog.text
    caplog.clear()
    half.fill()
    with Searcher.open(**half.address):
        pass
    assert not caplog.records


@pytest.fixture(scope="module")
def others(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection that no job filled: an unnamed vector of MiniLM, payload of its own."""
    folder = tmp_path_factory.mktemp("other") / "qdrant"
    model = TextEmbedding("sentence-transformers/all-MiniLM-L6-v2", specific_model_path=minilm)
    vectors = model.embed_array([row["text"] for row in DOCUMENTS])
    client = open_folder(str(folder))
    client.create_collection("theirs", models.VectorParams(size=384, distance=models.Distance.COSINE))
    client.upsert(
        "theirs",
        [
            models.PointStruct(id=number, vector=vector.tolist(), payload={"content": row["text"]})
            for number, (vector, row) in enumerate(zip(vectors, DOCUMENTS, strict=True))
        ],
    )
    client.close()
    return folder


def test_a_collection_of_other_software_is_a_clear_error_without_a_model(others: Path) -> None:
    with pytest.raises(ConfigError, match=r"--model VECTOR=MODEL.*\(unnamed\): vectors of 384 numbers"):
        Searcher.open("theirs", path=others)


def test_a_collection_of_other_software_is_searched_with_a_model_given(others: Path, minilm: Path) -> None:
    given = {"": {"model": "sentence-transformers/all-MiniLM-L6-v2", "path": str(minilm)}}
    with Searcher.open("theirs", path=others, models=given) as searcher:
        hits = searcher.search("reptiles", limit=1)
        assert hits[0].payload == {"content": DOCUMENTS[0]["text"]} and hits[0].title == "0"
        assert searcher.search("reptiles", "", 1, way=SearchConfig(exact=True)) == hits


def test_a_model_that_cannot_have_made_a_collection_is_refused(others: Path, minilm: Path) -> None:
    with (
        Searcher.open("theirs", path=others, models={"": "Qdrant/bm25"}) as searcher,
        pytest.raises(ConfigError, match="makes sparse vectors, and the collection's vector '' holds vectors of 384"),
    ):
        searcher.search("reptiles")
    with pytest.raises(ConfigError, match="has no vector 'dense'"):
        Searcher.open("theirs", path=others, models={"dense": "Qdrant/bm25"})


@pytest.fixture
def on_server(filled: Collection, qdrant_server: QdrantTestServer, tmp_path: Path) -> Collection:
    """The documents on a server."""
    collection = replace(filled, folder=tmp_path, address={"url": qdrant_server.url, "collection": "docs"})
    assert collection.fill().rows["written"] == len(DOCUMENTS)
    return collection


@pytest.mark.server
def test_a_server_is_asked_in_one_request_for_all_stages(
    on_server: Collection, qdrant_server: QdrantTestServer, searcher: Searcher
) -> None:
    staged: dict[str, Any] = {"rescore": "colbert_multivector", "weights": [2, 1], "candidates": 5}
    with Searcher.open(**on_server.address) as remote:
        qdrant_server.clear()
        hits = remote.search("venomous snakes", ["dense", "bm25"], 4, filter="lang=en", **staged)
        assert not qdrant_server.scripted or len(qdrant_server.requests()) == 1
        local = searcher.search("venomous snakes", ["dense", "bm25"], 4, filter="lang=en", **staged)
        assert [(hit.title, pytest.approx(hit.score, abs=1e-4)) for hit in hits] == [(h.title, h.score) for h in local]
        assert titles(remote.search("E1234", "bm25", exact=True)) == ["code"]
        assert titles(remote.search("reptiles", "dense", 1, exact=True, hnsw_ef=8)) == ["python"]


@pytest.mark.server
def test_an_old_server_is_not_asked_for_a_fusion_that_it_does_not_know(filled: Collection, tmp_path: Path) -> None:
    both = ["dense", "bm25"]
    with QdrantTestServer(version="1.15.5") as server:
        collection = replace(filled, folder=tmp_path, address={"url": server.url, "collection": "docs"})
        collection.fill()
        with Searcher.open(**collection.address) as remote:
            server.clear()
            with pytest.raises(
                ConfigError, match=r"on a Qdrant server 1\.15\.5, and rrf_k \(here 60\) is known from 1\.16"
            ):
                remote.search("snakes", both, rrf_k=60)
            with pytest.raises(
                ConfigError, match=r"and weights are known from 1\.17 on: update the server, or leave them"
            ):
                remote.search("snakes", both, weights=[2, 1])
            assert server.requests() == []
            for settings in ({"rrf_k": 2}, {"fusion": "dbsf"}):
                assert len(remote.search("snakes", both, 6, **settings)) == 6  # type: ignore[arg-type]
            assert remote.search("snakes", "dense") != []


@pytest.mark.server
def test_what_a_server_refuses_and_a_collection_that_went_away_are_one_message(on_server: Collection) -> None:
    with Searcher.open(**on_server.address) as remote:
        with pytest.raises(SinkError, match=r"searching docs at .* failed: 400 .*dim: 384, got 2$"):
            remote.find({"dense": [1.0, 2.0]}, SearchConfig(using=["dense"]), Page(1))
        remote.client.delete_collection("docs")
        with pytest.raises(SinkError, match="no such collection"):
            remote.search("snakes", "dense")


def test_a_synthetic_reranker_orders_the_first_hits_anew(
    copied: Collection, synthetic_model: Callable[[str], Path]
) -> None:
    name = "Xenova/ms-marco-MiniLM-L-6-v2"
    folder = synthetic_model(name)
    rerank = {"model": name, "path": str(folder), "candidates": 4}
    query = "snakes and islands"
    scores = TextCrossEncoder(name, specific_model_path=folder)
    with Searcher.from_config(copied.job) as searcher:
        plain = searcher.search(query, "dense", 6)
        found = searcher.search(query, "dense", 6, rerank=rerank)
        texts = [hit.payload["text"] for hit in plain[:4]]
        expected = sorted(zip(scores.rerank(query, texts), titles(plain[:4]), strict=True), reverse=True)
        assert titles(found) == [title for _, title in expected] + titles(plain[4:])
        assert [hit.score for hit in found[:4]] == pytest.approx([score for score, _ in expected], abs=1e-5)
        # A page is cut from the whole order, not ordered by itself.
        assert titles(searcher.search(query, "dense", 2, offset=1, rerank=rerank)) == titles(found)[1:3]
        short = searcher.search(query, "dense", 6, rerank=rerank, with_payload=["year"])
        assert titles(short) != titles(found) and "text" not in short[0].payload
        with pytest.raises(ConfigError, match="no text under 'body'"):
            searcher.search(query, "dense", rerank={**rerank, "text_key": "body"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("embeddings.1.options.lang=german", "'bm25': .*takes no 'lang'"),
        ("embeddings.1.options.avg_len=-5", "'bm25': avg_len must be more than 0"),
        ("embeddings.0.model=nope", "nope"),
        ("embeddings.0.muvera={}", "'dense': .*multivectors"),
        ("embeddings.2.muvera.dim_proj=999", "'colbert': dim_proj is 999"),
    ],
)
def test_settings_that_a_model_does_not_take_are_named(copied: Collection, change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message), Searcher.from_config(copied.job, [change]) as searcher:
        searcher.search("snakes")


@pytest.mark.parametrize("damage", ["text", [], 5, {"embeddings": [1]}, {"embeddings": {"dense": 5}}], ids=range(5))
def test_damaged_metadata_is_as_good_as_none(copied: Collection, damage: Any) -> None:
    client = open_folder(copied.address["path"])
    client.update_collection("docs", metadata={"fleetembed": damage})
    client.close()
    if isinstance(damage, dict):
        damaged = open_folder(copied.address["path"])
        metadata = damaged.get_collection("docs").config.metadata
        damaged.close()
        assert metadata is not None and metadata["fleetembed"]["embeddings"] == damage["embeddings"]
    with pytest.raises(ConfigError, match="does not say which models made its vectors"):
        Searcher.open(**copied.address)
    with Searcher.open(**copied.address, models={"bm25": "Qdrant/bm25"}) as searcher:
        assert titles(searcher.search("E1234")) == ["code"]


def test_an_embedding_written_down_by_another_version_is_told_of(
    copied: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    client = open_folder(copied.address["path"])
    metadata = client.get_collection("docs").config.metadata
    assert metadata is not None
    metadata["fleetembed"]["embeddings"]["dense"]["speed"] = 3
    client.update_collection("docs", metadata=metadata)
    client.close()
    with Searcher.open(**copied.address) as searcher:
        assert searcher.names == ("bm25", "colbert")
    assert "cannot read how queries of 'dense' are encoded (speed: Extra inputs" in caplog.text


@pytest.mark.parametrize("content", ["[]", '{"collections": {"docs": {}}}', "{"])
def test_a_damaged_folder_is_one_message(copied: Collection, content: str) -> None:
    Path(copied.address["path"], EDGE_FILE).write_text(content)
    with pytest.raises(SinkError, match="cannot be opened as a Qdrant folder"):
        Searcher.open(**copied.address)
