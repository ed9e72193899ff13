#!/usr/bin/env python3
"""Writes the archives of tests/data/pt2 with PyTorch 2.9 or newer.

Usage: python3 tests/data/make_pt2.py [FOLDER]

For each model NAME.pt2, its first input NAME.in.npy and PyTorch's result NAME.out.npy. Where calls
stand in the source is left out of the archives, which keeps them small. pickled.pt2 is conv.pt2 in
the layout of older versions.
"""
import io
import shutil
import sys
import zipfile
from pathlib import Path

import numpy
import torch
from torch import nn
from torch.nn import functional as F


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(4, 2)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        y = self.act(self.norm(self.conv(x)))
        y += F.max_pool2d(y, 3, 1, 1)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(y, 1), 1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.register_buffer("open", torch.tril(torch.ones(16, 16, dtype=torch.bool)))

    def forward(self, x):
        batch, steps, _ = x.shape
        heads = self.qkv(self.norm(x)).view(batch, steps, 3, 2, 4)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mask = self.open[:steps, :steps]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y = x + self.out(y.transpose(1, 2).reshape(batch, steps, 8))
        return y * torch.arange(1, steps + 1)[:, None] / steps


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(10, 4), nn.LSTM(4, 3, bidirectional=True)
        self.gru = nn.GRU(6, 2, batch_first=True)

    def forward(self, words):
        y, (last, _) = self.lstm(self.embed(words))
        return torch.log_softmax(self.gru(y)[0], -1) + last.sum()


class Modes(nn.Module):
    """Graphs inside of the graph, one in the other, which take tensors and sizes."""

    def forward(self, x):
        rows = x.shape[0]
        with torch.no_grad():
            y = x * rows
            with torch.autocast("cpu", enabled=False):
                y = y.view(rows * 2, 3).cumsum(0)
            first = y[:1]
        steps = y.diff(dim=0, prepend=first) + y.diff(n=2, append=y[:, :2])
        return steps + (y > 0).diff(append=y[:, :1] > 0)


class Views(nn.Module):
    """Writes into parts of tensors, which their other views see."""

    def forward(self, x):
        y = x * 1
        rows = y.view(-1, 2, 3)
        rows[:, 0, 1:] = 7
        y[:, 1::2].mul_(3)
        first, second = y.chunk(2, 1)
        second += first
        with torch.no_grad():
            first.t().add_(1)
        same = second.to(y.dtype)
        same[:, -1] = same[:, 0]
        mask = torch.zeros(1, 4, 6, dtype=torch.int64)
        for i, part in enumerate((slice(0, -2), slice(-2, None))):
            mask[:, part, :] = i
        mask.view(4, 6).t()[2].fill_(5.5)
        steps = torch.zeros(3, 6)
        steps[:, ::2].copy_(rows[0, 0, 0])
        return y + rows.flatten(1) * mask[0, -1] + second.sum(1, keepdim=True) + steps.sum(0)


class Mixed(nn.Module):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ x.T


class Refused(nn.Module):
    def forward(self, x):
        return torch.special.i0(x[x > 0]), torch.fft.fft(x).real


class Written(nn.Module):
    """Whether y is a copy depends on strides, so what x.T is afterwards is not known."""

    def forward(self, x):
        x = x + 1
        t = x.T
        y = t.contiguous()
        y.relu_()
        return y, t


def write(folder, name, model, example, shapes=None):
    program = torch.export.export(model.eval(), (example,), dynamic_shapes=shapes)
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "torch_fn", "from_node"):
            node.meta.pop(key, None)
    torch.export.save(program, folder / f"{name}.pt2")
    if name in ("refused", "mixed", "written"):
        return
    with torch.no_grad():
        numpy.save(folder / f"{name}.in.npy", example.numpy())
        numpy.save(folder / f"{name}.out.npy", model(example).numpy())


def write_pickled(folder, name, source):
    """source.pt2 in the layout of PyTorch 2.6 to 2.8: weights in files of torch.save."""
    program = torch.export.load(folder / f"{source}.pt2")
    with zipfile.ZipFile(folder / f"{source}.pt2") as new:
        document = new.read(f"{source}/models/model.json")
    with zipfile.ZipFile(folder / f"{name}.pt2", "w") as old:
        old.writestr(zipfile.ZipInfo("serialized_exported_program.json"), document)
        for part, content in (("state_dict", program.state_dict), ("constants", program.constants)):
            stream = io.BytesIO()
            torch.save(content, stream)
            old.writestr(zipfile.ZipInfo(f"serialized_{part}.pt"), stream.getvalue())
        old.writestr(zipfile.ZipInfo("version"), "8.4")
    for ending in ("in", "out"):
        shutil.copy(folder / f"{source}.{ending}.npy", folder / f"{name}.{ending}.npy")


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "pt2")
    folder.mkdir(exist_ok=True)
    torch.manual_seed(1)
    batch, steps = torch.export.Dim("batch", max=64), torch.export.Dim("steps", max=15)
    write(folder, "mlp", Mlp(), torch.randn(2, 6), ({0: batch},))
    write(folder, "conv", Conv(), torch.randn(2, 3, 9, 7))
    write(folder, "attention", Attention(), torch.randn(2, 5, 8), ({0: batch, 1: steps},))
    write(folder, "tagger", Tagger(), torch.randint(0, 10, (4, 2)))
    write(folder, "modes", Modes(), torch.randn(2, 6), ({0: batch},))
    write(folder, "views", Views(), torch.randn(2, 6), ({0: batch},))
    write(folder, "mixed", Mixed(), torch.randn(2, 6))
    write(folder, "refused", Refused(), torch.randn(8))
    write(folder, "written", Written(), torch.randn(2, 3))
    write_pickled(folder, "pickled", "conv")


main()
