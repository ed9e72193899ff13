"""Networks of tables, graphs, points and series, as people export them from PyTorch.

Small, with random weights. A function marked as a twin gives the module, its example inputs by
name, and the dims that are left open, {input: {axis: name}}.
"""

import torch
from torch import nn
from torch.nn import functional as F

from twins import twin


class GraphNet(nn.Module):
    """Messages along edges, summed where they arrive."""

    def __init__(self, d=32):
        super().__init__()
        self.into, self.message, self.update = (
            nn.Linear(8, d),
            nn.Linear(2 * d, d),
            nn.GRUCell(d, d),
        )
        self.out, self.d = nn.Linear(d, 3), d

    def forward(self, nodes, edges):
        h = F.relu(self.into(nodes))
        for _ in range(2):
            m = F.relu(self.message(torch.cat([h[edges[0]], h[edges[1]]], 1)))
            total = torch.zeros_like(h).scatter_add(0, edges[1][:, None].expand(-1, self.d), m)
            h = self.update(total, h)
        return self.out(h.mean(0, keepdim=True))


@twin
def graph_net():
    return (
        GraphNet(),
        {"nodes": torch.randn(12, 8), "edges": torch.randint(0, 12, (2, 30))},
        {"nodes": {0: "nodes"}, "edges": {1: "edges"}},
    )


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.randn(20))
        self.register_buffer("var", torch.rand(20) + 0.5)
        self.body = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.action, self.value = nn.Linear(64, 4), nn.Linear(64, 1)

    def forward(self, obs):
        x = torch.clamp((obs - self.mean) / torch.sqrt(self.var + 1e-8), -10, 10)
        x = self.body(x)
        return torch.clamp(self.action(x), -1, 1), self.value(x)


@twin
def policy():
    return Policy(), {"obs": torch.randn(1, 20)}, {"obs": {0: "batch"}}


class Tabular(nn.Module):
    def __init__(self, sizes=(5, 9, 30)):
        super().__init__()
        self.embed = nn.ModuleList(nn.Embedding(n, 8) for n in sizes)
        self.norm = nn.BatchNorm1d(4)
        self.layers = nn.Sequential(
            nn.Linear(28, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Linear(32, 2)
        )

    def forward(self, categories, numbers):
        x = [e(categories[:, i]) for i, e in enumerate(self.embed)] + [self.norm(numbers)]
        return self.layers(torch.cat(x, 1))


@twin
def tabular():
    return (
        Tabular(),
        {"categories": torch.randint(0, 5, (3, 3)), "numbers": torch.randn(3, 4)},
        {"categories": {0: "batch"}, "numbers": {0: "batch"}},
    )


class Forecast(nn.Module):
    """Patches of a series, normalised by its own mean and spread."""

    def __init__(self, d=48):
        super().__init__()
        self.embed = nn.Linear(16, d)
        layer = nn.TransformerEncoderLayer(d, 4, 2 * d, batch_first=True)
        self.layers, self.out = nn.TransformerEncoder(
            layer, 2, enable_nested_tensor=False
        ), nn.Linear(11 * d, 24)

    def forward(self, series):
        mean = series.mean(1, keepdim=True)
        std = torch.sqrt(series.var(1, keepdim=True, unbiased=False) + 1e-5)
        x = ((series - mean) / std).unfold(1, 16, 8)
        x = self.layers(self.embed(x)).flatten(1)
        return self.out(x) * std + mean


@twin
def forecast():
    return Forecast(), {"series": torch.randn(2, 96)}, {"series": {0: "batch"}}


class Cloud(nn.Module):
    def __init__(self):
        super().__init__()
        self.turn, self.turn_out = nn.Sequential(
            nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU()
        ), nn.Linear(32, 9)
        self.body = nn.Sequential(
            nn.Conv1d(3, 64, 1), nn.BatchNorm1d(64), nn.ReLU(), nn.Conv1d(64, 128, 1)
        )
        self.out = nn.Linear(128, 8)

    def forward(self, points):
        t = self.turn_out(torch.max(self.turn(points), 2)[0]) + torch.eye(3).view(1, 9)
        x = torch.bmm(points.transpose(2, 1), t.view(-1, 3, 3)).transpose(2, 1)
        return F.log_softmax(self.out(torch.max(self.body(x), 2)[0]), dim=1)


@twin
def point_cloud():
    return Cloud(), {"points": torch.randn(1, 3, 200)}, {"points": {0: "batch", 2: "points"}}


class Matcher(nn.Module):
    """Descriptors of two images, who is whose best."""

    def forward(self, one, two):
        scores = F.normalize(one, dim=-1) @ F.normalize(two, dim=-1).transpose(1, 2)
        best, where = scores.max(2)
        back = scores.argmax(1)
        mutual = back.gather(1, where) == torch.arange(one.shape[1])[None]
        return where, torch.where(mutual, best, torch.zeros_like(best))


@twin
def matcher():
    return (
        Matcher(),
        {"one": torch.randn(1, 40, 32), "two": torch.randn(1, 50, 32)},
        {"one": {0: "batch", 1: "n"}, "two": {0: "batch", 1: "m"}},
    )
