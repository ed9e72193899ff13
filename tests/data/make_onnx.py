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
         functions=()):
    """inputs, constants: arrays by name; outputs: names; dims: of inputs with named dims."""
    if WANTED not in name:
        return
    assert name not in made, name
    made.add(name)
    nodes = nodes if isinstance(nodes, list) else [nodes]
    graph = helper.make_graph(
        nodes, "g", [info(n, a, dims.get(n)) for n, a in inputs.items()],
        [helper.make_empty_tensor_value_info(n) for n in outputs.split()],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()])
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir, functions=functions)
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


if __name__ == "__main__":
    reductions()
    loops()
    conditions()
    quantized_lstm()
    if not WANTED:
        for old in (FOLDER / "node").iterdir():
            if old.name[len("test_"):] not in made:
                shutil.rmtree(old)
    print(f"{len(made)} cases")
