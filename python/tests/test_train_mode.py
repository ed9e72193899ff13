"""Modules in training mode beside eager PyTorch: batch norm and its statistics, dropout, modes."""
import copy
import math
import os
import pickle
import unittest
import warnings

import urza
from support import BUILD, Case

try:
    import torch
    from torch import nn
    from torch.utils.checkpoint import checkpoint
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing

STEPS = 6
DOUBLE = 1e-9  # relative, after steps of float64 in another order of sums


class Twice(nn.Module):
    """One batch norm, called twice."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(torch.tanh(self.norm(self.layer(x))))


class Averaged(nn.Module):
    """Buffers that are no running statistics: a count, and an average that is read after it was
    written."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("average", torch.zeros(4))

    def forward(self, x):
        h = self.layer(x)
        if self.training:
            with torch.no_grad():
                self.count += 1
                self.average.mul_(0.9).add_(h.mean(0), alpha=0.1)
        return (h - self.average) * self.average


class Kept(nn.Module):
    """A buffer that gets what has a gradient."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("state", torch.zeros(4))

    def forward(self, x):
        h = self.layer(x)
        self.state.copy_(h.mean(0))
        return h


class Shifted(nn.Module):
    """Changes what it is given."""

    def forward(self, x):
        x.mul_(2)
        return x + 1


class First(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


def normed():
    """Name, module and the shape of its input behind the batch."""
    frozen = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    frozen[1].eval()
    return [
        ("1d", nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh()), (4,)),
        ("1d, sequences", nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3)), (2, 5)),
        ("2d", nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True),
                             nn.Conv2d(3, 2, 2), nn.BatchNorm2d(2)), (2, 6, 6)),
        ("3d", nn.Sequential(nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2)), (1, 3, 3, 3)),
        ("momentum", nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=0.4, eps=1e-2)),
         (4,)),
        ("momentum 0", nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=0.0)), (4,)),
        ("not affine", nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False)), (4,)),
        ("not tracked", nn.Sequential(nn.Linear(4, 3),
                                      nn.BatchNorm1d(3, track_running_stats=False)), (4,)),
        ("frozen", frozen, (4,)),
        ("twice", Twice(), (4,)),
        ("averages", Averaged(), (4,)),
    ]


def dropping():
    return [
        ("dropout", nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3)), (4,)),
        ("two", nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 6), nn.Dropout(0.5, inplace=True)),
         (4,)),
        ("channels", nn.Sequential(nn.Conv2d(2, 3, 2), nn.Dropout2d(0.4)), (2, 3, 3)),
        ("alpha", nn.Sequential(nn.Linear(4, 6), nn.SELU(), nn.AlphaDropout(0.3)), (4,)),
        ("alpha, channels", nn.Sequential(nn.Conv1d(2, 3, 2), nn.FeatureAlphaDropout(0.3)), (2, 4)),
        ("lstm", First(nn.LSTM(3, 4, 2, dropout=0.4, batch_first=True)), (3, 3)),
        ("encoder", nn.TransformerEncoderLayer(4, 2, 6, dropout=0.2, batch_first=True), (3, 4)),
    ]


class TrainMode(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{BUILD.resolve()}{os.pathsep}{before}"
        cls.addClassCleanup(os.environ.__setitem__, "PATH", before)

    def setUp(self):
        torch.manual_seed(7)

    def near(self, got, expected, bound=DOUBLE):
        self.assertEqual((got.dtype, got.shape), (expected.dtype, expected.shape))
        if not got.is_floating_point():
            self.assertTrue(torch.equal(got, expected))
            return
        most = max(1.0, expected.abs().max().item())
        self.assertLessEqual((got - expected).abs().max().item(), bound * most)

    def same_state(self, module, expected):
        for (name, value), wanted in zip(module.state_dict().items(),
                                         expected.state_dict().values(), strict=True):
            with self.subTest(name):
                self.near(value, wanted)

    def compile(self, module, x, **hints):
        batch = torch.export.Dim("batch", min=2, max=16)
        return urza.compile(module, (x,), dynamic_shapes=({0: batch},), **hints)

    def test_steps(self):
        """Losses, gradients and buffers in train(), eval() and train() again, as people do it."""
        for name, eager, shape in normed():
            with self.subTest(name):
                eager = eager.double()
                module = copy.deepcopy(eager)
                compiled = self.compile(module, torch.randn(4, *shape, dtype=torch.float64))
                self.same_state(module, eager)  # compiling changed nothing
                optimizers = [torch.optim.SGD(each.parameters(), 0.1, momentum=0.9)
                              for each in (eager, module)]
                for step in range(STEPS):
                    x = torch.randn(3 + step % 3, *shape, dtype=torch.float64)
                    losses = []
                    for each, optimizer in zip((eager, compiled), optimizers, strict=True):
                        optimizer.zero_grad()
                        y = each(x)
                        loss = (y * y).mean() + y.sum()
                        loss.backward()
                        optimizer.step()
                        losses.append(loss.detach())
                    self.near(losses[1], losses[0])
                    for a, b in zip(module.parameters(), eager.parameters(), strict=True):
                        self.near(a.grad, b.grad)
                    self.same_state(module, eager)
                    if step == STEPS // 2:
                        flags = [each.training for each in eager.modules()]
                        eager.eval(), compiled.eval()
                        self.near(compiled(x), eager(x))
                        self.same_state(module, eager)
                        for each, inner in ((eager, eager), (compiled, module)):
                            for one, flag in zip(inner.modules(), flags, strict=True):
                                one.training = flag
                            each.training = flags[0]
                with torch.no_grad():
                    self.near(compiled(x), eager(x))  # counts, too
                self.same_state(module, eager)
                self.assertEqual(compiled.package.stats()["fallback_calls"], 0)

    def test_two_forwards(self):
        """Statistics change between a forward pass and its backward pass."""
        eager = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
        module = copy.deepcopy(eager)
        compiled = self.compile(module, torch.randn(4, 4, dtype=torch.float64))
        pair = torch.randn(2, 5, 4, dtype=torch.float64)
        for each in (eager, compiled):
            a, b = each(pair[0]), each(pair[1])
            (a * b).sum().backward()
        for a, b in zip(module.parameters(), eager.parameters(), strict=True):
            self.near(a.grad, b.grad)
        self.same_state(module, eager)

    def test_modes(self):
        module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        x = torch.randn(6, 4)
        compiled = self.compile(module, x)
        training = compiled.package.kernel_id
        compiled(x)
        self.near(compiled.eval()(x), module.eval()(x), 1e-5)
        self.assertNotEqual(compiled.package.kernel_id, training)
        module.train()
        compiled.train()
        self.assertEqual(compiled.package.kernel_id, training)
        module[2].eval()
        self.near(compiled(x), copy.deepcopy(module)(x), 1e-5)
        self.assertEqual(len(set(compiled._modes.values())), 3)
        plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        compiled = self.compile(plain, x)
        compiled.eval()(x)
        self.assertEqual(len(set(compiled._modes.values())), 1)  # it computes the same

    def test_no_gradients_are_lost(self):
        """Exported under no_grad(), where a block of no_grad() in the module changes nothing."""
        class Halved(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

            def forward(self, x):
                h = self.layer(x)
                with torch.no_grad():
                    scale = h.abs().mean()
                return self.norm(h) * scale
        eager = Halved().double()
        module = copy.deepcopy(eager)
        x = torch.randn(4, 4, dtype=torch.float64)
        with torch.no_grad():
            compiled = self.compile(module, x)
            compiled.eval()(x)
        eager(x), compiled.train()(x)
        for mode in (True, False):
            for each in (eager, compiled):
                each.train(mode)
                each.zero_grad()
                each(x).square().sum().backward()
            for a, b in zip(module.parameters(), eager.parameters(), strict=True):
                self.near(a.grad, b.grad)

    def test_copies(self):
        module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        x = torch.randn(6, 4)
        compiled = self.compile(module, x)
        other = copy.deepcopy(compiled)
        before = module.state_dict()["1.running_mean"].clone()
        other(x)
        self.assertTrue(torch.equal(module[1].running_mean, before))
        self.assertFalse(torch.equal(other.state_dict()["1.running_mean"], before))
        reference = copy.deepcopy(module)
        reference.load_state_dict(other.state_dict())
        self.near(other.eval()(x), reference.eval()(x), 1e-5)  # compiled by the copy
        loaded = pickle.loads(pickle.dumps(compiled))
        loaded(x)
        with self.assertRaisesRegex(urza.UnsupportedError, "from a pickle.*this mode"):
            loaded.eval()(x)
        compiled.eval()(x)
        loaded = pickle.loads(pickle.dumps(compiled))
        self.near(loaded(x), module.eval()(x), 1e-5)
        loaded.train()(x)

    def test_dropout(self):
        """Its rate and scale, whole channels, and what alpha dropout keeps."""
        n, p = 20000, 0.3
        deviation = 5 * math.sqrt(p * (1 - p) / n)
        x = torch.rand(n, 1) + 1
        y = urza.compile(nn.Dropout(p), (x,))(x)
        dropped = y == 0
        self.assertLess(abs(dropped.double().mean().item() - p), deviation)
        self.near(y[~dropped], x[~dropped] / (1 - p), 1e-6)
        x = torch.rand(n // 4, 4, 2, 3) + 1
        y = urza.compile(nn.Dropout2d(p), (x,))(x)
        dropped = y == 0
        self.assertTrue(torch.equal(dropped, dropped[:, :, :1, :1].expand_as(dropped)))
        self.assertLess(abs(dropped[:, :, 0, 0].double().mean().item() - p), deviation)
        self.near(y[~dropped], x[~dropped] / (1 - p), 1e-6)
        x = torch.randn(n)
        y = urza.compile(nn.AlphaDropout(p), (x,))(x)
        self.assertLess(abs(y.mean().item()), 0.05)  # of normal numbers mean and variance stay
        self.assertLess(abs(y.var().item() - 1), 0.05)
        values, counts = y.unique(return_counts=True)
        self.assertLess(abs(counts.max().item() / n - p), deviation)
        eager = nn.functional.alpha_dropout(x, p, True)
        common, times = eager.unique(return_counts=True)
        self.near(values[counts.argmax()], common[times.argmax()], 1e-5)
        for p in (0.0, 1.0):
            for layer in (nn.Dropout(p), nn.Dropout1d(p), nn.AlphaDropout(p)):
                x = torch.randn(3, 4, 5)
                self.near(urza.compile(layer, (x,))(x), layer(x))

    def test_repeatable(self):
        for name, module, shape in dropping():
            with self.subTest(name):
                x = torch.randn(5, *shape)
                compiled = self.compile(module, x[:3])

                def drawn(seed, compiled=compiled, x=x):
                    torch.manual_seed(seed)
                    return compiled(x), compiled(x)
                first, second = drawn(1)
                again, after = drawn(1)
                self.assertTrue(torch.equal(first, again))
                self.assertTrue(torch.equal(second, after))
                self.assertFalse(torch.equal(first, second))
                self.assertFalse(torch.equal(first, drawn(2)[0]))
                self.near(compiled.eval()(x), module.eval()(x), 1e-5)

    def test_gradients_through_dropout(self):
        """The gradient is by the mask that was used: differences with the same seed say so."""
        for name, module, shape in dropping():
            with self.subTest(name):
                module = module.double()
                x = torch.randn(2, *shape, dtype=torch.float64)
                compiled = self.compile(module, x)
                names = [key for key, _ in compiled.named_parameters()]

                def function(x, *values, compiled=compiled, names=names):
                    torch.manual_seed(11)
                    words = dict(zip(names, values, strict=True))
                    return torch.func.functional_call(compiled, words, x.clone())
                params = [each.detach().clone().requires_grad_() for each in module.parameters()]
                self.assertTrue(torch.autograd.gradcheck(
                    function, (x.requires_grad_(), *params), fast_mode=name == "encoder"))
        x = torch.randn(50, 4, requires_grad=True)
        y = urza.compile(nn.Dropout(0.25), (x.detach(),))(x)
        y.sum().backward()
        self.near(x.grad, (y != 0) / 0.75, 1e-6)

    def test_checkpoint(self):
        module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.4), nn.Linear(8, 4))
        compiled = self.compile(module, torch.randn(3, 4))
        x, found = torch.randn(5, 4), []
        for call in (compiled, lambda x: checkpoint(compiled, x, use_reentrant=False),
                     lambda x: checkpoint(compiled, x.requires_grad_(), use_reentrant=True)):
            torch.manual_seed(5)
            module.zero_grad()
            call(x).square().sum().backward()
            found.append([each.grad.clone() for each in module.parameters()])
        for other in found[1:]:
            for a, b in zip(other, found[0], strict=True):
                self.assertTrue(torch.equal(a, b))

    def test_refused(self):
        x = torch.randn(4, 4)
        with self.assertRaisesRegex(urza.UnsupportedError, "1: momentum=None"):
            self.compile(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, momentum=None)), x)
        compiled = self.compile(Kept(), x)
        with self.assertRaisesRegex(urza.UnsupportedError, "state.*has a gradient"):
            compiled(x)
        with torch.no_grad():
            h = compiled(x)
        self.near(compiled.state, h.mean(0), 1e-6)
        norm = urza.compile(nn.BatchNorm1d(4), (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
        with self.assertRaisesRegex(urza.InvalidInputError, "expected 2 "):
            norm(x[:1])
        self.assertEqual(norm.num_batches_tracked, 0)

        class Clipped(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(4, 4)

            def forward(self, x):
                with torch.no_grad():
                    self.layer.weight.clamp_(-1, 1)
                return self.layer(x)
        with self.assertRaisesRegex(urza.UnsupportedError, "clamp_.*where gradients are off"):
            self.compile(Clipped(), x)

    def test_arguments_change(self):
        x = torch.randn(4, 3)
        given, expected = x.clone(), x.clone()
        compiled = self.compile(Shifted(), x.clone())
        self.near(compiled(given), Shifted()(expected), 1e-6)
        self.near(given, expected, 1e-6)
        with self.assertRaisesRegex(urza.UnsupportedError, "changes it when it runs"):
            compiled(x.clone().requires_grad_())

    def test_command_line(self):
        """Archives of modules in training mode, as exported and decomposed."""
        for decomposed in (False, True):
            with self.subTest(decomposed=decomposed):
                eager = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=0.3))
                x = torch.randn(5, 4)
                program = torch.export.export(eager, (x,))
                if decomposed:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        program = program.run_decompositions({})
                path = self.folder / "trained.pt2"
                torch.export.save(program, os.fspath(path))
                out = self.folder / "trained.urza"
                self.urza("compile", path, "-o", out, "--strategy", "fast", "--backward")
                self.urza("verify", out)
                package = urza.load(out)
                self.assertEqual([each.name for each in package.outputs][1:],
                                 ["new.1.running_mean", "new.1.running_var",
                                  "new.1.num_batches_tracked"])
                params = [eager.state_dict()[each.name] for each in package.params]
                (y, *state), tape = package.forward_train(x, params=params)
                wanted = eager(x)
                self.near(y, wanted.detach(), 1e-5)
                found = tape.backward(torch.ones(5, 3) * y, None, None, None)
                (wanted * wanted.detach()).sum().backward()
                self.near(found["0.weight"], eager[0].weight.grad, 1e-4)
                self.near(found["1.weight"], eager[1].weight.grad, 1e-4)
                self.assertNotIn("1.running_mean", found)
                for got, name in zip(state, ("running_mean", "running_var",
                                             "num_batches_tracked"), strict=True):
                    self.near(got, getattr(eager[1], name), 1e-6)

    def test_dynamo(self):
        torch._dynamo.reset()
        eager = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()).double()
        module = copy.deepcopy(eager)
        compiled = torch.compile(module, backend="urza")
        with warnings.catch_warnings():
            warnings.simplefilter("error", urza.Warning)
            for training in (True, False, True):
                eager.train(training), module.train(training)
                for _ in range(2):
                    x = torch.randn(3, 2, 5, 5, dtype=torch.float64)
                    for each, run in ((eager, eager), (module, compiled)):
                        each.zero_grad()
                        run(x).square().sum().backward()
                    for a, b in zip(module.parameters(), eager.parameters(), strict=True):
                        self.near(a.grad, b.grad)
                    self.same_state(module, eager)
            layer = nn.Dropout(0.5)
            run, x = torch.compile(layer, backend="urza"), torch.ones(400)
            torch.manual_seed(1)
            first = run(x)
            self.assertEqual(first.unique().tolist(), [0.0, 2.0])
            self.assertFalse(torch.equal(run(x), first))
            torch.manual_seed(1)
            self.assertTrue(torch.equal(run(x), first))


if __name__ == "__main__":
    unittest.main()
