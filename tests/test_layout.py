"""Layouts: lanes fill the nodes, workers straddle none, and what cannot fit is refused before anything starts."""

from __future__ import annotations

import pytest

from study.cluster.layout import Layout, Node, fit_layout, room

TWO, SIXTEEN = Node(2.0), Node(16.0)


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus_per_worker", "lanes", "layout"),
    [
        ([TWO], 1, 0.0, None, Layout(2, 1, 1.0, 0.0)),
        ([TWO], 2, 0.0, None, Layout(1, 2, 1.0, 0.0)),
        ([TWO], 1, 0.0, 1, Layout(1, 1, 2.0, 0.0)),
        ([Node(16.0, 1.0)], 1, 0.25, None, Layout(4, 1, 4.0, 0.25)),
        ([Node(16.0, 4.0)], 2, 1.0, None, Layout(2, 2, 4.0, 1.0)),
        ([Node(16.0, 4.0)], 1, None, None, Layout(4, 1, 4.0, 1.0)),
        ([TWO], 1, None, None, Layout(2, 1, 1.0, 0.0)),
        ([Node(1.0), Node(3.0)], 1, 0.0, 2, Layout(2, 1, 1.0, 0.0)),  # two of two CPUs would need a fourth beside
        ([Node(1.0), Node(4.0)], 1, 0.0, 2, Layout(2, 1, 2.0, 0.0)),
        ([SIXTEEN, Node(8.0, 4.0)], 1, 1.0, None, Layout(4, 1, 2.0, 1.0)),
        ([Node(0.0), TWO, TWO], 2, 0.0, None, Layout(2, 2, 1.0, 0.0)),
    ],
)
def test_lanes_fill_the_nodes(
    nodes: list[Node], workers: int, gpus_per_worker: float | None, lanes: int | None, layout: Layout
) -> None:
    assert fit_layout(nodes, workers, gpus_per_worker, lanes) == layout


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus_per_worker", "lanes", "message"),
    [
        ([TWO], 3, 0.0, None, "3 workers need 3 CPUs and there are 2"),
        ([TWO], 1, 0.0, 4, "4 lanes of 1 workers do not fit into 2 CPUs"),
        ([Node(8.0, 1.0)], 2, 1.0, None, "need 2 GPUs and there are 1"),
        ([Node(0.5), Node(0.5)], 1, 0.0, None, "do not fit into 1 CPUs and 0 GPUs on 2 nodes: at most 0"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_numbers(
    nodes: list[Node], workers: int, gpus_per_worker: float, lanes: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_layout(nodes, workers, gpus_per_worker, lanes)


def test_a_node_that_joins_makes_room_for_more_lanes() -> None:
    layout = fit_layout([TWO], 1, 0.0, None)
    assert [room(nodes, layout) for nodes in ([TWO], [TWO, TWO], [TWO, Node(1.0)], [])] == [2, 4, 3, 0]
