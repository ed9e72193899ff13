"""The contestants, each set up as its makers advise for inference with constant weights.

prepare(model, inputs) returns a function without arguments that computes the outputs once.
"""

import io
import sys
import time

import numpy as np

from blueprint import Model


def best_of(call, seconds: float = 0.3) -> int:
    """The least time of a call in ns, among those that fit into some tenths of a second."""
    call()
    best, end = None, time.perf_counter() + seconds
    while best is None or time.perf_counter() < end:
        begin = time.perf_counter_ns()
        call()
        taken = time.perf_counter_ns() - begin
        best = taken if best is None else min(best, taken)
    return best


class Torch:
    """Eager, convolutions in the faster of two layouts, or compiled by Inductor.

    Weights are frozen, so that Inductor packs and folds them. Sizes and weights do not change
    after compiling: what would check them at each call is left out. Inductor's wrapper in C++ is
    not used: small blocks are slower with it.
    """

    def __init__(self, name: str, threads: int):
        import torch

        self.name, self.version = name, torch.__version__
        torch.set_num_threads(threads)
        self.guard = torch.inference_mode()
        self.guard.__enter__()  # for good: entering it at each call would be measured
        if name != "torch":
            import torch._inductor.config as config

            config.freezing = True
            config.size_asserts = config.alignment_asserts = False

    def compiled(self, function):
        import torch
        from torch._inductor import list_mode_options

        mode = "max-autotune-no-cudagraphs" if self.name == "torch-compile-max" else "default"
        options = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
        return torch.compile(function, dynamic=False, options=list_mode_options(mode) | options)

    def variant(self, model: Model, inputs: list, memory_format):
        import torch
        from torch_model import BlueprintModule

        module = BlueprintModule(model).eval().to(memory_format=memory_format)
        function = module.forward if self.name == "torch" else self.compiled(module.forward)
        tensors = [torch.from_numpy(i) for i in inputs]
        tensors = [t.to(memory_format=memory_format) if t.dim() == 4 else t for t in tensors]
        return lambda: function(*tensors)

    def prepare(self, model: Model, inputs: list):
        import torch
        from torch_model import has_conv

        torch._dynamo.reset()  # what was compiled before skips its guards: it would be taken again
        if not has_conv(model):
            return self.variant(model, inputs, torch.contiguous_format)
        last = self.variant(model, inputs, torch.channels_last)
        if self.name != "torch":
            return last  # frozen convolutions are computed that way, whatever comes in
        return min(last, self.variant(model, inputs, torch.contiguous_format), key=best_of)


def export_onnx(model: Model, inputs: list) -> bytes:
    import torch
    from torch_model import BlueprintModule

    buffer = io.BytesIO()
    torch.onnx.export(BlueprintModule(model).eval(), tuple(torch.from_numpy(i) for i in inputs),
                      buffer, input_names=[f"in{i}" for i in range(len(inputs))],
                      output_names=[f"out{i}" for i in range(len(model.outputs))],
                      opset_version=17, dynamo=False, do_constant_folding=True)
    return buffer.getvalue()


class OnnxRuntime:
    def __init__(self, name: str, threads: int):
        import onnxruntime

        self.name, self.version, self.threads = name, onnxruntime.__version__, threads

    def prepare(self, model: Model, inputs: list):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        session = ort.InferenceSession(export_onnx(model, inputs), options,
                                       providers=["CPUExecutionProvider"])
        # An input that no node reads is not in the exported graph.
        known = {entry.name for entry in session.get_inputs()}
        feed = {f"in{i}": value for i, value in enumerate(inputs) if f"in{i}" in known}
        names = [f"out{i}" for i in range(len(model.outputs))]
        results = session.run(names, feed)
        binding = session.io_binding()  # results go to the same memory at each call
        for name, value in feed.items():
            binding.bind_cpu_input(name, value)
        for name, value in zip(names, results):
            binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(value))

        def call(owner=feed):
            session.run_with_iobinding(binding)
            return results
        return call


class OpenVino:
    def __init__(self, name: str, threads: int):
        import openvino

        self.name, self.version, self.threads = name, openvino.__version__, threads

    def prepare(self, model: Model, inputs: list):
        import openvino as ov

        core = ov.Core()
        compiled = core.compile_model(
            core.read_model(io.BytesIO(export_onnx(model, inputs))), "CPU",
            {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads,
             "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"})
        request = compiled.create_infer_request()
        known = {name for port in compiled.inputs for name in port.get_names()}
        arrays = {f"in{i}": np.ascontiguousarray(value) for i, value in enumerate(inputs)}
        for name in known & arrays.keys():
            request.set_tensor(name, ov.Tensor(arrays[name], shared_memory=True))
        results = [request.get_tensor(f"out{i}") for i in range(len(model.outputs))]

        def call(owner=arrays):  # the request only points to them
            request.infer()
            return [tensor.data for tensor in results]
        return call


class Jax:
    def __init__(self, name: str, threads: int):
        import jax

        jax.config.update("jax_enable_x64", True)  # else integers of 64 bits become 32
        jax.config.update("jax_cpu_enable_async_dispatch", False)  # no thread hands on the call
        self.name, self.version = name, jax.__version__

    def prepare(self, model: Model, inputs: list):
        import jax
        from jax_model import make_function

        function = make_function(model)
        arrays = [jax.device_put(i) for i in inputs]
        compiled = function.lower(*arrays).compile()
        return lambda: jax.block_until_ready(compiled(*arrays))


CONTESTANTS = {"torch": Torch, "torch-compile": Torch, "torch-compile-max": Torch,
               "onnxruntime": OnnxRuntime, "openvino": OpenVino, "jax": Jax}


def make_contestant(name: str, threads: int):
    if name not in CONTESTANTS:
        sys.exit(f"{name} is no contestant: {', '.join(CONTESTANTS)}")
    return CONTESTANTS[name](name, threads)
