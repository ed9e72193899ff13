"""Slots as the extension has them (_urza._Slot), beside the same network written with NumPy."""
import gc
import sys
import threading
import unittest

import numpy as np

import urza
from support import ROOT, Case
from urza import _urza

PLANTED = {"train_ticks": 2, "blend_ticks": 4}


def hosts_parameters(module):
    """Copies of the initial values."""
    return tuple(np.frombuffer(module._param_bytes(i), info.dtype).reshape(info.shape).copy()
                 for i, info in enumerate(module.params))


def seed_values(x, params):
    """s of examples/seed.json and its gradients by the parameters for ds, in float64."""
    w1, b1, w2, b2 = (p.astype(np.float64) for p in params)
    x = x.astype(np.float64)
    t = np.tanh(x @ w1.T + b1)

    def gradients(ds):
        da = ds @ w2 * (1 - t * t)
        return da.T @ x, da.sum(0), ds.T @ t, ds.sum(0)
    return t @ w2.T + b2, gradients, lambda ds: (ds @ w2 * (1 - t * t)) @ w1


class SlotCalls(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        source = ROOT / "examples" / "seed.json"
        cls.seeds = {blend: urza.load(cls.compile(blend, source, "--graft", blend, "--backward"))
                     for blend in ("residual", "lerp")}
        cls.plain = urza.load(cls.compile("plain", source))
        draw = np.random.default_rng(7)
        cls.h, cls.dy = (draw.standard_normal((8, 16), dtype=np.float32) for _ in range(2))

    def step(self, slot, params, number, h=None):
        """(y or None, dh or None, dparams, state after the tick); None: h itself, dy itself."""
        h = self.h if h is None else h
        y, dh = np.full_like(h, 5), np.full_like(h, 5)
        is_host, tape = slot.forward(number, h, params, None, y, True)
        dparams = tuple(np.full_like(p, 5) for p in params)
        is_dy = slot.backward(tape, self.dy, dh, dparams)
        return None if is_host else y, None if is_dy else dh, dparams, slot.tick()

    def planted(self, state, blend="residual", **options):
        slot = _urza._Slot(name="one", blend=blend, **{**PLANTED, **options})
        module = self.seeds[blend]
        params = hosts_parameters(module)
        self.assertEqual(slot.plant("seed", module), 1)
        for number in range(40):
            if slot.state == state:
                return slot, params
            self.step(slot, params, number)
        raise AssertionError(f"{slot.state}: {slot.events()}")

    def test_what_a_graft_says(self):
        self.assertEqual(self.seeds["lerp"].graft,
                         {"blend": "lerp", "last": ("w2", "b2"), "chunks": 1})
        self.assertIsNone(self.plain.graft)
        with self.assertRaises(IndexError):
            self.plain._param_bytes(4)
        self.assertTrue(hosts_parameters(self.plain)[0].any())

    def test_the_way_of_a_seed(self):
        slot, params = self.planted("HOLDING")
        states = [(e["from"], e["to"]) for e in slot.events() if e["kind"] == "state"]
        self.assertEqual(states, [("DORMANT", "GERMINATED"), ("GERMINATED", "TRAINING"),
                                  ("TRAINING", "BLENDING"), ("BLENDING", "HOLDING")])
        self.assertEqual(slot.events(), [])
        self.assertEqual(slot.alpha, 1)
        slot.command("prune", ticks=2)
        seen = [slot.tick() for _ in range(12)]
        self.assertEqual([seen[0], seen[-1], slot.alpha], ["BLENDING", "DORMANT", 0])

    def test_values_and_gradients(self):
        for blend in self.seeds:
            for state in ("TRAINING", "BLENDING", "HOLDING"):
                for through in (False, True):
                    with self.subTest(blend=blend, state=state, through=through):
                        self.compare(blend, state, through)

    def compare(self, blend, state, through):
        """The bound: float32 sums of at most 32 products of numbers near 1."""
        slot, params = self.planted(state, blend, through=through)
        if state == "BLENDING":
            slot.tick()
        alpha = slot.alpha
        self.assertTrue(0 < alpha < 1 if state == "BLENDING" else alpha == (state == "HOLDING"))
        y, dh, dparams, _ = self.step(slot, params, 99)
        s, gradients, by_input = seed_values(self.h, params)
        learns = state == "TRAINING"
        ds = self.dy.astype(np.float64) * (1 if learns else alpha)
        for got, expected in zip(dparams, gradients(ds)):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
        if learns:
            self.assertIsNone(y)
            self.assertIsNone(dh)
            return
        keeps = 1 if blend == "residual" else 1 - alpha
        np.testing.assert_allclose(y, keeps * self.h + alpha * s, rtol=1e-5, atol=1e-5)
        by_h = keeps * self.dy.astype(np.float64)
        if through or state == "HOLDING":
            by_h = by_h + by_input(ds)
        np.testing.assert_allclose(self.dy if dh is None else dh, by_h, rtol=1e-4, atol=1e-4)

    def test_a_seed_of_nan_does_not_reach_the_host(self):
        slot, params = self.planted("TRAINING")
        params[0][:] = np.nan
        for number in range(3):
            y, dh, dparams, state = self.step(slot, params, number)
            self.assertTrue(y is None and dh is None)
            self.assertFalse(any(d.any() for d in dparams))
        self.assertEqual(state, "PRUNED")
        self.assertEqual([e["kind"] for e in slot.events()].count("fault"), 3)

    def test_factors(self):
        slot, params = self.planted("HOLDING")
        factors = np.array([0, 1] * 4, np.float32)
        y = np.empty_like(self.h)
        self.assertEqual(slot.forward(0, self.h, params, factors, y, False), (False, None))
        np.testing.assert_array_equal(y[::2], self.h[::2])
        self.assertTrue((y[1::2] != self.h[1::2]).any())

    def test_memory_where_it_is_needed(self):
        slot = _urza._Slot()
        self.assertEqual(slot.forward(0, self.h, (), None, None, True), (True, None))
        slot, params = self.planted("TRAINING")
        self.assertIsNone(slot.forward(0, self.h, params, None, None, True))

    def test_saved_goes_on_with_the_same_bits(self):
        slot, params = self.planted("BLENDING")
        other = _urza._Slot(name="one", **PLANTED)
        other.plant("seed", self.seeds["residual"])
        other.restore(slot.save())
        follower = _urza._Slot(name="one", **PLANTED)
        follower.plant("seed", self.seeds["residual"])
        for number in range(20):
            a, b = self.step(slot, params, number), self.step(other, params, number)
            np.testing.assert_equal(a, b)
            follower.apply(slot.decision())
            self.assertEqual((follower.state, follower.alpha), (slot.state, slot.alpha))
        with self.assertRaisesRegex(urza.InvalidInputError, "lacks"):
            other.restore(slot.save().replace("alpha=", "beta=", 1))

    def test_a_kernel_on_its_way(self):
        slot = _urza._Slot(name="one")
        seed = slot.plant("late")
        self.assertEqual(slot.tick(), "GERMINATED")
        slot.refuse(seed, "the compiler is not well")
        self.assertEqual(slot.tick(), "PRUNED")
        self.assertTrue(any("not well" in e["reason"] for e in slot.events()))
        slot = _urza._Slot(name="one", **PLANTED)
        seed = slot.plant("late")
        slot.supply(seed, self.seeds["residual"])
        self.step(slot, hosts_parameters(self.seeds["residual"]), 0)
        self.assertEqual(slot.state, "TRAINING")

    def test_refused(self):
        for make, error in [
            (lambda: _urza._Slot(blend="none"), ValueError),
            (lambda: _urza._Slot(curve=""), ValueError),
            (lambda: _urza._Slot(train_ticks=-1), ValueError),
            (lambda: _urza._Slot(hold_ticks=1 << 32), ValueError),
            (lambda: _urza._Slot(chunks=2), TypeError),
            (lambda: _urza._Slot(name='"'), urza.UsageError),
            (lambda: _urza._Slot().plant("a", 3), TypeError),
            (lambda: _urza._Slot().plant("a", self.plain), urza.UnsupportedError),
            (lambda: _urza._Slot(blend="gate").plant("a", self.seeds["lerp"]),
             urza.UnsupportedError),
            (lambda: _urza._Slot().command("grow"), ValueError),
            (lambda: _urza._Slot().command("blend", target=2.0), urza.UsageError),
            (lambda: _urza._Slot().forward(0, 3, (), None, None, True), TypeError),
            (lambda: _urza._Slot().forward(-1, self.h, (), None, None, True), OverflowError),
            (lambda: _urza._Slot().forward(0, self.h), TypeError),
            (lambda: _urza._Slot().backward(3, self.dy, None, ()), TypeError),
        ]:
            with self.assertRaises(error):
                make()
        slot, params = self.planted("HOLDING")
        for y in (self.h, self.h[:1].copy(), 3):
            with self.assertRaises((urza.InvalidInputError, TypeError)):
                slot.forward(0, self.h, params, None, y, True)

    def test_tapes_are_used_once(self):
        slot, params = self.planted("HOLDING")
        y, dh = np.empty_like(self.h), np.empty_like(self.h)
        _, tape = slot.forward(0, self.h, params, None, y, True)
        with self.assertRaises(TypeError):
            type(tape)()
        with self.assertRaisesRegex(ValueError, "another slot"):
            _urza._Slot().backward(tape, self.dy, dh, ())
        slot.backward(tape, self.dy, dh, tuple(None for _ in params))
        with self.assertRaisesRegex(ValueError, "used before"):
            slot.backward(tape, self.dy, dh, ())

    def test_a_tape_keeps_what_it_needs(self):
        slot, params = self.planted("HOLDING")
        y, h = np.empty_like(self.h), self.h.copy()
        _, tape = slot.forward(0, h, params, None, y, True)
        expected = tuple(np.empty_like(p) for p in params)
        slot.backward(slot.forward(0, self.h, params, None, y, True)[1], self.dy,
                      np.empty_like(h), expected)
        got = tuple(np.empty_like(p) for p in params)
        del h, params, y
        gc.collect()
        slot.backward(tape, self.dy, np.empty_like(self.h), got)
        np.testing.assert_equal(got, expected)
        params = hosts_parameters(self.seeds["residual"])
        _, tape = slot.forward(0, self.h, params, None, np.empty_like(self.h), True)
        del slot, tape  # a tape that nobody used

    def test_nothing_leaks(self):
        slot, params = self.planted("HOLDING")
        watched = (self.h, self.dy, *params, slot, self.seeds["residual"])
        y, dh = np.empty_like(self.h), np.empty_like(self.h)
        dparams = tuple(np.empty_like(p) for p in params)
        counts = [sys.getrefcount(each) for each in watched]
        for number in range(10000):
            _, tape = slot.forward(number, self.h, params, None, y, True)
            if number % 3:
                slot.backward(tape, self.dy, dh, dparams, number % 2 == 0)
        del tape
        gc.collect()
        self.assertEqual([sys.getrefcount(each) for each in watched], counts)

    def test_threads(self):
        slot, params = self.planted("HOLDING")
        expected, wrong = self.step(slot, params, 0)[:3], []

        def work():
            for number in range(200):
                try:
                    y, dh = np.empty_like(self.h), np.empty_like(self.h)
                    dparams = tuple(np.empty_like(p) for p in params)
                    _, tape = slot.forward(number, self.h, params, None, y, True)
                    slot.backward(tape, self.dy, dh, dparams)
                    np.testing.assert_equal((y, dh, dparams), expected)
                except BaseException as error:
                    wrong.append(error)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
