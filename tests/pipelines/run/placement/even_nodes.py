"""Clusters of equal nodes."""

from __future__ import annotations

from pipelines.run.placement.nodes import Machines, Node


def even_nodes(*, cpus: float, gpus: int, nodes: int, cores_a_node: int) -> Machines:
    """So many nodes that share CPUs and GPUs; where the GPUs do not come out even, the first ones have one more."""
    return Machines(
        tuple(
            Node(
                id=f"{number:08x}",
                cpus=cpus / nodes,
                gpus=gpus // nodes + (number < gpus % nodes),
                cores=cores_a_node,
                address=f"10.0.0.{number}",
            )
            for number in range(nodes)
        )
    )
