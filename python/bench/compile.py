"""Training steps a second of PyTorch's eager mode, torch.compile (inductor) and urza.compile.

Usage: PATH=build:$PATH python python/bench/compile.py [--core N] [--no-inductor] [NAME...]

Ten blocks written with torch.nn, with random weights, on one core: forward, loss, backward and a
step of SGD, in rounds of the three by turns; the median of the rounds. All are in training mode:
convolutions with batch norm, whose statistics each step updates. Where torchvision is installed the
first two of those are its own. Prints a table of Markdown, with the seconds until each compiled
module has made its first step.
"""
import argparse
import copy
import os
import statistics
import time
import warnings

import torch
import urza
from torch import nn

ROUNDS, ROUND_SECONDS = 5, 0.4


def norm_act(inputs, outputs, size, stride=1, groups=1):
    return [nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class Residual(nn.Module):
    def __init__(self, *body, after=nn.Identity):
        super().__init__()
        self.body, self.after = nn.Sequential(*body), after()

    def forward(self, x):
        return self.after(x + self.body(x))


def of_torchvision(width, channels):
    """ResNet's block of two convolutions, and MobileNet's of three."""
    try:
        from torchvision.models.mobilenetv2 import InvertedResidual
        from torchvision.models.resnet import BasicBlock
    except ImportError:
        basic = Residual(*norm_act(width, width, 3), *norm_act(width, width, 3)[:2], after=nn.ReLU)
        wide = 6 * channels
        return basic, Residual(*norm_act(channels, wide, 1), *norm_act(wide, wide, 3, groups=wide),
                               nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels))
    return BasicBlock(width, width), InvertedResidual(channels, channels, 1, 6)


class Block(nn.Module):
    """A transformer's block with RMS norms, a gated MLP and causal attention, as of Llama."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.gate, self.up = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.first(x)).view(batch, length, 3, self.heads, -1).unbind(2)
        h = nn.functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
        x = x + self.out(h.transpose(1, 2).reshape(batch, length, width))
        h = self.second(x)
        return x + self.down(nn.functional.silu(self.gate(h)) * self.up(h))


class First(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


def blocks():
    def encoder(**words):
        return nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True, **words)
    basic, inverted = of_torchvision(32, 16)
    return {
        "mlp": (nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
                              nn.Linear(512, 10)), torch.randn(32, 256)),
        "small mlp": (nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)),
                      torch.randn(16, 16)),
        "residual mlp": (nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 512), nn.GELU(),
                                       nn.Linear(512, 128)), torch.randn(64, 128)),
        "resnet block": (basic, torch.randn(4, 32, 28, 28)),
        "mobilenet block": (inverted, torch.randn(4, 16, 28, 28)),
        "small convnet": (nn.Sequential(*norm_act(3, 16, 3), nn.MaxPool2d(2), *norm_act(16, 32, 3),
                                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
                          torch.randn(8, 3, 32, 32)),
        "encoder layer": (encoder(activation="gelu"), torch.randn(4, 32, 128)),
        "vit encoder": (nn.Sequential(encoder(norm_first=True), encoder(norm_first=True)),
                        torch.randn(2, 49, 128)),
        "llama block": (Block(128, 4), torch.randn(4, 32, 128)),
        "lstm": (First(nn.LSTM(64, 64, batch_first=True)), torch.randn(8, 16, 64)),
    }


def stepper(module, x, optimized):
    optimizer = torch.optim.SGD(optimized.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        y = module(x)
        (y * y).mean().backward()
        optimizer.step()
    return step


def prepared(block, x, compile_it):
    """A step, and the seconds until the first one was made."""
    block = copy.deepcopy(block)
    began = time.perf_counter()
    step = stepper(compile_it(block, x), x, block)
    step()
    return step, time.perf_counter() - began


def rates(steps):
    """Steps a second of each, median of rounds by turns."""
    seen = [[] for _ in steps]
    for _ in range(ROUNDS):
        for step, found in zip(steps, seen, strict=True):
            count, began = 0, time.perf_counter()
            while (took := time.perf_counter() - began) < ROUND_SECONDS:
                step()
                count += 1
            found.append(count / took)
    return [statistics.median(found) for found in seen]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=int, default=1)
    parser.add_argument("--no-inductor", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    print("| block | eager, steps/s | inductor | urza | to compile, s: inductor | urza |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (block, x) in blocks().items():
        if options.names and name not in options.names:
            continue
        eager, _ = prepared(block, x, lambda module, _: module)
        ours, our_seconds = prepared(block, x, lambda module, x: urza.compile(module, (x,)))
        steps, seconds = [eager, ours], None
        if not options.no_inductor:
            theirs, seconds = prepared(block, x, lambda module, _: torch.compile(module))
            steps.append(theirs)
        found = [f"{rate:.0f}" for rate in rates(steps)] + ["–"]
        print(f"| {name} | {found[0]} | {found[2]} | {found[1]} | "
              f"{'–' if seconds is None else f'{seconds:.1f}'} | {our_seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
