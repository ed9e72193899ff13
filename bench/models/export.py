#!/usr/bin/env python3
"""Exports networks of definitions.py, and what PyTorch computes with them.

Usage: export.py [--tiny] FOLDER [NAME...]

FOLDER/NAME/ gets model.onnx and model.pt2, an input IN.npy for each argument, and for each output
its place K: expected.K.npy in float64 and torch.K.npy in float32. With --tiny models are small, no
larger than needed to be kept in a repository.
"""

import argparse
import copy
import sys
from pathlib import Path

import numpy
import onnx
import torch

from definitions import MODELS, input_names, make

# Where calls stand in the source.
WHERE = ("stack_trace", "nn_module_stack", "torch_fn", "from_node", "source_fn_stack")


def export_pt2(model, inputs, path):
    program = torch.export.export(model, inputs)
    for graph in program.graph_module.modules():  # those inside, too
        for node in graph.graph.nodes if isinstance(graph, torch.fx.GraphModule) else ():
            for key in WHERE:
                node.meta.pop(key, None)
    torch.export.save(program, path)


def export_onnx(model, inputs, names, path):
    program = torch.onnx.export(model, inputs, input_names=names, dynamo=True, verbose=False)
    document = program.model_proto
    for node in document.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for group in (document.graph.value_info, document.graph.input, document.graph.output):
        for value in group:
            del value.metadata_props[:]
    onnx.save(document, path)


def outputs_of(model, inputs):
    with torch.no_grad():
        result = model(*inputs)
    return result if isinstance(result, tuple) else (result,)


def doubled(inputs):
    return tuple(x.double() if x.is_floating_point() else x for x in inputs)


def export(name, folder, tiny):
    model, inputs = make(name, tiny)
    names = input_names(model, inputs)
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in zip(names, inputs):
        numpy.save(folder / f"{key}.npy", value.numpy())
    for place, value in enumerate(outputs_of(model, inputs)):
        numpy.save(folder / f"torch.{place}.npy", value.numpy())
    for place, value in enumerate(outputs_of(copy.deepcopy(model).double(), doubled(inputs))):
        numpy.save(folder / f"expected.{place}.npy", value.numpy())
    export_pt2(model, inputs, folder / "model.pt2")
    export_onnx(model, inputs, names, folder / "model.onnx")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", choices=[[], *MODELS])
    options = parser.parse_args()
    for name in options.names or MODELS:
        print(name, file=sys.stderr)
        export(name, options.folder / name, options.tiny)


main()
