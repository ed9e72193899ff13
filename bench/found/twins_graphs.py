"""Graphs as tf2onnx, skl2onnx and others write them, node by node, with random weights.

A function marked as a twin gives a model, and what case.json says of its inputs (survey.py).
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from twins import twin


class Graph:
    """Nodes and initialisers as they are added; names of results count up."""

    def __init__(self, seed=0):
        self.nodes, self.initializers, self.random = [], [], np.random.RandomState(seed)

    def constant(self, array, dtype=None):
        name = f"const_{len(self.initializers)}"
        array = np.asarray(array, dtype)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def weights(self, *shape, scale=None):
        scale = scale or 1 / np.sqrt(np.prod(shape[1:]) or 1)
        return self.constant(self.random.randn(*shape) * scale, "f4")

    def add(self, op, *inputs, outputs=1, domain="", **attributes):
        made = [f"{op}__{len(self.nodes)}:{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), made, domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def model(self, inputs, outputs, opset=15, ml=None):
        """inputs: (type, shape) by name; outputs: type by name of a result."""
        ins = [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()]
        outs = [helper.make_tensor_value_info(n, t, None) for n, t in outputs.items()]
        graph = helper.make_graph(self.nodes, "twin", ins, outs, self.initializers)
        imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml or 3)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)


F, I = TensorProto.FLOAT, TensorProto.INT64


# --- As tf2onnx writes them ----------------------------------------------------------------------


def part_of_shape(g, x, start, end):
    shape = g.add("Cast", g.add("Shape", x), to=TensorProto.INT32)
    shape = g.add("Cast", shape, to=I)
    piece = g.add(
        "Slice", shape, g.constant([start], "i8"), g.constant([end], "i8"), g.constant([0], "i8")
    )
    return g.add("Squeeze", piece, g.constant([0], "i8"))


@twin
def tf_image():
    """Channels last outside, `SAME` padding by auto_pad, a mean and a product in the end."""
    g = Graph()
    x = g.add("Transpose", "serving_default_input_1:0", perm=[0, 3, 1, 2])
    channels = 3
    for width, stride in ((16, 2), (32, 2), (48, 1)):
        x = g.add(
            "Conv",
            x,
            g.weights(width, channels, 3, 3),
            g.weights(width),
            auto_pad="SAME_UPPER",
            strides=[stride, stride],
            kernel_shape=[3, 3],
        )
        x = g.add("Clip", x, g.constant(0.0, "f4"), g.constant(6.0, "f4"))
        x = g.add(
            "Conv",
            x,
            g.weights(width, 1, 3, 3),
            g.weights(width),
            group=width,
            auto_pad="SAME_UPPER",
            kernel_shape=[3, 3],
        )
        channels = width
    x = g.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")
    x = g.add("Transpose", x, perm=[0, 2, 3, 1])
    x = g.add("ReduceMean", x, axes=[1, 2], keepdims=0)
    x = g.add("Add", g.add("MatMul", x, g.weights(48, 10)), g.weights(10))
    y = g.add("Softmax", x, axis=-1)
    return g.model({"serving_default_input_1:0": (F, ["unk__7", "unk__8", "unk__9", 3])}, {y: F}), {
        "dims": {"unk__8": 65, "unk__9": 98}
    }


@twin
def tf_detector():
    """Anchors from the sizes of maps; what is padded follows from them; a reshape by a shape."""
    g = Graph()
    x = g.add("Transpose", "image:0", perm=[0, 3, 1, 2])
    height, width = (part_of_shape(g, "image:0", k, k + 1) for k in (1, 2))
    eight = g.constant(8, "i8")
    pads = []
    for size in (height, width):
        rest = g.add("Mod", g.add("Sub", eight, g.add("Mod", size, eight)), eight)
        pads.append(g.add("Unsqueeze", rest, g.constant([0], "i8")))
    zeros = g.constant([0, 0, 0, 0, 0, 0], "i8")
    x = g.add("Pad", x, g.add("Concat", zeros, *pads, axis=0), g.constant(0.0, "f4"))
    for o, i in ((8, 3), (16, 8), (24, 16)):
        x = g.add(
            "Conv",
            x,
            g.weights(o, i, 3, 3),
            g.weights(o),
            strides=[2, 2],
            pads=[0, 0, 1, 1],
            kernel_shape=[3, 3],
        )
        x = g.add("LeakyRelu", x, alpha=0.1)
    x = g.add("Conv", x, g.weights(18, 24, 1, 1), g.weights(18))
    x = g.add("Transpose", x, perm=[0, 2, 3, 1])
    shape = g.add("Shape", x)
    first = g.add(
        "Slice", shape, g.constant([0], "i8"), g.constant([3], "i8"), g.constant([0], "i8")
    )
    x = g.add("Reshape", x, g.add("Concat", first, g.constant([3, 6], "i8"), axis=0))
    h, w = (part_of_shape(g, x, k, k + 1) for k in (1, 2))
    zero, one = g.constant(0, "i8"), g.constant(1, "i8")
    rows, columns = (g.add("Cast", g.add("Range", zero, n, one), to=F) for n in (h, w))
    rows = g.add("Reshape", rows, g.constant([-1, 1, 1, 1], "i8"))
    columns = g.add("Reshape", columns, g.constant([1, -1, 1, 1], "i8"))
    cx, cy, size, score = g.add("Split", x, g.constant([1, 1, 2, 2], "i8"), outputs=4, axis=4)
    cx = g.add("Add", g.add("Sigmoid", cx), columns)
    cy = g.add("Add", g.add("Sigmoid", cy), rows)
    size = g.add("Mul", g.add("Exp", size), g.constant([[1, 2], [2, 1], [3, 3]], "f4"))
    x = g.add("Concat", cx, cy, size, g.add("Sigmoid", score), axis=4)
    batch = g.add("Unsqueeze", part_of_shape(g, x, 0, 1), g.constant([0], "i8"))
    y = g.add("Reshape", x, g.add("Concat", batch, g.constant([-1, 6], "i8"), axis=0))
    return g.model({"image:0": (F, [None, None, None, 3])}, {y: F}), {
        "dims": {"image:0.1": 50, "image:0.2": 76}
    }


@twin
def tf_text():
    """A mask from a comparison with 0, its use in attention, StridedSlice of the first token."""
    g = Graph()
    ids = g.add("Cast", "ids:0", to=TensorProto.INT32)
    x = g.add("Gather", g.weights(120, 32, scale=1), ids, axis=0)
    length = g.add("Unsqueeze", part_of_shape(g, "ids:0", 1, 2), g.constant([0], "i8"))
    batch = g.add("Unsqueeze", part_of_shape(g, "ids:0", 0, 1), g.constant([0], "i8"))
    places = g.add(
        "Range",
        g.constant(0, "i4"),
        g.add("Cast", g.add("Squeeze", length, g.constant([0], "i8")), to=TensorProto.INT32),
        g.constant(1, "i4"),
    )
    x = g.add("Add", x, g.add("Gather", g.weights(64, 32, scale=1), places, axis=0))
    mask = g.add("Cast", g.add("Equal", ids, g.constant(0, "i4")), to=F)
    mask = g.add(
        "Reshape",
        g.add("Mul", mask, g.constant(-1e9, "f4")),
        g.add("Concat", batch, g.constant([1, 1], "i8"), length, axis=0),
    )

    def heads(x):
        y = g.add("Add", g.add("MatMul", x, g.weights(32, 32)), g.weights(32))
        to = g.add("Concat", batch, length, g.constant([4, 8], "i8"), axis=0)
        return g.add("Transpose", g.add("Reshape", y, to), perm=[0, 2, 1, 3])

    q, k, v = heads(x), heads(x), heads(x)
    scores = g.add("MatMul", q, g.add("Transpose", k, perm=[0, 1, 3, 2]))
    scores = g.add("Add", g.add("Mul", scores, g.constant(0.35, "f4")), mask)
    y = g.add("Transpose", g.add("MatMul", g.add("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    y = g.add("Reshape", y, g.add("Concat", batch, length, g.constant([32], "i8"), axis=0))
    y = g.add("Add", x, y)
    first = g.add(
        "Slice",
        y,
        g.constant([0, 0], "i8"),
        g.constant([2**31 - 1, 1], "i8"),
        g.constant([0, 1], "i8"),
        g.constant([1, 1], "i8"),
    )
    first = g.add("Squeeze", first, g.constant([1], "i8"))
    y = g.add("Tanh", g.add("MatMul", first, g.weights(32, 5)))
    return g.model({"ids:0": (I, [None, None])}, {y: F}), {
        "dims": {"ids:0.0": 3, "ids:0.1": 11},
        "inputs": {"ids:0": "0..120"},
    }


@twin
def tf_lstm():
    """States of zeros made from the batch's size, sequences first, the last step taken."""
    g = Graph()
    x = g.add("Transpose", "x", perm=[1, 0, 2])
    batch = g.add("Unsqueeze", part_of_shape(g, "x", 0, 1), g.constant([0], "i8"))
    shape = g.add("Concat", g.constant([1], "i8"), batch, g.constant([24], "i8"), axis=0)
    zeros = g.add("Expand", g.constant(0.0, "f4"), shape)
    outputs = g.add(
        "LSTM",
        x,
        g.weights(1, 96, 16),
        g.weights(1, 96, 24),
        g.weights(1, 192),
        "",
        zeros,
        zeros,
        outputs=3,
        hidden_size=24,
    )
    y = g.add("Squeeze", outputs[1], g.constant([0], "i8"))
    y = g.add("Sigmoid", g.add("Add", g.add("MatMul", y, g.weights(24, 1)), g.weights(1)))
    return g.model({"x": (F, [None, 30, 16])}, {y: F}), {"dims": {"x.0": 2}}


@twin
def keras_conv1d():
    """A 1-d convolution as a 2-d one between Squeeze and Unsqueeze, batch norms as Mul and Add."""
    g = Graph()
    x, channels = "audio", 1
    for width, kernel, stride in ((16, 9, 4), (24, 5, 2), (32, 3, 2)):
        y = g.add("Transpose", g.add("Unsqueeze", x, g.constant([1], "i8")), perm=[0, 3, 1, 2])
        y = g.add(
            "Conv",
            y,
            g.weights(width, channels, 1, kernel),
            auto_pad="SAME_UPPER",
            kernel_shape=[1, kernel],
            strides=[1, stride],
        )
        y = g.add("Squeeze", g.add("Transpose", y, perm=[0, 2, 3, 1]), g.constant([1], "i8"))
        y = g.add(
            "Add",
            g.add("Mul", g.add("Add", y, g.weights(width)), g.weights(width)),
            g.weights(width),
        )
        x, channels = g.add("Relu", y), width
    shape = g.add("Shape", x)
    time = g.add("Gather", shape, g.constant([1], "i8"), axis=0)
    total = g.add("ReduceSum", x, g.constant([1], "i8"), keepdims=0)
    mean = g.add("Div", total, g.add("Cast", time, to=F))
    y = g.add("Softmax", g.add("MatMul", mean, g.weights(32, 4)), axis=-1)
    return g.model({"audio": (F, [None, None, 1])}, {y: F}), {"dims": {"audio.1": 1003}}


# --- As Paddle's converter writes them ------------------------------------------------------------


@twin
def paddle_reader():
    """Shapes by Shape, Cast and Slice everywhere; hard sigmoids; `-1` and `?` as dims."""
    g = Graph()
    x = g.add(
        "Conv", "x", g.weights(16, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]
    )
    x = g.add(
        "BatchNormalization",
        x,
        *(g.constant(np.abs(g.random.randn(16)) + 0.1, "f4") for _ in range(4)),
    )
    part = g.add(
        "Clip", g.add("Add", x, g.constant([3], "f4")), g.constant(0.0, "f4"), g.constant(6.0, "f4")
    )
    x = g.add("Div", g.add("Mul", x, part), g.constant([6], "f4"))
    pooled = g.add("GlobalAveragePool", x)
    gate = g.add(
        "HardSigmoid", g.add("Conv", pooled, g.weights(16, 16, 1, 1), g.weights(16)), alpha=1 / 6
    )
    x = g.add("Mul", x, gate)
    x = g.add("AveragePool", x, kernel_shape=[12, 2], strides=[12, 2])
    shape = g.add("Cast", g.add("Shape", x), to=TensorProto.INT32)
    parts = [
        g.add(
            "Slice", shape, g.constant([k], "i8"), g.constant([k + 1], "i8"), g.constant([0], "i8")
        )
        for k in (0, 1, 3)
    ]
    to = g.add("Cast", g.add("Concat", *parts, axis=0), to=I)
    x = g.add("Transpose", g.add("Reshape", x, to), perm=[0, 2, 1])
    x = g.add("Add", g.add("MatMul", x, g.weights(16, 60)), g.weights(60))
    y = g.add("Softmax", x, axis=2)
    return g.model({"x": (F, [-1, 3, 24, "?"])}, {y: F}, opset=14), {"dims": {"?": 96, "x.0": 1}}


# --- As skl2onnx and its kin write them -----------------------------------------------------------


def trees(g, count, depth, features, targets, classifier):
    """Attributes of complete trees with random tests."""
    a = {
        key: []
        for key in (
            "treeids",
            "nodeids",
            "featureids",
            "values",
            "modes",
            "truenodeids",
            "falsenodeids",
        )
    }
    leaves = {"treeids": [], "nodeids": [], "ids": [], "weights": []}
    for t in range(count):
        inner = 2**depth - 1
        for n in range(2 * inner + 1):
            leaf = n >= inner
            row = (
                t,
                n,
                0 if leaf else g.random.randint(features),
                0.0 if leaf else g.random.randn(),
                "LEAF" if leaf else "BRANCH_LEQ",
                0 if leaf else 2 * n + 1,
                0 if leaf else 2 * n + 2,
            )
            for key, value in zip(a, row):
                a[key].append(value)
            for target in range(targets if leaf else 0):
                for key, value in zip(leaves, (t, n, target, float(g.random.rand() / count))):
                    leaves[key].append(value)
    kind = "class" if classifier else "target"
    return {f"nodes_{k}": v for k, v in a.items()} | {f"{kind}_{k}": v for k, v in leaves.items()}


@twin
def sklearn_forest():
    g = Graph()
    label, scores = g.add(
        "TreeEnsembleClassifier",
        "X",
        outputs=2,
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1, 2],
        post_transform="NONE",
        **trees(g, 50, 6, 12, 3, True),
    )
    label = g.add("Cast", label, to=I)
    return g.model({"X": (F, [None, 12])}, {label: I, scores: F}), {"dims": {"X.0": 100}}


@twin
def sklearn_boosting():
    g = Graph()
    raw = g.add(
        "TreeEnsembleRegressor",
        "X",
        domain="ai.onnx.ml",
        n_targets=1,
        base_values=[0.3],
        **trees(g, 100, 4, 20, 1, False),
    )
    p = g.add("Sigmoid", raw)
    both = g.add("Concat", g.add("Sub", g.constant([1], "f4"), p), p, axis=1)
    label = g.add(
        "ArrayFeatureExtractor",
        g.constant([0, 1], "i8"),
        g.add("ArgMax", both, axis=1),
        domain="ai.onnx.ml",
    )
    label = g.add("Reshape", label, g.constant([-1], "i8"))
    return g.model({"X": (F, [None, 20])}, {label: I, both: F}), {"dims": {"X.0": 64}}


@twin
def sklearn_pipeline():
    """Columns scaled, imputed and encoded apart, joined, then a linear model."""
    g = Graph()
    numbers = g.add(
        "Imputer",
        "numbers",
        domain="ai.onnx.ml",
        imputed_value_floats=[0.1] * 4,
        replaced_value_float=float("nan"),
    )
    numbers = g.add("Scaler", numbers, domain="ai.onnx.ml", offset=[0.5] * 4, scale=[2.0] * 4)
    parts = [numbers]
    for k, size in enumerate((3, 5)):
        column = g.add(
            "ArrayFeatureExtractor", "categories", g.constant([k], "i8"), domain="ai.onnx.ml"
        )
        hot = g.add(
            "OneHotEncoder", column, domain="ai.onnx.ml", cats_int64s=list(range(size)), zeros=1
        )
        parts.append(g.add("Reshape", hot, g.constant([-1, size], "i8")))
    x = g.add("Concat", *parts, axis=-1)
    label, scores = g.add(
        "LinearClassifier",
        x,
        outputs=2,
        domain="ai.onnx.ml",
        classlabels_ints=[0, 1, 2],
        coefficients=g.random.randn(36).tolist(),
        intercepts=[0.1, 0.2, 0.3],
        multi_class=1,
        post_transform="SOFTMAX",
    )
    scores = g.add("Normalizer", scores, domain="ai.onnx.ml", norm="L1")
    return g.model(
        {"numbers": (F, [None, 4]), "categories": (I, [None, 2])}, {label: I, scores: F}
    ), {"dims": {"numbers.0": 32, "categories.0": 32}, "inputs": {"categories": "0..3"}}


@twin
def sklearn_svm():
    g = Graph()
    label, scores = g.add(
        "SVMClassifier",
        "X",
        outputs=2,
        domain="ai.onnx.ml",
        classlabels_ints=[0, 1, 2],
        coefficients=(g.random.randn(60)).tolist(),
        kernel_params=[0.05, 0.0, 3.0],
        kernel_type="RBF",
        post_transform="NONE",
        rho=[0.1, 0.2, 0.3],
        support_vectors=g.random.randn(30 * 8).tolist(),
        vectors_per_class=[10, 10, 10],
    )
    return g.model({"X": (F, [None, 8])}, {label: I, scores: F}), {"dims": {"X.0": 50}}


@twin
def sklearn_mlp():
    g = Graph()
    x = g.add("Cast", "X", to=F)
    for i, o in ((20, 32), (32, 16)):
        x = g.add("Relu", g.add("Add", g.add("MatMul", x, g.weights(i, o)), g.weights(1, o)))
    x = g.add(
        "Softmax", g.add("Add", g.add("MatMul", x, g.weights(16, 4)), g.weights(1, 4)), axis=1
    )
    label = g.add(
        "ArrayFeatureExtractor",
        g.constant([3, 5, 7, 9], "i8"),
        g.add("ArgMax", x, axis=1),
        domain="ai.onnx.ml",
    )
    label = g.add("Reshape", g.add("Cast", label, to=I), g.constant([-1], "i8"))
    return g.model({"X": (TensorProto.DOUBLE, [None, 20])}, {label: I, x: F}), {"dims": {"X.0": 16}}


@twin
def sklearn_kmeans():
    g = Graph()
    centres = g.random.randn(5, 8).astype("f4")
    squares = g.add("ReduceSumSquare", "X", axes=[1], keepdims=1)
    product = g.add("Gemm", "X", g.constant(centres), alpha=-2.0, transB=1)
    distance = g.add("Add", g.add("Add", squares, product), g.constant((centres**2).sum(1)[None]))
    distance = g.add("Sqrt", g.add("Max", distance, g.constant([0], "f4")))
    label = g.add("ArgMin", distance, axis=1, keepdims=0)
    return g.model({"X": (F, [None, 8])}, {label: I, distance: F}, opset=13), {"dims": {"X.0": 40}}


@twin
def sklearn_neighbours():
    """Distances by a Scan over rows, the nearest by TopK, their labels counted."""
    g = Graph()
    points = g.random.randn(60, 6).astype("f4")
    distance = g.add("CDist", "X", g.constant(points), domain="com.microsoft", metric="euclidean")
    _, near = g.add("TopK", distance, g.constant([3], "i8"), outputs=2, axis=1, largest=0, sorted=1)
    flat = g.add("Reshape", near, g.constant([-1], "i8"))
    labels = g.add("Gather", g.constant(g.random.randint(0, 3, 60), "i8"), flat)
    labels = g.add("Reshape", labels, g.add("Shape", near))
    votes = [
        g.add(
            "ReduceSum",
            g.add("Cast", g.add("Equal", labels, g.constant(k, "i8")), to=I),
            g.constant([1], "i8"),
            keepdims=1,
        )
        for k in range(3)
    ]
    y = g.add("ArgMax", g.add("Concat", *votes, axis=1), axis=1, keepdims=0)
    model = g.model({"X": (F, [None, 6])}, {y: I})
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model, {"dims": {"X.0": 20}}


@twin
def sklearn_mixture():
    """Gaussian densities by products with factors of precisions, their logarithms summed."""
    g = Graph()
    rows = []
    for k in range(3):
        y = g.add("Gemm", "X", g.weights(6, 6), g.weights(6), alpha=1.0, beta=-1.0)
        rows.append(g.add("ReduceSumSquare", y, axes=[1], keepdims=1))
    x = g.add("Mul", g.add("Concat", *rows, axis=1), g.constant([-0.5], "f4"))
    x = g.add("Add", x, g.weights(1, 3))
    label = g.add("ArgMax", x, axis=1, keepdims=0)
    p = g.add("Exp", g.add("Sub", x, g.add("ReduceLogSumExp", x, axes=[1], keepdims=1)))
    return g.model({"X": (F, [None, 6])}, {label: I, p: F}, opset=13), {"dims": {"X.0": 30}}


@twin
def isolation_forest():
    g = Graph()
    depth = g.add(
        "TreeEnsembleRegressor",
        "X",
        domain="ai.onnx.ml",
        n_targets=1,
        **trees(g, 100, 7, 10, 1, False),
    )
    score = g.add(
        "Pow", g.constant([2], "f4"), g.add("Neg", g.add("Div", depth, g.constant([10], "f4")))
    )
    label = g.add(
        "Where",
        g.add("Less", score, g.constant([0.5], "f4")),
        g.constant([1], "i8"),
        g.constant([-1], "i8"),
    )
    return g.model({"X": (F, [None, 10])}, {label: I, score: F}), {"dims": {"X.0": 50}}
