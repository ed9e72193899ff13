"""What all models are made with: numbers, nodes, and a case written to a folder."""
import shutil
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

MICROSOFT = "com.microsoft"


class Settings:
    """folder: where cases go; wanted: a part of the names of those that are written."""

    folder = Path(__file__).resolve().parents[1] / "onnx"
    wanted = ""
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
    if Settings.wanted not in name:
        return
    assert name not in Settings.made, name
    Settings.made.add(name)
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
    folder = Settings.folder / "node" / f"test_{name}"
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
