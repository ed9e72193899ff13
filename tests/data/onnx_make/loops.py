"""Loops, branches and recurrences."""
import numpy as np
from onnx import TensorProto

from onnx_make.kit import body, case, floats, integers, node


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
