"""Splits a backbone into the frozen prefix, up to the first trainable block, and the remainder.

Blocks stay whole: only the code between them is traced (torch.fx), so dropout and BatchNorm inside them keep their
train and eval modes. Shapes: N images, S side of the input, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx, nn

from tasks.models.freezing import Names, blocks, within


class _Tracer(fx.Tracer):
    """Traces a network, treating the modules named `leaves` as opaque."""

    def __init__(self, leaves: Sequence[str]) -> None:
        super().__init__()
        self._leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self._leaves or super().is_leaf_module(m, module_qualified_name)


def split_at_first_trainable(module: nn.Module, learning: Sequence[Names]) -> tuple[nn.Module, nn.Module] | None:
    """Returns the prefix, (N, 3, S, S) to activations (N, ...), and the remainder, activations to features (N, D).

    Both share the layers of `module`. Returns None if nothing is frozen, if the forward pass has data-dependent control
    flow, or if more than one tensor crosses the cut.
    """
    ordered = blocks(module)
    learns = [any(_touch(name, other) for name in block for group in learning for other in group) for block in ordered]
    first = learns.index(True) if any(learns) else len(ordered)
    if first == 0:
        return None
    names = [name for block in ordered for name in block]
    rest = [name for block in ordered[first:] for name in block]
    try:
        graph = _Tracer(names).trace(module)
    except (fx.proxy.TraceError, TypeError, RuntimeError):  # data-dependent control flow
        return None
    nodes = list(graph.nodes)
    cut = next(place for place, node in enumerate(nodes) if _uses(node, rest))
    before, after = nodes[:cut], nodes[cut:]
    crossing = {node for later in after for node in later.all_input_nodes if node in before}
    if len(crossing) != 1:
        return None
    boundary = crossing.pop()
    return _copy(module, before, None, boundary), _copy(module, after, boundary, None)


def _uses(node: fx.Node, names: Sequence[str]) -> bool:
    return node.op == "output" or (node.op in {"call_module", "get_attr"} and within(str(node.target), names))


def _copy(module: nn.Module, nodes: Sequence[fx.Node], start: fx.Node | None, end: fx.Node | None) -> fx.GraphModule:
    """Returns the nodes as a module with the input `start` and the output `end`, if given."""
    graph = fx.Graph()
    copies = {start: graph.placeholder("activations")} if start else {}
    for node in nodes:
        copies[node] = graph.node_copy(node, lambda other: copies[other])
    if end:
        graph.output(copies[end])
    return fx.GraphModule(module, graph)


def _touch(name: str, other: str) -> bool:
    """Returns whether the names are equal or one is inside the other."""
    return within(name, (other,)) or within(other, (name,))
