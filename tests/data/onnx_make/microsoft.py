"""Operators of ONNX Runtime's own: fused ones, and those of images."""
import numpy as np
from onnx import helper
from onnx.reference import ReferenceEvaluator

from onnx_make.kit import case, floats, info, integers, node


def fused():
    """Of com.microsoft, as ONNX Runtime's optimisers write them."""
    image, weights = floats("fused", 1, 3, 5, 6), floats("fused", 4, 3, 3, 3, seed=1, scale=0.5)
    bias, more = floats("fused", 4, seed=2), floats("fused", 1, 4, 5, 6, seed=3)
    for name, params in (("Relu", []), ("Tanh", []), ("Sigmoid", []), ("LeakyRelu", [0.2]),
                         ("Clip", [-0.5, 0.75]), ("HardSigmoid", [0.25, 0.5])):
        attributes = {"activation_params": params} if params else {}
        case(f"ort_fused_conv_{name}".lower(),
             node("com.microsoft.FusedConv", "x w b", "y", activation=name, pads=[1] * 4,
                  **attributes), {"x": image}, "y", {"w": weights, "b": bias})
    case("ort_fused_conv_sum", node("com.microsoft.FusedConv", "x w b z", "y", activation="Relu",
                                    pads=[1] * 4), {"x": image, "z": more}, "y",
         {"w": weights, "b": bias})
    for name, more_ in (("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.3})):
        case(f"ort_fused_gemm_{name}".lower(),
             node("com.microsoft.FusedGemm", "a w c", "y", activation=name, transB=1, alpha=0.5,
                  **more_), {"a": floats(name, 3, 4)}, "y",
             {"w": floats(name, 5, 4, seed=1), "c": floats(name, 5, seed=2)})
    for name, a, b, more_ in (
            ("batch_a", (4, 2, 3), (2, 3, 5), {"transBatchA": 1}),
            ("batch_b", (2, 4, 3), (3, 2, 5), {"transBatchB": 1}),
            ("batch_both", (3, 2, 4), (5, 2, 3), {"transBatchA": 1, "transA": 1, "transBatchB": 1,
                                                  "transB": 1, "alpha": 0.25})):
        name = f"ort_fused_matmul_{name}"
        case(name, node("com.microsoft.FusedMatMul", "a b", "y", **more_),
             {"a": floats(name, *a), "b": floats(name, *b, seed=1)}, "y")
    case("ort_transpose_matmul", node("com.microsoft.TransposeMatMul", "a b", "y", transA=1),
         {"a": floats("t", 4, 2), "b": floats("t", 4, 3, seed=1)}, "y")

    def conv_last(w):
        model = ReferenceEvaluator(helper.make_model(helper.make_graph(
            [node("Conv", "x w b", "y", pads=[1] * 4)], "g",
            [info("x", image), info("w", w), info("b", bias)],
            [helper.make_empty_tensor_value_info("y")])))
        return model.run(None, {"x": image, "w": w, "b": bias})[0].transpose(0, 2, 3, 1)

    case("nhwc_conv", node("com.microsoft.NhwcConv", "x w b", "y", pads=[1] * 4),
         {"x": image.transpose(0, 2, 3, 1).copy()}, "y",
         {"w": weights.transpose(0, 2, 3, 1).copy(), "b": bias}, right=[conv_last(weights)])

    def group_norm(x, groups, gamma, beta, swish):
        n, h, w, channels = x.shape
        parts = x.astype("f8").reshape(n, h, w, groups, -1)
        mean, deviation = parts.mean((1, 2, 4), keepdims=True), parts.var((1, 2, 4), keepdims=True)
        y = ((parts - mean) / np.sqrt(deviation + 1e-5)).reshape(x.shape) * gamma + beta
        return (y / (1 + np.exp(-y)) if swish else y).astype(x.dtype)

    x = floats("group_norm", 2, 3, 2, 8)
    scale, shift = floats("group_norm", 8, seed=1), floats("group_norm", 8, seed=2)
    for swish in (0, 1):
        case(f"ms_group_norm_{swish}",
             node("com.microsoft.GroupNorm", "x g b", "y", groups=4, epsilon=1e-5,
                  activation=swish), {"x": x}, "y", {"g": scale, "b": shift},
             right=[group_norm(x, 4, scale, shift, swish)])
    for name, skip in (("whole", floats("skip", 2, 3, 2, 8)), ("channels", floats("skip", 2, 8))):
        total = x + (skip if skip.ndim == 4 else skip[:, None, None]) + bias.repeat(2)
        case(f"skip_group_norm_{name}",
             node("com.microsoft.SkipGroupNorm", "x g b skip c", "y s", groups=2, epsilon=1e-5,
                  activation=1), {"x": x, "skip": skip}, "y s",
             {"g": scale, "b": shift, "c": bias.repeat(2)},
             right=[group_norm(total, 2, scale, shift, 1), total])
    x = floats("bias", 2, 3, 6)
    case("bias_add", node("com.microsoft.BiasAdd", "x b s", "y"),
         {"x": x, "s": floats("bias", 2, 3, 6, seed=1)}, "y", {"b": floats("bias", 6, seed=2)},
         right=[x + floats("bias", 6, seed=2) + floats("bias", 2, 3, 6, seed=1)])
    from math import erf
    wide = (x + floats("bias", 6, seed=2)).astype("f8")
    gelu = np.vectorize(lambda v: v * 0.5 * (1 + erf(v / 2 ** 0.5)))(wide[..., 3:])
    case("bias_split_gelu", node("com.microsoft.BiasSplitGelu", "x b", "y"), {"x": x}, "y",
         {"b": floats("bias", 6, seed=2)}, right=[(wide[..., :3] * gelu).astype("f4")])
    summed = np.exp((x + floats("bias", 6, seed=2)).astype("f8"))
    case("bias_softmax", node("com.microsoft.BiasSoftmax", "x b", "y", axis=2,
                              is_inner_broadcast=0), {"x": x}, "y",
         {"b": floats("bias", 6, seed=2)},
         right=[(summed / summed.sum(-1, keepdims=True)).astype("f4")])
    case("ort_expand_dims", node("com.microsoft.ExpandDims", "x a", "y"), {"x": x}, "y",
         {"a": np.array(-1, "i4")})
    for metric in ("euclidean", "sqeuclidean"):
        case(f"ort_cdist_{metric}", node("com.microsoft.CDist", "a b", "y", metric=metric),
             {"a": floats(metric, 4, 3), "b": floats(metric, 5, 3, seed=1)}, "y")
    name = "reduce_sum_integer"
    a = integers(name, 0, 256, 3, 40, dtype="u1")
    case(name, node("com.microsoft.ReduceSumInteger", "a", "y", axes=[1], keepdims=1), {"a": a},
         "y", right=[a.astype("i4").sum(1, keepdims=True, dtype="i4")])
    case("ort_ms_trilu", node("com.microsoft.Trilu", "x k", "y", upper=0), {"x": x}, "y",
         {"k": np.array(1)})
    case("ort_ms_pad", node("com.microsoft.Pad", "x p v", "y"), {"x": x}, "y",
         {"p": np.array([0, 1, 0, 1, 0, 2]), "v": np.array([0.5], "f4")})
    case("ort_ms_gather_nd", node("com.microsoft.GatherND", "x i", "y"),
         {"x": x, "i": np.array([[0, 2], [1, 0]], "i8")}, "y")


def microsoft_images():
    """Inverses of small matrices, and crops of images as ONNX Runtime computes them. Positions are
    exact: what lies on an edge is told apart from what is beyond it, and halves round up."""
    for rows in (1, 2, 3, 4):
        x = floats("inverse", 3, 2, rows, rows, seed=rows) + 2 * np.eye(rows, dtype="f4")
        case(f"inverse_{rows}", node("com.microsoft.Inverse", "x", "y"), {"x": x}, "y",
             dims={"x": ["a", 2, rows, rows]}, right=[np.linalg.inv(x.astype("f8")).astype("f4")])
    x = floats("crop", 2, 3, 5, 9)
    boxes = np.array([[0, 0, 1, 1], [0.25, 0.125, 0.75, 0.875], [0.875, 0.75, 0.125, 0.25],
                      [-0.125, 0.5, 0.625, 1.25]], "f4")
    index = np.array([0, 1, 1, 0], "i4")
    for mode in ("bilinear", "nearest"):
        for size in ((5, 9), (3, 5), (1, 3), (1, 1)):
            case(f"ort_crop_{mode}_{size[0]}_{size[1]}",
                 node("com.microsoft.CropAndResize", "x boxes index size", "y", mode=mode,
                      extrapolation_value=-2.5),
                 {"x": x, "boxes": boxes, "index": index}, "y", {"size": np.array(size, "i4")},
                 dims={"boxes": ["n", 4], "index": ["n"]})
