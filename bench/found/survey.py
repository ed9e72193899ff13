"""Models of ONNX as people find them: compiled without options, checked, and timed.

Usage: survey.py FOLDER [--quick] [PART OF A NAME...]

A case is a folder with model.onnx and case.json, which says what its inputs are:

  {"dims": {"batch": 1, "x.2": 48},   sizes, by the name of a dim or by input and axis (default: 1)
   "shapes": {"x": [1, 3]},           or whole shapes
   "inputs": {"ids": "0..99"},        where numbers lie (default: floats about 0, small integers)
   "values": {"rate": 16000}}         or the numbers themselves

Both runtimes are in this process, on one thread, and take turns; the median of turns counts. The
table is Markdown: nodes; seconds of a processor and MiB for `urza compile`; the largest difference
from what ONNX Runtime computes without its optimiser, in parts of the output's largest magnitude
(and how far its own optimised result lies); milliseconds of a call; ONNX Runtime's time divided by
ours. With --quick nothing is verified or timed.
"""

import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

ROUNDS = 15
TURN_S = 0.02
LIMIT_S = 300
TYPES = {
    "tensor(float)": "f4",
    "tensor(double)": "f8",
    "tensor(float16)": "f2",
    "tensor(int64)": "i8",
    "tensor(int32)": "i4",
    "tensor(int16)": "i2",
    "tensor(int8)": "i1",
    "tensor(uint8)": "u1",
    "tensor(bool)": "?",
    "tensor(uint64)": "u8",
    "tensor(uint32)": "u4",
    "tensor(uint16)": "u2",
}


class Failure(Exception):
    pass


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]


class LoadOptions(ctypes.Structure):
    _fields_ = [
        ("trust", ctypes.c_int),
        ("trusted_keys", ctypes.c_void_p),
        ("trusted_key_count", ctypes.c_uint32),
        ("threads", ctypes.c_uint32),
        ("chunks", ctypes.c_uint32),
        ("target", ctypes.c_char_p),
        ("on_event", ctypes.c_void_p),
        ("user", ctypes.c_void_p),
        ("parallel", ctypes.c_void_p),
        ("most_trips", ctypes.c_int64),
        ("runtime", ctypes.c_void_p),
        ("newer", ctypes.c_void_p * 32),  # room for fields that are added; zeros are defaults
    ]


class Error(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_int),
        ("place", ctypes.c_char * 160),
        ("message", ctypes.c_char * 512),
    ]


class Info(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p)]


class Package:
    """One package, loaded by the runtime library, and calls of it."""

    def __init__(self, path: Path):
        self.library = ctypes.CDLL(os.environ["URZA_RUNTIME"])
        for function in ("input", "output"):
            getattr(self.library, f"urza_{function}_info").restype = ctypes.POINTER(Info)
        self.module, self.error = ctypes.c_void_p(), Error()
        allow_unsigned = 2
        options = LoadOptions(trust=allow_unsigned, threads=1)
        self.check(
            self.library.urza_load(
                str(path).encode(),
                ctypes.byref(options),
                ctypes.byref(self.module),
                ctypes.byref(self.error),
            )
        )
        self.inputs, self.outputs = self.names("input"), self.names("output")

    def names(self, what: str) -> list[str]:
        count = getattr(self.library, f"urza_{what}_count")(self.module)
        info = getattr(self.library, f"urza_{what}_info")
        return [info(self.module, i)[0].name.decode() for i in range(count)]

    def check(self, code: int) -> None:
        if code != 0:
            raise Failure(f"{self.error.place.decode()}: {self.error.message.decode()}")

    def prepare(self, inputs: dict, like: list):
        """A call without arguments, that gives the outputs in the order of the model."""
        given, kept_in = tensors([inputs[name] for name in self.inputs])
        results = [np.empty_like(value) for value in like]
        out, kept_out = tensors(results)

        def call():
            self.check(
                self.library.urza_call(
                    self.module, given, len(given), out, len(out), None, ctypes.byref(self.error)
                )
            )
            return results

        call.keeps = kept_in, kept_out
        return call


def tensors(arrays: list):
    codes = {"i": 0, "u": 1, "f": 2, "b": 6}
    out, kept = (Tensor * len(arrays))(), []
    for tensor, array in zip(out, arrays):
        shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
        kept += [shape, array]
        tensor.data, tensor.device[0] = array.ctypes.data, 1
        tensor.ndim, tensor.shape = array.ndim, ctypes.addressof(shape)
        tensor.code, tensor.bits, tensor.lanes = (
            codes[array.dtype.kind],
            8 * array.dtype.itemsize,
            1,
        )
    return out, kept


def session(path: Path, level) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def draw(value, case: dict, random) -> np.ndarray:
    dims, said = case.get("dims", {}), case.get("inputs", {}).get(value.name)
    dtype = TYPES[value.type]
    if value.name in case.get("values", {}):
        return np.array(case["values"][value.name], dtype)
    shape = [
        size if isinstance(size, int) else dims.get(size, dims.get(f"{value.name}.{i}", 1))
        for i, size in enumerate(value.shape)
    ]
    shape = case.get("shapes", {}).get(value.name, shape)
    if said:
        low, high = (float(x) for x in said.split(".."))
        drawn = random.uniform(low, high, shape)
        return np.asarray(np.floor(drawn) if np.dtype(dtype).kind in "iu" else drawn, dtype)
    kind = np.dtype(dtype).kind
    if kind == "f":
        return np.asarray(random.standard_normal(shape), dtype)
    return random.integers(0, 2 if kind == "b" else 8, shape).astype(dtype)


def compile_model(model: Path, package: Path, options: list) -> tuple[float, float]:
    """Seconds of a processor, and MiB, of `urza compile MODEL -o PACKAGE`."""
    command = [
        os.environ["URZA"],
        "compile",
        model,
        "-o",
        package,
        "--unsigned",
        "--no-cache",
        *options,
    ]
    script = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([done.returncode, done.stderr, used.ru_maxrss,\n"
        "                  used.ru_utime + used.ru_stime]))"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, command)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"compiles for more than {LIMIT_S} s") from None
    code, said, rss, seconds = json.loads(done.stdout)
    if code != 0:
        lines = [line for line in said.strip().splitlines() if not line.startswith("urza: warning")]
        raise Failure("\n    ".join(lines[:12])[:1500])
    return seconds, rss / 1024


def error_of(ours: list, theirs: list) -> float:
    """The largest difference of any output, in parts of its largest magnitude; whole numbers: how
    many differ, in parts of all."""
    worst = 0.0
    for a, b in zip(ours, theirs):
        b = np.asarray(b)
        if a.shape != b.shape:
            raise Failure(f"an output is {list(a.shape)}, not {list(b.shape)}")
        if b.size == 0:
            continue
        if b.dtype.kind != "f":
            worst = max(worst, float(np.mean(a != b)))
            continue
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return float("inf")
        if finite.any():
            scale = max(float(np.abs(b[finite]).max()), 1e-30)
            worst = max(worst, float(np.abs(a[finite].astype("f8") - b[finite]).max()) / scale)
    return worst


def take_turns(calls: list) -> list[float]:
    """Milliseconds of a call of each."""
    repeats, times = [], [[] for _ in calls]
    for call in calls:
        call()
        begin = time.perf_counter()
        call()
        repeats.append(max(1, int(TURN_S / (time.perf_counter() - begin))))
    for _ in range(ROUNDS):
        for call, repeat, taken in zip(calls, repeats, times):
            begin = time.perf_counter()
            for _ in range(repeat):
                call()
            taken.append((time.perf_counter() - begin) / repeat * 1e3)
    return [statistics.median(taken) for taken in times]


def survey(folder: Path, work: Path, quick: bool) -> dict:
    case = json.loads((folder / "case.json").read_text()) if (folder / "case.json").exists() else {}
    model = folder / "model.onnx"
    row = {"name": folder.name, "nodes": count_nodes(model), "MiB": model.stat().st_size / 2**20}
    try:
        package = work / f"{folder.name}.urza"
        row["compile"], row["rss"] = compile_model(
            model, package, ["--strategy", "fast", "--target", "native"] if quick else []
        )
        random = np.random.default_rng(1)
        plain = session(model, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        inputs = {v.name: draw(v, case, random) for v in plain.get_inputs()}
        right = plain.run(None, inputs)
        fast = session(model, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        row["theirs"] = error_of(fast.run(None, inputs), right)
        del plain
        loaded = Package(package)
        outputs = [v.name for v in fast.get_outputs()]
        call = loaded.prepare(
            inputs,
            [
                right[outputs.index(n)] if n in outputs else right[i]
                for i, n in enumerate(loaded.outputs)
            ],
        )
        row["error"] = error_of(call(), right)
        if not quick:
            row["ms"], row["ort"] = take_turns([call, lambda: fast.run(None, inputs)])
    except (Failure, OSError, ValueError, KeyError) as failure:
        row["failure"] = f"{type(failure).__name__} {failure}"
    except Exception as failure:  # ONNX Runtime raises classes of its own
        row["failure"] = f"ONNX Runtime: {failure}"[:600]
    return row


def count_nodes(path: Path) -> int:
    def within(graph):
        return sum(1 + sum(within(a.g) for a in n.attribute if a.HasField("g")) for n in graph.node)

    return within(onnx.load(path, load_external_data=False).graph)


HEAD = """| model | nodes | compile s | MiB | error (ONNX Runtime's own) | ms | ratio |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


def table_row(row: dict) -> str:
    if "failure" in row:
        return f"| {row['name']} | {row['nodes']} | {row['failure']} | | | | |"
    cells = [row["name"], str(row["nodes"]), f"{row['compile']:.1f}", f"{row['rss']:.0f}"]
    cells.append(f"{row['error']:.0e} ({row['theirs']:.0e})")
    cells += [f"{row['ms']:.3g}", f"{row['ort'] / row['ms']:.2f}"] if "ms" in row else ["", ""]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    quick = "--quick" in sys.argv
    folder, *parts = [word for word in sys.argv[1:] if word != "--quick"]
    work = Path(folder) / "packages"
    work.mkdir(exist_ok=True)
    rows = []
    print(HEAD)
    for model in sorted(Path(folder).glob("*/model.onnx")):
        if not parts or any(part in model.parent.name for part in parts):
            rows.append(survey(model.parent, work, quick))
            print(table_row(rows[-1]), flush=True)
    failed = sum("failure" in row for row in rows)
    print(f"\n{len(rows) - failed} of {len(rows)} compile and run as they are")
    return 1 if failed else 0


sys.exit(main())
