"""Writes the twins: FOLDER/NAME--WAY/model.onnx and case.json, as survey.py takes them.

Usage: write_twins.py FOLDER [PART OF A NAME...]

Ways are `script` and `dynamo`, the two exporters of PyTorch, `nodes` for graphs that were put
together node by node, and for minilm `dynamic` and `qdq`, quantised by ONNX Runtime from `script`.
What an exporter refuses is said, and left out.
"""

import inspect
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime import quantization

import twins_graphs
import twins_images  # noqa: F401  these four fill TWINS
import twins_others  # noqa: F401
import twins_sound  # noqa: F401
import twins_text  # noqa: F401
from twins import TWINS

warnings.filterwarnings("ignore")


def by_script(model, inputs, dims, path, outputs):
    torch.onnx.export(
        model,
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=outputs,
        dynamic_axes=dims or None,
        opset_version=17,
        dynamo=False,
    )


def by_dynamo(model, inputs, dims, path, outputs):
    shapes = [
        {axis: torch.export.Dim.DYNAMIC for axis in dims.get(name, {})} or None for name in inputs
    ]
    parameters = list(inspect.signature(model.forward).parameters.values())
    if parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL:
        fixed = len(parameters) - 1
        shapes = shapes[:fixed] + [tuple(shapes[fixed:])]
    torch.onnx.export(
        model,
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=outputs,
        dynamic_shapes=tuple(shapes) if dims else None,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def prepare(model):
    """Running statistics as after training, not 0 and 1."""
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)


def write_torch(name, make, folder):
    torch.manual_seed(0)
    model, inputs, dims = make()
    prepare(model)
    with torch.no_grad():
        result = model(*inputs.values())
    outputs = [f"out{i}" for i in range(len(result) if isinstance(result, tuple) else 1)]
    case = {
        "shapes": {key: list(value.shape) for key, value in inputs.items()},
        "values": {
            key: value.tolist() for key, value in inputs.items() if not value.is_floating_point()
        },
    }
    for way, export in {"script": by_script, "dynamo": by_dynamo}.items():
        target = folder / f"{name}--{way}"
        target.mkdir(parents=True, exist_ok=True)
        (target / "case.json").write_text(json.dumps(case))
        try:
            export(model, inputs, dims, target / "model.onnx", outputs)
        except Exception as error:  # exporters raise classes of their own
            print(f"{target.name}: not exported: {str(error).strip().splitlines()[0][:150]}")


class Samples(quantization.CalibrationDataReader):
    def __init__(self, case):
        self.left = [{k: np.array(v, "i8") for k, v in case["values"].items()}] * 4

    def get_next(self):
        return self.left.pop() if self.left else None


def write_quantised(name, folder):
    source = folder / f"{name}--script"
    case = json.loads((source / "case.json").read_text())
    for way in ("dynamic", "qdq"):
        target = folder / f"{name}--{way}"
        target.mkdir(parents=True, exist_ok=True)
        (target / "case.json").write_text(json.dumps(case))
        paths = str(source / "model.onnx"), str(target / "model.onnx")
        if way == "dynamic":
            quantization.quantize_dynamic(*paths, weight_type=quantization.QuantType.QInt8)
        else:
            quantization.quantize_static(
                *paths, Samples(case), quant_format=quantization.QuantFormat.QDQ
            )


def write_graph(name, make, folder):
    target = folder / f"{name}--nodes"
    target.mkdir(parents=True, exist_ok=True)
    model, case = make()
    onnx.save(model, target / "model.onnx")
    (target / "case.json").write_text(json.dumps(case))


def main():
    folder, parts = Path(sys.argv[1]), sys.argv[2:]
    for name, make in TWINS.items():
        if parts and not any(part in name for part in parts):
            continue
        if make.__module__ == twins_graphs.__name__:
            write_graph(name, make, folder)
        else:
            write_torch(name, make, folder)
    if not parts or any(part in "minilm" for part in parts):
        write_quantised("minilm", folder)


main()
