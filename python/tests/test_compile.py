"""urza.compile beside eager PyTorch: losses and gradients over steps, modes, copies, errors."""
import copy
import os
import pickle
import unittest

import urza
from serve_util import Server
from support import BUILD, Case

try:
    import torch
    from torch import nn
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing

STEPS = 20
LOSS = 1e-4       # relative: 20 steps of float32 in another order of sums
GRADIENT = 1e-4   # of the largest magnitude in the gradient


class First(nn.Module):
    """The first result of a module that has more."""

    def __init__(self, inner, copies=1):
        super().__init__()
        self.inner, self.copies = inner, copies

    def forward(self, x):
        return self.inner(*[x] * self.copies)[0]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x):
        return x + nn.functional.gelu(self.layer(self.norm(x)))


class Tied(nn.Module):
    """One weight under two names."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(6, 6), nn.Linear(6, 6)
        self.down.weight = self.up.weight

    def forward(self, x):
        return self.down(torch.tanh(self.up(x)))


def blocks():
    """Name, module, and a function of the batch that makes an input."""
    def floats(*shape):
        return lambda batch: torch.randn(batch, *shape)
    image = floats(3, 6, 6)
    return [
        ("linear", nn.Linear(6, 4), floats(6)),
        ("mlp", nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), floats(6)),
        ("conv", nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()).eval(),
         image),
        ("group norm", nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.GroupNorm(2, 4), nn.SiLU()),
         image),
        ("transposed", nn.ConvTranspose2d(3, 2, 3, stride=2), image),
        ("lstm", First(nn.LSTM(5, 6, batch_first=True)), floats(7, 5)),
        ("gru", First(nn.GRU(5, 6, batch_first=True)), floats(4, 5)),
        ("attention", First(nn.MultiheadAttention(8, 2, batch_first=True), 3), floats(5, 8)),
        ("transformer", nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval(),
         floats(5, 8)),
        ("embedding", nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 4)),
         lambda batch: torch.randint(0, 11, (batch, 3))),
        ("residual", Residual(), floats(8)),
        ("tied", Tied(), floats(6)),
    ]


def loss_of(y):
    return (y * y).mean() + y.mean()


def train(module, inputs):
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for x in inputs:
        optimizer.zero_grad()
        loss = loss_of(module(x))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class Compile(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{BUILD.resolve()}{os.pathsep}{before}"
        cls.addClassCleanup(os.environ.__setitem__, "PATH", before)
        torch.manual_seed(3)

    def near(self, got, expected, bound=GRADIENT):
        self.assertEqual((got.dtype, got.shape), (expected.dtype, expected.shape))
        most = max(1.0, expected.abs().max().item())
        self.assertLessEqual((got - expected).abs().max().item(), bound * most)

    def compile(self, module, x, dynamic=True, **hints):
        batch = torch.export.Dim("batch", min=2, max=16)
        shapes = ({0: batch},) if dynamic else None
        return urza.compile(module, (x,), dynamic_shapes=shapes, **hints)

    def test_training(self):
        """Twelve blocks, batches of two sizes by turns."""
        for name, eager, make in blocks():
            with self.subTest(name):
                module = copy.deepcopy(eager)
                compiled = self.compile(module, make(3))
                inputs = [make(3 + step % 2) for step in range(STEPS)]
                expected = train(eager, inputs)
                for got, wanted in zip(train(compiled, inputs), expected, strict=True):
                    self.assertLessEqual(abs(got - wanted), LOSS * max(abs(wanted), 1.0))
                self.assertGreater(abs(expected[0] - expected[-1]), 1e-3)  # it did learn
                for key, value in eager.state_dict().items():
                    self.near(module.state_dict()[key], value)
                self.assertEqual(compiled.package.stats()["fallback_calls"], 0)

    def test_gradients(self):
        for name, eager, make in blocks():
            with self.subTest(name):
                x = make(5)
                compiled = self.compile(eager, make(3))
                leaves = [x.clone().requires_grad_(x.is_floating_point()) for _ in range(2)]
                wanted = torch.randn_like(eager(x))
                found = []
                for module, leaf in zip((eager, compiled), leaves, strict=True):
                    module.zero_grad()
                    (module(leaf) * wanted).sum().backward()
                    found.append([each.grad.clone() for each in module.parameters()])
                for got, expected in zip(found[1], found[0], strict=True):
                    self.near(got, expected)
                if x.is_floating_point():
                    self.near(leaves[1].grad, leaves[0].grad)

    def test_double_precision(self):
        layer = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
        x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        compiled = self.compile(layer, x.detach())
        names = [name for name, _ in compiled.named_parameters()]

        def function(x, *values):
            return torch.func.functional_call(compiled, dict(zip(names, values, strict=True)), x)
        params = [each.detach().clone().requires_grad_() for each in layer.parameters()]
        self.assertTrue(torch.autograd.gradcheck(function, (x, *params)))

    def test_shared(self):
        module = Tied()
        compiled = self.compile(module, torch.randn(2, 6))
        self.assertIs(compiled.up.weight, module.up.weight)
        self.assertEqual([(name, id(each)) for name, each in compiled.named_parameters()],
                         [(name, id(each)) for name, each in module.named_parameters()])
        self.assertEqual(list(compiled.state_dict()), list(module.state_dict()))
        other = Tied()
        compiled.load_state_dict(other.state_dict())
        x = torch.randn(4, 6)
        with torch.no_grad():
            self.near(compiled(x), other(x))
        module.up.bias = nn.Parameter(torch.randn(6))  # another object of that name
        self.near(compiled(x), module(x))

    def test_every_write_is_seen(self):
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        compiled = self.compile(module, torch.randn(2, 3, 5, 5))
        x = torch.randn(3, 3, 5, 5)

        def scale():
            module[1].weight.data.mul_(3)

        def shift():
            module[0].bias.detach().numpy()[:] += 2

        def move():
            module[1].running_mean.add_(1.5)
        for change in (lambda: module[0].weight.mul_(2), scale, shift, move):
            with torch.no_grad():
                before = compiled(x)
                change()
                got = compiled(x)
                self.assertFalse(torch.equal(got, before))
                self.near(got, module(x))
                self.assertFalse(got.requires_grad)

    def test_frozen(self):
        module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
        module[0].weight.requires_grad_(False)
        compiled = self.compile(module, torch.randn(2, 6))
        loss_of(compiled(torch.randn(3, 6))).backward()
        self.assertIsNone(module[0].weight.grad)
        self.assertIsNotNone(module[0].bias.grad)
        module[0].weight.requires_grad_(True)
        with self.assertRaisesRegex(urza.UnsupportedError, "0.weight.*requires grad"):
            compiled(torch.randn(3, 6))
        module.requires_grad_(False)
        x = torch.randn(3, 6)
        self.assertFalse(compiled(x).requires_grad)
        self.assertTrue(compiled(x.requires_grad_()).requires_grad)
        table = nn.Embedding(5, 3).requires_grad_(False)
        indices = torch.tensor([[1, 2], [3, 0]])
        compiled = self.compile(table, indices)
        with torch.no_grad():
            table.weight.add_(1)
        self.assertTrue(torch.equal(compiled(indices), table(indices)))

    def test_backward_twice(self):
        module = nn.Linear(6, 4)
        compiled = self.compile(module, torch.randn(2, 6))
        loss = loss_of(compiled(torch.randn(3, 6)))
        loss.backward(retain_graph=True)
        first = module.weight.grad.clone()
        loss.backward()
        self.near(module.weight.grad, 2 * first)
        with self.assertRaisesRegex(RuntimeError, "second time"):
            loss.backward()
        loss = loss_of(compiled(torch.randn(3, 6)))
        with torch.no_grad():
            module.weight.add_(1)
        with self.assertRaisesRegex(RuntimeError, "modified by an inplace operation"):
            loss.backward()

    def test_structures(self):
        class Named(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(4, 4)

            def forward(self, pair, scale, flag=None):
                h = self.layer(pair["a"]) * scale * (flag or 1)
                return {"h": h, "rest": (h + pair["b"], pair["a"].argmax(1))}
        module = Named()
        pair = {"a": torch.randn(3, 4), "b": torch.randn(3, 4)}
        compiled = urza.compile(module, (pair, torch.randn(4)))
        scale = torch.randn(4)
        for got in (compiled(pair, scale), compiled(pair, scale=scale)):
            expected = module(pair, scale)
            self.near(got["h"], expected["h"])
            self.near(got["rest"][0], expected["rest"][0])
            self.assertTrue(torch.equal(got["rest"][1], expected["rest"][1]))
            self.assertFalse(got["rest"][1].requires_grad)
        compiled2 = urza.compile(module, (pair, scale, 2.0))
        self.near(compiled2(pair, scale, 2.0)["h"], module(pair, scale, 2.0)["h"])
        with self.assertRaisesRegex(urza.InvalidInputError, "compiled for 2.0, not 3.0"):
            compiled2(pair, scale, 3.0)
        for call, text in ((lambda: compiled(pair), "compiled for"),
                           (lambda: compiled(pair, scale, q=1), "no argument 'q'"),
                           (lambda: compiled(pair, scale, scale=scale), "twice")):
            with self.assertRaisesRegex(TypeError, text):
                call()

    def test_modes(self):
        x = torch.randn(3, 6)
        free = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        compiled = self.compile(free, x)
        self.near(compiled.eval()(x), free(x))  # the mode changes nothing here
        module = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)).eval()
        compiled = self.compile(module, x)
        self.near(compiled(x), module(x))
        loaded = pickle.loads(pickle.dumps(compiled))
        self.near(loaded.eval()(x), module(x))
        for change in (loaded.train, loaded._modules["1"].train):
            change()
            with self.assertRaisesRegex(urza.UnsupportedError, "mode"):
                loaded(x)
            loaded.eval()
        other = copy.deepcopy(compiled)
        self.near(other(x), module(x))
        self.assertFalse(torch.equal(other.train()(x), module(x)))

    def test_copies(self):
        module = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
        compiled = self.compile(module, torch.randn(2, 6))
        x = torch.randn(3, 6)
        expected = compiled(x).detach()
        data = pickle.dumps(compiled)
        self.assertIn(compiled.package.kernel_id.encode(), data)
        self.assertLess(len(data), 20000)  # no code
        for other in (copy.deepcopy(compiled), pickle.loads(data)):
            self.assertIsNot(next(other.parameters()), next(module.parameters()))
            self.assertTrue(torch.equal(other(x), expected))
            other.eval()(x)
            loss_of(other(x)).backward()
            self.assertIsNone(next(module.parameters()).grad)
            with torch.no_grad():
                next(other.parameters()).zero_()
            self.assertTrue(torch.equal(compiled(x), expected))

    def test_refused(self):
        module = nn.Linear(6, 4)
        compiled = self.compile(module, torch.randn(2, 6))
        with self.assertRaisesRegex(urza.InvalidInputError, "is 17, expected 2 to 16"):
            compiled(torch.randn(17, 6))
        with self.assertRaises(TypeError):
            compiled([[1.0] * 6])
        with self.assertRaisesRegex(urza.UnsupportedError, "autocast"), \
                torch.autocast("cpu", torch.bfloat16):
            compiled(torch.randn(3, 6))
        module.double()
        with self.assertRaisesRegex(urza.InvalidInputError, "weight.*dtype f64"):
            compiled(torch.randn(3, 6))
        module.float()
        module.to("meta")
        with self.assertRaises((BufferError, RuntimeError, TypeError)):
            compiled(torch.randn(3, 6))

        class Branch(nn.Module):
            def forward(self, x):
                return x + 1 if x.sum() > 0 else x

        class Nonzero(nn.Module):
            def forward(self, x):
                return torch.linalg.svd(x)[1]
        with self.assertRaisesRegex(urza.UnsupportedError, "torch.export refuses"):
            urza.compile(Branch(), (torch.randn(2, 3),))
        with self.assertRaisesRegex(urza.UnsupportedError, "linalg_svd"):
            urza.compile(Nonzero(), (torch.randn(2, 3),))
        for call in (lambda: urza.compile(len, (1,)),
                     lambda: urza.compile(nn.Linear(2, 2), (torch.randn(1, 2),), colour=1)):
            with self.assertRaises(TypeError):
                call()

    def test_registry(self):
        """Compiled by a service, which the program of PATH takes no part in."""
        server = Server()
        self.addCleanup(server.close)
        self.urza("keys", "trust", "compiling", server.get("/status").json()["public_key"])
        before = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", before)
        os.environ["PATH"] = str(self.folder)
        with self.assertRaisesRegex(urza.NotFoundError, "no program 'urza'"):
            self.compile(Tied(), torch.randn(2, 6))
        eager = Tied()
        module = copy.deepcopy(eager)
        compiled = self.compile(module, torch.randn(2, 6), client=urza.Client(server.url),
                                strategy="fast")
        inputs = [torch.randn(3, 6) for _ in range(STEPS)]
        for got, wanted in zip(train(compiled, inputs), train(eager, inputs), strict=True):
            self.assertLessEqual(abs(got - wanted), LOSS * max(abs(wanted), 1.0))
        with self.assertRaisesRegex(urza.Error, "colour"):
            self.compile(module, inputs[0], client=urza.Client(server.url), colour=1)

    def test_constant_buffer(self):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("scale", torch.tensor(2.0))

            def forward(self, x):
                return x * self.scale
        module = Scaled()
        x = torch.randn(3, 6)
        compiled = self.compile(module, x)
        self.near(compiled(x), module(x))
        module.scale.add_(1)
        with self.assertRaisesRegex(urza.UnsupportedError, "buffer 'scale'.*changed"):
            compiled(x)

    def test_nothing_runs_for_nobody(self):
        """Launches: without gradients the backward part runs none, and for less it runs fewer."""
        module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
        compiled = self.compile(module, torch.randn(2, 6))
        x = torch.randn(3, 6)

        def launches(train):
            before = compiled.package.stats()["launches"]
            y = compiled(x)
            if train:
                loss_of(y).backward()
            return compiled.package.stats()["launches"] - before
        with torch.no_grad():
            forward = launches(False)
        whole = launches(True)
        module[0].requires_grad_(False)
        last = launches(True)
        self.assertLess(forward, last)
        self.assertLess(last, whole)


if __name__ == "__main__":
    unittest.main()
