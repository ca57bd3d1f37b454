"""A backend of torch.compile that runs each graph as it was traced, and counts."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

graphs: list[list[str]] = []  # the operators of each graph that was compiled


def count(graph: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
    """Compiles a graph to itself."""
    graphs.append([str(node.target) for node in graph.graph.nodes if node.op.startswith("call")])
    forward: Callable[..., Any] = graph.forward
    return forward
