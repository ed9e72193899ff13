"""torch.compile(module, backend="urza"): PyTorch finds it by the entry point of this package.

Dynamo gives each graph that it finds, with parameters, buffers and sizes as arguments. A graph is
compiled as a module of its own. What urza refuses runs as PyTorch runs it, with a urza.Warning that
says why: a graph as a whole, or a call whose sizes the package does not allow.
"""
import warnings

import torch
from torch._guards import tracing

import urza

from . import _store, _torch


class _Graph(torch.nn.Module):
    """A graph whose arguments are its tensors; sizes are read from these."""

    def __init__(self, graph, count, tensors, sizes):
        super().__init__()
        self.graph, self.count, self.tensors, self.sizes = graph, count, tensors, sizes

    def forward(self, *tensors):
        arguments = [None] * self.count
        for place, tensor in zip(self.tensors, tensors, strict=True):
            arguments[place] = tensor
        for place, (tensor, dim) in self.sizes.items():
            arguments[place] = tensors[tensor].shape[dim]
        return self.graph(*arguments)


def _hint(size):
    return size.node.hint if isinstance(size, torch.SymInt) else size


def _refuse(message, place):
    raise _store.error("UnsupportedError", message, place)


def _inputs(examples):
    """Places of the tensors, (tensor, dim) by place of the sizes, real tensors as examples, and
    which of their sizes differ."""
    places = [i for i, each in enumerate(examples) if isinstance(each, torch.Tensor)]
    found, tensors, shapes = {}, [], []
    for at, place in enumerate(places):
        example = examples[place]
        symbols = {dim: size for dim, size in enumerate(example.shape)
                   if isinstance(size, torch.SymInt)}
        for dim, size in symbols.items():
            found.setdefault(size.node.expr, (at, dim))
        if example.device.type != "cpu":
            _refuse(f"it is on {example.device}", f"argument {place}")
        made = torch.zeros([_hint(size) for size in example.shape], dtype=example.dtype)
        tensors.append(made.requires_grad_(example.requires_grad))
        shapes.append({dim: torch.export.Dim.AUTO for dim in symbols} or None)
    sizes = {}
    for place, example in enumerate(examples):
        if place in places:
            continue
        if not isinstance(example, torch.SymInt) or example.node.expr not in found:
            _refuse("it is no tensor, and no size of one", f"argument {place}")
        sizes[place] = found[example.node.expr]
    return places, sizes, tuple(tensors), shapes


def _check_views(compiled):
    """The package's results are new tensors; where PyTorch's share memory, a write to one would be
    a write to the other."""
    nodes = list(compiled.graph_module.graph.nodes)
    seen = {node.meta["val"].untyped_storage()._cdata for node in nodes if node.op == "placeholder"
            and isinstance(node.meta.get("val"), torch.Tensor)}
    for node in nodes[-1].args[0]:
        value = node.meta.get("val") if isinstance(node, torch.fx.Node) else None
        if isinstance(value, torch.Tensor):
            memory = value.untyped_storage()._cdata
            if memory in seen:
                _refuse("it is a view of an argument or of another result", f"result {node.name!r}")
            seen.add(memory)


def _compiled(graph, examples, options):
    # The arguments are real tensors; which of their sizes differ, the graph says.
    marks = [node.meta.get("example_value") for node in graph.graph.nodes
             if node.op == "placeholder"]
    examples = [each if mark is None else mark
                for each, mark in zip(examples, marks, strict=True)]
    places, sizes, tensors, shapes = _inputs(examples)
    module = _Graph(graph, len(examples), places, sizes)
    words = dict(options)
    client, threads = words.pop("client", None), words.pop("threads", 1)
    with tracing(None):
        return places, _torch.compile(module, tensors, (tuple(shapes),), client, threads, words,
                                      check=_check_views)


def backend(graph, example_inputs, options=None, **ignored):
    """options: keywords of urza.compile, by torch.compile(…, options={…})."""
    def warn(what, problem):
        warnings.warn(f"urza: {what} runs as PyTorch runs it: {problem}", urza.Warning,
                      stacklevel=2)
    try:
        places, compiled = _compiled(graph, example_inputs, options or {})
    except urza.Error as problem:
        warn("a graph", problem)
        return graph.forward

    def run(*arguments):
        try:
            return compiled(*[arguments[place] for place in places])
        except (urza.InvalidInputError, urza.UnsupportedError) as problem:
            # Nothing was computed yet.
            warn("a call", problem)
        return graph(*arguments)
    return run
