"""Results whose size hangs on numbers."""
import numpy as np
from onnx import TensorProto

from onnx_make.kit import case, floats, integers, node, random


def chosen(name, *shape, part=0.5, seed=0):
    """Numbers of which some are 0."""
    x = floats(name, *shape, seed=seed)
    return np.where(random(name, seed + 9).rand(*shape) < part, x, 0).astype("f4")


def boxes(name, batches, count, seed=0, centred=False):
    """On a grid of 1/64, so that areas are exact; some of them by their other corners."""
    centre, size = integers(name, 0, 512, batches, count, 2, seed=seed), \
        integers(name, 64, 256, batches, count, 2, seed=seed + 1)
    if centred:
        return (np.concatenate([centre, size], -1) / 64).astype("f4")
    corners = np.concatenate([centre - size, centre + size], -1) / 64
    turned = random(name, seed + 2).rand(batches, count) < 0.3
    corners[turned] = corners[turned][:, [2, 1, 0, 3]]
    return corners.astype("f4")


def unique_right(x, axis, by_order):
    """What Unique gives, by NumPy."""
    values, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not by_order:
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        values = np.take(x if axis is not None else x.ravel(), first[order], axis or 0)
        first, inverse, counts = first[order], place[inverse], counts[order]
    return [values, first.astype("i8"), inverse.astype("i8"), counts.astype("i8")]


def counted_uniques():
    for kind in ("f4", "f2", "f8", "i8", "i1", "u1"):
        for axis in (None, 0, 1):
            for by_order in (0, 1):
                x = integers(f"unique{kind}", 0, 3, 7, 3, seed=axis or 0).astype(kind)
                if kind[0] == "f" and axis is None:
                    x[0, 1] = x[3, 2] = np.nan
                    x[1, 0], x[5, 1] = -np.inf, np.inf
                along = {} if axis is None else {"axis": axis}
                case(f"unique_{kind}_{'all' if axis is None else axis}_{by_order}",
                     node("Unique", "x", "y first inverse counts", sorted=by_order, **along),
                     {"x": x}, "y first inverse counts", dims={"x": ["n", 3]},
                     right=unique_right(x, axis, by_order))


def counted_suppressions():
    nodes = node("NonMaxSuppression", "b s most over least", "y")
    for name, batches, classes, count, most, least in (
            ("all", 1, 1, 9, 9, -1), ("none", 1, 2, 6, 6, 9), ("few", 2, 3, 20, 4, 0.3),
            ("more", 2, 2, 12, 2 ** 62, 0.1), ("one", 1, 1, 1, 3, 0), ("zero", 1, 1, 5, 0, 0)):
        s = (integers(f"nms{name}", 0, 8, batches, classes, count) / 8).astype("f4")
        if name == "few":
            s[random("nan").rand(*s.shape) < 0.2] = np.nan
        case(f"ort_nms_{name}", nodes, {"b": boxes(name, batches, count), "s": s}, "y",
             {"most": np.array([most]), "over": np.array([0.3], "f4"),
              "least": np.array([least], "f4")},
             dims={"b": ["n", "k", 4], "s": ["n", classes, "k"]}, opset=13)
    s = random("told").rand(1, 2, 15).astype("f4")
    case("ort_nms_told", nodes, {"b": boxes("told", 1, 15), "s": s, "most": np.array([3]),
                                 "over": np.array([0.25], "f4"), "least": np.array([0.25], "f4")},
         "y", dims={"b": ["n", "k", 4], "s": ["n", 2, "k"]}, opset=13)
    case("ort_nms_defaults", node("NonMaxSuppression", "b s most", "y", center_point_box=1),
         {"b": boxes("defaults", 1, 9, centred=True), "s": s[:, :1, :9]}, "y",
         {"most": np.array([5])}, opset=13)


def counted_detectors():
    """Behind a suppression: boxes, scores, the best of them; before one: boxes above a score."""
    b, s = boxes("detector", 1, 30), random("detector").rand(1, 3, 30).astype("f4")
    one, two = np.array([1]), np.array([2])
    given = {"zero": np.array([0]), "one": one, "two": two, "three": np.array([3]),
             "most": np.array([5]), "over": np.array([0.25], "f4"),
             "least": np.array([0.25], "f4")}
    nodes = [node("NonMaxSuppression", "b s most over least", "picked"),
             node("Gather", "picked two", "k", axis=1), node("Squeeze", "k one", "places"),
             node("Squeeze", "b zero", "flat"), node("Gather", "flat places", "best"),
             node("GatherND", "s picked", "scores"), node("Unsqueeze", "scores one", "column"),
             node("Concat", "best column", "rows", axis=1),
             node("TopK", "scores three", "top order"), node("Gather", "rows order", "y")]
    dims = {"b": [1, "k", 4], "s": [1, 3, "k"]}
    case("ort_detector", nodes, {"b": b, "s": s}, "rows scores y", given, dims=dims, opset=13)
    nodes = [node("Greater", "s0 half", "hit"), node("NonZero", "hit", "n0"),
             node("Squeeze", "n0 zero", "n"), node("Gather", "b0 n", "b1"),
             node("Gather", "s0 n", "s1"), node("Unsqueeze", "b1 zero", "b"),
             node("Unsqueeze", "s1 both", "s"),
             node("NonMaxSuppression", "b s most over", "picked"),
             node("Gather", "picked two", "k", axis=1), node("Squeeze", "k one", "places"),
             node("Gather", "b1 places", "y")]
    given |= {"both": np.array([0, 1]), "half": np.array(0.5, "f4")}
    for name, scale in (("some", 1), ("none", 0)):
        case(f"ort_detector_of_{name}", nodes, {"b0": b[0], "s0": s[0, 0] * np.float32(scale)},
             "picked y", given, dims={"b0": ["k", 4], "s0": ["k"]}, opset=13)


def counted_values():
    """What follows a result whose size hangs on values."""
    find = [node("NonZero", "x", "n0"), node("Squeeze", "n0 zero", "n")]
    zero, w = np.array([0]), floats("w", 12, 4)
    chains = {
        "gather": ([node("Gather", "x n", "g"), node("Exp", "g", "e"), node("Add", "e g", "y")],
                   "y", {}),
        "sums": ([node("Gather", "w n", "g"), node("ReduceSum", "g zero", "y", keepdims=0),
                  node("ReduceMax", "g zero", "z"), node("ReduceProd", "n zero", "p"),
                  node("ReduceL2", "g one", "l")], "y z p l", {"w": w, "one": np.array([1])}),
        "places": ([node("Gather", "x n", "g"), node("ArgMax", "g", "a", axis=0),
                    node("Softmax", "g", "s", axis=0), node("CumSum", "g first", "c"),
                    node("ReduceMean", "g", "m")], "a s c m", {"first": np.array(0)}),
        "shape": ([node("Shape", "n0", "s"), node("Size", "n0", "k"), node("Mul", "s k", "y")],
                  "s k y", {}),
        "slices": ([node("Slice", "n low high zero", "y"), node("Slice", "n low far zero two", "z"),
                    node("Gather", "n back", "last")], "y z last",
                   {"low": np.array([1]), "high": np.array([4]), "far": np.array([2 ** 63 - 1]),
                    "two": np.array([2]), "back": np.array([-1, 0])}),
        "concat": ([node("Gather", "x n", "g"), node("Concat", "g x g", "y", axis=0)], "y", {}),
        "reshape": ([node("Gather", "w n", "g"), node("Reshape", "g to", "y"),
                     node("Reshape", "g same", "z")], "y z",
                    {"w": w, "to": np.array([-1, 2]), "same": np.array([0, 2, 2])}),
        "pairs": ([node("Unsqueeze", "n zero", "a"), node("Unsqueeze", "n one", "b"),
                   node("Less", "a b", "l"), node("Cast", "l", "y", to=TensorProto.INT64),
                   node("ReduceSum", "y one", "z", keepdims=0)], "y z", {"one": np.array([1])}),
        "products": ([node("Gather", "w n", "g"), node("Transpose", "g", "t"),
                      node("MatMul", "t g", "y"), node("MatMul", "g t", "z")], "y z", {"w": w}),
        "scatter": ([node("Gather", "x n", "g"), node("Neg", "g", "e"),
                     node("ScatterElements", "x n e", "y", reduction="add"),
                     node("Transpose", "n0", "at"), node("ScatterND", "x at e", "z")], "y z", {}),
        "again": ([node("Gather", "x n", "g"), node("Greater", "g none", "c"),
                   node("Compress", "g c", "y", axis=0), node("NonZero", "c", "z")], "y z",
                  {"none": np.array(0, "f4")}),
        "sizes": ([node("Shape", "n", "s"), node("ConstantOfShape", "s", "y"),
                   node("Expand", "five s", "z"), node("Squeeze", "s zero", "k"),
                   node("Range", "first k next", "r"), node("Add", "r n", "t")], "y z r t",
                  {"five": np.array([5], "f4"), "first": np.array(0), "next": np.array(1)}),
        "reshape_by_count": ([node("Gather", "w n", "g"), node("Shape", "g", "s"),
                              node("Gather", "s first", "k"), node("Unsqueeze", "k zero", "ks"),
                              node("Concat", "ks two back", "to", axis=0),
                              node("Reshape", "g to", "y")], "y",
                             {"w": w, "first": np.array(0), "two": np.array([2]),
                              "back": np.array([-1])}),
        "top_at_most": ([node("Gather", "x n", "g"), node("Shape", "g", "s"),
                         node("Concat", "s four", "both", axis=0),
                         node("ReduceMin", "both", "k", keepdims=0),
                         node("Unsqueeze", "k zero", "ks"), node("TopK", "g ks", "v i"),
                         node("Gather", "n i", "y")], "v i y", {"four": np.array([4])}),
        "top": ([node("Gather", "x n", "g"), node("TopK", "g two", "v i"),
                 node("TopK", "g two", "u k", largest=0)], "v i u k", {"two": np.array([2])}),
    }
    for name, (nodes, outputs, constants) in chains.items():
        for some, part in (("some", 0.5), ("all", 1), ("none", 0)):
            if some == "none" and name in ("places", "reshape", "slices", "top",
                                           "reshape_by_count"):
                continue  # ONNX has no result there
            case(f"ort_counted_{name}_{some}", find + nodes,
                 {"x": chosen("counted", 11, part=part)}, outputs, {"zero": zero} | constants,
                 dims={"x": ["k"]}, opset=18)
    x = chosen("masked", 5, 4)
    nodes = [node("NonZero", "x", "n"), node("Transpose", "n", "at"), node("GatherND", "x at", "g"),
             node("Exp", "g", "e"), node("ScatterND", "x at e", "y")]
    case("ort_counted_masked", nodes, {"x": x}, "g y", dims={"x": ["n", 4]}, opset=18)
    for kind in ("f4", "f2", "i8", "?"):
        case(f"non_zero_{kind if kind != '?' else 'bool'}", node("NonZero", "x", "y"),
             {"x": (x * 4).astype(kind)}, "y", dims={"x": ["n", 4]},
             right=[np.stack(np.nonzero((x * 4).astype(kind)))])
        one = np.ones(1, kind)
        case(f"non_zero_of_one_{kind if kind != '?' else 'bool'}", node("NonZero", "x", "y"),
             {"x": one}, "y", right=[np.zeros((1, 1), "i8")])
        flags = np.array([True, False, True])
        case(f"compress_{kind if kind != '?' else 'bool'}",
             node("Compress", "x c", "y", axis=1), {"x": x.astype(kind), "c": flags}, "y",
             dims={"x": ["n", 4]}, right=[np.compress(flags, x.astype(kind), 1)])
