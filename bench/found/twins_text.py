"""Networks of text, as people export them from PyTorch.

Small, with random weights. A function marked as a twin gives the module, its example inputs by
name, and the dims that are left open, {input: {axis: name}}.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from twins import twin


class Bert(nn.Module):
    """A sentence encoder: a mask, three embeddings, layers, the mean of what is not masked."""

    def __init__(self, d=96, layers=3, heads=4, words=500):
        super().__init__()
        self.words, self.places, self.kinds = (
            nn.Embedding(words, d),
            nn.Embedding(128, d),
            nn.Embedding(2, d),
        )
        self.register_buffer("place_ids", torch.arange(128).expand((1, -1)))
        self.norm, self.heads = nn.LayerNorm(d, 1e-12), heads
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "q": nn.Linear(d, d),
                    "k": nn.Linear(d, d),
                    "v": nn.Linear(d, d),
                    "o": nn.Linear(d, d),
                    "n1": nn.LayerNorm(d, 1e-12),
                    "up": nn.Linear(d, 4 * d),
                    "down": nn.Linear(4 * d, d),
                    "n2": nn.LayerNorm(d, 1e-12),
                }
            )
            for _ in range(layers)
        )

    def split(self, x):
        return x.view(x.size()[:-1] + (self.heads, x.size(-1) // self.heads)).permute(0, 2, 1, 3)

    def forward(self, input_ids, attention_mask, token_type_ids):
        x = (
            self.words(input_ids)
            + self.kinds(token_type_ids)
            + self.places(self.place_ids[:, : input_ids.size(1)])
        )
        x = self.norm(x)
        mask = attention_mask[:, None, None, :].to(x.dtype)
        mask = (1.0 - mask) * torch.finfo(torch.float32).min
        for l in self.layers:
            q, k, v = self.split(l["q"](x)), self.split(l["k"](x)), self.split(l["v"](x))
            scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.size(-1)) + mask
            y = torch.matmul(torch.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).contiguous()
            y = y.view(y.size()[:-2] + (x.size(-1),))
            x = l["n1"](l["o"](y) + x)
            x = l["n2"](l["down"](F.gelu(l["up"](x))) + x)
        wide = attention_mask.unsqueeze(-1).expand(x.size()).float()
        pooled = torch.sum(x * wide, 1) / torch.clamp(wide.sum(1), min=1e-9)
        return F.normalize(pooled, p=2, dim=1), x


def bert_inputs():
    mask = torch.ones(2, 12, dtype=torch.int64)
    mask[1, 8:] = 0
    return {
        "input_ids": torch.randint(0, 500, (2, 12)),
        "attention_mask": mask,
        "token_type_ids": torch.zeros(2, 12, dtype=torch.int64),
    }


@twin
def minilm():
    open_ = {0: "batch", 1: "sequence"}
    return (
        Bert(),
        bert_inputs(),
        {"input_ids": open_, "attention_mask": open_, "token_type_ids": open_},
    )


@twin
def minilm_unnamed():
    """Every dim is a name of its own, as where no names are given."""
    names = [{0: f"b{i}", 1: f"s{i}"} for i in range(3)]
    return Bert(), bert_inputs(), dict(zip(bert_inputs(), names))


def buckets(query, key, past, both, count=32, most=128):
    """Relative positions in logarithmic classes, as T5 has them."""
    place = torch.arange(query)[:, None] + past
    relative = torch.arange(key)[None, :] - place
    found = torch.zeros_like(relative)
    if both:
        count //= 2
        found = found + (relative > 0).to(torch.long) * count
        relative = torch.abs(relative)
    else:
        relative = -torch.min(relative, torch.zeros_like(relative))
    exact = count // 2
    large = exact + (
        torch.log(relative.float() / exact) / math.log(most / exact) * (count - exact)
    ).to(torch.long)
    large = torch.min(large, torch.full_like(large, count - 1))
    return found + torch.where(relative < exact, relative, large)


class RmsNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x):
        variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + 1e-6))


class T5Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.heads = heads

    def split(self, x):
        return x.view(x.shape[0], -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)

    def forward(self, x, bias, memory=None, past=None):
        source = x if memory is None else memory
        q, k, v = self.split(self.q(x)), self.split(self.k(source)), self.split(self.v(source))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        scores = torch.matmul(q, k.transpose(3, 2)) + bias
        y = torch.matmul(F.softmax(scores.float(), dim=-1).type_as(scores), v)
        return self.o(y.transpose(1, 2).contiguous().view(x.shape[0], -1, x.shape[-1])), k, v


class T5Encoder(nn.Module):
    def __init__(self, d=64, heads=4):
        super().__init__()
        self.words, self.bias = nn.Embedding(300, d), nn.Embedding(32, heads)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    RmsNorm(d),
                    T5Attention(d, heads),
                    RmsNorm(d),
                    nn.Linear(d, 2 * d, bias=False),
                    nn.Linear(2 * d, d, bias=False),
                ]
            )
            for _ in range(2)
        )
        self.norm = RmsNorm(d)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids)
        n = input_ids.shape[1]
        bias = self.bias(buckets(n, n, 0, True)).permute(2, 0, 1).unsqueeze(0)
        bias = (
            bias + (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        )
        for n1, attention, n2, up, down in self.layers:
            x = x + attention(n1(x), bias)[0]
            x = x + down(F.relu(up(n2(x))))
        return self.norm(x)


@twin
def t5_encoder():
    open_ = {0: "batch", 1: "sequence"}
    return (
        T5Encoder(),
        {
            "input_ids": torch.randint(0, 300, (2, 9)),
            "attention_mask": torch.ones(2, 9, dtype=torch.int64),
        },
        {"input_ids": open_, "attention_mask": open_},
    )


class T5Decoder(nn.Module):
    """One step or several, with the keys and values of what came before."""

    def __init__(self, d=64, heads=4):
        super().__init__()
        self.words, self.bias = nn.Embedding(300, d), nn.Embedding(32, heads)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    RmsNorm(d),
                    T5Attention(d, heads),
                    RmsNorm(d),
                    T5Attention(d, heads),
                    RmsNorm(d),
                    nn.Linear(d, 2 * d, bias=False),
                    nn.Linear(2 * d, d, bias=False),
                ]
            )
            for _ in range(2)
        )
        self.norm, self.out, self.d = RmsNorm(d), nn.Linear(d, 300, bias=False), d

    def forward(self, input_ids, memory, memory_mask, *past):
        x = self.words(input_ids)
        before, n = past[0].shape[2], input_ids.shape[1]
        bias = (
            self.bias(buckets(n + before, n + before, 0, False))
            .permute(2, 0, 1)
            .unsqueeze(0)[:, :, -n:, :]
        )
        later = torch.arange(n + before)[None, :] > (torch.arange(n) + before)[:, None]
        bias = bias.masked_fill(later, torch.finfo(torch.float32).min)
        wide = (1.0 - memory_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        kept = []
        for n, (n1, inner, n2, cross, n3, up, down) in enumerate(self.layers):
            y, k, v = inner(n1(x), bias, past=past[2 * n : 2 * n + 2])
            x, kept = x + y, kept + [k, v]
            x = x + cross(n2(x), wide, memory)[0]
            x = x + down(F.relu(up(n3(x))))
        return (self.out(self.norm(x) * self.d**-0.5), *kept)


@twin
def t5_decoder():
    past = {f"past.{n}.{p}": torch.randn(2, 4, 5, 16) for n in range(2) for p in ("key", "value")}
    dims = {name: {0: "batch", 2: "past"} for name in past}
    return (
        T5Decoder(),
        {
            "input_ids": torch.randint(0, 300, (2, 1)),
            "memory": torch.randn(2, 7, 64),
            "memory_mask": torch.ones(2, 7, dtype=torch.int64),
        }
        | past,
        {
            "input_ids": {0: "batch"},
            "memory": {0: "batch", 1: "source"},
            "memory_mask": {0: "batch", 1: "source"},
        }
        | dims,
    )


class Gpt(nn.Module):
    """Rotary positions, grouped keys, a mask over what came before and what is new."""

    def __init__(self, d=64, heads=4, groups=2):
        super().__init__()
        self.words, self.out, self.norm = (
            nn.Embedding(300, d),
            nn.Linear(d, 300, bias=False),
            RmsNorm(d),
        )
        self.heads, self.groups, self.size = heads, groups, d // heads
        self.register_buffer(
            "frequencies", 1.0 / 10000 ** (torch.arange(0, self.size, 2).float() / self.size)
        )
        kv = groups * self.size
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    RmsNorm(d),
                    nn.Linear(d, d, bias=False),
                    nn.Linear(d, kv, bias=False),
                    nn.Linear(d, kv, bias=False),
                    nn.Linear(d, d, bias=False),
                    RmsNorm(d),
                    nn.Linear(d, 2 * d, bias=False),
                    nn.Linear(d, 2 * d, bias=False),
                    nn.Linear(2 * d, d, bias=False),
                ]
            )
            for _ in range(2)
        )

    def turn(self, x, cos, sin):
        a, b = x[..., : self.size // 2], x[..., self.size // 2 :]
        return x * cos + torch.cat((-b, a), -1) * sin

    def forward(self, input_ids, attention_mask, position_ids, *past):
        x = self.words(input_ids)
        b, n = input_ids.shape
        before = past[0].shape[2]
        angles = (
            self.frequencies[None, :, None].expand(b, -1, 1) @ position_ids[:, None, :].float()
        ).transpose(1, 2)
        angles = torch.cat((angles, angles), -1)
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        least = torch.finfo(x.dtype).min
        causal = (
            torch.full((n, n + before), least).triu(before + 1)[None, None].expand(b, 1, -1, -1)
        )
        mask = causal.masked_fill((causal == 0) & (attention_mask[:, None, None, :] == 0), least)
        kept = []
        for i, (n1, wq, wk, wv, wo, n2, gate, up, down) in enumerate(self.layers):
            y = n1(x)
            q = self.turn(wq(y).view(b, n, self.heads, self.size).transpose(1, 2), cos, sin)
            k = self.turn(wk(y).view(b, n, self.groups, self.size).transpose(1, 2), cos, sin)
            v = wv(y).view(b, n, self.groups, self.size).transpose(1, 2)
            k, v = torch.cat((past[2 * i], k), 2), torch.cat((past[2 * i + 1], v), 2)
            kept += [k, v]
            wide = (
                lambda t: t[:, :, None]
                .expand(b, self.groups, self.heads // self.groups, n + before, self.size)
                .reshape(b, self.heads, n + before, self.size)
            )
            scores = q @ wide(k).transpose(2, 3) / math.sqrt(self.size) + mask
            y = (scores.softmax(-1) @ wide(v)).transpose(1, 2).reshape(b, n, -1)
            x = x + wo(y)
            y = n2(x)
            x = x + down(F.silu(gate(y)) * up(y))
        return (self.out(self.norm(x)), *kept)


@twin
def gpt():
    past = {f"past.{n}.{p}": torch.randn(1, 2, 6, 16) for n in range(2) for p in ("key", "value")}
    return (
        Gpt(),
        {
            "input_ids": torch.randint(0, 300, (1, 3)),
            "attention_mask": torch.ones(1, 9, dtype=torch.int64),
            "position_ids": torch.arange(6, 9)[None],
        }
        | past,
        {
            "input_ids": {0: "batch", 1: "sequence"},
            "attention_mask": {0: "batch", 1: "total"},
            "position_ids": {0: "batch", 1: "sequence"},
        }
        | {name: {0: "batch", 2: "past"} for name in past},
    )


class Clip(nn.Module):
    """The state at the end of each text, which is where its largest number stands."""

    def __init__(self, d=64):
        super().__init__()
        self.words, self.places = nn.Embedding(300, d), nn.Parameter(torch.randn(77, d))
        layer = nn.TransformerEncoderLayer(d, 4, 2 * d, batch_first=True, norm_first=True)
        self.layers, self.norm = nn.TransformerEncoder(
            layer, 2, enable_nested_tensor=False
        ), nn.LayerNorm(d)
        self.project = nn.Parameter(torch.randn(d, 32))
        self.register_buffer("mask", torch.full((77, 77), -torch.inf).triu(1))

    def forward(self, text):
        x = self.layers(self.words(text) + self.places, mask=self.mask)
        x = self.norm(x)
        return x[torch.arange(x.shape[0]), text.argmax(-1)] @ self.project


@twin
def clip_text():
    return Clip(), {"text": torch.randint(1, 300, (2, 77))}, {"text": {0: "batch"}}


class Names(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.letters = nn.Embedding(64, 24, padding_idx=0)
        self.rnn, self.out = cell(24, 48, 1, batch_first=True, bidirectional=True), nn.Linear(96, 8)

    def forward(self, letters):
        _, h = self.rnn(self.letters(letters))
        h = h[0] if isinstance(h, tuple) else h
        return torch.softmax(self.out(torch.cat([h[-2], h[-1]], dim=1)), dim=1)


@twin
def names_gru():
    return Names(nn.GRU), {"letters": torch.randint(1, 64, (2, 20))}, {"letters": {0: "batch"}}


@twin
def names_lstm_open():
    return (
        Names(nn.LSTM),
        {"letters": torch.randint(1, 64, (2, 20))},
        {"letters": {0: "batch", 1: "length"}},
    )


class FileType(nn.Module):
    """Bytes as numbers, embedded, convolved, pooled."""

    def __init__(self, n=1024):
        super().__init__()
        self.embed, self.norm = nn.Embedding(257, 64), nn.LayerNorm((n // 4, 256))
        self.conv, self.norm2 = nn.Conv1d(256, 128, 5), nn.LayerNorm(128)
        self.out, self.n = nn.Linear(128, 40), n

    def forward(self, data):
        x = F.gelu(self.embed(data.long())).reshape(-1, self.n // 4, 256)
        x = F.gelu(self.conv(self.norm(x).transpose(1, 2)))
        x = self.norm2(x.amax(2))
        return F.softmax(self.out(x), dim=-1)


@twin
def file_type():
    return (
        FileType(),
        {"data": torch.randint(0, 257, (2, 1024), dtype=torch.int32)},
        {"data": {0: "batch"}},
    )


class ByteConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(256, 32, 7, 2, 3),
            nn.GELU(),
            nn.Conv1d(32, 64, 5, 2, 2),
            nn.GELU(),
            nn.Conv1d(64, 64, 3, 2, 1),
            nn.GELU(),
        )
        self.out = nn.Linear(64, 10)

    def forward(self, data):
        x = F.one_hot(data.long(), 256).permute(0, 2, 1).float()
        return self.out(self.layers(x).mean(-1))


@twin
def byte_conv():
    return (
        ByteConv(),
        {"data": torch.randint(0, 256, (1, 256), dtype=torch.uint8)},
        {"data": {0: "batch", 1: "size"}},
    )


class Translator(nn.Module):
    """nn.Transformer as it comes, with masks made from the sizes."""

    def __init__(self, d=64):
        super().__init__()
        self.words, self.out = nn.Embedding(200, d), nn.Linear(d, 200)
        self.body = nn.Transformer(d, 4, 2, 2, 2 * d, batch_first=True)

    def forward(self, source, target):
        n = target.shape[1]
        mask = torch.triu(torch.full((n, n), float("-inf")), diagonal=1)
        return self.out(self.body(self.words(source), self.words(target), tgt_mask=mask))


@twin
def translator():
    return (
        Translator(),
        {"source": torch.randint(0, 200, (2, 11)), "target": torch.randint(0, 200, (2, 7))},
        {"source": {0: "batch", 1: "source"}, "target": {0: "batch", 1: "target"}},
    )
