#!/usr/bin/env python3
"""Writes the node cases of the installed package onnx, and its small models, below FOLDER."""
import sys

import onnx
import onnx.backend.test.case.model as models
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.cmd_tools import parse_args

cases = collect_testcases(None) + models.collect_testcases()
cases = [case for case in cases if case.kind != "real"]  # those would be downloaded
models.collect_testcases = lambda: cases
sys.argv = [sys.argv[0], "generate-data", "--output", sys.argv[1]]
args = parse_args()
args.func(args)
print(f"{len(cases)} cases of onnx {onnx.__version__}")
