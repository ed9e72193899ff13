"""Reductions, padding, types of indices, defaults, and dims that a model leaves open."""
import numpy as np
from onnx import TensorProto

from onnx_make.kit import case, floats, node


def reductions():
    x = np.array([[1.5, -2], [3, -4]], "f4")
    positive = {"ReduceLogSum": np.abs(x)}
    alone = {"ReduceSum": x, "ReduceMean": x, "ReduceMax": x, "ReduceMin": x, "ReduceProd": x,
             "ReduceL1": abs(x), "ReduceL2": abs(x), "ReduceSumSquare": x * x,
             "ReduceLogSum": np.log(abs(x)), "ReduceLogSumExp": x}
    none = np.zeros(0, "i8")
    for op, right in alone.items():
        given = {"x": positive.get(op, x)}
        case(f"noop_{op}", node(op, "x", "y", noop_with_empty_axes=1), given, "y", right=[right])
        case(f"noop_empty_{op}", node(op, "x axes", "y", noop_with_empty_axes=1, keepdims=0), given,
             "y", {"axes": none}, right=[right], dims={"x": ["B", 2], "y": ["B", 2]})
        case(f"all_empty_{op}", node(op, "x axes", "y", keepdims=0), given, "y", {"axes": none},
             dims={"x": ["B", "N"]})
    case("noop_ReduceSumSquare_int", node("ReduceSumSquare", "x", "y", noop_with_empty_axes=1),
         {"x": np.array([-3, 0, 7], "i4")}, "y", right=[np.array([9, 0, 49], "i4")])


def pads():
    x = floats("pads", 2, 4)

    def padded(mode, low, high, axis=1):
        n = x.shape[axis]
        front, back = max(-low, 0), max(-high, 0)
        kept = np.take(x, range(front, n - back), axis)
        widths = [(0, 0), (0, 0)]
        widths[axis] = (max(low, 0), max(high, 0))
        return np.pad(kept, widths, mode)

    for mode in ("constant", "reflect", "edge", "wrap"):
        for low, high in ((1, 2), (9, 5), (0, 23), (-1, 2), (-2, 11), (-1, -2), (7, -3)):
            name = f"pad_{mode}_{low}_{high}".replace("-", "m")
            amounts = np.array([0, low, 0, high])
            # Named dims begin at 1, so nothing may be cropped off them.
            named = [("_named", {"x": ["B", "N"]})] if min(low, high) >= 0 else []
            for suffix, dims in [("", {})] + named:
                case(name + suffix, node("Pad", "x p", "y", mode=mode), {"x": x}, "y",
                     {"p": amounts}, right=[padded(mode, low, high)], dims=dims)
    for mode in ("reflect", "edge", "wrap"):
        case(f"pad_{mode}_one_element", node("Pad", "x p", "y", mode=mode), {"x": x[:1]}, "y",
             {"p": np.array([3, 0, 2, 0])}, right=[np.pad(x[:1], ((3, 2), (0, 0)), mode)])
        # By an amount that is a size: as many columns again before the first.
        case(f"pad_{mode}_by_a_size",
             [node("Shape", "x", "n", start=1, end=2), node("Concat", "z n z z", "p", axis=0),
              node("Pad", "x p", "y", mode=mode)], {"x": x}, "y", {"z": np.zeros(1, "i8")},
             right=[np.pad(x, ((0, 0), (4, 0)), mode)], dims={"x": ["B", "N"]})


def index_types():
    x = floats("index", 3, 4, 5)
    for kind in ("i4", "i8"):
        index = np.array([[2, 0], [-1, 1]], kind)
        case(f"gather_{kind}", node("Gather", "x i", "y", axis=1), {"x": x, "i": index}, "y")
        case(f"gather_elements_{kind}", node("GatherElements", "x i", "y", axis=2),
             {"x": x, "i": np.array([[[4, 0]], [[-5, 2]], [[1, -1]]], kind)}, "y",
             right=[np.take_along_axis(x[:, :1], np.array([[[4, 0]], [[-5, 2]], [[1, -1]]]), 2)])
        bounds = {n: np.array(v, kind) for n, v in
                  (("s", [1, -1]), ("e", [3, -2 ** 31 + 1]), ("a", [-3, 2]), ("t", [1, -2]))}
        case(f"slice_{kind}", node("Slice", "x s e a t", "y"), {"x": x}, "y", bounds,
             right=[x[1:3, :, ::-2]])
        case(f"slice_to_the_end_{kind}", node("Slice", "x s e a", "y"), {"x": x}, "y",
             {"s": np.array([-2], kind), "e": np.array([np.iinfo(kind).max], kind),
              "a": np.array([1], kind)}, right=[x[:, -2:]])
        case(f"one_hot_{kind}", node("OneHot", "i d v", "y"),
             {"i": np.array([0, 2, -1], kind)}, "y",
             {"d": np.array(4, kind), "v": np.array([0, 1], kind)},
             right=[np.eye(4, dtype=kind)[[0, 2, 3]]])
    u = floats("updates", 2, 1, 2)
    y = x.copy()
    y[0, 1, 0], y[0, 2, 1], y[1, 0, 0], y[1, 3, 1] = u.ravel()
    case("scatter_elements_i4", node("ScatterElements", "x i u", "y", axis=1),
         {"x": x, "i": np.array([[[1, 2]], [[0, -1]]], "i4"), "u": u}, "y", right=[y])
    u = floats("updates", 2, 5)
    y = x.copy()
    y[2, 1], y[0, -1] = u
    case("scatter_nd_i8", node("ScatterND", "x i u", "y"),
         {"x": x, "i": np.array([[2, 1], [0, -1]], "i8"), "u": u}, "y", right=[y])
    case("range_i4", [node("Range", "a b d", "r"), node("Cast", "r", "f", to=TensorProto.FLOAT),
                      node("Add", "x f", "y")], {"x": x}, "y",
         {"a": np.array(0, "i4"), "b": np.array(10, "i4"), "d": np.array(2, "i4")})


def defaults():
    """An initialiser that is an input too: its value holds where a call gives none."""
    w, x = floats("default", 3), floats("x", 2, 3)
    case("default_of_an_input", node("Mul", "x w", "y"), {"x": x}, "y", {"w": w},
         more_inputs={"w": w}, right=[x * w])


def cubic_weight(distance, a):
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1
    return a * (d ** 3 - 5 * d ** 2 + 8 * d - 4) if d < 2 else 0.0


def sampled(x, scales, sizes, mode, coordinate_transformation_mode="half_pixel",
            nearest_mode="round_prefer_floor", cubic_coeff_a=-0.75):
    """Resize along each axis, from its definition."""
    way, y = coordinate_transformation_mode, x.astype("f8")
    half_up = {"round_prefer_ceil": lambda p: np.floor(p + 0.5), "floor": np.floor,
               "ceil": np.ceil, "round_prefer_floor": lambda p: np.ceil(p - 0.5)}[nearest_mode]
    for axis, size in enumerate(x.shape):
        out = int(sizes[axis] if sizes is not None else size * scales[axis])
        scale = float(scales[axis]) if sizes is None else out / size
        length, i = size * scale, np.arange(out)
        at = (i + 0.5) / scale - 0.5
        if way == "asymmetric":
            at = i / scale
        elif way == "align_corners":
            at = i * (size - 1) / max(length - 1, 1e-9)
        elif way == "half_pixel_symmetric":
            at = at + size / 2 * (1 - out / length)
        elif way == "pytorch_half_pixel" and length <= 1:
            at = at * 0
        table, base = np.zeros((out, size)), np.floor(at + 1e-12).astype(int)
        taps = {"nearest": [0], "linear": [0, 1], "cubic": [-1, 0, 1, 2]}[mode]
        for k in taps:
            tap = half_up(at).astype(int) if mode == "nearest" else base + k
            for row in range(out):
                distance = at[row] - base[row] - k
                weight = {"nearest": 1, "linear": 1 - abs(distance),
                          "cubic": cubic_weight(distance, cubic_coeff_a)}[mode]
                table[row, min(max(tap[row], 0), size - 1)] += weight
        y = np.moveaxis(np.tensordot(table, y, (1, axis)), 0, axis)
    return [y.astype("f4")]


def open_dims():
    """Sizes that are names: sampling, padding and ranges work them out at each call."""
    x = floats("image", 1, 2, 5, 7)
    h = ["n", 2, "h", "w"]
    ways = {"nearest_floor": {"mode": "nearest", "nearest_mode": "floor",
                              "coordinate_transformation_mode": "asymmetric"},
            "nearest_ceil": {"mode": "nearest", "nearest_mode": "ceil"},
            "nearest_prefer_ceil": {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
            "linear": {"mode": "linear"},
            "linear_pytorch": {"mode": "linear",
                               "coordinate_transformation_mode": "pytorch_half_pixel"},
            "linear_symmetric": {"mode": "linear",
                                 "coordinate_transformation_mode": "half_pixel_symmetric"},
            "linear_corners": {"mode": "linear",
                               "coordinate_transformation_mode": "align_corners"},
            "cubic": {"mode": "cubic"},
            "cubic_corners": {"mode": "cubic", "coordinate_transformation_mode": "align_corners",
                              "cubic_coeff_a": -0.5}}
    for name, attributes in ways.items():
        by = {"s": np.array([1, 1, 1.5, 0.625], "f4")}
        nodes = [node("Resize", "x - s", "y", **attributes)]
        case(f"resize_open_{name}", nodes, {"x": x}, "y", by, dims={"x": h},
             right=sampled(x, by["s"], None, **attributes))
        given = {"x": x, "like": floats("like", 1, 2, 8, 11)}
        nodes = [node("Shape", "like", "s"), node("Resize", "x - - s", "y", **attributes)]
        case(f"resize_like_{name}", nodes, given, "y",
             dims={"x": h, "like": ["n", 2, "p", "q"]},
             right=sampled(x, None, (1, 2, 8, 11), **attributes))
    case("resize_to_1_open", node("Resize", "x - s", "y", mode="linear",
                                  coordinate_transformation_mode="align_corners"), {"x": x}, "y",
         {"s": np.array([1, 1, 0.25, 2], "f4")}, dims={"x": h})
    for rule in ("SAME_UPPER", "SAME_LOWER"):
        end = rule[-5:].lower()
        for kernel, stride in ((3, 2), (2, 2), (5, 3), (1, 2), (3, 1)):
            w = floats("weights", 3, 2, kernel, kernel)
            same = {"auto_pad": rule, "strides": [stride, stride],
                    "kernel_shape": [kernel, kernel]}
            case(f"ort_conv_open_{end}_{kernel}_{stride}", node("Conv", "x w", "y", **same),
                 {"x": x}, "y", {"w": w}, dims={"x": h})
            case(f"ort_max_pool_open_{end}_{kernel}_{stride}", node("MaxPool", "x", "y", **same),
                 {"x": x}, "y", dims={"x": h})
        for counted in (0, 1):
            case(f"ort_average_pool_open_{end}_{counted}",
                 node("AveragePool", "x", "y", auto_pad=rule, strides=[2, 2], kernel_shape=[3, 3],
                      count_include_pad=counted), {"x": x}, "y", dims={"x": h})
    case("range_of_a_float_dim",
         [node("Shape", "x", "n", start=3), node("Squeeze", "n", "n0"),
          node("Cast", "n0", "f", to=TensorProto.FLOAT), node("Range", "zero f two", "r"),
          node("ReduceSum", "r", "t"), node("Add", "x t", "y")], {"x": x}, "y",
         {"zero": np.array(0, "f4"), "two": np.array(2, "f4")}, dims={"x": h})
    case("dims_without_names", node("Relu", "x", "y"), {"x": x}, "y",
         dims={"x": ["None", 2, "?", "?"]})
    nodes = [node("MaxPool", "x", "m", kernel_shape=[2, 2], strides=[2, 2]),
             node("Shape", "m", "s", start=2), node("Mul", "s two", "up"),
             node("Shape", "x", "size", start=2), node("Sub", "size up", "rest"),
             node("Div", "rest two", "low"), node("Sub", "rest low", "high"),
             node("Concat", "none low none high", "pads", axis=0),
             node("Resize", "m - scale", "wide", mode="nearest"),
             node("Pad", "wide pads", "y0"), node("Add", "y0 x", "y")]
    case("halved_and_padded_back", nodes, {"x": x}, "y",
         {"two": np.array([2, 2]), "none": np.array([0, 0]),
          "scale": np.array([1, 1, 2, 2], "f4")}, dims={"x": h})
    nodes = [node("Shape", "x", "size", start=2), node("Mod", "size four", "part"),
             node("Sub", "four part", "rest"), node("Mod", "rest four", "high"),
             node("Concat", "none high", "pads", axis=0), node("Pad", "x pads", "y")]
    case("padded_to_fours", nodes, {"x": x}, "y",
         {"four": np.array([4, 4]), "none": np.zeros(6, "i8")}, dims={"x": h},
         right=[np.pad(x, ((0, 0), (0, 0), (0, 3), (0, 1)))])
    z = floats("planes", 2, 6, 4, 3)
    for groups in (1, 3, 6):
        scale, shift = floats("scale", groups, seed=groups), floats("shift", groups, seed=groups)
        nodes = [node("Reshape", "x to", "g"),
                 node("InstanceNormalization", "g scale shift", "n", epsilon=1e-3),
                 node("Shape", "x", "size"), node("Reshape", "n size", "y")]
        wide = z.reshape(2, groups, -1).astype("f8")
        right = (wide - wide.mean(2, keepdims=True)) / np.sqrt(wide.var(2, keepdims=True) + 1e-3)
        right = (right * scale[:, None] + shift[:, None]).reshape(z.shape).astype("f4")
        case(f"group_norm_as_instance_norm_{groups}", nodes, {"x": z}, "y",
             {"to": np.array([0, groups, -1]), "scale": scale, "shift": shift},
             dims={"x": ["n", 6, "h", "w"]}, right=[right])
