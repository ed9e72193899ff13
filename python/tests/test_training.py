"""forward_train and tapes: gradients beside NumPy in float64."""
import gc
import sys
import threading
import unittest
import weakref

import numpy as np

import urza
from support import Case, sum_of_two

# Sums have at most 8 terms below 16 in magnitude, and 10 roundings at most lead to one: each is off
# by at most 2^-24 of what was added up, 8 * 16.
BOUND = 10 * 2.0**-24 * 8 * 16


def layer():
    """y = tanh(x·wᵀ + b), s = y·y by elements; x [B, 6], w [8, 6]."""
    source = {"format": "urza.blueprint/1", "name": "layer",
              "dims": {"B": {"min": 1, "max": 64, "typical": 4}},
              "inputs": [{"id": "x", "dtype": "f32", "shape": ["B", 6]}],
              "params": [{"id": "w", "dtype": "f32", "shape": [8, 6],
                          "init": {"kind": "kaiming_uniform", "seed": 1}},
                         {"id": "b", "dtype": "f32", "shape": [8],
                          "init": {"kind": "bias_uniform", "fan_in": 6, "seed": 1}}],
              "nodes": [{"id": "h", "op": "linear", "in": ["x", "w", "b"]},
                        {"id": "y", "op": "tanh", "in": ["h"]},
                        {"id": "s", "op": "mul", "in": ["y", "y"]}],
              "outputs": [{"name": "y", "value": "y"}, {"name": "s", "value": "s"}]}
    return source


def reference(x, w, b, dy, ds):
    """Outputs and gradients in float64."""
    x, w, b, dy, ds = (np.asarray(each, np.float64) for each in (x, w, b, dy, ds))
    y = np.tanh(x @ w.T + b)
    dh = (dy + 2 * y * ds) * (1 - y * y)
    return (y, y * y), {"x": dh @ w, "w": dh.T @ x, "b": dh.sum(0)}


class Training(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.path = cls.compile("layer", layer(), "--backward")
        cls.module = urza.load(cls.path)
        rng = np.random.default_rng(2)
        cls.x, cls.w, cls.b, cls.dy, cls.ds = (
            rng.uniform(-1, 1, shape).astype(np.float32)
            for shape in ((5, 6), (8, 6), (8,), (5, 8), (5, 8)))
        cls.params = {"w": cls.w, "b": cls.b}

    def near(self, got, expected):
        self.assertEqual((type(got), got.dtype, got.shape), (np.ndarray, np.float32,
                                                             expected.shape))
        np.testing.assert_allclose(got, expected, rtol=0, atol=BOUND)

    def test_gradients(self):
        outputs, gradients = reference(self.x, self.w, self.b, self.dy, self.ds)
        for params in (self.params, [self.w, self.b]):
            (y, s), tape = self.module.forward_train(self.x, params=params)
            self.near(y, outputs[0])
            self.near(s, outputs[1])
            found = tape.backward(self.dy, self.ds)
            self.assertEqual(list(found), ["x", "w", "b"])
            for name, expected in gradients.items():
                self.near(found[name], expected)
        _, tape = self.module.forward_train(x=self.x, params=self.params)
        found = tape.backward(self.dy, None, wrt=["b"])
        _, gradients = reference(self.x, self.w, self.b, self.dy, 0 * self.ds)
        self.assertEqual(list(found), ["b"])
        self.near(found["b"], gradients["b"])

    def test_own_params(self):
        y, s = self.module(self.x)
        (y2, s2), tape = self.module.forward_train(self.x)
        np.testing.assert_allclose(y, y2, rtol=0, atol=BOUND)
        self.assertEqual(tape.backward(self.dy, self.ds)["w"].shape, (8, 6))

    def test_keep(self):
        _, tape = self.module.forward_train(self.x, params=self.params)
        first = tape.backward(self.dy, self.ds, keep=True)
        second = tape.backward(self.dy, self.ds)
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
        with self.assertRaisesRegex(urza.UsageError, "the tape was used"):
            tape.backward(self.dy, self.ds)

    def test_what_a_tape_reads_stays(self):
        """Arrays that nobody else has; and they go when the tape was used."""
        kept = [self.x.copy(), self.w.copy(), self.b.copy()]
        gone = [weakref.ref(each) for each in kept]
        outputs, tape = self.module.forward_train(kept[0], params=kept[1:])
        del kept, outputs
        gc.collect()
        spoiled = [np.full(1000, np.nan, np.float32) for _ in range(100)]
        found = tape.backward(self.dy, self.ds)
        del spoiled
        _, gradients = reference(self.x, self.w, self.b, self.dy, self.ds)
        for name, expected in gradients.items():
            self.near(found[name], expected)
        self.assertEqual([each() for each in gone], [None] * 3)

    def test_refused(self):
        _, tape = self.module.forward_train(self.x, params=self.params)
        forward = self.module.forward_train
        for call, error, text in [
            (lambda: forward(self.x, params=[self.w]), TypeError, "params has 1 arrays"),
            (lambda: forward(self.x, params={"w": self.w}), KeyError, "b"),
            (lambda: forward(self.x, params=3), TypeError, ""),
            (lambda: forward(self.x, params=[self.b, self.w]), urza.InvalidInputError, "w"),
            (lambda: forward(self.x, out=self.dy), TypeError, "no input 'out'"),
            (lambda: forward(), TypeError, "input 'x' is missing"),
            (lambda: tape.backward(self.dy), TypeError, "1 cotangents are given"),
            (lambda: tape.backward(self.dy, 3), TypeError, "cotangent 's'"),
            (lambda: tape.backward(self.dy, self.ds[:2], keep=True), urza.InvalidInputError, "s"),
            (lambda: tape.backward(self.dy, self.ds, wrt="w"), TypeError, "list of names"),
            (lambda: tape.backward(self.dy, self.ds, wrt=["q"]), urza.UsageError, "no gradient"),
            (lambda: tape.backward(self.dy, self.ds, wrt=[1]), TypeError, ""),
            (lambda: tape.backward(self.dy, self.ds, retain=1), TypeError, "no keyword 'retain'"),
            (urza.Tape, TypeError, ""),
        ]:
            with self.subTest(text), self.assertRaisesRegex(error, text):
                call()
        self.assertEqual(len(tape.backward(self.dy, self.ds)), 3)
        plain = urza.load(self.compile("plain", sum_of_two()))
        with self.assertRaises(urza.Error):
            plain.forward_train(np.zeros((1, 8), np.float32), np.zeros((1, 8), np.float32))

    def test_threads(self):
        """Tapes of many threads; one tape is of one thread at a time."""
        _, gradients = reference(self.x, self.w, self.b, self.dy, self.ds)
        wrong = []

        def work():
            for _ in range(200):
                _, tape = self.module.forward_train(self.x, params=self.params)
                found = tape.backward(self.dy, self.ds)
                if any(abs(found[name] - gradients[name]).max() > BOUND for name in gradients):
                    wrong.append(found)
        shared = self.module.forward_train(self.x, params=self.params)[1]

        def use():
            for _ in range(200):
                try:
                    shared.backward(self.dy, self.ds, keep=True)
                except urza.ConflictError:
                    pass
        threads = [threading.Thread(target=each) for each in (work, work, work, use, use)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.near(shared.backward(self.dy, self.ds)["w"], gradients["w"])

    def test_nothing_leaks(self):
        arrays = self.x.copy(), self.w.copy(), self.b.copy(), self.dy.copy(), self.ds.copy()
        counts = [sys.getrefcount(each) for each in arrays]
        for turn in range(500):
            _, tape = self.module.forward_train(arrays[0], params=arrays[1:3])
            if turn % 2:
                tape.backward(*arrays[3:])
            for wrong in ((self.x[:, :2], self.params), (arrays[0], [arrays[1], self.w])):
                try:
                    self.module.forward_train(wrong[0], params=wrong[1])
                except urza.InvalidInputError:
                    pass
        del tape, wrong
        gc.collect()
        self.assertEqual([sys.getrefcount(each) for each in arrays], counts)
        self.assertEqual(urza.load(self.path).stats()["calls"], 0)


if __name__ == "__main__":
    unittest.main()
