#!/usr/bin/env python3
"""Writes the archives of tests/data/pt2 with PyTorch 2.9 or newer.

Usage: python3 tests/data/make_pt2.py [FOLDER [NAME...]]

For each model, or those named, NAME.pt2, its first input NAME.in.npy and PyTorch's result
NAME.out.npy; for some also gradients, NAME.grad.npy. Where calls stand in the source is left out
of the archives, which keeps them small.
pickled.pt2 is conv.pt2 in the layout of older versions.
"""
import copy
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


class Recurrent(nn.Module):
    """All kinds of recurrences, one behind the other."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 3, num_layers=2, bidirectional=True, bias=False, batch_first=True)
        self.gru = nn.GRU(6, 5, bidirectional=True, batch_first=True)
        self.tanh = nn.RNN(10, 3, bidirectional=True, batch_first=True)
        self.relu = nn.RNN(6, 4, nonlinearity="relu", bias=False, batch_first=True)

    def forward(self, x):
        y, (hidden, memory) = self.lstm(x)
        y, gru = self.gru(y)
        y, tanh = self.tanh(y)
        y, relu = self.relu(y)
        last = sum(part.sum((0, 2)) for part in (hidden, memory, gru, tanh, relu))
        return y + last[:, None, None]


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


def together(parts):
    return torch.cat([part.flatten().to(torch.float32) for part in parts])


class Places(nn.Module):
    """Indices with gaps, and writes by index and by mask; x is [2, 6]."""

    def forward(self, x):
        cube = torch.cat((x, -x, 2 * x)).view(3, 4, 3)
        one, two = torch.tensor([2, 0, -1]), torch.tensor([0, 1, 2])
        put, masked, gap = cube.clone(), cube.clone(), cube.clone()
        put[:, one] = x[0, :3, None]
        put[one, two, two] += 5
        masked[masked > 0.5] = 0
        masked[:, 1][x[0, :3] > 0] = 2.5
        gap[one, :, two] = cube[:, :, 0]
        twice = torch.tensor([1, 1, 0])
        return together((
            cube[one, :, two], cube[:, one, two], cube[:, one[:, None], two], put, masked, gap,
            torch.index_put(cube, (twice,), x[0, :3], accumulate=True),
            cube.index_add(2, twice, cube, alpha=2), cube.index_copy(0, one % 3, cube * 3),
            cube.index_fill(1, twice, 9.0), cube.masked_scatter(cube > 0, x.new_ones(36).cumsum(0)),
            torch.slice_scatter(cube, cube[:, :2] + 1, 1, 1, 4, 2),
            torch.select_scatter(cube, cube[0] * 4, 0, -1),
            x.scatter_reduce(1, torch.tensor([[0, 0, 3], [1, 1, 1]]), x[:, 3:], "sum"),
            x.scatter_reduce(1, torch.tensor([[0, 0, 3], [1, 1, 1]]), x[:, 3:], "amax",
                             include_self=False),
            torch.take_along_dim(x, torch.tensor([[5, 0, 1]]), 1),
            torch.take_along_dim(cube, torch.tensor([30, 2])),
            torch.bucketize(x, torch.tensor([-0.5, 0.0, 0.5])),
            torch.searchsorted(torch.tensor([-0.5, 0.0, 0.5]), x, right=True),
            torch.isin(torch.tensor([1, 2, 3]), torch.tensor([3, 4]))))


class Windows(nn.Module):
    """Windows, and images at other places; x is [2, 36]."""

    def forward(self, x):
        image = x.view(2, 1, 6, 6).repeat(1, 2, 1, 1) * torch.tensor([1.0, -2.0])[:, None, None]
        grid = x[:, :30].view(2, 3, 5, 2)
        parts = [x.unfold(1, 5, 3), F.unfold(image, (2, 3), dilation=2, padding=1, stride=(1, 2))]
        columns = F.unfold(image, 3, padding=1, stride=2)
        parts.append(F.fold(columns, (6, 6), 3, padding=1, stride=2))
        parts.append(F.interpolate(image, size=(9, 4), mode="bicubic"))
        parts.append(F.interpolate(image, scale_factor=(1.5, 2.0), mode="bicubic"))
        parts.append(F.interpolate(image, size=(4, 11), mode="bicubic", align_corners=True))
        for align in (False, True):
            for padding in ("zeros", "border", "reflection"):
                for mode in ("bilinear", "nearest"):
                    parts.append(F.grid_sample(image, grid, mode, padding, align))
        return together(parts)


class Formulas(nn.Module):
    def forward(self, x):
        y = x.flip(1) / 3
        unit = torch.tanh(x)
        odd = torch.where(x > 1, torch.inf, torch.where(x < -1, torch.nan, x))
        return together((
            torch.log10(x.abs()), torch.asin(unit), torch.acos(unit), torch.sinh(x), torch.cosh(x),
            odd.isinf(), odd.isfinite(), torch.nan_to_num(odd, 5.0, 7.0), x.frac(),
            torch.atan2(x, y), torch.atan2(torch.zeros(2), y[0, :2]), torch.atan2(x, x * 0),
            torch.fmod(x * 3, y), torch.addcmul(x, x, y, value=0.5), torch.addcdiv(x, x, y),
            torch.lerp(x, y, 0.3), torch.logaddexp(x, y), F.threshold(x, 0.1, 20.0),
            x.less(y), x.greater_equal(0), torch.absolute(x), torch.subtract(x, y), x.clip(0, 1)))


class Made(nn.Module):
    """What is made from sizes; x is [batch, 6]."""

    def forward(self, x):
        batch = x.shape[0]
        column, row = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="xy")
        grid = torch.meshgrid(torch.linspace(0, 1, 2), torch.arange(7.0, 1, -2), indexing="ij")
        rolled = x.roll((1, -2), (0, 1)) + x.t().roll(3).t()
        both = torch.cat((torch.arange(5, 0, -1), x[0], torch.ones(1, dtype=torch.bool)))
        tall = x[:1].repeat(batch, 1) + x.tile(2)[:, 6:] + x.movedim(0, 1).movedim((0, 1), (1, 0))
        deviation, mean = torch.std_mean(x, 1, keepdim=True)
        pieces = (*x.tensor_split((1, -2), 1)[1:], *x.tensor_split(4, 1)[::2])
        norms = torch.linalg.vector_norm(x, dim=1)[:, None]
        return (torch.cat(pieces, 1)[:, :6] + rolled + tall + deviation * mean + norms +
                both[:6] + both[-6:] + (column * row).sum() + (grid[0] * grid[1]).sum())


class Layers(nn.Module):
    """x is [2, 96]."""

    def __init__(self):
        super().__init__()
        self.conv = nn.utils.weight_norm(nn.Conv1d(4, 3, 3))
        self.experts = nn.Parameter(torch.randn(3, 8, 4))
        self.bit = nn.Parameter(torch.randn(3, 8))

    def forward(self, x):
        q = x.view(2, 4, 6, 4)
        group = F.scaled_dot_product_attention(q, q[:, :2], q[:, 2:], enable_gqa=True)
        single = F.scaled_dot_product_attention(q, q[:, :1], q[:, 1:2], scale=0.3)
        batch = F.scaled_dot_product_attention(q, q[:1], q[1:], is_causal=True)
        volume = x.view(2, 2, 4, 3, 4)
        rows, classes = x.view(24, 8), torch.arange(24) % 8
        counts = torch.histc(classes.float(), bins=3, min=0, max=8)
        ends = torch.cumsum(counts, 0).to(torch.int32) - 2
        return together((
            group, single, batch, self.conv(x.view(2, 4, 24)), counts,
            F.adaptive_avg_pool3d(volume, (3, 1, 2)), F.adaptive_max_pool3d(volume, 2),
            F.adaptive_max_pool1d(x, 5), F.cross_entropy(rows, classes, label_smoothing=0.1),
            F.cross_entropy(rows, classes, reduction="sum", ignore_index=3),
            F.mse_loss(rows, rows.flip(0), reduction="none"), F.l1_loss(rows, rows.flip(0)),
            F.smooth_l1_loss(rows, rows.flip(0), beta=0.5),
            F.binary_cross_entropy_with_logits(rows, rows.sigmoid()),
            torch._grouped_mm(rows, self.experts, offs=ends)[:ends.shape[0] + 13],
            F.batch_norm(self.bit[None], None, None, training=True)))


class Similar(nn.Module):
    """Similarities, rows that softmax has nothing of, and norms; x is [2, 6]."""

    def forward(self, x):
        y, none = x.view(2, 3, 2), torch.full((6,), -torch.inf)
        some = x[0].masked_fill(x[0] > 0, -torch.inf)
        rows = torch.stack((x[0], none, some, torch.where(x[1] > 0, torch.nan, none)))
        safe = torch.ops.aten._safe_softmax(rows, 1)
        return together((
            F.cosine_similarity(x, x.flip(1)), F.cosine_similarity(y[:, :1], y, dim=-1),
            F.cosine_similarity(x * 0, x, dim=0, eps=0.01), F.cosine_similarity(x[1], x, dim=-1),
            F.cosine_similarity(x * 1e-3, x, eps=0.5), safe.nan_to_num(9.0),
            torch.linalg.vector_norm((x * 300).half(), dim=1)))


class Decomposed(nn.Module):
    names = ("x",)

    def forward(self, x):
        return x.detach() * x + (x * 3).detach() * x * x


class Unseen(nn.Module):
    """What has a gradient is written to where gradients are off."""

    def forward(self, x):
        y = x * 3
        with torch.no_grad():
            y.mul_(2)
        return y * x


class Trained(nn.Module):
    """In training mode: statistics of two batch norms, of which one is called twice, a count, and
    an average that is read after it was written."""

    def __init__(self):
        super().__init__()
        self.conv, self.first = nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3, momentum=0.3)
        self.second = nn.BatchNorm1d(3, eps=1e-2)
        self.register_buffer("calls", torch.tensor([4, 5], dtype=torch.int32))
        self.register_buffer("average", torch.ones(3))

    def forward(self, x):
        y = torch.relu(self.first(self.conv(x))).mean((2, 3))
        with torch.no_grad():
            self.calls += 1
            self.average.mul_(0.5).add_(y.mean(0))
        self.calls[1:].mul_(2)
        return self.second(self.second(y) * self.average)


class Dropped(nn.Module):
    """All that draws random numbers in training mode, with rates that a test knows."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 4, 2, dropout=0.5)

    def forward(self, x):
        y = F.dropout(torch.ones_like(x), 0.25, True)
        z = F.dropout2d(torch.ones_like(x), 0.5, True)
        a = F.alpha_dropout(x, 0.25, True) + F.feature_alpha_dropout(x, 0.25, True)
        q = x[:, 0]
        attended = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)
        return y, z, a, attended, self.lstm(q)[0]


class Frequent(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 2, scale_grad_by_freq=True)

    def forward(self, x):
        return self.table(x)


class Mixed(nn.Module):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ x.T


class Refused(nn.Module):
    def forward(self, x):
        return torch.special.i0(x[x > 0]), torch.fft.fft(x).real


class Written(nn.Module):
    """Whether y is a copy is not told by the strides of t and y alone, so what t is afterwards is
    not known."""

    def forward(self, x):
        x = x + 1
        t = x.T
        y = t.reshape(3, 1, 2)
        y.relu_()
        return y, t


class Copied(nn.Module):
    """Strides tell that y is a copy, and that f is none."""

    def forward(self, x):
        y = x.T.contiguous()
        y.relu_()
        z = x + 1
        f = z.flatten()
        f.mul_(3)
        return torch.cat((y.flatten(), x.flatten(), z.flatten(), f))


class Positions(nn.Module):
    """Positions that index tables: each dim of x is at most what one of them has rows for."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Embedding(4, 1)
        self.table = nn.Parameter(torch.randn(12))
        self.register_buffer("near", torch.arange(2, 40))
        self.register_buffer("far", torch.arange(5, 5005, dtype=torch.int16))

    def forward(self, x):
        at = [torch.arange(size) for size in x.shape]
        between = at[4][:, None] - at[4] + 3
        parts = (
            self.rows(at[0])[:, 0],
            self.table[at[1] * 2 + 1],
            torch.index_select(self.table, 0, at[2] + 2),
            torch.gather(self.table, 0, 11 - at[3]),
            self.table[:7][between].sum(1),
            self.table[self.near[: x.shape[5]]],
            torch.take(self.table, self.far[1 : x.shape[6] + 1].long() - 8),
        )
        for i, part in enumerate(parts):
            x = x + part.view(-1, *[1] * (6 - i))
        return x


class Learned(nn.Module):
    """Where gradients stop, and corners of functions; x is [16]."""

    names = ("x", "scale", "down.weight", "table.weight")

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.up.weight = self.down.weight
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.fixed = nn.Parameter(torch.randn(4), requires_grad=False)
        self.table = nn.Embedding(5, 4, padding_idx=1)
        self.register_buffer("mean", torch.randn(4))
        with torch.no_grad():
            self.table.weight.normal_()

    def forward(self, x):
        rows, zero = x.view(4, 4), x.new_zeros(16)
        near = self.down(self.up(rows) * self.scale + self.fixed) - self.mean
        with torch.no_grad():
            steps = near.abs().amax(1, keepdim=True)
            turned = rows.t()
            zero[2:4].copy_(x[:2])
            zero.mul_(3)
        through = rows + (rows.round() - rows).detach()
        return together((
            near * steps, turned * rows, through * rows, x * zero, x.detach() * x,
            (x * 2).detach_() * x, self.table(torch.tensor([1, 0, 1, 3])) * rows,
            torch.atan2(x, x * 0), torch.atan2(x * 0, x), torch.atan2(x, x.flip(0)),
            torch.fmod(x, 2), torch.fmod(x, -1.5), torch.remainder(x, 2), x.clamp(-1, 2),
            x.clamp(min=0), torch.maximum(x, torch.full((16,), 0.5)), x.clamp(max=rows[0, 3]),
            F.relu6(x), F.hardtanh(x), F.hardswish(x), F.lp_pool1d(x[None], 2, 2)))


class Outside(nn.Module):
    def forward(self, x):
        return x[:, torch.tensor([0, -3, 2, -4])]


def write(folder, name, model, example, shapes=None, decomposed=False):
    if sys.argv[2:] and name not in sys.argv[2:]:
        return
    program = torch.export.export(model.eval(), (example,), dynamic_shapes=shapes)
    if decomposed:
        program = program.run_decompositions()
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "torch_fn", "from_node"):
            node.meta.pop(key, None)
    torch.export.save(program, folder / f"{name}.pt2")
    if name in ("refused", "mixed", "written", "outside", "frequent"):
        return
    with torch.no_grad():
        numpy.save(folder / f"{name}.in.npy", example.numpy())
        numpy.save(folder / f"{name}.out.npy", model(example).numpy())


def write_gradients(folder, name, model, example, decomposed=False):
    """NAME.grad.npy: the gradients of the sum of the results, one behind the other, in float64."""
    if sys.argv[2:] and name not in sys.argv[2:]:
        return
    write(folder, name, model, example, decomposed=decomposed)
    model, x = copy.deepcopy(model).double(), example.double().requires_grad_()
    model(x).sum().backward()
    of = dict(model.named_parameters(remove_duplicate=False), x=x)
    gradients = [of[name].grad.flatten() for name in model.names]
    numpy.save(folder / f"{name}.grad.npy", torch.cat(gradients).numpy())


def write_training(folder, name, model, example, decomposed=False):
    """NAME.out.npy: the results in training mode and then the buffers, one behind the other, in the
    order of the archive's."""
    if sys.argv[2:] and name not in sys.argv[2:]:
        return
    program = torch.export.export(model.train(), (example,))
    names = [spec.target for spec in program.graph_signature.input_specs
             if spec.target in dict(model.named_buffers())]
    if decomposed:
        program = program.run_decompositions()
        names = list(program.graph_signature.buffers_to_mutate.values())
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "torch_fn", "from_node"):
            node.meta.pop(key, None)
    torch.export.save(program, folder / f"{name}.pt2")
    numpy.save(folder / f"{name}.in.npy", example.numpy())
    if name == "dropped":
        return
    with torch.no_grad():
        found = [model(example).flatten()]
        found += [model.get_buffer(each).flatten().float() for each in names]
        numpy.save(folder / f"{name}.out.npy", torch.cat(found).numpy())


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
    write(folder, "recurrent", Recurrent(), torch.randn(3, 7, 4), ({0: batch},))
    write(folder, "modes", Modes(), torch.randn(2, 6), ({0: batch},))
    write(folder, "views", Views(), torch.randn(2, 6), ({0: batch},))
    write(folder, "places", Places(), torch.randn(2, 6))
    write(folder, "windows", Windows(), torch.randn(2, 36))
    write(folder, "formulas", Formulas(), torch.randn(2, 6))
    write(folder, "made", Made(), torch.randn(2, 6), ({0: batch},))
    write(folder, "layers", Layers(), torch.randn(2, 96))
    write(folder, "similar", Similar(), torch.randn(2, 6))
    write(folder, "mixed", Mixed(), torch.randn(2, 6))
    write(folder, "refused", Refused(), torch.randn(8))
    write(folder, "written", Written(), torch.randn(2, 3))
    write(folder, "copied", Copied(), torch.randn(4, 3), ({0: batch},))
    write(folder, "positions", Positions(), torch.randn(2, 3, 2, 2, 3, 2, 2),
          ({i: torch.export.Dim.AUTO for i in range(7)},))
    write(folder, "outside", Outside(), torch.randn(2, 3))
    write(folder, "similar", Similar(), torch.randn(2, 6))
    write(folder, "unseen", Unseen(), torch.randn(2, 3))
    write(folder, "frequent", Frequent(), torch.tensor([1, 1, 2]))
    write_gradients(folder, "learned", Learned(), torch.tensor(
        [-6.0, -3, -2, -1, -0.5, -0.0, 0.0, 0.5, 1, 2, 3, 6, 0.25, 0, 0, 21]))
    write_gradients(folder, "decomposed", Decomposed(), torch.randn(5), True)
    trained = Trained()
    write_training(folder, "trained", copy.deepcopy(trained), torch.randn(4, 2, 3, 3))
    write_training(folder, "functional", copy.deepcopy(trained), torch.randn(4, 2, 3, 3), True)
    write_training(folder, "dropped", Dropped(), torch.randn(8, 8, 4, 4))
    if not sys.argv[2:]:
        write_pickled(folder, "pickled", "conv")


main()
