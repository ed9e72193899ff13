"""Networks of images, as people export them from PyTorch.

Small, with random weights. A function marked as a twin gives the module, its example inputs by
name, and the dims that are left open, {input: {axis: name}}.
"""

import torch
from torch import nn
from torch.nn import functional as F

from twins import twin


def conv_bn(i, o, k=3, s=1, g=1, act=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), act()
    )


class Inverted(nn.Module):
    def __init__(self, i, e, o, k, s, se):
        super().__init__()
        self.expand, self.depth = conv_bn(i, e, 1, act=nn.Hardswish), conv_bn(
            e, e, k, s, e, nn.Hardswish
        )
        self.se = (
            nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(e, e // 4, 1),
                nn.ReLU(),
                nn.Conv2d(e // 4, e, 1),
                nn.Hardsigmoid(),
            )
            if se
            else None
        )
        self.project, self.same = conv_bn(e, o, 1, act=nn.Identity), s == 1 and i == o

    def forward(self, x):
        y = self.depth(self.expand(x))
        y = y * self.se(y) if self.se is not None else y
        y = self.project(y)
        return x + y if self.same else y


class Pyramid(nn.Module):
    """A text detector: four scales, summed from the top and joined, two transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.stem = conv_bn(3, 8, 3, 2, act=nn.Hardswish)
        self.stages = nn.ModuleList(
            [
                nn.Sequential(Inverted(8, 16, 16, 3, 2, True), Inverted(16, 32, 16, 3, 1, False)),
                nn.Sequential(Inverted(16, 48, 24, 3, 2, False), Inverted(24, 64, 24, 3, 1, True)),
                nn.Sequential(Inverted(24, 72, 40, 5, 2, True), Inverted(40, 96, 40, 5, 1, True)),
                nn.Sequential(Inverted(40, 120, 64, 5, 2, True)),
            ]
        )
        self.lateral = nn.ModuleList(nn.Conv2d(c, 48, 1, bias=False) for c in (16, 24, 40, 64))
        self.smooth = nn.ModuleList(nn.Conv2d(48, 12, 3, padding=1, bias=False) for _ in range(4))
        self.head = nn.Sequential(
            conv_bn(48, 12),
            nn.ConvTranspose2d(12, 12, 2, 2),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.ConvTranspose2d(12, 1, 2, 2),
            nn.Sigmoid(),
        )

    def forward(self, x):
        x, kept = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            kept.append(x)
        up = self.lateral[3](kept[3])
        out = [self.smooth[3](up)]
        for n in (2, 1, 0):
            here = self.lateral[n](kept[n])
            up = here + F.interpolate(up, size=here.shape[2:], mode="nearest")
            out.append(self.smooth[n](up))
        size = out[-1].shape[2:]
        return self.head(torch.cat([F.interpolate(o, size=size) for o in reversed(out)], dim=1))


class PyramidFactors(Pyramid):
    def forward(self, x):
        x, kept = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            kept.append(x)
        up = self.lateral[3](kept[3])
        out = [F.interpolate(self.smooth[3](up), scale_factor=8, mode="nearest")]
        for n in (2, 1, 0):
            up = self.lateral[n](kept[n]) + F.interpolate(up, scale_factor=2, mode="nearest")
            y = self.smooth[n](up)
            out.append(F.interpolate(y, scale_factor=2**n, mode="nearest") if n else y)
        return self.head(torch.cat(out[::-1], dim=1))


@twin
def text_detector():
    return (
        Pyramid(),
        {"x": torch.randn(1, 3, 160, 224)},
        {"x": {0: "batch", 2: "height", 3: "width"}},
    )


@twin
def text_detector_factors():
    return (
        PyramidFactors(),
        {"x": torch.randn(1, 3, 160, 224)},
        {"x": {0: "batch", 2: "height", 3: "width"}},
    )


class Crnn(nn.Module):
    def __init__(self, height=32, classes=100):
        super().__init__()
        pools = [nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d((2, 1)), nn.MaxPool2d((2, 1))]
        sizes = [1, 32, 64, 96, 128]
        self.cnn = nn.Sequential(
            *[nn.Sequential(conv_bn(i, o), p) for i, o, p in zip(sizes, sizes[1:], pools)],
            nn.Conv2d(128, 128, (2, 1)),
            nn.ReLU()
        )
        self.rnn = nn.LSTM(128, 64, 2, bidirectional=True)
        self.out = nn.Linear(128, classes)

    def forward(self, image):
        x = self.cnn(image)
        batch, channels, height, width = x.size()
        x = x.squeeze(2).permute(2, 0, 1)
        x, _ = self.rnn(x)
        time, batch, hidden = x.size()
        x = self.out(x.view(time * batch, hidden)).view(time, batch, -1)
        return F.log_softmax(x, dim=2)


@twin
def text_reader_lstm():
    return Crnn(), {"image": torch.randn(1, 1, 32, 128)}, {"image": {0: "batch", 3: "width"}}


class Svtr(nn.Module):
    """Attention over the width in place of an LSTM."""

    def __init__(self, classes=200):
        super().__init__()
        self.cnn = nn.Sequential(
            conv_bn(3, 16, 3, 2, act=nn.Hardswish),
            Inverted(16, 32, 32, 3, 1, True),
            conv_bn(32, 48, 3, 2, act=nn.Hardswish),
            Inverted(48, 96, 48, 5, 1, True),
        )
        self.qkv, self.project = nn.Linear(48, 144), nn.Linear(48, 48)
        self.norm, self.norm2, self.out = nn.LayerNorm(48), nn.LayerNorm(48), nn.Linear(48, classes)
        self.mlp = nn.Sequential(nn.Linear(48, 96), nn.SiLU(), nn.Linear(96, 48))

    def forward(self, image):
        x = self.cnn(image)
        x = F.avg_pool2d(x, (12, 2), (12, 2)).flatten(2).transpose(1, 2)
        y = self.norm(x)
        b, n, c = y.shape
        q, k, v = self.qkv(y).reshape(b, n, 3, 4, c // 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = torch.softmax(q * (c // 4) ** -0.5 @ k.transpose(-2, -1), dim=-1) @ v
        x = x + self.project(y.transpose(1, 2).reshape(b, n, c))
        x = x + self.mlp(self.norm2(x))
        x = self.out(x).softmax(2)
        return x


@twin
def text_reader_attention():
    return Svtr(), {"image": torch.randn(1, 3, 48, 160)}, {"image": {0: "batch", 3: "width"}}


class C2f(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.half, act = o // 2, nn.SiLU
        self.first, self.last = conv_bn(i, o, 1, act=act), conv_bn(3 * self.half, o, 1, act=act)
        self.inner = nn.Sequential(
            conv_bn(self.half, self.half, act=act), conv_bn(self.half, self.half, act=act)
        )

    def forward(self, x):
        y = list(self.first(x).split((self.half, self.half), 1))
        y.append(y[-1] + self.inner(y[-1]))
        return self.last(torch.cat(y, 1))


class Yolo(nn.Module):
    def __init__(self, classes=10, bins=16):
        super().__init__()
        act = nn.SiLU
        self.classes, self.bins, self.strides = classes, bins, (8, 16, 32)
        self.stem = nn.Sequential(
            conv_bn(3, 8, 3, 2, act=act), conv_bn(8, 16, 3, 2, act=act), C2f(16, 16)
        )
        self.p3 = nn.Sequential(conv_bn(16, 32, 3, 2, act=act), C2f(32, 32))
        self.p4 = nn.Sequential(conv_bn(32, 48, 3, 2, act=act), C2f(48, 48))
        self.p5 = nn.Sequential(conv_bn(48, 64, 3, 2, act=act), C2f(64, 64))
        self.spp1, self.spp2 = conv_bn(64, 32, 1, act=act), conv_bn(128, 64, 1, act=act)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.n4, self.n3 = C2f(64 + 48, 48), C2f(48 + 32, 32)
        self.boxes = nn.ModuleList(
            nn.Sequential(conv_bn(c, 32, act=act), nn.Conv2d(32, 4 * bins, 1)) for c in (32, 48, 64)
        )
        self.scores = nn.ModuleList(
            nn.Sequential(conv_bn(c, 32, act=act), nn.Conv2d(32, classes, 1)) for c in (32, 48, 64)
        )
        self.dfl = nn.Conv2d(bins, 1, 1, bias=False)
        self.dfl.weight.data = torch.arange(bins, dtype=torch.float).view(1, bins, 1, 1)

    def pool(self, x):
        y = [self.spp1(x)]
        for _ in range(3):
            y.append(F.max_pool2d(y[-1], 5, 1, 2))
        return self.spp2(torch.cat(y, 1))

    def anchors(self, maps):
        points, strides = [], []
        for map_, stride in zip(maps, self.strides):
            h, w = map_.shape[2:]
            sx = torch.arange(w, device=map_.device, dtype=map_.dtype) + 0.5
            sy = torch.arange(h, device=map_.device, dtype=map_.dtype) + 0.5
            sy, sx = torch.meshgrid(sy, sx, indexing="ij")
            points.append(torch.stack((sx, sy), -1).view(-1, 2))
            strides.append(torch.full((h * w, 1), stride, dtype=map_.dtype))
        return torch.cat(points).transpose(0, 1), torch.cat(strides).transpose(0, 1)

    def forward(self, images):
        x3 = self.p3(self.stem(images))
        x4 = self.p4(x3)
        x5 = self.pool(self.p5(x4))
        y4 = self.n4(torch.cat([self.up(x5), x4], 1))
        y3 = self.n3(torch.cat([self.up(y4), x3], 1))
        maps = [
            torch.cat((b(m), s(m)), 1) for m, b, s in zip((y3, y4, x5), self.boxes, self.scores)
        ]
        points, strides = self.anchors(maps)
        x = torch.cat([m.view(m.shape[0], 4 * self.bins + self.classes, -1) for m in maps], 2)
        box, score = x.split((4 * self.bins, self.classes), 1)
        b, c, a = box.shape
        box = self.dfl(box.view(b, 4, self.bins, a).transpose(2, 1).softmax(1)).view(b, 4, a)
        lt, rb = box.chunk(2, 1)
        lt, rb = points.unsqueeze(0) - lt, points.unsqueeze(0) + rb
        box = torch.cat(((lt + rb) / 2, rb - lt), 1) * strides
        return torch.cat((box, score.sigmoid()), 1)


@twin
def yolo():
    return Yolo(), {"images": torch.rand(1, 3, 160, 160)}, {}


@twin
def yolo_open():
    return (
        Yolo(),
        {"images": torch.rand(1, 3, 160, 192)},
        {"images": {0: "batch", 2: "height", 3: "width"}},
    )


class Ssd(nn.Module):
    def __init__(self, classes=6):
        super().__init__()
        act = nn.ReLU6
        self.one = nn.Sequential(
            conv_bn(3, 16, 3, 2, act=act),
            conv_bn(16, 16, 3, 1, 16, act),
            conv_bn(16, 32, 1, act=act),
            conv_bn(32, 32, 3, 2, 32, act),
            conv_bn(32, 48, 1, act=act),
            conv_bn(48, 48, 3, 2, act=act),
        )
        self.two = nn.Sequential(conv_bn(48, 32, 1, act=act), conv_bn(32, 64, 3, 2, act=act))
        self.three = nn.Sequential(conv_bn(64, 32, 1, act=act), conv_bn(32, 64, 3, 2, act=act))
        self.score = nn.ModuleList(nn.Conv2d(c, 3 * classes, 3, padding=1) for c in (48, 64, 64))
        self.place = nn.ModuleList(nn.Conv2d(c, 12, 3, padding=1) for c in (48, 64, 64))
        self.classes = classes
        self.register_buffer("priors", torch.rand(3 * (15 * 20 + 8 * 10 + 4 * 5), 4))

    def forward(self, image):
        scores, places, x = [], [], (image - 127.0) / 128.0
        for stage, score, place in zip((self.one, self.two, self.three), self.score, self.place):
            x = stage(x)
            s = score(x).permute(0, 2, 3, 1).contiguous()
            scores.append(s.view(s.size(0), -1, self.classes))
            p = place(x).permute(0, 2, 3, 1).contiguous()
            places.append(p.view(p.size(0), -1, 4))
        places = torch.cat(places, 1)
        centre = places[..., :2] * 0.1 * self.priors[:, 2:] + self.priors[:, :2]
        size = torch.exp(places[..., 2:] * 0.2) * self.priors[:, 2:]
        return F.softmax(torch.cat(scores, 1), dim=2), torch.cat(
            [centre - size / 2, centre + size / 2], -1
        )


@twin
def ssd():
    return Ssd(), {"image": torch.rand(1, 3, 120, 160) * 255}, {"image": {0: "batch"}}


class Unet(nn.Module):
    """For any size: what was halved is padded back to what it is joined with."""

    def __init__(self):
        super().__init__()
        double = lambda i, o: nn.Sequential(conv_bn(i, o), conv_bn(o, o))
        self.d1, self.d2, self.d3 = double(3, 16), double(16, 32), double(32, 48)
        self.u2 = nn.ConvTranspose2d(48, 32, 2, 2)
        self.c2, self.c1, self.out = double(64, 32), double(48, 16), nn.Conv2d(16, 2, 1)

    def join(self, x, skip):
        dy, dx = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
        x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return torch.cat([skip, x], 1)

    def forward(self, image):
        a = self.d1(image)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.d3(F.max_pool2d(b, 2))
        y = self.c2(self.join(self.u2(c), b))
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
        return self.out(self.c1(self.join(y, a))).argmax(1)


@twin
def unet():
    return Unet(), {"image": torch.rand(1, 3, 96, 96)}, {}


@twin
def unet_open():
    return (
        Unet(),
        {"image": torch.rand(1, 3, 97, 102)},
        {"image": {0: "batch", 2: "height", 3: "width"}},
    )


class Deeplab(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn(3, 16, 3, 2), conv_bn(16, 32, 3, 2), conv_bn(32, 32, 3, 2)
        )
        self.atrous = nn.ModuleList(
            nn.Sequential(nn.Conv2d(32, 16, 3, padding=d, dilation=d), nn.ReLU()) for d in (1, 2, 4)
        )
        self.image, self.out = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(32, 16, 1), nn.ReLU()
        ), nn.Conv2d(64, 5, 1)

    def forward(self, image):
        x = self.stem(image)
        pooled = F.interpolate(
            self.image(x), size=x.shape[-2:], mode="bilinear", align_corners=False
        )
        x = self.out(torch.cat([a(x) for a in self.atrous] + [pooled], 1))
        return F.interpolate(x, size=image.shape[-2:], mode="bilinear", align_corners=False)


@twin
def deeplab():
    return Deeplab(), {"image": torch.rand(1, 3, 96, 128)}, {"image": {0: "batch"}}


@twin
def deeplab_open():
    return (
        Deeplab(),
        {"image": torch.rand(1, 3, 96, 128)},
        {"image": {0: "batch", 2: "height", 3: "width"}},
    )


class SuperResolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.PReLU(32),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.PReLU(32),
            nn.Conv2d(32, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, x):
        return self.layers(x) + F.interpolate(x, scale_factor=4, mode="nearest")


@twin
def super_resolution():
    return (
        SuperResolution(),
        {"x": torch.rand(1, 3, 48, 56)},
        {"x": {0: "batch", 2: "height", 3: "width"}},
    )


class Style(nn.Module):
    def __init__(self):
        super().__init__()
        layer = lambda i, o, k, s: nn.Sequential(
            nn.ReflectionPad2d(k // 2), nn.Conv2d(i, o, k, s), nn.InstanceNorm2d(o, affine=True)
        )
        self.down = nn.ModuleList([layer(3, 16, 9, 1), layer(16, 32, 3, 2), layer(32, 32, 3, 2)])
        self.body, self.up = layer(32, 32, 3, 1), nn.ModuleList(
            [layer(32, 32, 3, 1), layer(32, 16, 3, 1)]
        )
        self.out = nn.Sequential(nn.ReflectionPad2d(4), nn.Conv2d(16, 3, 9))

    def forward(self, x):
        for layer in self.down:
            x = F.relu(layer(x))
        x = x + self.body(x)
        for layer in self.up:
            x = F.relu(layer(F.interpolate(x, scale_factor=2, mode="nearest")))
        return self.out(x)


@twin
def style():
    return Style(), {"x": torch.rand(1, 3, 64, 72)}, {"x": {0: "batch", 2: "height", 3: "width"}}


class Swin(nn.Module):
    def __init__(self, d=32, w=4):
        super().__init__()
        self.patch, self.norm, self.w = nn.Conv2d(3, d, 4, 4), nn.LayerNorm(d), w
        self.qkv, self.project = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.bias = nn.Parameter(torch.randn(2, w * w, w * w))
        self.mlp = nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d)
        )
        self.out = nn.Linear(d, 10)

    def windows(self, x):
        b, h, w, c = x.shape
        x = x.view(b, h // self.w, self.w, w // self.w, self.w, c)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.w * self.w, c)

    def forward(self, image):
        x = self.patch(image).permute(0, 2, 3, 1)
        for shift in (0, 2):
            b, h, w, c = x.shape
            y = torch.roll(self.norm(x), (-shift, -shift), (1, 2)) if shift else self.norm(x)
            y = self.windows(y)
            q, k, v = self.qkv(y).view(y.shape[0], y.shape[1], 3, 2, c // 2).permute(2, 0, 3, 1, 4)
            y = ((q @ k.transpose(-2, -1)) / 4 + self.bias).softmax(-1) @ v
            y = self.project(y.transpose(1, 2).reshape(y.shape[0], -1, c))
            y = (
                y.view(b, h // self.w, w // self.w, self.w, self.w, c)
                .permute(0, 1, 3, 2, 4, 5)
                .reshape(b, h, w, c)
            )
            x = x + (torch.roll(y, (shift, shift), (1, 2)) if shift else y)
            x = x + self.mlp(x)
        return self.out(x.mean((1, 2)))


@twin
def swin():
    return Swin(), {"image": torch.rand(2, 3, 64, 64)}, {"image": {0: "batch"}}


class Vit(nn.Module):
    def __init__(self, d=96):
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, d, 16, 16), nn.Parameter(torch.randn(1, 1, d))
        self.place = nn.Parameter(torch.randn(1, 50, d))
        layer = nn.TransformerEncoderLayer(
            d, 4, 2 * d, batch_first=True, activation="gelu", norm_first=True
        )
        self.layers, self.out = nn.TransformerEncoder(
            layer, 2, enable_nested_tensor=False
        ), nn.Linear(d, 10)

    def forward(self, image):
        x = self.patch(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return F.normalize(self.out(self.layers(x)[:, 0]), dim=-1)


@twin
def vit():
    return Vit(), {"image": torch.rand(1, 3, 112, 112)}, {"image": {0: "batch"}}
