#!/usr/bin/env python3
"""Runs every FOLDER/*.onnx with ONNX Runtime: inputs NAME.inI.npy in order, outputs NAME.outI.npy.

What fails leaves its message in NAME.error. Exits with 77 where ONNX Runtime is not installed.
"""
import sys
from pathlib import Path

try:
    import numpy
    import onnxruntime
except ImportError as error:
    print(error)
    sys.exit(77)

onnxruntime.set_default_logger_severity(4)


def run(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # More would fuse f64 products with a factor that is kept as f32.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {}
    for i, value in enumerate(session.get_inputs()):
        feeds[value.name] = numpy.load(model.with_suffix(f".in{i}.npy"))
    for i, result in enumerate(session.run(None, feeds)):
        numpy.save(model.with_suffix(f".out{i}.npy"), result)


for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    try:
        run(path)
    except Exception as error:  # one failure of many; the test tells which
        path.with_suffix(".error").write_text(str(error))
