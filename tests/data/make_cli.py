#!/usr/bin/env python3
"""Writes the models of tests/cli_model_test.c to tests/data/cli. Needs onnx and numpy."""
import os

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cli")
F, I = T.FLOAT, T.INT64


def ints(name, values):
    return h.make_tensor(name, I, [len(values)], values)


def floats(name, shape):
    count = int(np.prod(shape))
    return h.make_tensor(name, F, shape, (np.arange(count) % 7 - 3) / 4)


def write(name, nodes, inputs, outputs, initializers=()):
    info = h.make_tensor_value_info
    graph = h.make_graph(nodes, name, [info(*i) for i in inputs], [info(*o) for o in outputs],
                         list(initializers))
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)],
                         producer_name="exporter", producer_version="1.2")
    model.ir_version = 8
    with open(os.path.join(HERE, name + ".onnx"), "wb") as file:
        file.write(model.SerializeToString())


n = h.make_node

# Names that a dim of ours cannot have.
write("spelled", [n("Relu", ["x"], ["y"], name="act")],
      [("x", F, ["batch size", 3, "2*seq"])], [("y", F, ["batch size", 3, "2*seq"])])

# Arithmetic on shapes, a node that changes nothing, one that depends on parameters only.
write("shapes",
      [n("Shape", ["x"], ["s"], name="shape"), n("Gather", ["s", "i"], ["b"], name="pick"),
       n("Concat", ["b", "m"], ["t"], name="target", axis=0),
       n("Identity", ["x"], ["x2"], name="id"),
       n("Reshape", ["x2", "t"], ["r"], name="reshape"),
       n("Transpose", ["w"], ["wt"], name="turn"), n("MatMul", ["r", "wt"], ["y"], name="product")],
      [("x", F, ["batch", 3, 4])], [("y", F, None)],
      [ints("i", [0]), ints("m", [-1]), floats("w", [5, 12])])

# Sizes that are read only where they are constant.
write("resize", [n("Resize", ["x", "", "scales"], ["y"], name="up", mode="cubic",
                   exclude_outside=1)],
      [("x", F, ["N", 3, "H", "W"])], [("y", F, None)],
      [h.make_tensor("scales", F, [4], [1, 1, 1.5, 1.5])])

# What decides a size, and no call can tell.
write("scales", [n("Resize", ["x", "", "scales"], ["y"], name="up")],
      [("x", F, [1, 1, 2, 2]), ("scales", F, [4])], [("y", F, None)])

# Ops that nobody reads, and one that needs all of a dim whose size hangs on data.
write("unknown",
      [n("Fancy", ["x"], ["z"], name="first"), n("Fancy", ["x"], ["z2"], name="second"),
       n("NonZero", ["x"], ["p"], name="found"), n("EyeLike", ["p"], ["q"], name="where"),
       n("Relu", ["z"], ["y"], name="act")],
      [("x", F, ["T", 5])], [("y", F, ["T", "?", 3])])

# Shapes that do not fit: errors name the node, and its inputs with their shapes.
write("bad_product", [n("MatMul", ["x", "w"], ["y"], name="head/MatMul")],
      [("x", F, ["batch size", 3])], [("y", F, None)], [floats("w", [4, 5])])
write("bad_reshape", [n("Reshape", ["x", "t"], ["y"], name="flat")],
      [("x", F, [2, 3])], [("y", F, None)], [ints("t", [4, -1])])
write("bad_pool", [n("MaxPool", ["x"], ["y"], name="pool", kernel_shape=[3, 3])],
      [("x", F, [1, 3, 2, 2])], [("y", F, None)])
write("bad_lstm", [n("LSTM", ["x", "w", "r"], ["y"], name="rnn", hidden_size=4)],
      [("x", F, [5, 2, 4])], [("y", F, None)], [floats("w", [1, 16, 5]), floats("r", [1, 16, 4])])
write("bad_hidden", [n("LSTM", ["x", "w", "r"], ["y"], name="rnn", hidden_size=4)],
      [("x", F, [5, 2, 4])], [("y", F, None)], [floats("w", [1, 12, 4]), floats("r", [1, 12, 3])])
write("bad_split", [n("Split", ["x", "s"], ["y", "z"], name="halves", axis=1)],
      [("x", F, [2, 7])], [("y", F, None), ("z", F, None)], [ints("s", [3, 3])])
write("bad_norm", [n("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], name="norm")],
      [("x", F, [1, 3, 4, 4])], [("y", F, None)], [floats(p, [4]) for p in "sbmv"])

# Two halvings and back: a multiple of 4, that a Concat asks for.
write("unet",
      [n("MaxPool", ["x"], ["a"], name="half", kernel_shape=[2, 2], strides=[2, 2]),
       n("ConvTranspose", ["a", "w"], ["b"], name="double", strides=[2, 2]),
       n("Concat", ["x", "b"], ["y"], name="join", axis=1)],
      [("x", F, [1, 2, "height", 6])], [("y", F, None)], [floats("w", [2, 2, 2, 2])])

# Loops of few trips in loops, eight deep: 32^8 trips.
body = [n("Identity", ["s"], ["t"])]
for depth in range(8):
    info = h.make_tensor_value_info
    state, out = ("s", "t") if depth == 0 else (f"s{depth}", f"t{depth}")
    going = info(f"c{depth}", T.BOOL, [])
    graph = h.make_graph(body, "body", [info(f"i{depth}", I, []), going, info(state, F, [4])],
                         [going, info(out, F, [4])])
    last = depth == 7
    body = [n("Loop", ["M", "", "x" if last else f"s{depth + 1}"],
              ["y" if last else f"t{depth + 1}"], name="outer" if last else "", body=graph)]
write("loops_in_loops", body, [("x", F, [4])], [("y", F, [4])], [h.make_tensor("M", I, [], [32])])

# A sum over two named dims: in parts of parts, the more the larger they may be.
write("sum", [n("ReduceSum", ["x"], ["y"], name="all", keepdims=0)],
      [("x", F, ["B", "N"])], [("y", F, [])])
