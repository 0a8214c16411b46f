"""The graphs that TensorFlow ran, as its own optimizer left them."""

from collections.abc import Callable
from typing import Any

from tensorflow.python.eager import context


def executed_nodes(run: Callable[[], Any]) -> list[Any]:
    """Call `run`, and return the nodes (NodeDef) of all functions that were executed in it."""
    context.context().enable_run_metadata()
    try:
        run()
        metadata = context.context().export_run_metadata()
    finally:
        context.context().disable_run_metadata()
    graphs = [functions.post_optimization_graph for functions in metadata.function_graphs]
    within = [function.node_def for graph in graphs for function in graph.library.function]
    return [node for nodes in (*(graph.node for graph in graphs), *within) for node in nodes]
