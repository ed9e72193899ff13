#!/usr/bin/env python3
"""One package at many shapes: results and gradients beside PyTorch's in float64.

Usage: shapes.py [--count N] [--seed N] [--tokens N] BLUEPRINT DIM=LEAST..MOST DIM=LEAST..MOST

The blueprint is compiled once, with --backward and these ranges of two dims. Shapes are drawn
evenly on a logarithmic scale, ends of the ranges first, with at most so many tokens (the product).
Distances count by each tensor's own scale, or a thousandth of the largest gradient, since some
are 0 but for roundings. Shapes outside of the ranges must be
refused, with the dim's name. The program is $URZA, else build/urza.
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from backward import URZA, Torch, compile_step, urza


def draw(rng, ranges, tokens):
    while True:
        sizes = [round(math.exp(rng.uniform(math.log(a), math.log(b)))) for a, b in ranges]
        if sizes[0] * sizes[1] <= tokens:
            return sizes


def shapes(options, ranges):
    rng = np.random.default_rng(options.seed)
    (a, b), (c, d) = ranges
    ends = [(a, c), (b, c), (a, d), (a + 1, c), (a, c + 1)]
    ends = [size for size in ends if size[0] * size[1] <= options.tokens]
    return ends + [draw(rng, ranges, options.tokens) for _ in range(options.count - len(ends))]


def run(package, folder, names, arrays, cotangents):
    words = []
    for name, array in zip(names, arrays):
        np.save(f"{folder}/{name}.npy", array)
        words += ["--in", f"{name}={folder}/{name}.npy"]
    for name, array in cotangents:
        np.save(f"{folder}/d.{name}.npy", array)
        words += ["--cotangent", f"{name}={folder}/d.{name}.npy"]
    urza("run", package, "--backward", *words, "--out", f"{folder}/ours")


def distance(folder, name, theirs, least=0.0):
    ours = np.load(f"{folder}/ours/{name}.npy")
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), least, 1e-30))


def compare(package, folder, model, inputs, rng):
    """The largest distance for these inputs."""
    peer = Torch(model, [x.astype(np.float64) for x in inputs], False)
    cotangents = [rng.standard_normal(tuple(y.shape), dtype=np.float32) for y in peer.outputs]
    peer.cotangents = [torch.from_numpy(c.astype(np.float64)) for c in cotangents]
    names = [name for name, _ in model.outputs]
    run(package, folder, model.inputs, inputs, list(zip(names, cotangents)))
    found = [distance(folder, n, y.detach().numpy()) for n, y in zip(names, peer.outputs)]
    gradients = peer.step()
    least = 1e-3 * max(float(g.abs().max()) for g in gradients if g is not None)
    for name, gradient in zip(peer.names, gradients):
        found.append(distance(folder, f"grad.{name}", gradient.numpy(), least))
    return float(np.max(found))  # a NaN stays


def refused(package, names, sizes):
    """What it says of sizes outside of the ranges."""
    words = ",".join(f"{n}={s}" for n, s in zip(names, sizes))
    done = subprocess.run([URZA, "run", package, "--dims", words, "--random", "1"],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("blueprint")
    parser.add_argument("dims", nargs=2)
    options = parser.parse_args()
    names = [text.partition("=")[0] for text in options.dims]
    ranges = [tuple(map(int, text.partition("=")[2].split(".."))) for text in options.dims]
    torch.set_default_dtype(torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        given = [word for text in options.dims for word in ("--dim", text)]
        package, model = compile_step(options.blueprint, folder, *given)
        model.params = {name: value.astype(np.float64) for name, value in model.params.items()}
        document = json.loads(Path(folder, "native.json").read_text())
        rng, worst, where = np.random.default_rng(options.seed), 0.0, None
        drawn = shapes(options, ranges)
        for sizes in drawn:
            dims = dict(zip(names, sizes))
            inputs = [rng.standard_normal([dims.get(d, d) for d in item["shape"]],
                                          dtype=np.float32) for item in document["inputs"]]
            found = compare(package, folder, model, inputs, rng)
            if not found <= worst:
                worst, where = found, sizes
        print(f"{len(drawn)} shapes, largest distance {worst:.2e} at {where}")
        for outside in ((ranges[0][1] + 1, ranges[1][0]), (ranges[0][0], ranges[1][1] + 1)):
            print(outside, *refused(package, names, outside))


if __name__ == "__main__":
    main()
