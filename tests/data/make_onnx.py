#!/usr/bin/env python3
"""Writes the models of tests/data/onnx with their inputs and right outputs.

Usage: python3 tests/data/make_onnx.py [FOLDER] [PART OF A NAME]

Needs onnx 1.23, onnxruntime 1.32 and numpy. Cases have the form of the ONNX project's: model.onnx,
test_data_set_0/input_0.pb … and output_0.pb …. The outputs of those named test_ort_… are ONNX
Runtime's, without its optimiser; all others are those of the reference implementation of onnx, or
stand here.
"""
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

MICROSOFT = "com.microsoft"
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "onnx")
WANTED = sys.argv[2] if len(sys.argv) > 2 else ""
made = set()


def random(name, seed=0):
    return np.random.RandomState(zlib.crc32(name.encode()) ^ seed)


def floats(name, *shape, seed=0, scale=1.0, dtype="f4"):
    """Multiples of 1/64 of about the given size, so that they are the same in every float type."""
    return (np.rint(random(name, seed).randn(*shape) * 64 * scale) / 64).astype(dtype)


def integers(name, low, high, *shape, seed=0, dtype="i8"):
    return random(name, seed).randint(low, high, shape).astype(dtype)


def info(name, array, dims=None):
    kind = helper.np_dtype_to_tensor_dtype(np.asarray(array).dtype)
    return helper.make_tensor_value_info(name, kind, list(dims or np.shape(array)))


def node(op, inputs, outputs, **attributes):
    """Inputs and outputs are names, separated by spaces; "-" stands for one that is left out."""
    domain, _, kind = op.rpartition(".")
    names = [["" if n == "-" else n for n in text.split()] for text in (inputs, outputs)]
    return helper.make_node(kind, *names, domain=domain, **attributes)


def run_here(model, inputs):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def case(name, nodes, inputs, outputs, constants={}, opset=24, dims={}, right=None, ir=10,
         more_inputs={}):
    """inputs, constants: arrays by name; outputs: names; dims: of inputs with named dims;
    more_inputs: constants that are inputs too."""
    if WANTED not in name:
        return
    assert name not in made, name
    made.add(name)
    nodes = nodes if isinstance(nodes, list) else [nodes]
    graph = helper.make_graph(
        nodes, "g", [info(n, a, dims.get(n)) for n, a in (inputs | more_inputs).items()],
        [helper.make_empty_tensor_value_info(n) for n in outputs.split()],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()])
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir)
    if right is None and name.startswith("ort_"):
        right = run_here(model, inputs)
    elif right is None:
        right = ReferenceEvaluator(model).run(None, inputs)
    for value, array in zip(graph.output, right):
        value.CopyFrom(info(value.name, array, dims.get(value.name)))
    folder = FOLDER / "node" / f"test_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "test_data_set_0").mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    for kind, arrays in (("input", inputs.values()), ("output", right)):
        for i, array in enumerate(arrays):
            path = folder / "test_data_set_0" / f"{kind}_{i}.pb"
            path.write_bytes(numpy_helper.from_array(np.asarray(array)).SerializeToString())


def body(name, nodes, inputs, outputs):
    """A graph in an attribute; inputs: types and shapes by name."""
    values = [helper.make_tensor_value_info(n, *kind) for n, kind in inputs.items()]
    return helper.make_graph(nodes, name, values,
                             [helper.make_empty_tensor_value_info(n) for n in outputs.split()])


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


def loops():
    F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    step = body("step", [node("Add", "a x2", "a2"), node("Identity", "c", "c2"),
                         node("Mul", "a2 a2", "s")],
                {"i": (I, []), "c": (B, []), "a": (F, ["N"])}, "c2 a2 s")
    stop = body("stop", [node("Add", "a x2", "a2"), node("Less", "i one", "c2"),
                         node("Mul", "a2 a2", "s")],
                {"i": (I, []), "c": (B, []), "a": (F, ["N"])}, "c2 a2 s")
    x = floats("loops", 2)
    given = {"x": x, "x2": floats("loops", 2, seed=1)}
    count = lambda n: np.array(n, "i8")
    yes, no, one = np.array(True), np.array(False), np.array(1, "i8")

    def unrolled(trips):
        rows = [given["x"] + (t + 1) * given["x2"] for t in range(trips)]
        last = rows[-1] if rows else x
        return [last, np.stack([r * r for r in rows]) if rows else np.zeros((0, 2), "f4")]

    named = {"x": ["N"], "x2": ["N"], "y": ["N"]}
    for name, inputs, constants, which, trips in (
            ("loop_no_condition", "n - x", {"n": count(3)}, step, 3),
            ("loop_no_condition_body_says_stop", "n - x", {"n": count(3), "one": one}, stop, 3),
            ("loop_no_count", "- c x", {"c": yes, "one": one}, stop, 2),
            ("loop_no_count_false", "- c x", {"c": no}, step, 0),
            ("loop_count_and_condition", "n c x", {"n": count(9), "c": yes, "one": one}, stop, 2),
            ("loop_zero_trips", "n c x", {"n": count(0), "c": yes}, step, 0),
            ("loop_negative_count", "n - x", {"n": count(-4)}, step, 0),
            ("loop_false_condition", "n c x", {"n": count(4), "c": no}, step, 0),
            ("loop_count_of_shape_1", "n c x", {"n": np.array([2], "i8"), "c": np.array([True])},
             step, 2)):
        case(name, node("Loop", inputs, "y s", body=which), given, "y s", constants,
             right=unrolled(trips))
        case(f"{name}_named", node("Loop", inputs, "y s", body=which), given, "y s", constants,
             right=unrolled(trips), dims=dict(named, s=[trips, "N"]))
    case("loop_without_end", node("Loop", "- - x", "y s", body=step), given, "y s",
         right=unrolled(3))
    row = body("row", [node("Add", "a r", "a2"), node("Mul", "a2 r", "s")],
               {"a": (F, [2]), "r": (F, [2])}, "a2 s")
    for length in (0, 1, 3):
        rows = floats("scan", 2, length, seed=length)
        a, s = x, np.zeros((0, 2), "f4")
        for t in reversed(range(length)):
            a = a + rows[:, t]
            s = np.concatenate([s, (a * rows[:, t])[None]])
        case(f"scan_of_length_{length}",
             node("Scan", "x rows", "y s", body=row, num_scan_inputs=1, scan_input_axes=[1],
                  scan_input_directions=[1], scan_output_axes=[1]), {"x": x, "rows": rows}, "y s",
             right=[a, s.T])


def conditions():
    F = TensorProto.FLOAT
    then = body("then", [node("Add", "x x", "a")], {}, "a")
    other = body("other", [node("ReduceSum", "x", "b", keepdims=0)], {}, "b")
    x = floats("conditions", 3)
    for value in (True, False):
        for shape in ((), (1,)):
            case(f"if_{value}_{len(shape)}".lower(),
                 node("If", "c", "y", then_branch=then, else_branch=other), {"x": x}, "y",
                 {"c": np.full(shape, value)}, right=[x + x if value else x.sum()])
    # The condition is arithmetic on a size that is known.
    case("if_of_a_shape", [node("Shape", "x", "n"), node("Gather", "n zero", "first"),
                           node("Greater", "first two", "c"),
                           node("If", "c", "y", then_branch=then, else_branch=other)],
         {"x": x}, "y", {"zero": np.array(0), "two": np.array(2)}, right=[x + x])
    # Branches that want other lengths of x: no length suits both.
    pooled = [body(f"by_{by}", [node("MaxPool", "x", f"p{by}", kernel_shape=[by], strides=[by]),
                                node("Squeeze", f"p{by} last", f"s{by}")], {}, f"s{by}")
              for by in (4, 2)]
    for rate, length in ((16000, 7), (8000, 3)):
        case(f"ort_if_of_rate_{rate}",
             [node("Equal", "rate high", "c"),
              node("If", "c", "y", then_branch=pooled[0], else_branch=pooled[1])],
             {"x": floats("rate", 2, 1, length), "rate": np.array(rate)}, "y",
             {"high": np.array(16000), "last": np.array([2])}, dims={"x": ["b", 1, "t"]})


def endings():
    """Loops and branches whose conditions are only known when the model runs."""
    F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    state = {"i": (I, []), "c": (B, []), "s": (F, [4])}
    double = body("double", [node("Add", "s s", "t"), node("ReduceSum", "t", "sum", keepdims=0),
                             node("Less", "sum limit", "more")], state, "more t")
    x, count = np.array([1, 2, 0.5, 3], "f4"), lambda n: np.array(n, "i8")
    while_ = lambda m: node("Loop", f"{m} go x", "y", body=double)
    given = lambda limit, go, x=x: {"x": x, "limit": np.array(limit, "f4"), "go": np.array(go)}
    case("ort_while_false_at_once", while_("-"), given(1e9, False), "y")
    case("ort_while_one_trip", while_("-"), given(1, True), "y")
    case("ort_while_many_trips", while_("-"), given(1e6, True), "y")
    case("ort_while_nan", while_("-"), given(1e6, True, x * np.array([1, np.nan, 1, 1], "f4")), "y")
    case("ort_while_never", while_("m"), given(1, True, x * 0), "y", {"m": count(40)})
    case("ort_while_huge_count", while_("m"), given(1e5, True), "y", {"m": count(2**63 - 1)})
    case("ort_while_no_trips", while_("m"), given(1e5, True), "y", {"m": count(0)})
    for n in (-1, 0, 3, 100):
        case(f"ort_while_told_count_{n}".replace("-", "minus_"), while_("m"),
             given(3e5, True) | {"m": count(n)}, "y")
    rows = body("rows", [*double.node, node("Identity", "t", "row")], state, "more t row")
    case("ort_while_rows", node("Loop", "- go x", "y r", body=rows), given(50, True), "y r")
    grow = body("grow", [node("Concat", "s s", "t", axis=0), *double.node[1:]],
                state | {"s": (F, ["K"])}, "more t")
    case("ort_while_grows", node("Loop", "- go x", "y", body=grow), given(50, True), "y")
    always = body("always", [node("Add", "s s", "t"), node("Identity", "c", "more")], state,
                  "more t")
    case("while_always", node("Loop", "- yes x", "y", body=always), {"x": x}, "y",
         {"yes": np.array(True)}, right=[x])
    outer = body("outer", [node("Loop", "five go u", "v", body=double),
                           node("Mul", "v small", "w"), node("Identity", "d", "d2")],
                 {"j": (I, []), "d": (B, []), "u": (F, [4])}, "d2 w")
    case("ort_while_in_a_loop", node("Loop", "many - x", "y", body=outer), given(100, True), "y",
         {"five": count(5), "many": count(40), "small": np.array(0.125, "f4")})
    weights = {n: integers(n, -3, 4, 8, 8).astype("f4") / 8 for n in ("w1", "w2")}
    then = body("then", [node("MatMul", "x w1", "a"), node("Relu", "a", "b")], {}, "b")
    other = body("other", [node("MatMul", "x w2", "e"), node("MatMul", "e w1", "f"),
                           node("Add", "f x", "g")], {}, "g")
    step = body("step", [node("MatMul", "s w1", "t"), node("Identity", "c", "d")],
                {"i": (I, []), "c": (B, []), "s": (F, ["N", 8])}, "d t")
    looped = body("looped", [node("Loop", "m - x", "l", body=step)], {}, "l")
    for value in (True, False):
        inputs = {"x": floats("endings", 3, 8), "c": np.array(value)}
        dims = {"x": ["N", 8], "y": ["N", 8]}
        case(f"ort_if_costly_{value}".lower(),
             node("If", "c", "y", then_branch=then, else_branch=other), inputs, "y", weights,
             dims=dims)
        case(f"ort_if_loop_{value}".lower(),
             node("If", "c", "y", then_branch=looped, else_branch=other), inputs, "y",
             weights | {"m": count(40)}, dims=dims)


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


def attentions():
    heads, size, width, length, batch = 2, 4, 8, 3, 2
    name = "ms_attention"
    x = floats(name, batch, length, width)
    weights = {"w": floats(name, width, 3 * width, seed=1, scale=0.4),
               "b": floats(name, 3 * width, seed=2, scale=0.5)}
    past = floats(name, 2, batch, heads, 5, size, seed=3)
    for name, given, more, attributes in (
            ("past", {"past": past}, "- past", {}),
            ("past_causal", {"past": past}, "- past", {"unidirectional": 1}),
            ("past_mask", {"past": past}, "m past",
             {"m": np.array([[1] * 8, [0, 0, 1, 1, 1, 1, 1, 0]], "i4")}),
            ("mask_rows", {}, "m -", {"m": np.array([[[1, 0, 0], [1, 1, 0], [1, 1, 1]],
                                                      [[1, 1, 0], [1, 1, 0], [0, 1, 1]]], "i4")}),
            ("mask_lengths", {}, "m -", {"m": np.array([3, 2], "i4")}),
            ("mask_ranges", {}, "m -", {"m": np.array([3, 2, 1, 0], "i4")}),
            ("sizes", {}, "- -", {"qkv_hidden_sizes": [8, 8, 4]})):
        w = dict(weights)
        mask = attributes.pop("m", None)
        if name == "sizes":
            w = {"w": w["w"][:, :20].copy(), "b": w["b"][:20].copy()}
        if mask is not None:
            w["m"] = mask
        present = name.startswith("past")
        case(f"ort_ms_attention_{name}",
             node("com.microsoft.Attention", f"x w b {more}", "y p" if present else "y",
                  num_heads=heads, **attributes), {"x": x, **given}, "y p" if present else "y", w)
    name = "ort_qattention"
    case(name, node("com.microsoft.QAttention", "x w b xs ws m xz wz", "y", num_heads=heads),
         {"x": integers(name, 0, 256, batch, length, width, dtype="u1")}, "y",
         {"w": integers(name, -128, 128, width, 3 * width, seed=1, dtype="i1"),
          "b": weights["b"], "xs": np.array(0.02, "f4"), "ws": np.array(0.01, "f4"),
          "m": np.array([3, 2], "i4"), "xz": np.array(125, "u1"), "wz": np.array(0, "i1")})
    name = "mha"
    q = floats(name, batch, length, width)
    keys, values = floats(name, batch, 4, width, seed=1), floats(name, batch, 4, width, seed=2)
    old = {"pk": floats(name, batch, heads, 2, size, seed=3),
           "pv": floats(name, batch, heads, 2, size, seed=4)}
    rows = np.array([[[1, 1, 0, 1]] * 3, [[1, 0, 1, 1]] * 3], "i4")
    split = lambda a, n: a.reshape(batch, -1, heads, n, size)
    mha = "com.microsoft.MultiHeadAttention"
    def attended(q, k, v):
        q, k, v = (a.astype("f8").transpose(0, 2, 1, 3) for a in (q, k, v))
        e = np.exp(q @ k.transpose(0, 1, 3, 2) / size ** 0.5)
        y = e / e.sum(-1, keepdims=True) @ v
        return y.transpose(0, 2, 1, 3).reshape(batch, -1, width).astype("f4")

    # Not for CPUs in ONNX Runtime.
    packed = split(floats(name, batch, length, 3 * width, seed=5), 3)
    case("mha_packed_qkv", node(mha, "x", "y", num_heads=heads), {"x": packed}, "y",
         right=[attended(*(packed[:, :, :, i] for i in range(3)))])
    packed = split(floats(name, batch, 4, 2 * width, seed=6), 2)
    case("mha_packed_kv", node(mha, "q kv", "y", num_heads=heads), {"q": q, "kv": packed}, "y",
         right=[attended(split(q, 1)[:, :, :, 0], packed[:, :, :, 0], packed[:, :, :, 1])])
    case("ort_mha_mask_rows", node(mha, "q k v - m", "y", num_heads=heads),
         {"q": q, "k": keys, "v": values}, "y", {"m": rows})
    case("ort_mha_past_causal", node(mha, "q k v - - - pk pv", "y nk nv", num_heads=heads,
                                     unidirectional=1),
         {"q": q, "k": keys[:, :3].copy(), "v": values[:, :3].copy(), **old}, "y nk nv")
    name = "ort_embed_layer_norm_mask"
    case(name, node("com.microsoft.EmbedLayerNormalization", "ids seg word place kind g b mask",
                    "y mi", epsilon=1e-5),
         {"ids": integers(name, 0, 7, 2, 4, dtype="i4"),
          "seg": integers(name, 0, 2, 2, 4, seed=1, dtype="i4"),
          "mask": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], "i4")}, "y mi",
         {"word": floats(name, 7, 8, seed=2), "place": floats(name, 6, 8, seed=3),
          "kind": floats(name, 2, 8, seed=4), "g": floats(name, 8, seed=5),
          "b": floats(name, 8, seed=6)})


def group_query_attention():
    heads, shared, size = 4, 2, 16
    angles = np.arange(32)[:, None] / 10.0 ** np.linspace(0, 2, size // 2)
    turns = {"cos": np.cos(angles).astype("f4"), "sin": np.sin(angles).astype("f4")}
    for name, batch, length, past, options in (
            ("first", 2, 5, 0, {}), ("next", 2, 1, 6, {}), ("chunk", 1, 3, 6, {}),
            ("rotary_first", 2, 5, 0, {"do_rotary": 1}),
            ("rotary_next", 2, 1, 6, {"do_rotary": 1}),
            ("rotary_interleaved", 1, 1, 6, {"do_rotary": 1, "rotary_interleaved": 1}),
            ("window_first", 2, 5, 0, {"local_window_size": 2}),
            ("window_next", 1, 1, 6, {"local_window_size": 3}),
            ("cap_first", 2, 5, 0, {"softcap": 2.0}), ("cap_next", 1, 1, 6, {"softcap": 0.5}),
            ("scale", 1, 4, 0, {"scale": 0.125}), ("packed", 2, 4, 0, {"do_rotary": 1})):
        name = f"ort_gqa_{name}"
        parts = [floats(name, batch, length, n * size, seed=i)
                 for i, n in enumerate((heads, shared, shared))]
        given = dict(zip("qkv", parts))
        if "packed" in name:
            given = {"q": np.concatenate(parts, 2)}
        kept = {k: floats(name, batch, shared, past, size, seed=5 + i)
                for i, k in enumerate(("pk", "pv"))}
        total = length + past
        constants = {"n": np.full(batch, total - 1, "i4"), "t": np.array(total, "i4")}
        if "do_rotary" in options:
            constants |= turns
        names = [n if n in given | constants or n in kept and past else "-"
                 for n in ("q", "k", "v", "pk", "pv", "n", "t", "cos", "sin")]
        case(name, node("com.microsoft.GroupQueryAttention", " ".join(names), "y nk nv",
                        num_heads=heads, kv_num_heads=shared, **options),
             given | (kept if past else {}), "y nk nv", constants)
    # Rows of different lengths, whose caches end in what nobody reads; sizes that a call brings.
    name, batch, length, past = "ort_gqa_lengths", 2, 1, 6
    given = {k: floats(name, batch, length, n * size, seed=i)
             for i, (k, n) in enumerate((("q", heads), ("k", shared), ("v", shared)))}
    given |= {k: floats(name, batch, shared, past, size, seed=5 + i)
              for i, k in enumerate(("pk", "pv"))}
    given["n"] = np.array([6, 3], "i4")
    rows = {k: ["B", "L", given[k].shape[2]] for k in "qkv"}
    cache = {k: ["B", shared, "P", size] for k in ("pk", "pv")}
    constants = turns | {"t": np.array(7, "i4")}
    for suffix, dims in (("", {}), ("_named", rows | cache | {"n": ["B"]})):
        case(name + suffix, node("com.microsoft.GroupQueryAttention", "q k v pk pv n t cos sin",
                                 "y nk nv", num_heads=heads, kv_num_heads=shared, do_rotary=1),
             given, "y", constants, dims=dims)
    for cap in (0.0, 1.5):
        suffix, capped = ("_capped", {"softcap": cap}) if cap else ("", {})
        case("ort_gqa_bias" + suffix,
             node("com.microsoft.GroupQueryAttention", "q k v pk pv n t - - - b", "y nk nv",
                  num_heads=heads, kv_num_heads=shared, **capped),
             given | {"n": np.array([6, 6], "i4")}, "y",
             {"t": np.array(7, "i4"), "b": floats(name, batch, 1, length, past + length, seed=9)})


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


def recurrences():
    """Of named lengths, and longer than what is unrolled."""
    hidden, width = 5, 3
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}
    for op, direction, steps, batch, more in (
            ("LSTM", "forward", 7, 2, ""), ("LSTM", "reverse", 7, 2, "lengths"),
            ("LSTM", "bidirectional", 6, 3, "lengths states"),
            ("LSTM", "forward", 5, 1, "peepholes clip"), ("LSTM", "forward", 1, 2, "states"),
            ("GRU", "forward", 7, 2, ""), ("GRU", "bidirectional", 6, 3, "lengths states"),
            ("GRU", "reverse", 5, 1, "linear"), ("RNN", "forward", 7, 2, "")):
        # ONNX Runtime's RNN is off by several units in the last place.
        name = "_".join([op.lower(), "named", direction, *more.split(), str(steps)])
        name = name if op == "RNN" else f"ort_{name}"
        ways, count = 2 if direction == "bidirectional" else 1, gates[op]
        given = {"x": floats(name, steps, batch, width)}
        names = {"sl": "-", "h": "-", "c": "-", "p": "-"}
        dims = {"x": ["steps", "batch", width]}
        constants = {"w": floats(name, ways, count * hidden, width, seed=1, scale=0.5),
                     "r": floats(name, ways, count * hidden, hidden, seed=2, scale=0.5),
                     "b": floats(name, ways, 2 * count * hidden, seed=3, scale=0.25)}
        if "lengths" in more:
            given["sl"] = np.array([steps, 2, steps - 1][:batch], "i4")
            dims["sl"] = ["batch"]
        if "states" in more:
            for i, state in enumerate(("h", "c")[:1 + (op == "LSTM")]):
                given[state] = floats(name, ways, batch, hidden, seed=5 + i)
                dims[state] = [ways, "batch", hidden]
        if "peepholes" in more:
            constants["p"] = floats(name, ways, 3 * hidden, seed=7)
        names = " ".join(n if n in given or n in constants else "-" for n in names)
        attributes = {"linear_before_reset": 1} if "linear" in more else {}
        if "clip" in more:
            attributes["clip"] = 0.5
        case(name, node(op, f"x w r b {names}".rstrip(" -"),
                        "y yh yc" if op == "LSTM" else "y yh", hidden_size=hidden,
                        direction=direction, **attributes), given,
             "y yh yc" if op == "LSTM" else "y yh", constants, opset=14, dims=dims)
    row = {"s": (TensorProto.FLOAT, [2, 3]), "x": (TensorProto.FLOAT, [2, 3])}
    trip = [node("Mul", "s w", "p"), node("Add", "p x", "t"), node("Tanh", "t", "n"),
            node("ReduceSum", "n axis", "o", keepdims=0)]
    step = body("trip", trip, row, "n o")
    w, axis = floats("w", 3), np.array([1], "i8")
    for name, attributes in (
            ("forward", {}),
            ("back", {"scan_input_directions": [1], "scan_output_directions": [1]}),
            ("axes", {"scan_input_axes": [1], "scan_output_axes": [1]})):
        across = "scan_input_axes" in attributes
        for steps, dims in ((9, {"x": [2, "T", 3] if across else ["T", 2, 3]}), (40, {})):
            x = floats("x", 2, steps, 3) if across else floats("x", steps, 2, 3)
            case(f"ort_scan_of_{steps}_{name}",
                 node("Scan", "s x", "last rows", body=step, num_scan_inputs=1, **attributes),
                 {"s": floats("s", 2, 3), "x": x}, "last rows", {"w": w, "axis": axis}, dims=dims)
    # As many trips as rows; two states that trade places; the trip's number picks the row.
    trip = [node("Gather", "x i", "r"), node("Add", "a r", "sum"), node("Identity", "b", "m"),
            node("Mul", "sum half", "o"), node("Identity", "go", "g")]
    states = {"i": (TensorProto.INT64, []), "go": (TensorProto.BOOL, []),
              "b": (TensorProto.FLOAT, [3]), "a": (TensorProto.FLOAT, [3])}
    step = body("trip", trip, states, "g sum m o")
    x = floats("trips", 6, 3)
    case("ort_loop_over_rows",
         [node("Shape", "x", "sh", start=0, end=1), node("Squeeze", "sh", "n"),
          node("Loop", "n - b0 a0", "b a rows", body=step)],
         {"x": x, "b0": floats("b0", 3), "a0": floats("a0", 3)}, "b a rows",
         {"half": np.array(0.5, "f4")}, dims={"x": ["T", 3]})
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


if __name__ == "__main__":
    counted_uniques()
    counted_suppressions()
    counted_detectors()
    counted_values()
    reductions()
    loops()
    conditions()
    endings()
    recurrences()
    quantized_lstm()
    quantised_ops()
    few_bits()
    fused()
    microsoft_images()
    attentions()
    group_query_attention()
    pads()
    index_types()
    defaults()
    open_dims()
    if not WANTED:
        for old in (FOLDER / "node").iterdir():
            if old.name[len("test_"):] not in made:
                shutil.rmtree(old)
    print(f"{len(made)} cases")
