#!/usr/bin/env python3
"""A training step's forward and backward pass beside PyTorch, eager and compiled.

Usage: backward.py [--threads N] [--rounds N] [--no-compile] BLUEPRINT[:DIMS]...

Each blueprint is compiled with --backward, of all floats. Contestants take turns, several rounds
of them, and the least time of each counts; gradients are compared first. A column says PyTorch's
time divided by ours. The program is $URZA, else build/urza.
"""

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import torch

from blueprint import read_model
from torch_model import BlueprintModule

URZA = os.environ.get("URZA", str(Path(__file__).resolve().parents[2] / "build/urza"))


def urza(*words):
    return subprocess.run([URZA, *words], check=True, capture_output=True, text=True).stdout


def differentiated(model):
    """Inputs and parameters, but for the running statistics of norms, which PyTorch does not."""
    running = {o[0] for n in model.nodes if n.op == "batch_norm" for o in n.operands[1:3] if o}
    return [name for name in list(model.inputs) + list(model.params) if name not in running]


class Torch:
    """Gradients of inputs and parameters, as `urza bench --backward` computes them."""

    def __init__(self, model, inputs, compiled):
        self.module = BlueprintModule(model)
        self.names = differentiated(model)
        self.inputs = [torch.from_numpy(x).requires_grad_() for x in inputs]
        given = dict(zip(model.params, self.module.parameters()))
        given.update(zip(model.inputs, self.inputs))
        for name, value in given.items():
            value.requires_grad_(name in self.names)
        self.leaves = [given[name] for name in self.names]
        self.call = torch.compile(self.module.forward) if compiled else self.module.forward
        outputs = self.call(*self.inputs)
        self.outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        self.cotangents = None

    def step(self):
        outputs = self.call(*self.inputs)
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return torch.autograd.grad(outputs, self.leaves, self.cotangents, allow_unused=True)


def best_ms(call, seconds):
    best, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter_ns()
        call()
        best = min(best, time.perf_counter_ns() - begin)
    return best * 1e-6


def take_turns(ours, peers, options, seconds):
    """The least time of each contestant over all rounds, in ms; ours: a call that gives its own."""
    times = [math.inf] * (len(peers) + 1)
    for _ in range(options.rounds):
        times[0] = min(times[0], ours())
        for i, peer in enumerate(peers, 1):
            times[i] = min(times[i], best_ms(peer.step, seconds))
    return times


def options_parser(doc):
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def print_head(words, contestants):
    """Of a table: words name what is measured."""
    columns = [*words, "ours, ms", *contestants, "largest difference"]
    print(f"| {' | '.join(columns)} |")
    print("| --- " * len(columns) + "|")


def print_row(words, times, worst, contestants):
    """A contestant that did not take part has a dash."""
    ratios = [f"{t / times[0]:.2f}" for t in times[1:]]
    ratios += ["—"] * (len(contestants) - len(ratios))
    print(f"| {' | '.join([*words, f'{times[0]:.3f}', *ratios])} | {worst:.1e} |", flush=True)


def compare(folder, package, dims, model):
    """Both on the same random numbers: the largest distance of a gradient, by its own scale."""
    urza("run", package, "--backward", "--dims", dims, "--out", f"{folder}/none")
    shapes = [np.load(f"{folder}/none/grad.{name}.npy") for name in model.inputs]
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal(x.shape, dtype=np.float32) for x in shapes]
    peer = Torch(model, inputs, False)
    peer.cotangents = [torch.randn_like(y) for y in peer.outputs]
    words = []
    for name, value in zip(model.inputs, inputs):
        np.save(f"{folder}/{name}.npy", value)
        words += ["--in", f"{name}={folder}/{name}.npy"]
    for (name, _), value in zip(model.outputs, peer.cotangents):
        np.save(f"{folder}/d.{name}.npy", value.numpy())
        words += ["--cotangent", f"{name}={folder}/d.{name}.npy"]
    urza("run", package, "--backward", *words, "--out", f"{folder}/ours")
    worst, gradients = 0.0, peer.step()
    least = 1e-6 * max(float(g.abs().max()) for g in gradients if g is not None)
    for name, gradient in zip(peer.names, gradients):
        ours = np.load(f"{folder}/ours/grad.{name}.npy")
        theirs = np.zeros_like(ours) if gradient is None else gradient.numpy()
        scale = max(np.abs(theirs).max(), least)  # some are 0 but for roundings
        worst = np.maximum(worst, np.abs(ours - theirs).max() / scale)  # a NaN stays
    return inputs, peer.cotangents, worst


def compile_step(blueprint, folder, *given):
    """A package with its backward pass, of what PyTorch differentiates, and the model for it.

    given: more options of compile. The blueprint is then in folder/native.json, too.
    """
    package, native = f"{folder}/step.urza", f"{folder}/native.json"
    how = [*given, "--strategy", "fast", "--target", "native", "-o", package]
    urza("compile", blueprint, *how)
    urza("import", blueprint, "-o", native)
    params = Path(folder, "params.safetensors")
    params.write_bytes(zipfile.ZipFile(package).read("params.safetensors"))
    model = read_model(native, str(params))
    urza("compile", blueprint, "--backward", "--wrt", ",".join(differentiated(model)), *how)
    return package, model


def measure(blueprint, dims, options):
    torch._dynamo.reset()  # else sizes of the block before this one make later ones dynamic
    with tempfile.TemporaryDirectory() as folder:
        package, model = compile_step(blueprint, folder)
        inputs, cotangents, worst = compare(folder, package, dims, model)
        peers = [Torch(model, inputs, compiled) for compiled in ([False, True] if options.compile
                                                                 else [False])]
        for peer in peers:
            peer.cotangents = cotangents
            peer.step()

        def ours():
            figures = json.loads(urza("bench", package, "--backward", "--dims", dims, "--threads",
                                      str(options.threads), "--seconds", "0.5", "--json"))
            return figures["min_us"] * 1e-3

        return take_turns(ours, peers, options, 0.5), worst


def main():
    parser = options_parser(__doc__)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("blueprints", nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    contestants = ["eager", "compiled"]
    print_head(["block", "dims"], contestants)
    for text in options.blueprints:
        blueprint, _, dims = text.partition(":")
        times, worst = measure(blueprint, dims, options)
        print_row([Path(blueprint).stem, dims], times, worst, contestants)


if __name__ == "__main__":
    main()
