#!/usr/bin/env python3
"""Training beside PyTorch, eager and compiled: the programs of examples/train and their twins.

Usage: train.py [--threads N] [--rounds N] [--steps N] [--no-compile] text|digits...

A twin is the same network, written in PyTorch, with the weights of our checkpoint of step 0, the
same batches in the same order, and torch.optim.AdamW (fused) with the same settings. First both
make the steps, and the losses of the last tenth are compared; then contestants take turns, several
rounds of some steps, and the fastest step of each counts; the drawing of batches does not.
Programs are in the folder $URZA_BUILD_DIR, else build/. The status is 1 when losses differ by more
than 1 %.
"""

import argparse
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from blueprint import read_safetensors

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("URZA_BUILD_DIR", ROOT / "build"))
WARMUP, DECAY, CLIP, SEED = 20, 0.1, 1.0, 1
BOUND = 0.01  # of the loss
ROUND = 30  # steps


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        h = self.norm1(x)
        q, k, v = (f(h).unflatten(2, (self.heads, -1)).transpose(1, 2)
                   for f in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(h.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, characters=128, width=128, most=128, blocks=2, heads=4):
        super().__init__()
        self.tokens, self.places = nn.Embedding(characters, width), nn.Embedding(most, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, characters)

    def forward(self, x, y):
        h = self.tokens(x) + self.places.weight[:x.shape[1]]
        for block in self.blocks:
            h = block(h)
        return F.cross_entropy(self.head(self.norm(h)).flatten(0, 1), y.flatten())


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 49, 10)

    def forward(self, x, y):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.cross_entropy(self.fc(x.flatten(1)), y)


def mixed(x):
    """random_mix of examples/train/random.h, of an array."""
    with np.errstate(over="ignore"):
        x = np.asarray(x, np.uint64) + np.uint64(0x9e3779b97f4a7c15)
        x = (x ^ x >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
        x = (x ^ x >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
        return x ^ x >> np.uint64(31)


def random_bits(step, count):
    with np.errstate(over="ignore"):
        base = mixed(mixed(np.uint64(SEED)) + np.uint64(step))
        return mixed(base + np.arange(count, dtype=np.uint64))


class Text:
    blueprint, loss, program = "char_transformer", "loss", "train-text"
    net, rate, rows, length = Transformer, 0.002, 16, 64

    def __init__(self):
        self.files = sorted(str(path) for path in (ROOT / "docs").glob("*.md"))
        data = b"".join(Path(path).read_bytes() for path in self.files)
        self.text = np.frombuffer(data, np.uint8).astype(np.int64)
        self.text[self.text > 127] = ord("?")

    def batch(self, step):
        places = len(self.text) // 10 * 9 - self.length
        at = random_bits(step, self.rows) % np.uint64(places)
        index = at.astype(np.int64)[:, None] + np.arange(self.length)
        return torch.from_numpy(self.text[index]), torch.from_numpy(self.text[index + 1])


class Digits:
    blueprint, loss, program = "digits_conv", "cross_entropy(logits)", "train-digits"
    net, rate, rows, files = Convolutional, 0.003, 64, []
    segments = [0x77, 0x24, 0x5d, 0x6d, 0x2e, 0x6b, 0x7b, 0x25, 0x7f, 0x6f]
    lines = [(4, 3, 9, 1), (4, 3, 1, 9), (12, 3, 1, 9), (4, 11, 9, 1), (4, 11, 1, 9),
             (12, 11, 1, 9), (4, 19, 9, 1)]

    def batch(self, step):
        images = np.empty((self.rows, 1, 28, 28), np.float32)
        labels = np.empty(self.rows, np.int64)
        for row, bits in enumerate(mixed(random_bits(step, self.rows))):
            digit, right = int(bits) % 10, (int(bits) >> 16 & 0xffff) % 12 - 3
            down = (int(bits) >> 32 & 0xffff) % 6
            with np.errstate(over="ignore"):
                noise = mixed(bits + np.arange(784, dtype=np.uint64)) >> np.uint64(40)
            image = images[row, 0]
            image[:] = np.float32(0.4) * (noise.astype(np.float32) / 2**24).reshape(28, 28)
            for segment, (left, top, width, height) in enumerate(self.lines):
                if self.segments[digit] >> segment & 1:
                    left, top = left + right, top + down
                    image[top:top + height, left:left + width] += np.float32(0.6)
            labels[row] = digit
        return torch.from_numpy(images), torch.from_numpy(labels)


class Torch:
    def __init__(self, task, weights, steps, compiled):
        self.net, self.steps, self.rate = task.net(), steps, task.rate
        self.net.load_state_dict({n: torch.from_numpy(w.copy()) for n, w in weights.items()})
        self.loss = torch.compile(self.net) if compiled else self.net
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=task.rate,
                                           weight_decay=DECAY, fused=True)
        self.made = 0

    def step(self, batch):
        self.made += 1
        turn = min(1, max(0, (self.made - 1 - WARMUP) / (self.steps - WARMUP)))
        factor = min(1, self.made / WARMUP) * 0.5 * (1 + math.cos(math.pi * turn))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor
        self.optimizer.zero_grad()
        loss = self.loss(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self.optimizer.step()
        return loss.item()

    def rate_of(self, batches):
        least = math.inf
        for batch in batches:
            begin = time.perf_counter()
            self.step(batch)
            least = min(least, time.perf_counter() - begin)
        return 1 / least


class Ours:
    def __init__(self, task, folder, steps, threads):
        self.task, self.folder, self.threads = task, folder, threads
        step = (f"adamw(weight_decay={DECAY}, clip_norm={CLIP}, schedule=cosine, warmup={WARMUP},"
                f" steps={steps})")
        how = ["--strategy", "fast", "--target", "native"]
        source = ROOT / f"examples/{task.blueprint}.json"
        self.run(BUILD / "urza", "compile", source, *how, "-o", f"{folder}/net.urza")
        self.run(BUILD / "urza", "compile", source, *how, "--step", step, "--loss", task.loss,
                 "-o", f"{folder}/step.urza")
        self.key = self.run(BUILD / "urza", "keys", "show").strip()

    def run(self, *words):
        return subprocess.run([str(word) for word in words], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    def train(self, steps, *words):
        shape = ["--batch", self.task.rows]
        shape += ["--length", self.task.length] if hasattr(self.task, "length") else []
        return self.run(BUILD / self.task.program, f"{self.folder}/net.urza",
                        f"{self.folder}/step.urza", self.key, *self.task.files, "--steps", steps,
                        "--threads", self.threads, "--seed", SEED, "--lr", self.task.rate, *shape,
                        *words)

    def weights(self):
        path = f"{self.folder}/begin.safetensors"
        self.train(0, "--checkpoint", path)
        names = dict(self.task.net().named_parameters())
        return {name: value for name, value in read_safetensors(path).items() if name in names}

    def rate_of(self, steps):
        return float(re.search(r"the fastest ([\d.]+)", self.train(steps)).group(1))


def mean_of_last(losses):
    last = losses[-max(1, len(losses) // 10):]
    return sum(last) / len(last)


def measure(name, options):
    task = {"text": Text, "digits": Digits}[name]()
    batches = [task.batch(step) for step in range(options.steps)]
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(task, folder, options.steps, options.threads)
        curve = f"{folder}/losses.txt"
        ours.train(options.steps, "--losses", curve)
        own = [float(line) for line in Path(curve).read_text().split()]
        weights = ours.weights()
        torch._dynamo.reset()
        eager = Torch(task, weights, options.steps, False)
        their = [eager.step(batch) for batch in batches]
        peers = [eager] + ([Torch(task, weights, options.steps, True)] if options.compile else [])
        peers[-1].step(batches[0])
        rates = [0.0] * 3
        for _ in range(options.rounds):
            rates[0] = max(rates[0], ours.rate_of(ROUND))
            for i, peer in enumerate(peers, 1):
                rates[i] = max(rates[i], peer.rate_of(batches[:ROUND]))
    a, b = mean_of_last(own), mean_of_last(their)
    shown = [f"{rate:.1f}" if rate else "—" for rate in rates]
    print(f"| {name} | {options.threads} | {own[0]:.6f} | {their[0]:.6f} | {a:.4f} | {b:.4f} |"
          f" {' | '.join(shown)} |", flush=True)
    return abs(a - b) <= BOUND * b


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("tasks", nargs="+", choices=["text", "digits"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| task | threads | first loss | PyTorch's | last losses | PyTorch's |"
          " ours, steps/s | eager | compiled |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    agreed = [measure(name, options) for name in options.tasks]
    return 0 if all(agreed) else "the losses do not agree"


if __name__ == "__main__":
    sys.exit(main())
