#!/usr/bin/env python3
"""Gradients of convolutions beside oneDNN's, which PyTorch calls.

Usage: convolutions.py [--threads N] [--rounds N] [NAME]...

Of each convolution the backward pass alone is timed, by the input and the weights: our launches of
`backward`, as `urza profile` has them, and autograd's call for an output that is kept. PyTorch has
images channels first and channels last; the better one counts. Contestants take turns, the least
time of each counts, and gradients are compared first. A column says PyTorch's time divided by ours.
The program is $URZA, else build/urza.
"""

import json
import math
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from backward import options_parser, print_head, print_row, take_turns, urza

#         name                batch, channels, size, out, window, stride, groups
LAYERS = {
    "stem 7x7": (1, 3, 224, 64, 7, 2, 1),
    "3x3 64": (1, 64, 56, 64, 3, 1, 1),
    "3x3 128": (1, 128, 28, 128, 3, 1, 1),
    "3x3 256": (1, 256, 14, 256, 3, 1, 1),
    "3x3 512": (1, 512, 7, 512, 3, 1, 1),
    "3x3 128 by 2": (1, 128, 56, 128, 3, 2, 1),
    "1x1 256 to 64": (1, 256, 56, 64, 1, 1, 1),
    "1x1 256 to 1024": (1, 256, 14, 1024, 1, 1, 1),
    "1x1 256 by 2": (1, 256, 56, 512, 1, 2, 1),
    "3x3 in 32 groups": (1, 128, 56, 128, 3, 1, 32),
    "depthwise 3x3": (1, 96, 56, 96, 3, 1, 96),
    "depthwise 5x5": (1, 480, 14, 480, 5, 1, 480),
    "3x3 64, 8 images": (8, 64, 28, 64, 3, 1, 1),
    "1x1 128, 8 images": (8, 128, 28, 128, 1, 1, 1),
}


def blueprint(layer):
    batch, channels, size, out, window, stride, groups = layer
    return {
        "format": "urza.blueprint/1", "name": "convolution",
        "inputs": [{"id": "x", "dtype": "f32", "shape": [batch, channels, size, size]},
                   {"id": "w", "dtype": "f32",
                    "shape": [out, channels // groups, window, window]}],
        "nodes": [{"id": "y", "op": "conv2d", "in": ["x", "w"],
                   "attrs": {"stride": stride, "padding": window // 2, "groups": groups}}],
        "outputs": ["y"],
    }


class Peer:
    def __init__(self, layer, x, w, cotangent, last):
        how = torch.channels_last if last else torch.contiguous_format
        self.x = torch.from_numpy(x).contiguous(memory_format=how).requires_grad_()
        self.w = torch.from_numpy(w).contiguous(memory_format=how).requires_grad_()
        self.cotangent = torch.from_numpy(cotangent).contiguous(memory_format=how)
        self.y = torch.nn.functional.conv2d(self.x, self.w, stride=layer[5],
                                            padding=layer[4] // 2, groups=layer[6])

    def step(self):
        return torch.autograd.grad(self.y, [self.x, self.w], self.cotangent, retain_graph=True)


def backward_ms(package, first, threads):
    """The launches of the backward pass in one profile, mean of its calls."""
    profile = json.loads(urza("profile", package, "--backward", "--no-peak", "--threads",
                              str(threads), "--seconds", "0.3", "--json"))
    return sum(launch["us"] for launch in profile["launches"][first:]) * 1e-3


def measure(name, options):
    layer = LAYERS[name]
    batch, channels, size, out, window, stride, groups = layer
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, channels, size, size), dtype=np.float32)
    w = rng.standard_normal((out, channels // groups, window, window), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        source, package = f"{folder}/conv.json", f"{folder}/conv.urza"
        Path(source).write_text(json.dumps(blueprint(layer)))
        urza("compile", source, "--backward", "--target", "native", "--strategy", "fast", "-o",
             package)
        urza("run", package, "--backward", "--out", folder)
        shape = np.load(f"{folder}/y.npy").shape
        cotangent = rng.standard_normal(shape, dtype=np.float32)
        for word, value in [("x", x), ("w", w), ("c", cotangent)]:
            np.save(f"{folder}/{word}.npy", value)
        urza("run", package, "--backward", "--in", f"x={folder}/x.npy", "--in",
             f"w={folder}/w.npy", "--cotangent", f"y={folder}/c.npy", "--out", folder)
        peers = [Peer(layer, x, w, cotangent, last) for last in (False, True)]
        worst = 0.0
        for found, ours in zip(peers[0].step(), ("x", "w")):
            ours = np.load(f"{folder}/grad.{ours}.npy")
            error = np.abs(ours - found.numpy()).max() / np.abs(ours).max()
            worst = np.maximum(worst, error)  # a NaN stays
        shown = json.loads(urza("inspect", package, "--json"))
        first = next(t["forward_train"] for t in shown["training"]["targets"])
        ours = partial(backward_ms, package, first, options.threads)
        return take_turns(ours, peers, options, 0.3), worst


def main():
    parser = options_parser(__doc__)
    parser.add_argument("names", nargs="*", default=list(LAYERS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    contestants, ratios = ["channels first", "channels last"], []
    print_head(["convolution"], contestants)
    for name in options.names:
        times, worst = measure(name, options)
        ratios.append(min(times[1:]) / times[0])
        print_row([name], times, worst, contestants)
    mean = math.exp(sum(math.log(r) for r in ratios) / len(ratios))
    print(f"\nthe better of PyTorch's over ours: geometric mean {mean:.2f}, "
          f"least {min(ratios):.2f}")


if __name__ == "__main__":
    main()
