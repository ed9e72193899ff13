"""Tensors of PyTorch as arguments and results."""
import gc
import sys
import unittest

import numpy as np

import urza
from support import DTYPES, Case, moved, scaled_scalar, sum_of_two

try:
    import torch
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing




class Torch(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.add = urza.load(cls.compile("add", sum_of_two()))
        cls.x, cls.y = torch.randn(5, 8), torch.randn(5, 8)
        cls.z = cls.x + cls.y

    def test_results_are_tensors(self):
        z = self.add(self.x, self.y)
        self.assertIs(type(z), torch.Tensor)
        self.assertFalse(z.requires_grad)
        self.assertTrue(torch.equal(z, self.z))
        self.assertTrue(torch.equal(self.add(z, y=self.y), self.z + self.y))
        z.zero_()  # its own memory
        z.resize_(0)

    def test_out(self):
        out = torch.empty(5, 8)
        where = out.data_ptr()
        self.assertIs(self.add(self.x, self.y, out=out), out)
        self.assertEqual(out.data_ptr(), where)
        self.assertTrue(torch.equal(out, self.z))
        wide = torch.zeros(8, 10)
        self.add(self.x, self.y, out=wide.t()[::2])
        self.assertTrue(torch.equal(wide.t()[::2], self.z))
        self.assertFalse(wide.t()[1::2].any())

    def test_kinds_mix(self):
        for x, y, kind in [(self.x, self.y.numpy(), torch.Tensor),
                           (self.x.numpy(), self.y, np.ndarray)]:
            z = self.add(x, y)
            self.assertIs(type(z), kind)
            np.testing.assert_array_equal(np.asarray(z), self.z.numpy())
        out = np.empty((5, 8), np.float32)
        self.add(self.x, self.y, out=out)
        np.testing.assert_array_equal(out, self.z.numpy())

    def test_every_dtype(self):
        for short, name in DTYPES.items():
            dtype = getattr(torch, name)
            with self.subTest(name):
                module = urza.load(self.compile(short, moved(short)))
                x = (torch.arange(12).reshape(4, 3) % 2).to(dtype)
                s = torch.ones((), dtype=dtype)
                z, r = module(x, s)
                self.assertEqual((z.dtype, r.dtype, r.shape), (dtype, dtype, (1,)))
                self.assertTrue(torch.equal(z, torch.cat([x, x], 1)))
                out = torch.empty(4, 6, dtype=dtype), torch.empty(1, dtype=dtype)
                self.assertIs(module(x, s, out=out), out)
                self.assertTrue(torch.equal(out[0], z) and torch.equal(out[1], s.reshape(1)))
                z, _ = module(x[:0], s)
                self.assertEqual(z.shape, (0, 6))
                module(x[:0], s, out=(torch.empty(0, 6, dtype=dtype), out[1]))

    def test_scalars(self):
        module = urza.load(self.compile("scalar", scaled_scalar()))
        self.assertEqual(module(torch.tensor(1.5)).item(), 3.0)
        self.assertEqual(module(torch.arange(3.)[1]).shape, ())

    def test_layouts(self):
        wide = torch.zeros(10, 16)
        wide[::2, ::2] = self.x
        for x in (wide[::2, ::2], self.x.t().contiguous().t()):
            self.assertTrue(torch.equal(self.add(x, self.y), self.z))
        self.assertTrue(torch.equal(self.add(self.x[:1].expand(5, 8), self.y),
                                    self.x[:1] + self.y))

    def test_gradients_are_not_lost(self):
        x = self.x.clone().requires_grad_()
        with self.assertRaisesRegex(urza.UnsupportedError, "requires grad") as seen:
            self.add(x, self.y)
        self.assertEqual(seen.exception.place, "input 'x'")
        with self.assertRaisesRegex(urza.UnsupportedError, "output 'z'"):
            self.add(self.x, self.y, out=x)
        with torch.no_grad():
            self.assertTrue(torch.equal(self.add(x, self.y), self.z))
        self.assertTrue(torch.equal(self.add(x.detach(), self.y), self.z))
        parameter = torch.nn.Parameter(self.x, requires_grad=False)
        self.assertIs(type(self.add(parameter, self.y)), torch.Tensor)

    def test_refused(self):
        for x in (self.x.to_sparse(), self.x.to(torch.complex64), self.x.double(), self.x[:, 1:],
                  torch.empty(5, 8, device="meta")):
            with self.subTest(x.dtype), self.assertRaises((urza.InvalidInputError, BufferError,
                                                           RuntimeError, TypeError)):
                self.add(x, self.y)
        if hasattr(torch.utils.dlpack, "ReadOnlyTensorWrapper"):
            out = torch.empty(5, 8)
            self.add(self.x, self.y, out=out)
            wrapped = torch.utils.dlpack.ReadOnlyTensorWrapper(out)
            for _ in range(2):
                with self.assertRaisesRegex(TypeError, "output 'z': the array is read-only"):
                    self.add(self.x, self.y, out=wrapped)
                self.assertTrue(torch.equal(self.add(wrapped, self.y), self.z + self.y))

    def test_signs_aside(self):
        """Imaginary parts of conjugates: PyTorch keeps the sign beside the memory."""
        part = torch.complex(self.x, self.x).conj().imag
        scalar = urza.load(self.compile("scalar", scaled_scalar()))
        for call, given in ((lambda x: self.add(x, self.y), part), (scalar, part[0, 0]),
                            (lambda x: self.add(self.x, self.y, out=x), part)):
            self.assertTrue(given.is_neg())
            with self.assertRaisesRegex(urza.UnsupportedError, "resolve_neg"):
                call(given)
        self.assertTrue(torch.equal(self.add(part.resolve_neg(), self.y), self.y - self.x))

    def test_nothing_leaks(self):
        x, y, out = torch.randn(5, 8), torch.randn(5, 8), torch.empty(5, 8)
        counts = [sys.getrefcount(each) for each in (x, y, out)]
        for _ in range(3000):
            self.add(x, y)
            self.add(x, y, out=out)
        gc.collect()
        self.assertEqual([sys.getrefcount(each) for each in (x, y, out)], counts)

    def test_training(self):
        """Gradients beside PyTorch's, at a step's own parameters, which change in place."""
        from test_training import BOUND, layer
        module = urza.load(self.compile("layer", layer(), "--backward"))
        w, b = torch.randn(8, 6) / 4, torch.randn(8) / 4
        for _ in range(3):
            x = torch.randn(5, 6) / 4
            leaves = [each.clone().requires_grad_() for each in (x, w, b)]
            y = torch.tanh(torch.nn.functional.linear(*leaves))
            (y.sum() + (y * y).sum()).backward()
            (got, _), tape = module.forward_train(x, params={"b": b, "w": w})
            self.assertTrue(torch.allclose(got, y.detach(), rtol=0, atol=BOUND))
            found = tape.backward(torch.ones(5, 8), torch.ones(5, 8))
            for name, leaf in zip(("x", "w", "b"), leaves, strict=True):
                self.assertIs(type(found[name]), torch.Tensor)
                self.assertTrue(torch.allclose(found[name], leaf.grad, rtol=0, atol=BOUND))
            w -= found["w"] * 0.1
            b -= found["b"] * 0.1

    def test_data_loader(self):
        """Workers that were forked call the module of their parent."""
        add, y = self.add, self.y

        class Sums(torch.utils.data.Dataset):
            def __len__(self):
                return 16

            def __getitem__(self, index):
                return add(torch.full((5, 8), float(index)), y)
        loader = torch.utils.data.DataLoader(Sums(), batch_size=4, num_workers=2,
                                             multiprocessing_context="fork")
        seen = torch.cat(list(loader))
        expected = torch.arange(16.)[:, None, None] + y
        self.assertTrue(torch.equal(seen, expected))


if __name__ == "__main__":
    unittest.main()
