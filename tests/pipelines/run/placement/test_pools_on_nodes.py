"""Placement on nodes of all shapes, checked by packing that is written anew here."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError, PreflightError
from pipelines.run.placement.nodes import Machines, Node
from pipelines.run.placement.plan import describe_placement
from pipelines.run.placement.pools import Pool, place_pools
from pipelines.run.placement.shared_storage import refuse_local_places
from pipelines.sinks.ray_context import without_ray

DENSE = {"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2"}
BM25 = {"name": "bm25", "model": "Qdrant/bm25"}
SECOND = {**DENSE, "name": "second"}


def job(*embeddings: dict[str, Any], **compute: Any) -> JobConfig:
    return load_config(
        {
            "source": {"path": "x.jsonl"},
            "embeddings": list(embeddings),
            "sink": {"type": "parquet", "path": "out"},
            "compute": compute,
        }
    )


def node(cpus: float, gpus: int = 0, *, number: int = 0, **labels: str) -> Node:
    return Node(f"{number:08x}", cpus, gpus, int(cpus), labels, address=f"10.0.0.{number}")


def cluster(*shapes: tuple[float, int] | float) -> Machines:
    split = [shape if isinstance(shape, tuple) else (shape, 0) for shape in shapes]
    return Machines(tuple(node(cpus, gpus, number=number) for number, (cpus, gpus) in enumerate(split)))


class Ledger:
    """What is free on each node: CPUs, and each card by itself."""

    def __init__(self, machines: Machines) -> None:
        self.nodes = machines.nodes
        self.cpus = [one.cpus for one in machines.nodes]
        self.cards = [[1.0] * int(one.gpus) for one in machines.nodes]

    def takes(self, number: int, cpus: float, gpus: float) -> bool:
        if self.cpus[number] < cpus - 1e-9:
            return False
        cards = self.cards[number]
        return not gpus or sum(card >= min(gpus, 1.0) - 1e-9 for card in cards) >= max(1, int(gpus))

    def take(self, number: int, cpus: float, gpus: float) -> None:
        self.cpus[number] -= cpus
        cards = self.cards[number]
        for _ in range(max(1, int(gpus)) if gpus else 0):
            card = min((one for one in range(len(cards)) if cards[one] >= min(gpus, 1.0) - 1e-9), key=cards.__getitem__)
            cards[card] -= min(gpus, 1.0)


def land(pools: list[Pool], machines: Machines, rule: str, seed: int) -> Ledger:
    """Put actors on nodes one after the other as Ray may; fails where one finds no node with room."""
    draw = random.Random(seed)
    ledger = Ledger(machines)
    actors = [(pool.resources.cpus, pool.resources.gpus or 0.0) for pool in pools for _ in range(least_of(pool))]
    draw.shuffle(actors)
    # Those that write come last: they are two at least.
    for count, (cpus, gpus) in enumerate([*actors, (0.05, 0.0), (0.05, 0.0)]):
        free = [number for number in range(len(ledger.cpus)) if ledger.takes(number, cpus, gpus)]
        assert free, f"actor {count} of {cpus:g} CPU and {gpus:g} GPU finds no room: {ledger.cpus}, {ledger.cards}"
        chosen = {
            "any": draw.choice(free),
            "emptiest": max(free, key=ledger.cpus.__getitem__),
            "fullest": min(free, key=ledger.cpus.__getitem__),
            "in turn": free[count % len(free)],
        }[rule]
        ledger.take(chosen, cpus, gpus)
    return ledger


def least_of(pool: Pool) -> int:
    least = pool.resources.least or pool.resources.workers
    assert least
    return least


SHAPES = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 64.0]), st.sampled_from([0, 0, 0, 1, 2, 8])),
    min_size=1,
    max_size=8,
)
RULES = st.sampled_from(["any", "emptiest", "fullest", "in turn"])


@given(SHAPES, st.integers(1, 3), RULES, st.integers(0, 9))
def test_whatever_nodes_there_are_chosen_sizes_leave_a_reader_room_wherever_actors_land(
    shapes: list[tuple[float, int]], models: int, rule: str, seed: int
) -> None:
    machines = cluster(*shapes)
    embeddings = [{**DENSE, "name": f"dense{number}"} for number in range(models)]
    try:
        pools = place_pools(job(*embeddings, BM25), machines)
    except PreflightError:
        assert not any(cpus for cpus, _ in shapes)
        return
    ledger = land(pools, machines, rule, seed)
    assert max(ledger.cpus) >= machines.read_cpus - 1e-9
    assert machines.read_cpus == 1 or max(cpus for cpus, _ in shapes) < 2


@given(
    SHAPES, st.integers(1, 9), st.sampled_from([0.5, 1.0, 2.0, 3.5]), st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), RULES
)
def test_sizes_that_are_given_fit_if_they_are_packed_well_or_are_refused(
    shapes: list[tuple[float, int]], workers: int, cpus: float, gpus: float, rule: str
) -> None:
    machines = cluster(*shapes)
    stages = {"dense": {"workers": workers, "cpus": cpus, "gpus": gpus}}
    # Equal actors fit where they go one by one, whatever the order: a count of places is exact.
    places = sum(
        min(int(have / cpus + 1e-9), int(cards / gpus) if gpus > 1 else cards * int(1 / gpus) if gpus else 10**6)
        for have, cards in shapes
    )
    try:
        pools = place_pools(job(DENSE, stages=stages), machines)
    except PreflightError as refused:
        room_for_all = places >= workers and machines.cpus - workers * cpus >= machines.read_cpus + 0.1
        if room_for_all and str(refused).startswith("an actor of"):
            pytest.fail(f"refused as too large: {refused}")
        return
    assert places >= workers
    assert [(pool.resources.workers, pool.resources.cpus, pool.resources.gpus) for pool in pools] == [
        (workers, cpus, gpus)
    ]


@pytest.mark.parametrize(
    "shapes",
    [(2, 2), (1, 1, 1), (0, 2), (0, 1, 1), (2, 8), (1,), (0, (2, 1), (2, 1)), (4, 1, 1), (0, (8, 4)), (2, 2, 2, 32)],
)
def test_small_and_uneven_clusters_have_room_for_dense_and_bm25(shapes: Any) -> None:
    machines = cluster(*shapes)
    pools = place_pools(job(DENSE, BM25), machines)
    for rule in ("any", "emptiest", "fullest", "in turn"):
        assert max(land(pools, machines, rule, 1).cpus) >= machines.read_cpus - 1e-9


def test_the_models_of_large_equal_nodes_get_three_quarters_of_their_cpus() -> None:
    (pool,) = place_pools(job(DENSE), cluster(64, 64, 64))
    assert pool.resources.workers == 24
    assert 0.7 < pool.resources.cpus * 24 / 192 < 0.75


def test_on_many_nodes_with_gpus_an_actor_has_cpus_to_tokenize_with() -> None:
    dense, bm25 = place_pools(job(DENSE, BM25), cluster(*[(64, 8)] * 100))
    assert (dense.resources.workers, dense.resources.gpus, dense.resources.cpus) == (800, 1, 5)
    assert (bm25.resources.workers, bm25.resources.cpus) == (400, 0.5)


def test_sizes_that_are_given_and_fit_only_if_packed_well_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    place_pools(job(DENSE, stages={"dense": {"workers": 4, "cpus": 1}}), cluster(2, 2, 2))
    assert "fits the nodes (3 nodes of 2 CPUs) if it is packed well" in caplog.text


def test_a_node_that_is_small_beside_the_others_takes_no_share_of_the_actors() -> None:
    (pool,) = place_pools(job(DENSE), cluster(2, 32))
    assert pool.resources.workers == 4
    assert pool.resources.cpus > 4


def test_actors_on_several_nodes_take_their_threads_from_the_node_unless_the_job_says_how_many() -> None:
    dense, second = place_pools(job(DENSE, SECOND, pools={"a": ["dense"], "b": ["second"]}), cluster(4, 8))
    assert dense.resources.threads is None and dense.resources.beside == ("a", "b") == second.resources.beside
    # In a process without Ray that is all cores; an earlier test of the session may have started one.
    with without_ray():
        assert dense.runtime(dense.embeddings[0])["threads"] is None
    (given_threads,) = place_pools(job(DENSE, stages={"dense": {"threads": 3}}), cluster(4, 8))
    assert (given_threads.resources.threads, given_threads.resources.beside) == (3, ())


@pytest.mark.parametrize(
    ("shapes", "models", "share"),
    [
        ((0, (4, 1), (4, 1)), 3, 0.5),
        (((16, 2),), 3, 0.5),
        (((16, 1),), 3, 0.3333),
        ((0, (4, 1), (4, 1), (4, 1)), 3, 1.0),
    ],
)
def test_a_part_of_a_gpu_is_on_one_card(shapes: Any, models: int, share: float) -> None:
    machines = cluster(*shapes)
    pools = place_pools(job(*({**DENSE, "name": f"dense{number}"} for number in range(models))), machines)
    assert [pool.resources.gpus for pool in pools] == [share] * models
    land(pools, machines, "any", 3)


def test_a_pool_gets_the_gpus_that_another_which_says_how_many_leaves() -> None:
    pools = place_pools(job(DENSE, SECOND, stages={"dense": {"workers": 3}}), cluster((8, 2), (8, 2)))
    assert [(pool.resources.workers, pool.resources.gpus) for pool in pools] == [(3, 1), (1, 1)]


def test_parts_of_gpus_that_no_card_has_are_refused() -> None:
    stages = {"dense": {"workers": 3, "gpus": 0.6, "cpus": 0.1}}
    with pytest.raises(PreflightError, match=r"one more actor of dense, which wants 0\.1 CPU and 0\.6 GPU"):
        place_pools(job(DENSE, stages=stages), cluster((8, 1), (8, 1)))
    with pytest.raises(PreflightError, match=r"an actor of dense wants .* and 2 GPU, and must fit one node: there are"):
        place_pools(job(DENSE, stages={"dense": {"workers": 1, "gpus": 2}}), cluster((8, 1), (8, 1)))


def test_gpus_on_a_cluster_without_any_are_refused_with_the_keys_that_make_an_autoscaler_bring_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = {"dense": {"gpus": 1}}
    asked = r"compute\.stages asks for 1 GPU \(dense: 1 x 1\) and Ray sees 0; .*an autoscaler brings them, "
    with pytest.raises(PreflightError, match=asked + r"say how many are to come \(compute\.expect: \{gpus: 1\}\)"):
        place_pools(job(DENSE, stages=stages, address="10.0.0.1:6379"), cluster(4))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(PreflightError, match=asked + r"name the cluster \(compute\.address\) and say how many"):
        place_pools(job(DENSE, stages=stages), cluster(4))


def test_where_fewer_gpus_came_than_were_expected_no_one_is_told_to_expect_them() -> None:
    compute = {"address": "10.0.0.1:6379", "wait_seconds": 5, "stages": {"dense": {"workers": 4, "gpus": 1}}}
    with pytest.raises(PreflightError) as refused:
        place_pools(job(DENSE, expect={"gpus": 4}, **compute), cluster((8, 2)))
    told = str(refused.value)
    assert told.startswith(
        "compute.stages asks for 4 GPUs (dense: 4 x 1) and Ray sees 2: compute.expect asked for 4 GPUs, and fewer came "
        "within 5 s (compute.wait_seconds). Leave workers out"
    )
    assert "how many are to come" not in told
    # Of these more are to be expected.
    with pytest.raises(PreflightError, match=r"say how many are to come \(compute\.expect: \{gpus: 4\}\)"):
        place_pools(job(DENSE, expect={"gpus": 2}, **compute), cluster((8, 2)))


def test_an_actor_that_no_node_can_hold_is_refused_though_the_cluster_has_as_many_cpus() -> None:
    with pytest.raises(PreflightError, match=r"an actor of dense wants 3 CPU, and must fit one node: there are 3"):
        place_pools(job(DENSE, stages={"dense": {"workers": 1, "cpus": 3}}), cluster(2, 2, 2))


def test_actors_that_leave_no_node_with_a_whole_cpu_are_refused_and_what_is_free_is_told() -> None:
    with pytest.raises(
        PreflightError, match=r"a task that reads, which wants 1 CPU, finds no node.*10\.0\.0\.0 00000000 0\.[78].* CPU"
    ):
        place_pools(job(DENSE, stages={"dense": {"workers": 3, "cpus": 1.2}}), cluster(2, 2, 2))


LABELLED = Machines(
    (
        node(4, number=0, pool="head", zone="a"),
        node(8, number=1, pool="embed", zone="a"),
        node(8, number=2, pool="embed", zone="b"),
    )
)


@pytest.mark.parametrize(
    ("selector", "workers"),
    [
        ({"pool": "embed"}, 2),
        ({"pool": "!head"}, 2),
        ({"pool": "in(embed, other)", "zone": "b"}, 1),
        ({"zone": "!in(b, c)"}, 2),
        ({"nothing": "!x"}, 3),
    ],
)
def test_a_pool_is_sized_by_the_nodes_whose_labels_it_selects(selector: dict[str, str], workers: int) -> None:
    (pool,) = place_pools(job(DENSE, stages={"dense": {"label_selector": selector}}), LABELLED)
    assert (pool.resources.workers, pool.resources.label_selector) == (workers, selector)


@pytest.mark.parametrize(
    "selector", [{"pool": "gpu"}, {"pool": "!in(head, embed)"}, {"nothing": "x"}, {"zone": "in(c)"}]
)
def test_a_selector_that_no_node_meets_is_refused_and_the_labels_of_nodes_are_told(selector: dict[str, str]) -> None:
    with pytest.raises(
        PreflightError,
        match=r"stages\.dense\.label_selector: no node has .*pool: head \(1 node\).*\(2 nodes\)",
    ):
        place_pools(job(DENSE, stages={"dense": {"label_selector": selector}}), LABELLED)


def test_a_fallback_takes_the_place_of_a_selector_that_no_node_meets() -> None:
    stage = {"label_selector": {"pool": "spot"}, "fallback_strategy": [{"label_selector": {"pool": "embed"}}]}
    (pool,) = place_pools(job(DENSE, stages={"dense": stage}), LABELLED)
    assert pool.resources.workers == 2
    assert pool.resources.fallback_selectors == ({"pool": "embed"},)


@pytest.mark.parametrize(
    ("selector", "fallbacks", "told"),
    [
        ({"pool": "embed"}, [{}], "on nodes with pool: embed"),
        (
            {"pool": "spot"},
            [{"pool": "embed"}],
            "no node has pool: spot; by fallback_strategy on nodes with pool: embed",
        ),
        ({"pool": "spot"}, [{}], "no node has pool: spot; by fallback_strategy on any node"),
        (
            {"pool": "spot"},
            [{"zone": "c"}, {"zone": "b"}],
            "no node has pool: spot or zone: c; by fallback_strategy on nodes with zone: b",
        ),
    ],
)
def test_a_plan_names_the_nodes_that_are_really_chosen(
    selector: dict[str, str], fallbacks: list[dict[str, str]], told: str
) -> None:
    stage = {"label_selector": selector, "fallback_strategy": [{"label_selector": one} for one in fallbacks]}
    pools = place_pools(job(DENSE, stages={"dense": stage}), LABELLED)
    assert describe_placement(pools, LABELLED)[1].endswith(f"threads by the cores of its node, {told}")


def test_accelerators_and_resources_that_no_node_has_are_refused() -> None:
    machines = Machines(
        (
            node(4),
            Node("1", 8, 2, 8, resources={"accelerator_type:H100": 1.0, "disk": 2.0}, address="10.0.0.1"),
        )
    )
    with pytest.raises(PreflightError, match=r"accelerator_type: no node has A100.*nodes have H100"):
        place_pools(job(DENSE, stages={"dense": {"accelerator_type": "A100"}}), machines)
    with pytest.raises(PreflightError, match=r"resources: no node .* has 3 of disk.*nodes have disk"):
        place_pools(job(DENSE, stages={"dense": {"resources": {"disk": 3}}}), machines)
    with pytest.raises(PreflightError, match=r"one more actor of dense, which wants .*1 of disk"):
        place_pools(job(DENSE, stages={"dense": {"resources": {"disk": 1}, "workers": 3, "gpus": 0.5}}), machines)
    (pool,) = place_pools(job(DENSE, stages={"dense": {"accelerator_type": "H100"}}), machines)
    assert (pool.resources.workers, pool.resources.accelerator_type) == (2, "H100")


def test_pools_that_select_nodes_of_their_own_are_sized_by_these() -> None:
    stages = {"dense": {"label_selector": {"pool": "embed"}}, "second": {"label_selector": {"pool": "head"}}}
    placed = {pool.name: pool.resources for pool in place_pools(job(DENSE, SECOND, stages=stages), LABELLED)}
    assert (placed["dense"].workers, placed["second"].workers) == (2, 1)


def test_pools_that_meet_on_some_nodes_leave_cards_for_each_other_wherever_the_first_one_lands() -> None:
    machines = Machines((node(16, 4, number=0, pool="a"), node(16, 4, number=1, pool="b")))
    stages = {"second": {"label_selector": {"pool": "b"}}}
    pools = {pool.name: pool.resources for pool in place_pools(job(DENSE, SECOND, stages=stages), machines)}
    # All of dense may be on the node that second needs.
    assert (pools["dense"].workers, pools["second"].workers) == (2, 2)


def test_a_pool_that_may_grow_begins_with_its_least_and_is_told_of_in_a_plan() -> None:
    machines = cluster(4, 4)
    pools = place_pools(job(DENSE, BM25, stages={"dense": {"workers": {"min": 1, "max": 6}}}), machines)
    resources = {pool.name: pool.resources for pool in pools}["dense"]
    assert (resources.least, resources.workers) == (1, 6)
    lines = describe_placement(pools, machines)
    assert lines[0] == "would run on 2 nodes of 4 CPUs:"
    assert lines[1].startswith("  dense: 1 to 6 actors of ") and lines[1].endswith("threads by the cores of its node")


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"workers": {"min": 3, "max": 2}}, "min is more than max"),
        ({"workers": {"min": 3}}, r"workers\.max"),
        ({"workers": 0}, "workers"),
        ({"gpus": 1.5}, "must be whole ones"),
        ({"label_selector": {"zone": "not(a)"}}, r"zone: 'not\(a\)' selects no labels"),
        ({"fallback_strategy": [{"label_selector": {}}]}, "label_selector prefers"),
        ({"resources": {"disk": -1}}, "less than 0"),
    ],
)
def test_placements_that_make_no_sense_are_refused(stage: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        job(DENSE, stages={"dense": stage})


def test_local_paths_on_several_machines_are_refused_unless_all_see_them() -> None:
    two, one = cluster(4, 4), Machines((node(4), node(4)))
    with pytest.raises(PreflightError, match=r"2 machines.*sink\.0\.path out, errors\.path \(.*source\.path x\.jsonl"):
        refuse_local_places(job(DENSE), two)
    refuse_local_places(job(DENSE, shared_storage=True), two)
    refuse_local_places(job(DENSE), one)
    with pytest.raises(PreflightError, match="3 machines"):
        refuse_local_places(job(DENSE, expect={"nodes": 3}), one)


def test_stores_and_servers_are_for_all_machines() -> None:
    remote = load_config(
        {
            "source": {"path": ["s3://corpus/a.parquet", "hf://datasets/x"]},
            "embeddings": [DENSE],
            "sink": [
                {"type": "parquet", "path": "s3://vectors/out"},
                {"type": "qdrant", "url": "http://q:6333", "collection": "c"},
            ],
            "errors": {"path": "s3://vectors/dead"},
        }
    )
    refuse_local_places(remote, cluster(4, 4))
