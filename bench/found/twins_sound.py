"""Networks of sound, as people export them from PyTorch.

Small, with random weights. A function marked as a twin gives the module, its example inputs by
name, and the dims that are left open, {input: {axis: name}}.
"""

import torch
from torch import nn
from torch.nn import functional as F

from twins import twin
from twins_images import conv_bn


class Vad(nn.Module):
    """Samples to spectra by a convolution, an encoder, an LSTM with a state that is handed over."""

    def __init__(self, cell=False):
        super().__init__()
        self.basis = nn.Parameter(torch.randn(258, 1, 256) / 16, requires_grad=False)
        sizes = [(129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1)]
        self.encoder = nn.Sequential(
            *[nn.Sequential(nn.Conv1d(i, o, 3, s, 1), nn.ReLU()) for i, o, s in sizes]
        )
        self.cell = cell
        self.rnn = nn.LSTMCell(128, 128) if cell else nn.LSTM(128, 128, batch_first=True)
        self.decoder = nn.Sequential(nn.Dropout(0.1), nn.ReLU(), nn.Conv1d(128, 1, 1), nn.Sigmoid())

    def forward(self, x, state):
        x = F.pad(x, (0, 64), "reflect").unsqueeze(1)
        x = F.conv1d(x, self.basis, stride=128)
        real, imaginary = x[:, :129], x[:, 129:]
        x = self.encoder(torch.sqrt(real**2 + imaginary**2))
        if self.cell:
            h, c = self.rnn(x.squeeze(-1), (state[0], state[1]))
            x, state = h.unsqueeze(-1), torch.stack([h, c])
        else:
            x, (h, c) = self.rnn(x.permute(0, 2, 1), (state[:1], state[1:]))
            x, state = x.permute(0, 2, 1), torch.cat([h, c])
        return self.decoder(x).mean(dim=2), state


@twin
def vad():
    return (
        Vad(),
        {"input": torch.randn(1, 576), "state": torch.zeros(2, 1, 128)},
        {"input": {0: "batch"}, "state": {1: "batch"}},
    )


@twin
def vad_cell():
    return (
        Vad(cell=True),
        {"input": torch.randn(1, 512), "state": torch.zeros(2, 1, 128)},
        {"input": {0: "batch"}, "state": {1: "batch"}},
    )


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.gru = nn.Linear(161, 192), nn.GRU(192, 192, 2, batch_first=True)
        self.out = nn.Sequential(nn.Linear(192, 192), nn.ReLU(), nn.Linear(192, 161), nn.Sigmoid())

    def forward(self, spectrum, state):
        magnitude = torch.log10(spectrum.pow(2).sum(-1).clamp(min=1e-12))
        x, state = self.gru(F.relu(self.into(magnitude)), state)
        return spectrum * self.out(x).unsqueeze(-1), state


@twin
def denoiser_step():
    return Denoiser(), {"spectrum": torch.randn(1, 1, 161, 2), "state": torch.zeros(2, 1, 192)}, {}


@twin
def denoiser():
    return (
        Denoiser(),
        {"spectrum": torch.randn(1, 20, 161, 2), "state": torch.zeros(2, 1, 192)},
        {"spectrum": {0: "batch", 1: "frames"}, "state": {1: "batch"}},
    )


class Pitch(nn.Module):
    def __init__(self):
        super().__init__()
        sizes, strides = [1, 64, 16, 16, 16, 32, 64], [4, 1, 1, 1, 1, 1]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.ZeroPad2d((0, 0, 254, 254) if n == 0 else (0, 0, 31, 32)),
                nn.Conv2d(sizes[n], sizes[n + 1], (512 if n == 0 else 64, 1), (strides[n], 1)),
                nn.ReLU(),
                nn.BatchNorm2d(sizes[n + 1]),
                nn.MaxPool2d((2, 1)),
            )
            for n in range(6)
        )
        self.dense = nn.Linear(256, 360)

    def forward(self, frames):
        x = frames - frames.mean(dim=1, keepdim=True)
        x = x / torch.clamp(frames.std(dim=1, keepdim=True), min=1e-10)
        x = x[:, None, :, None]
        for layer in self.layers:
            x = layer(x)
        x = x.permute(0, 2, 1, 3).reshape(-1, 256)
        return torch.sigmoid(self.dense(x))


@twin
def pitch():
    return Pitch(), {"frames": torch.randn(4, 1024)}, {"frames": {0: "batch"}}


class Res2(nn.Module):
    def __init__(self, channels, dilation):
        super().__init__()
        self.width = channels // 4
        self.first = nn.Sequential(
            nn.Conv1d(channels, channels, 1), nn.ReLU(), nn.BatchNorm1d(channels)
        )
        self.inner = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(self.width, self.width, 3, padding=dilation, dilation=dilation),
                nn.ReLU(),
                nn.BatchNorm1d(self.width),
            )
            for _ in range(3)
        )
        self.last = nn.Sequential(
            nn.Conv1d(channels, channels, 1), nn.ReLU(), nn.BatchNorm1d(channels)
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool1d(1),
            nn.Conv1d(channels, 32, 1),
            nn.ReLU(),
            nn.Conv1d(32, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        parts, out, y = torch.chunk(self.first(x), 4, dim=1), [], None
        for n, part in enumerate(parts):
            if n:
                y = self.inner[n - 1](part if n == 1 else part + y)
            out.append(part if n == 0 else y)
        z = self.last(torch.cat(out, dim=1))
        return x + z * self.squeeze(z)


class Ecapa(nn.Module):
    def __init__(self, c=128):
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(80, c, 5, padding=2), nn.ReLU(), nn.BatchNorm1d(c))
        self.blocks = nn.ModuleList(Res2(c, d) for d in (2, 3, 4))
        self.mix = nn.Conv1d(3 * c, 3 * c, 1)
        self.attention = nn.Sequential(
            nn.Conv1d(9 * c, 64, 1),
            nn.ReLU(),
            nn.BatchNorm1d(64),
            nn.Tanh(),
            nn.Conv1d(64, 3 * c, 1),
        )
        self.out = nn.Sequential(nn.BatchNorm1d(6 * c), nn.Linear(6 * c, 192))

    def forward(self, features):
        x = features.transpose(1, 2)
        x = x - x.mean(dim=2, keepdim=True)
        x = self.first(x)
        kept = []
        for block in self.blocks:
            x = block(x)
            kept.append(x)
        x = F.relu(self.mix(torch.cat(kept, dim=1)))
        time = x.size(2)
        mean = x.mean(dim=2, keepdim=True).repeat(1, 1, time)
        std = torch.sqrt(x.var(dim=2, keepdim=True).clamp(min=1e-4)).repeat(1, 1, time)
        w = torch.softmax(self.attention(torch.cat([x, mean, std], dim=1)), dim=2)
        mu = (x * w).sum(dim=2)
        sg = torch.sqrt(((x**2 * w).sum(dim=2) - mu**2).clamp(min=1e-4))
        return F.normalize(self.out(torch.cat([mu, sg], dim=1)), dim=1)


@twin
def ecapa():
    return Ecapa(), {"features": torch.randn(2, 120, 80)}, {"features": {0: "batch", 1: "frames"}}


class Quality(nn.Module):
    """Frames of mel spectra through a CNN, then attention or an LSTM over time, then a pooling."""

    def __init__(self, lstm):
        super().__init__()
        self.cnn = nn.Sequential(
            conv_bn(1, 16),
            nn.MaxPool2d(2),
            conv_bn(16, 16),
            nn.MaxPool2d(2),
            conv_bn(16, 32),
            nn.Conv2d(32, 32, (12, 3)),
            nn.ReLU(),
        )
        self.time = (
            nn.LSTM(32, 32, batch_first=True, bidirectional=True)
            if lstm
            else nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        )
        width = 64 if lstm else 32
        self.score, self.out = nn.Linear(width, 1), nn.Linear(width, 5)
        self.lstm = lstm

    def forward(self, mel):
        batch, frames = mel.shape[:2]
        x = self.cnn(mel.reshape(batch * frames, 1, 48, 15)).reshape(batch, frames, 32)
        x = self.time(x)[0] if self.lstm else self.time(x)
        w = torch.softmax(self.score(x), dim=1)
        return self.out((w.transpose(1, 2) @ x).squeeze(1)) * 4 + 1


@twin
def quality_attention():
    return Quality(False), {"mel": torch.randn(1, 40, 48, 15)}, {"mel": {0: "batch", 1: "frames"}}


@twin
def quality_lstm():
    return Quality(True), {"mel": torch.randn(1, 40, 48, 15)}, {"mel": {0: "batch", 1: "frames"}}


class Wave2vec(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.ModuleList(
            [
                nn.Conv1d(1, 64, 10, 5, bias=False),
                nn.Conv1d(64, 64, 3, 2, bias=False),
                nn.Conv1d(64, 64, 3, 2, bias=False),
                nn.Conv1d(64, 64, 2, 2, bias=False),
            ]
        )
        self.norm, self.project = nn.GroupNorm(64, 64), nn.Linear(64, 96)
        self.position = nn.utils.parametrizations.weight_norm(
            nn.Conv1d(96, 96, 16, padding=8, groups=8), dim=2
        )
        layer = nn.TransformerEncoderLayer(
            96, 4, 192, batch_first=True, activation="gelu", norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(96, 32)

    def forward(self, samples):
        x = (samples - samples.mean(-1, keepdim=True)) / torch.sqrt(
            samples.var(-1, keepdim=True) + 1e-7
        )
        x = x.unsqueeze(1)
        for n, conv in enumerate(self.conv):
            x = F.gelu(self.norm(conv(x)) if n == 0 else conv(x))
        x = self.project(x.transpose(1, 2))
        x = x + F.gelu(self.position(x.transpose(1, 2))[:, :, :-1]).transpose(1, 2)
        return self.out(self.encoder(x))


@twin
def wave2vec():
    return Wave2vec(), {"samples": torch.randn(1, 8000)}, {"samples": {0: "batch", 1: "samples"}}


class WakeWord(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 96, 128),
            nn.LayerNorm(128),
            nn.ReLU(),
            nn.Linear(128, 128),
            nn.LayerNorm(128),
            nn.ReLU(),
            nn.Linear(128, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.layers(x)


@twin
def wake_word():
    return WakeWord(), {"x": torch.randn(1, 16, 96)}, {"x": {0: "batch"}}


class MelEncoder(nn.Module):
    """As speech recognisers have: two convolutions over time, sinusoids, layers with attention."""

    def __init__(self, d=96):
        super().__init__()
        self.one, self.two = nn.Conv1d(80, d, 3, padding=1), nn.Conv1d(d, d, 3, 2, 1)
        self.register_buffer("place", torch.randn(1500, d) / 10)
        layer = nn.TransformerEncoderLayer(
            d, 4, 2 * d, batch_first=True, activation="gelu", norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(d)

    def forward(self, mel):
        x = F.gelu(self.two(F.gelu(self.one(mel)))).permute(0, 2, 1)
        return self.norm(self.layers(x + self.place[: x.shape[1]]))


@twin
def mel_encoder():
    return MelEncoder(), {"mel": torch.randn(1, 80, 200)}, {"mel": {0: "batch", 2: "frames"}}


class Separator(nn.Module):
    """Masks for two speakers: dilated blocks with global norms, a transposed convolution."""

    def __init__(self, n=64, b=32):
        super().__init__()
        self.encoder, self.decoder = nn.Conv1d(1, n, 16, 8, bias=False), nn.ConvTranspose1d(
            n, 1, 16, 8, bias=False
        )
        self.narrow, self.masks = nn.Conv1d(n, b, 1), nn.Conv1d(b, 2 * n, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(b, n, 1),
                nn.PReLU(),
                nn.GroupNorm(1, n),
                nn.Conv1d(n, n, 3, padding=d, dilation=d, groups=n),
                nn.PReLU(),
                nn.GroupNorm(1, n),
                nn.Conv1d(n, b, 1),
            )
            for d in (1, 2, 4, 8)
        )

    def forward(self, mixture):
        w = F.relu(self.encoder(mixture.unsqueeze(1)))
        x = self.narrow(w)
        for block in self.blocks:
            x = x + block(x)
        masks = torch.sigmoid(self.masks(x)).view(x.shape[0], 2, -1, x.shape[2])
        parts = masks * w.unsqueeze(1)
        return self.decoder(parts.reshape(x.shape[0] * 2, -1, x.shape[2])).view(x.shape[0], 2, -1)


@twin
def separator():
    return Separator(), {"mixture": torch.randn(1, 4000)}, {"mixture": {0: "batch", 1: "samples"}}
