"""Quantised operators, and elements of few bits."""
import numpy as np

from onnx_make.kit import case, floats, integers, node, random


def quantized_lstm():
    hidden, width = 4, 3
    for name, steps, batch, kind, direction, columns, more in (
            ("forward", 5, 1, "u1", "forward", False, ""),
            ("reverse", 4, 2, "i1", "reverse", False, ""),
            ("bidirectional", 4, 2, "i1", "bidirectional", False, ""),
            ("columns", 3, 1, "i1", "bidirectional", True, ""),
            ("states", 3, 2, "u1", "forward", False, "states"),
            ("lengths", 4, 2, "i1", "bidirectional", False, "lengths"),
            ("peepholes", 3, 1, "i1", "forward", False, "peepholes"),
            ("forgets", 3, 1, "i1", "forward", False, "forget")):
        name = f"ort_dynamic_quantize_lstm_{name}"
        ways, four = 2 if direction == "bidirectional" else 1, 4 * hidden
        low, high = (0, 256) if kind == "u1" else (-127, 128)
        shape = (ways, four) if columns else (ways,)
        zero = np.full(shape, 128 if kind == "u1" else 0, kind)
        scale = lambda seed: (random(name, seed).rand(*shape) * 0.01 + 0.005).astype("f4")
        given = {"x": floats(name, steps, batch, width)}
        constants = {
            "w": integers(name, low, high, ways, width, four, dtype=kind),
            "r": integers(name, low, high, ways, hidden, four, seed=1, dtype=kind),
            "b": floats(name, ways, 8 * hidden, seed=2, scale=0.25),
            "ws": scale(3), "wz": zero, "rs": scale(4), "rz": zero}
        names = {"sl": "-", "h": "-", "c": "-", "p": "-"}
        if more == "states":
            given |= {"h": floats(name, ways, batch, hidden, seed=5),
                      "c": floats(name, ways, batch, hidden, seed=6)}
        if more == "lengths":
            constants["sl"] = np.array([2, 4], "i4")
        if more == "peepholes":
            constants["p"] = floats(name, ways, 3 * hidden, seed=7)
        names = " ".join(n if n in given or n in constants else "-" for n in names)
        case(name, node("com.microsoft.DynamicQuantizeLSTM", f"x w r b {names} ws wz rs rz",
                        "y yh yc", hidden_size=hidden, direction=direction,
                        input_forget=int(more == "forget")), given, "y yh yc", constants)
    name = "ort_lstm_input_forget"
    case(name, node("LSTM", "x w r b", "y yh yc", hidden_size=hidden, input_forget=1, clip=3.0),
         {"x": floats(name, 4, 2, width)}, "y yh yc",
         {"w": floats(name, 1, 4 * hidden, width, seed=1),
          "r": floats(name, 1, 4 * hidden, hidden, seed=2),
          "b": floats(name, 1, 8 * hidden, seed=3, scale=0.25)}, opset=14)


def quantised_ops():
    """Of com.microsoft, as the quantiser of ONNX Runtime writes them."""
    scale = lambda v: np.array(v, "f4")

    def codes(name, *shape, kind="u1", seed=0):
        return integers(name, *((0, 256) if kind == "u1" else (-128, 128)), *shape, seed=seed,
                        dtype=kind)

    def point(kind, value):
        return np.array(value, kind)

    for kind, za, zb, zy in (("u1", 120, 7, 131), ("i1", -3, 0, 5)):
        zeros = {"az": point(kind, za), "bz": point(kind, zb), "yz": point(kind, zy)}
        for op, sy in (("Add", 0.05), ("Mul", 0.13)):
            name = f"ort_qlinear_{op}_{kind}".lower()
            case(name, node(f"com.microsoft.QLinear{op}", "a as az b bs bz ys yz", "y"),
                 {"a": codes(name, 2, 5, kind=kind), "b": codes(name, 5, kind=kind, seed=1)}, "y",
                 {"as": scale(0.021), "bs": scale(0.033), "ys": scale(sy), **zeros})
        for op, more in (("Sigmoid", {}), ("LeakyRelu", {"alpha": 0.15})):
            name = f"ort_qlinear_{op}_{kind}".lower()
            case(name, node(f"com.microsoft.QLinear{op}", "a as az ys yz", "y", **more),
                 {"a": codes(name, 3, 17, kind=kind)}, "y",
                 {"as": scale(0.041), "ys": scale(0.0052), **zeros})
        name = f"ort_qlinear_where_{kind}"
        case(name, node("com.microsoft.QLinearWhere", "c a as az b bs bz ys yz", "y"),
             {"c": integers(name, 0, 2, 2, 5).astype(bool), "a": codes(name, 2, 5, kind=kind),
              "b": codes(name, 5, kind=kind, seed=1)}, "y",
             {"as": scale(0.021), "bs": scale(0.033), "ys": scale(0.05), **zeros})
        name = f"ort_qlinear_concat_{kind}"
        case(name, node("com.microsoft.QLinearConcat", "ys yz a as az b bs bz", "y", axis=1),
             {"a": codes(name, 2, 3, kind=kind), "b": codes(name, 2, 4, kind=kind, seed=1)}, "y",
             {"as": scale(0.021), "bs": scale(0.033), "ys": scale(0.04), **zeros})
        # ONNX Runtime's has sums in integers of its own; this is the definition.
        name = f"qlinear_softmax_{kind}"
        a = codes(name, 3, 6, kind=kind)
        e = np.exp((a.astype("f8") - za) * 0.03)
        y = np.rint(e / e.sum(1, keepdims=True) / 0.0039) + zy - 100
        case(name, node("com.microsoft.QLinearSoftmax", "a as az ys yz", "y", axis=1, opset=13),
             {"a": a}, "y",
             {"as": scale(0.03), "ys": scale(0.0039), "az": zeros["az"],
              "yz": point(kind, zy - 100)},
             right=[np.clip(y, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)])
        for last in (0, 1):
            name = f"ort_qlinear_average_pool_{kind}_{last}"
            shape = (1, 5, 6, 3) if last else (1, 3, 5, 6)
            constants = {"as": scale(0.03), "ys": scale(0.022), **zeros}
            case(name, node("com.microsoft.QLinearAveragePool", "a as az ys yz", "y",
                            kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1],
                            channels_last=last), {"a": codes(name, *shape, kind=kind)}, "y",
                 constants)
            name = f"ort_qlinear_global_average_pool_{kind}_{last}"
            case(name, node("com.microsoft.QLinearGlobalAveragePool", "a as az ys yz", "y",
                            channels_last=last), {"a": codes(name, *shape, kind=kind)}, "y",
                 constants)
            name = f"ort_ms_qlinear_conv_{kind}_{last}"
            case(name, node("com.microsoft.QLinearConv", "a as az w ws wz ys yz b", "y",
                            kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1],
                            channels_last=last), {"a": codes(name, *shape, kind=kind)}, "y",
                 {"as": scale(0.03), "ys": scale(1.1), "az": zeros["az"], "yz": zeros["yz"],
                  "w": codes(name, 4, 3, 3, 2, kind=kind, seed=1), "ws": scale(0.02),
                  "wz": zeros["bz"], "b": integers(name, -500, 500, 4, seed=2, dtype="i4")})
    for bits, given in ((8, "y"), (8, "f"), (4, "t")):
        name = f"ort_qgemm_{bits}_{given}"
        a, w = codes(name, 3, 4), codes(name, 4, 5, kind="i1", seed=1)
        if given == "t":
            a, w = a.T.copy(), w.T.copy()
        columns = given != "y"
        constants = {"as": scale(0.02), "az": point("u1", 99), "w": w,
                     "ws": floats(name, 5, seed=2).__abs__() / 32 + scale(0.01) if columns
                     else scale(0.03), "wz": np.zeros(5 if columns else (), "i1"),
                     "c": integers(name, -300, 300, 5, seed=3, dtype="i4"), "ys": scale(0.4),
                     "yz": point("u1", 100)}
        if given == "f":
            del constants["ys"], constants["yz"]
        case(name, node("com.microsoft.QGemm",
                        "a as az w ws wz c" + " ys yz" * (given != "f"), "y",
                        alpha=1.5 if given == "f" else 1.0, transA=int(given == "t"),
                        transB=int(given == "t")), {"a": a}, "y", constants)
    for name, kind, columns, bias in (("plain", "u1", False, False),
                                      ("by_columns", "i1", True, True)):
        constants = {"w": codes(name, 6, 5, kind=kind, seed=1),
                     "ws": np.abs(floats(name, 5, seed=2)) / 16 + scale(0.01) if columns
                     else scale(0.02),
                     "wz": np.zeros(5, kind) if columns else point(kind, 117)}
        if bias:
            constants["b"] = floats(name, 5, seed=3)
        case(f"ort_matmul_integer_to_float_{name}",
             node("com.microsoft.MatMulIntegerToFloat", "a w as ws az wz" + " b" * bias, "y"),
             {"a": codes(name, 2, 3, 6)}, "y",
             {"as": scale(0.031), "az": point("u1", 133), **constants})
        case(f"ort_dynamic_quantize_matmul_{name}",
             node("com.microsoft.DynamicQuantizeMatMul", "a w ws wz" + " b" * bias, "y"),
             {"a": floats(name, 2, 3, 6)}, "y", constants)
    name = "ort_ms_quantize_linear_u2"
    case(name, node("com.microsoft.QuantizeLinear", "a s z", "y"), {"a": floats(name, 3, 4)}, "y",
         {"s": scale(0.0003), "z": np.array(32768, "u2")}, opset=20)
    case("ort_ms_dequantize_linear_i2_axis", node("com.microsoft.DequantizeLinear", "a s z", "y",
                                                  axis=0),
         {"a": integers(name, -3000, 3000, 2, 4, dtype="i2")}, "y",
         {"s": scale([0.01, 0.3]), "z": np.array([5, -7], "i2")}, opset=20)


def few_bits():
    for name, bits, k, zero in (("4", 4, 32, None), ("4_zero", 4, 40, "packed"),
                                ("4_float_zero", 4, 32, "floats"), ("8", 8, 48, None),
                                ("8_zero", 8, 32, "packed"), ("2", 2, 32, None)):
        name = f"ort_matmul_nbits_{name}"
        n, size = 3, 16
        blocks = -(-k // size)
        constants = {"w": integers(name, 0, 256, n, blocks, size * bits // 8, dtype="u1"),
                     "s": (np.abs(floats(name, n, blocks, seed=1)) / 8 + np.float32(0.01))}
        names = "a w s"
        if zero == "packed":
            constants["z"] = integers(name, 0, 256, n, -(-blocks * bits // 8), seed=2, dtype="u1")
            names += " z"
        elif zero:
            constants["z"] = floats(name, n, blocks, seed=2, scale=4) + np.float32(8)
            names += " z"
        constants["b"] = floats(name, n, seed=3)
        names += " - - b" if not zero else " - b"
        case(name, node("com.microsoft.MatMulNBits", names, "y", K=k, N=n, bits=bits,
                        block_size=size), {"a": floats(name, 2, 2, k)}, "y", constants)
    for name, bits, zero in (("4", 4, False), ("4_zero", 4, True), ("8", 8, True)):
        name = f"ort_gather_block_quantized_{name}"
        width, size = 32, 16
        constants = {"w": integers(name, 0, 256, 6, width * bits // 8, dtype="u1"),
                     "s": floats(name, 6, 2, seed=1)}
        if zero:
            constants["z"] = integers(name, 0, 256, 6, -(-2 * bits // 8), seed=2, dtype="u1")
        case(name, node("com.microsoft.GatherBlockQuantized", "w i s" + " z" * zero, "y", bits=bits,
                        block_size=size, gather_axis=0, quantize_axis=1),
             {"i": np.array([[0, 5], [-1, 3]], "i8")}, "y", constants)
