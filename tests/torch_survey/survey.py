#!/usr/bin/env python3
"""Exports architectures with torch.export, compiles and runs them, and compares with PyTorch.

Usage: survey.py [--urza PROGRAM] [--again] FOLDER [NAME...]

Each is exported for batches of all sizes, where it allows that, and run at one. A result is right
when its error, beside what PyTorch computes in float64, is at most BOUND times that of PyTorch's
own float32 result, or FLOOR. What is found of NAME is kept in FOLDER/NAME/result.json; what is
right already is not run anew, without --again. The last line counts; the exit status is 1 where one
is not right that architectures.EXPECTED does not name.
"""

import argparse
import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy
import torch
from torch.overrides import TorchFunctionMode

import architectures

BOUND = 4.0
FLOOR = 1e-6
LIMIT_S = 120
KEEP_BYTES = 120 << 20  # archives larger than this are exported again
# Where calls stand in the source.
WHERE = ("stack_trace", "nn_module_stack", "torch_fn", "from_node", "source_fn_stack")


class Wide(TorchFunctionMode):
    """Where a model asks for float32 by name, it gets float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def wide(x):
            return torch.float64 if x is torch.float32 else x

        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*map(wide, args), **{key: wide(x) for key, x in (kwargs or {}).items()})


def in_float64(model, inputs):
    """Experts one after the other: PyTorch's products of groups know no float64."""
    model = copy.deepcopy(model).double()
    for part in model.modules():
        if hasattr(getattr(part, "config", None), "_experts_implementation"):
            part.config._experts_implementation = "eager"
    torch.set_default_dtype(torch.float64)
    try:
        with Wide():
            return model(*(x.double() if x.is_floating_point() else x for x in inputs))
    finally:
        torch.set_default_dtype(torch.float32)


def export_batches(model, inputs):
    """For batches of all sizes, one for all inputs, where the model allows it."""
    batch = torch.export.Dim("batch") if len(inputs) > 1 else torch.export.Dim.AUTO
    shapes = (tuple({0: batch} if len(x) > 1 else None for x in inputs),)
    try:
        return torch.export.export(model, inputs, dynamic_shapes=shapes), True
    except Exception as error:  # of many kinds
        print(f"{type(error).__name__}: {error}")
    return torch.export.export(model, inputs), False


def export(name, folder):
    model, inputs = architectures.make(name)
    with torch.no_grad():
        got = model(*inputs)
        want = in_float64(model, inputs)
    program, dynamic = export_batches(model, inputs)
    for graph in program.graph_module.modules():  # those inside, too
        for node in graph.graph.nodes if isinstance(graph, torch.fx.GraphModule) else ():
            for key in WHERE:
                node.meta.pop(key, None)
    names = program.graph_signature.user_inputs
    for key, value in zip(names, inputs):
        numpy.save(folder / f"in.{key}.npy", value.numpy())
    for place, value in enumerate(got):
        numpy.save(folder / f"torch.{place}.npy", value.numpy())
    for place, value in enumerate(want):
        numpy.save(folder / f"expected.{place}.npy", value.numpy())
    torch.export.save(program, folder / "model.pt2")
    results = []
    for key in program.graph_signature.user_outputs:  # names, which may repeat
        results.append(f"{key}.{len(results)}" if key in results else key)
    info = {"inputs": list(names), "outputs": results, "dynamic": dynamic}
    (folder / "export.json").write_text(json.dumps(info))


def export_apart(name, folder):
    """In a child that has all modules already; what it says goes to export.log."""
    folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            log = os.open(folder / "export.log", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            signal.alarm(2 * LIMIT_S)
            export(name, folder)
            status = 0
        except BaseException as error:
            print(f"\n{type(error).__name__}: {error}", flush=True)
        os._exit(status)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        return None
    lines = (folder / "export.log").read_text(errors="replace").strip().splitlines()
    reasons = [line for line in lines if "Error" in line or "Exception" in line]
    return (reasons or lines or [f"status {status}"])[-1][:300]


def child(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=LIMIT_S)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"status {done.returncode}")


def rms(x):
    return float(numpy.sqrt(numpy.mean(numpy.square(x)))) if x.size else 0.0


def error_of(got, want):
    """Relative to the root mean square of what is finite; what is not must be the same."""
    got, want = got.astype(numpy.float64), want.astype(numpy.float64)
    finite = numpy.isfinite(want)
    if got.shape != want.shape or not numpy.array_equal(got[~finite], want[~finite],
                                                        equal_nan=True):
        return float("inf")
    if not numpy.isfinite(got[finite]).all():
        return float("inf")
    size = rms(want[finite])
    return rms(got[finite] - want[finite]) / (size if size > 0 else 1.0)


def judge(folder, results):
    """The largest error beside the one that is allowed."""
    worst = 0.0
    for place, file in enumerate(results):
        got, want, torchs = (numpy.load(path) for path in (
            file, folder / f"expected.{place}.npy", folder / f"torch.{place}.npy"))
        allowed = max(BOUND * error_of(torchs, want), FLOOR)
        worst = max(worst, error_of(got, want) / allowed)
    return worst


def compile_and_run(folder, urza):
    info = json.loads((folder / "export.json").read_text())
    package, out = folder / "model.urza", folder / "out"
    row = {"compiled": False, "right": False, "dynamic": info["dynamic"]}
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    try:
        child([urza, "compile", folder / "model.pt2", "-o", package, "--unsigned", "--strategy",
               "fast", "--target", "native", "--no-cache"])
        row["compiled"], row["seconds"] = True, time.perf_counter() - begin
        given = []
        for name in info["inputs"]:
            given += ["--in", f"{name}={folder}/in.{name}.npy"]
        child([urza, "run", package, "--allow-unsigned", "--out", out, *given])
        row["error"] = judge(folder, [out / f"{name}.npy" for name in info["outputs"]])
        row["right"] = row["error"] <= 1
    except subprocess.TimeoutExpired:
        row["why"] = f"more than {LIMIT_S} s"
    except RuntimeError as failure:
        row["why"] = str(failure)
    package.unlink(missing_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    return row


def survey(name, folder, options):
    known = folder / "result.json"
    if known.exists() and not options.again:
        row = json.loads(known.read_text())
        if row["right"]:
            return row
    why = None
    if not (folder / "export.json").exists() or not (folder / "model.pt2").exists():
        why = export_apart(name, folder)
    row = compile_and_run(folder, options.urza) if not why else {
        "compiled": False, "right": False, "why": "export: " + why, "no_export": True}
    row["name"] = name
    known.write_text(json.dumps(row))
    archive = folder / "model.pt2"
    if archive.exists() and archive.stat().st_size > KEEP_BYTES:
        archive.unlink()
    return row


def line(row):
    if row["right"]:
        return f"right     {row['name']:45} {row['seconds']:6.1f} s  {row['error']:.2f}"
    kind = "no export" if "no_export" in row else "wrong" if row["compiled"] else "refused"
    why = row.get("why") or f"{row['error']:.3g} times the error allowed"
    return f"{kind:9} {row['name']:45} {' '.join(why.split())[:400]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--urza", default="build/urza")
    parser.add_argument("--again", action="store_true", help="also what was right")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(1)
    import torchvision.models
    import transformers

    rows = []
    for name in options.names or architectures.names():
        rows.append(survey(name, options.folder / name, options))
        print(line(rows[-1]), flush=True)
    exported = [row for row in rows if "no_export" not in row]
    print(f"{len(rows)} architectures, {len(exported)} exported,"
          f" {sum(row['compiled'] for row in rows)} compiled,"
          f" {sum(row['right'] for row in rows)} right")
    return 0 if all(row["right"] or row["name"] in architectures.EXPECTED for row in rows) else 1


sys.exit(main())
