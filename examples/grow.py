"""A small network grows while it trains: three seeds are planted in it one after the other,
compiled by a registry that runs here, blended in, and kept or taken out. The same network without
seeds trains beside it, on the same data. Writes the loss of both as grow.svg.

    python examples/grow.py [--steps N] [--seconds S] [--ticks T] [--out FILE]

It needs PyTorch, the package urza, and the program urza in PATH.
"""
import argparse
import contextlib
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from xml.sax.saxutils import escape

import torch
import urza
from torch import nn

ROWS, INPUTS, WIDTH = 256, 16, 64
EVERY = 10  # steps between two looks at the loss
NAMES = ("layer 1", "layer 2", "layer 3")


class Host(nn.Module):
    """Linear layers, which can learn no more than one of them. Between them are slots."""

    def __init__(self, ticks):
        super().__init__()
        self.first, self.middle, self.last = (nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, WIDTH),
                                              nn.Linear(WIDTH, 1))
        # A seed that only learns does not see what it will do: it learns for a short time.
        options = {"train_ticks": max(ticks // 4, 1), "blend_ticks": ticks, "hold_ticks": 20,
                   "gain": 0.005, "curve": "cosine", "germinate_ticks": 10 ** 6}
        self.slots = nn.ModuleList(urza.Slot(name=name, **options) for name in NAMES)

    def forward(self, x, factors=(None, None, None)):
        h = self.slots[0](self.first(x), factors[0])
        h = self.slots[1](self.middle(h), factors[1])
        return self.last(self.slots[2](h, factors[2]))[:, 0]

    def own(self):
        return [p for layer in (self.first, self.middle, self.last) for p in layer.parameters()]


class Bend(nn.Module):
    """A seed that can help: what it adds is not linear."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        return self.down(torch.tanh(self.up(x)))


class Scale(nn.Module):
    """A seed that cannot: the layers beside it can scale as well."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x):
        return x * self.weight


class Data:
    """Drawn numbers, and what a random network of two layers makes of them, with variance 1."""

    def __init__(self):
        self.draws = torch.Generator().manual_seed(1)
        self.layers = [self.normal(INPUTS, 24) / 1.4, self.normal(24, 24) / 1.4, self.normal(24, 1)]
        self.spread = 1.0
        self.test = self.batch(4096)
        self.spread = float(self.test[1].std())
        self.test = self.test[0], self.test[1] / self.spread

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.draws)

    def batch(self, rows=ROWS):
        x = y = self.normal(rows, INPUTS)
        for layer in self.layers[:-1]:
            y = torch.tanh(y @ layer)
        return x, (y @ self.layers[-1])[:, 0] / self.spread


@contextlib.contextmanager
def registry():
    """The URL of one that compiles, on this machine alone; its keys are in a folder that goes."""
    with tempfile.TemporaryDirectory(prefix="urza-grow-") as folder:
        os.environ["URZA_HOME"] = os.path.join(folder, "home")
        os.mkdir(os.environ["URZA_HOME"], 0o700)
        log = Path(folder) / "log"
        with open(log, "wb") as file:
            server = subprocess.Popen(["urza", "serve", "--data", f"{folder}/data", "--port", "0"],
                                      stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            until = time.monotonic() + 30
            while not (found := re.search(r"http://[0-9.:]+", log.read_text())):
                if server.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"the registry does not start: {log.read_text()}")
                time.sleep(0.05)
            subprocess.run(["urza", "remote", "trust", "grow"], check=True, capture_output=True,
                           env={**os.environ, "URZA_URL": found[0]})
            yield found[0]
        finally:
            server.terminate()
            server.wait()


class Training:
    """A network and its optimizer; with a plan, which says what is planted where, it grows."""

    def __init__(self, ticks, plan, client):
        torch.manual_seed(2)
        self.host, self.plan, self.client, self.ticks = Host(ticks), list(plan), client, ticks
        self.optimizer = torch.optim.Adam(self.host.own(), lr=2e-3)
        self.since = {}  # by slot, the step of its state's beginning
        self.curve, self.events = [], []
        for slot in self.host.slots:
            slot.attach(self.optimizer, lr=2e-3, warmup=max(ticks // 4, 1))

    def over(self):
        return not self.plan and all(slot.state in ("FOSSILIZED", "DORMANT")
                                     for slot in self.host.slots)

    def grow(self, number):
        """The next seed comes once those before are in, or out."""
        quiet = all(slot.state in ("FOSSILIZED", "DORMANT") for slot in self.host.slots)
        if self.plan and quiet and number >= self.ticks:
            at, name, seed = self.plan.pop(0)
            self.host.slots[at].plant(seed, name=name, client=self.client, strategy="fast")

    def gain(self, batch, loss):
        """While a seed is held: how much greater the loss of the same rows is without it."""
        held = [slot.state == "HOLDING" for slot in self.host.slots]
        if not any(held):
            return None
        with torch.no_grad():
            without = self.loss(batch, [torch.zeros(ROWS) if each else None for each in held])
        return float(without) - loss

    def loss(self, batch, factors=(None, None, None)):
        return ((self.host(batch[0], factors) - batch[1]) ** 2).mean()

    def step(self, number, data, batch):
        self.grow(number)
        loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        metrics = {"loss": loss.item(), "gain": self.gain(batch, loss.item()),
                   "host_norm": float(nn.utils.get_total_norm([p.grad for p in self.host.own()])),
                   "host_parameters": sum(p.numel() for p in self.host.own())}
        self.optimizer.step()
        for slot in self.host.slots:
            self.tick(slot, number, metrics)
        if number % EVERY == 0:
            with torch.no_grad():
                self.curve.append((number, float(self.loss(data.test))))

    def tick(self, slot, number, metrics):
        before, state = slot.state, slot.tick(**metrics)
        if state != before:
            self.since[slot] = number
        patience = {"TRAINING": 20, "HOLDING": 4}.get(state)
        if patience and number - self.since[slot] == patience * self.ticks:
            slot.command("prune", ticks=self.ticks // 2)  # it does not learn, or does not help
        for event in slot.events():
            if event["kind"] == "state":
                text = f"{event['from']} -> {event['to']}"
            else:
                text = event["kind"]
            print(f"step {number}: {event['slot']}: {text}: {event['reason']}", flush=True)
            self.events.append((number, event))


def path_of(curve, at_x, at_y):
    return " ".join(f"{at_x(step):.1f},{at_y(loss):.1f}" for step, loss in curve)


def draw(trainings, path):
    """Two curves, on a logarithmic scale of the loss, with the seeds' events above."""
    colours = {"without seeds": "#888", "with seeds": "#06c"}
    marks = {"GERMINATED": "planted", "TRAINING": "learns", "BLENDING": "blends", "HOLDING": "held",
             "FOSSILIZED": "kept", "PRUNED": "pruned"}
    width, height, left, top, right, bottom = 1000, 560, 60, 150, 20, 50
    points = [point for each in trainings.values() for point in each.curve]
    losses = torch.tensor([max(loss, 1e-9) for _, loss in points]).log10()
    low, high = float(losses.min()) - 0.05, float(losses.max()) + 0.05
    last = max(step for step, _ in points) or 1

    def at_x(step):
        return left + (width - left - right) * step / last

    def at_y(loss):
        part = (high - float(torch.tensor(max(loss, 1e-9)).log10())) / (high - low)
        return top + (height - top - bottom) * part

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for value in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001):
        if top <= at_y(value) <= height - bottom:
            out.append(f'<path d="M{left} {at_y(value):.1f}H{width - right}" stroke="#ddd"/>'
                       f'<text x="{left - 8}" y="{at_y(value) + 4:.1f}" text-anchor="end">{value}'
                       '</text>')
    for i in range(6):
        step = last * i // 5
        out.append(f'<text x="{at_x(step):.1f}" y="{height - bottom + 20}" '
                   f'text-anchor="middle">{step}</text>')
    out.append(f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">steps</text>'
               f'<text x="{left}" y="20">mean squared error of data that was not trained on</text>')
    for row, (name, each) in enumerate(trainings.items()):
        out.append(f'<polyline fill="none" stroke-width="1.5" stroke="{colours[name]}" '
                   f'points="{path_of(each.curve, at_x, at_y)}"/>'
                   f'<text x="{width - right}" y="{20 + 16 * row}" text-anchor="end" '
                   f'fill="{colours[name]}">{name}: {each.curve[-1][1]:.4f}</text>')
    shown = [(step, event) for step, event in trainings["with seeds"].events
             if event["kind"] == "state" and event["to"] in marks]
    rows = [-1e9] * 8  # labels of neighbours stand below each other
    for step, event in shown:
        goes = event["to"] == "BLENDING" and event["from"] == "HOLDING"
        text = f"{event['slot']} {'goes' if goes else marks[event['to']]}"
        row = next((i for i, end in enumerate(rows) if end < at_x(step)), len(rows) - 1)
        x, y = at_x(step), 50 + 12 * row
        rows[row] = x + 7 * len(text)
        anchor = "end" if x + 7 * len(text) > width else "start"
        out.append(f'<path d="M{x:.1f} {y + 2}V{height - bottom}" stroke="#c60" '
                   'stroke-dasharray="2 3"/>'
                   f'<text class="event" x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="#c60">'
                   f'{escape(text)}</text>')
    Path(path).write_text("\n".join([*out, "</svg>", ""]), encoding="utf-8")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=3000, help="at least so many (3000)")
    options.add_argument("--seconds", type=float, default=120, help="at most so long (120)")
    options.add_argument("--ticks", type=int, default=200,
                         help="so long is a seed blended in, at most four times as long held (200)")
    options.add_argument("--out", default="grow.svg")
    given = options.parse_args()
    if given.steps < 1 or given.ticks < 2:
        options.error("--steps is 1 or more, --ticks 2 or more")
    torch.set_num_threads(1)
    data = Data()
    with registry() as url:
        plan = [(0, "bend", Bend()), (1, "bend", Bend()), (2, "scale", Scale())]
        grown = Training(given.ticks, plan, urza.Client(url))
        plain = Training(given.ticks, (), None)
        number, until = 0, time.monotonic() + given.seconds
        while time.monotonic() < until and (number < given.steps or not grown.over()):
            batch = data.batch()
            for training in (plain, grown):
                training.step(number, data, batch)
            number += 1
    trainings = {"without seeds": plain, "with seeds": grown}
    draw(trainings, given.out)
    for name, slot in zip(NAMES, grown.host.slots):
        print(f"{name}: {slot.state}")
    for name, each in trainings.items():
        print(f"{name}: loss {each.curve[-1][1]:.4f} after {number} steps")
    print(f"the curves are in {given.out}")


if __name__ == "__main__":
    main()
