#!/usr/bin/env python3
"""Writes the models of tests/data/onnx with their inputs and right outputs.

Usage: python3 tests/data/make_onnx.py [FOLDER] [PART OF A NAME]

Needs onnx 1.23, onnxruntime 1.32 and numpy. Cases have the form of the ONNX project's: model.onnx,
test_data_set_0/input_0.pb … and output_0.pb …. The outputs of those named test_ort_… are ONNX
Runtime's, without its optimiser; all others are those of the reference implementation of onnx, or
stand beside them. Kinds of models have files of their own in onnx_make/.
"""
import shutil
import sys
from pathlib import Path

from onnx_make import attention, counted, loops, microsoft, quantised, shapes
from onnx_make.kit import Settings

if __name__ == "__main__":
    if len(sys.argv) > 1:
        Settings.folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        Settings.wanted = sys.argv[2]
    counted.counted_uniques()
    counted.counted_suppressions()
    counted.counted_detectors()
    counted.counted_values()
    shapes.reductions()
    loops.loops()
    loops.conditions()
    loops.endings()
    loops.recurrences()
    quantised.quantized_lstm()
    quantised.quantised_ops()
    quantised.few_bits()
    microsoft.fused()
    microsoft.microsoft_images()
    attention.attentions()
    attention.group_query_attention()
    shapes.pads()
    shapes.index_types()
    shapes.defaults()
    shapes.open_dims()
    if not Settings.wanted:
        for old in (Settings.folder / "node").iterdir():
            if old.name[len("test_"):] not in Settings.made:
                shutil.rmtree(old)
    print(f"{len(Settings.made)} cases")
