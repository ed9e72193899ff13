"""Serves one contestant on stdin and stdout: one JSON object a line, as models.py speaks it.

  prepare  -> {"ok", "seconds", "worst"}: reads a model of a folder that export.py filled, until its
              first result is there; worst is how far that lies from the float64 one, in errors of
              PyTorch's float32
  run      -> {"ok", "ns"}: the wall time of `repeat` warm calls
  drop     -> {"ok"}

Whatever goes wrong is {"ok": false, "error"}. Libraries that print would break the protocol, so
their stdout is stderr.
"""

import ctypes
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

FLOOR = 2.0 ** -23  # of the largest magnitude: an error of this size means nothing


def read_inputs(folder: Path) -> dict:
    names = [p.stem for p in folder.glob("*.npy") if not p.stem.startswith(("torch.", "expected."))]
    return {name: np.load(folder / f"{name}.npy") for name in names}


def worst_error(folder: Path, outputs: list) -> float:
    worst = 0.0
    for place, value in enumerate(outputs):
        exact = np.load(folder / f"expected.{place}.npy")
        theirs = np.abs(np.load(folder / f"torch.{place}.npy") - exact).max()
        if value.shape != exact.shape or not np.isfinite(value).all():
            return float("inf")
        ours = np.abs(value - exact).max()
        worst = max(worst, ours / max(theirs, FLOOR * np.abs(exact).max()))
    return float(worst)


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
                ("byte_offset", ctypes.c_uint64)]


class LoadOptions(ctypes.Structure):
    _fields_ = [("trust", ctypes.c_int), ("trusted_keys", ctypes.c_void_p),
                ("trusted_key_count", ctypes.c_uint32), ("threads", ctypes.c_uint32),
                ("chunks", ctypes.c_uint32), ("target", ctypes.c_char_p),
                ("on_event", ctypes.c_void_p), ("user", ctypes.c_void_p),
                ("parallel", ctypes.c_void_p), ("most_trips", ctypes.c_int64),
                ("runtime", ctypes.c_void_p),
                # Room for fields that are added; zeros are defaults.
                ("newer", ctypes.c_void_p * 32)]


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("place", ctypes.c_char * 160),
                ("message", ctypes.c_char * 512)]


class Info(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p)]


class Urza:
    """Packages, by the runtime library."""

    def __init__(self, threads: int):
        self.library = ctypes.CDLL(os.environ["URZA_RUNTIME"])
        for function in ("input", "output"):
            getattr(self.library, f"urza_{function}_info").restype = ctypes.POINTER(Info)
        self.library.urza_version.restype = ctypes.c_char_p
        self.version, self.threads = self.library.urza_version().decode(), threads
        self.module = ctypes.c_void_p()

    def check(self, code: int, error: Error) -> None:
        if code != 0:
            raise RuntimeError(f"{error.place.decode()}: {error.message.decode()}")

    def prepare(self, request: dict, inputs: dict):
        error, library = Error(), self.library
        allow_unsigned = 2
        options = LoadOptions(trust=allow_unsigned, threads=self.threads)
        self.check(library.urza_load(request["package"].encode(), ctypes.byref(options),
                                     ctypes.byref(self.module), ctypes.byref(error)), error)
        count = library.urza_input_count(self.module)
        names = [library.urza_input_info(self.module, i)[0].name.decode() for i in range(count)]
        given, kept_in = self.tensors([inputs[name] for name in names])
        shapes = (ctypes.c_int64 * 8 * library.urza_output_count(self.module))()
        self.check(library.urza_output_shapes(self.module, given, count, shapes,
                                              ctypes.byref(error)), error)
        folder = Path(request["folder"])
        results = [np.empty_like(np.load(folder / f"torch.{i}.npy")) for i in range(len(shapes))]
        out, kept_out = self.tensors(results)

        def call():
            self.check(library.urza_call(self.module, given, count, out, len(results), None,
                                         ctypes.byref(error)), error)
            return results
        call.keeps = kept_in, kept_out
        return call

    def tensors(self, arrays: list):
        codes = {"i": 0, "u": 1, "f": 2, "b": 6}
        out, kept = (Tensor * len(arrays))(), []
        for tensor, array in zip(out, arrays):
            shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
            kept += [shape, array]
            tensor.data, tensor.device[0] = array.ctypes.data, 1
            tensor.ndim, tensor.shape = array.ndim, ctypes.addressof(shape)
            tensor.code, tensor.bits, tensor.lanes = (codes[array.dtype.kind],
                                                      8 * array.dtype.itemsize, 1)
        return out, kept

    def drop(self) -> None:
        self.library.urza_unload(self.module)
        self.module = ctypes.c_void_p()


class OnnxRuntime:
    def __init__(self, threads: int):
        import onnxruntime

        self.version, self.threads = onnxruntime.__version__, threads

    def prepare(self, request: dict, inputs: dict):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(request["folder"] + "/model.onnx", options,
                                       providers=["CPUExecutionProvider"])
        return lambda: session.run(None, inputs)

    def drop(self) -> None:
        pass


class OpenVino:
    def __init__(self, threads: int):
        import openvino

        self.version, self.threads = openvino.__version__, threads

    def prepare(self, request: dict, inputs: dict):
        import openvino as ov

        core = ov.Core()
        compiled = core.compile_model(
            core.read_model(request["folder"] + "/model.onnx"), "CPU",
            {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads,
             "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"})
        infer = compiled.create_infer_request()
        for name, value in inputs.items():
            infer.set_tensor(name, ov.Tensor(value, shared_memory=True))
        results = [infer.get_output_tensor(i) for i in range(len(compiled.outputs))]

        def call():
            infer.infer()
            return [tensor.data for tensor in results]
        return call

    def drop(self) -> None:
        pass


class TorchCompile:
    """Inductor with weights frozen, which packs them and chooses the layout of convolutions."""

    def __init__(self, threads: int):
        import torch
        import torch._inductor.config as config

        self.version = torch.__version__
        config.freezing = True
        torch.set_num_threads(threads)
        self.guard = torch.inference_mode()

    def prepare(self, request: dict, inputs: dict):
        import torch
        from definitions import input_names, make

        model, _ = make(request["name"], request["tiny"])
        self.guard.__enter__()  # once: entering it at each call would be measured
        tensors = [torch.from_numpy(inputs[name]) for name in input_names(model, inputs)]
        self.begin = time.perf_counter()  # making the model is no part of compiling it
        compiled = torch.compile(model, dynamic=False)

        def call():
            result = compiled(*tensors)
            return result if isinstance(result, tuple) else (result,)
        return call

    def drop(self) -> None:
        import torch

        self.guard.__exit__(None, None, None)
        torch._dynamo.reset()


CONTESTANTS = {"urza": Urza, "onnxruntime": OnnxRuntime, "openvino": OpenVino,
               "torch-compile": TorchCompile}


class Server:
    def __init__(self, contestant):
        self.contestant, self.call = contestant, None

    def hello(self, request: dict) -> dict:
        return {"version": self.contestant.version}

    def prepare(self, request: dict) -> dict:
        folder = Path(request["folder"])
        inputs = read_inputs(folder)
        self.contestant.begin = time.perf_counter()
        call = self.contestant.prepare(request, inputs)
        outputs = call()
        seconds = time.perf_counter() - self.contestant.begin
        self.call = call
        return {"seconds": seconds, "worst": worst_error(folder, [np.asarray(o) for o in outputs])}

    def run(self, request: dict) -> dict:
        call = self.call
        begin = time.perf_counter_ns()
        for _ in range(request["repeat"]):
            call()
        return {"ns": time.perf_counter_ns() - begin}

    def drop(self, request: dict) -> dict:
        self.call = None
        self.contestant.drop()
        return {}

    def answer(self, line: str) -> dict:
        try:
            request = json.loads(line)
            ops = {"hello": self.hello, "prepare": self.prepare, "run": self.run, "drop": self.drop}
            return {"ok": True} | ops[request["op"]](request)
        except Exception as error:  # whatever a library raises must reach the other side as a reply
            text = str(error).strip() or type(error).__name__
            return {"ok": False, "error": text[:2000]}


def main() -> None:
    name, threads = sys.argv[1], int(sys.argv[2])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    server = Server(CONTESTANTS[name](threads))
    for line in sys.stdin:
        print(json.dumps(server.answer(line)), file=replies, flush=True)


main()
