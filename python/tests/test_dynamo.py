"""torch.compile(…, backend="urza") beside eager PyTorch, and what it leaves to it."""
import copy
import os
import unittest
import warnings

import urza
from support import BUILD, Case

try:
    import torch
    from torch import nn
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing

import torch._dynamo.testing  # noqa: E402

BOUND = 1e-4  # relative; 10 steps of float32 in another order of sums


class Dynamo(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{BUILD.resolve()}{os.pathsep}{before}"
        cls.addClassCleanup(os.environ.__setitem__, "PATH", before)
        torch.manual_seed(5)

    def setUp(self):
        torch._dynamo.reset()

    def test_found(self):
        self.assertIn("urza", torch._dynamo.list_backends())

    def test_training(self):
        """Of varying batches: one graph for the first, one for all others; no warning."""
        eager = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(),
                              nn.Linear(64, 3))
        module = copy.deepcopy(eager)
        from urza._dynamo import backend
        counter = torch._dynamo.testing.CompileCounterWithBackend("urza")
        self.assertIs(torch._dynamo.lookup_backend("urza"), backend)
        compiled = torch.compile(module, backend=counter, fullgraph=True)
        losses = []
        with warnings.catch_warnings():
            warnings.simplefilter("error", urza.Warning)
            inputs = [torch.randn(2 + step % 5, 2, 6, 6) for step in range(10)]
            for each, run in ((eager, eager), (module, compiled)):
                optimizer = torch.optim.Adam(each.parameters(), 0.01)
                losses.append([])
                for x in inputs:
                    optimizer.zero_grad()
                    y = run(x)
                    loss = (y * y).mean() + y.mean()
                    loss.backward()
                    optimizer.step()
                    losses[-1].append(loss.item())
        self.assertEqual(type(y.grad_fn).__name__, "_StepBackward")
        self.assertEqual(counter.frame_count, 2)
        for got, expected in zip(losses[1], losses[0], strict=True):
            self.assertLessEqual(abs(got - expected), BOUND * max(1.0, abs(expected)))
        with torch.no_grad():
            module[4].bias.add_(1)
            self.assertTrue(torch.allclose(compiled(inputs[0]), module(inputs[0]), atol=1e-5))

    def test_left_to_pytorch(self):
        x = torch.randn(4, 4)
        for call, text in [
            (nn.RReLU(), "rrelu"),
            (lambda x: x.view(-1), "a view"),
            (lambda x: torch.linalg.svd(x)[1], "linalg_svd"),
            (lambda x: x.add_(1), "changes it|a view"),
        ]:
            torch._dynamo.reset()
            torch.manual_seed(1)
            expected = copy.deepcopy(call)(x.clone())
            torch.manual_seed(1)
            given = x.clone()
            with self.subTest(text), self.assertWarnsRegex(urza.Warning, f"(?s){text}"):
                self.assertTrue(torch.equal(torch.compile(call, backend="urza")(given), expected))

    def test_autocast(self):
        """Is PyTorch's, also of a graph that was compiled before without it."""
        layer, x = nn.Linear(4, 4), torch.randn(3, 4)
        run = torch.compile(layer, backend="urza")
        self.assertEqual(run(x).dtype, torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            with self.assertWarnsRegex(urza.Warning, "autocast"):
                got = run(x)
            self.assertTrue(torch.equal(got, layer(x)))
            self.assertEqual(got.dtype, torch.bfloat16)
        self.assertEqual(run(x).dtype, torch.float32)

    def test_options(self):
        x = torch.randn(3, 4)
        run = torch.compile(nn.Tanh(), backend="urza", options={"strategy": "standard"})
        self.assertTrue(torch.allclose(run(x), torch.tanh(x), atol=1e-6))
        torch._dynamo.reset()
        with self.assertRaisesRegex(Exception, "no hint 'colour'"):
            torch.compile(nn.Tanh(), backend="urza", options={"colour": 1})(x)


if __name__ == "__main__":
    unittest.main()
