"""urza.Slot beside the same network written in PyTorch."""
import unittest

import urza
from support import ROOT, Case

try:
    import torch
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing

BLENDS = {
    "residual": lambda h, s, a: h + a * s,
    "lerp": lambda h, s, a: h + a * (s - h),
    "multiply": lambda h, s, a: h * (1 + a * torch.tanh(s - h)),
}
NAMES = ("w1", "b1", "w2", "b2")
GATE = ("gate.weight", "gate.bias")  # dotted names are nested modules
OPTIONS = {"train_ticks": 2, "blend_ticks": 4}


def peer(h, seed, blend, alpha, isolate):
    """In float64; (y, h, parameters)."""
    h = h.detach().double().requires_grad_()
    params = {name: p.detach().double().requires_grad_() for name, p in seed.named_parameters()}
    w1, b1, w2, b2 = (params[name] for name in NAMES)
    x = h.detach() if isolate else h
    s = torch.tanh(x @ w1.T + b1) @ w2.T + b2
    if blend == "gate":
        w, b = (params[name] for name in GATE)
        g = torch.sigmoid(x @ w.reshape(16, 1) + b.reshape(1))
        return h + alpha * g * (s - h), h, params
    return BLENDS[blend](h, s, alpha), h, params


class Slots(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        source = ROOT / "examples" / "seed.json"
        cls.packages = {blend: cls.compile(blend, source, "--graft", blend, "--backward")
                        for blend in (*BLENDS, "gate")}
        torch.manual_seed(3)
        cls.h, cls.dy = torch.randn(8, 16), torch.randn(8, 16)

    def planted(self, state, blend="residual", init=None, **options):
        slot = urza.Slot(blend, name="one", **OPTIONS, **options)
        slot.plant(self.packages[blend], name="tanh", init=init)
        for _ in range(40):
            if slot.state == state:
                slot.zero_grad()
                return slot
            slot(self.h.clone().requires_grad_()).backward(self.dy)
            slot.tick()
        raise AssertionError(f"{slot.state}: {slot.events()}")

    def test_values_and_gradients(self):
        for blend in self.packages:
            for state in ("TRAINING", "BLENDING", "HOLDING"):
                for isolate in (True, False):
                    with self.subTest(blend=blend, state=state, isolate=isolate):
                        self.compare(blend, state, isolate)

    def compare(self, blend, state, isolate):
        slot = self.planted(state, blend, isolate=isolate)
        if state == "BLENDING":
            slot.tick()
        seed, h = slot.seeds["tanh"], self.h.clone().requires_grad_()
        learns = state == "TRAINING"
        expected, ph, params = peer(h, seed, blend, 1 if learns else slot.alpha,
                                    learns or (isolate and state == "BLENDING"))
        y = slot(h)
        y.backward(self.dy)
        expected.backward(self.dy.double())
        near = {"rtol": 1e-4, "atol": 1e-4, "check_dtype": False}
        self.assertEqual(set(params), {*NAMES, *(GATE if blend == "gate" else ())})
        for name, param in params.items():
            torch.testing.assert_close(seed.get_parameter(name).grad, param.grad, **near)
        if learns:
            self.assertEqual(y.data_ptr(), h.data_ptr())
            self.assertTrue(torch.equal(h.grad, self.dy))
        else:
            torch.testing.assert_close(y, expected, **near)
            torch.testing.assert_close(h.grad, ph.grad, **near)

    def test_without_a_seed(self):
        slot = urza.Slot()
        self.assertIs(slot(self.h), self.h)
        self.assertEqual(list(slot.parameters()), [])
        self.assertEqual((slot.tick(), slot.alpha, slot.events()), ("DORMANT", 0, []))

    def test_zeros_begin_as_nothing(self):
        slot = self.planted("HOLDING", init="zero")
        seed = slot.seeds["tanh"]
        self.assertFalse(seed.w2.any() or seed.b2.any())
        with torch.no_grad():
            self.assertTrue(torch.equal(slot(self.h), self.h))

    def test_faults_prune(self):
        slot = self.planted("HOLDING")
        with torch.no_grad():
            slot.seeds["tanh"].w1.fill_(float("nan"))
        for _ in range(3):
            h = self.h.clone().requires_grad_()
            y = slot(h)
            self.assertEqual(y.data_ptr(), h.data_ptr())
            y.backward(self.dy)
            self.assertTrue(torch.equal(h.grad, self.dy))
            slot.tick()
        self.assertEqual(slot.state, "PRUNED")
        self.assertEqual(list(slot.parameters()), [])
        faults = [e for e in slot.events() if e["kind"] == "fault"]
        self.assertEqual([e["slot"] for e in faults], ["one"] * 3)

    def test_changes_in_place_are_errors(self):
        slot = self.planted("HOLDING")
        y = slot(self.h.clone().requires_grad_())
        with torch.no_grad():
            slot.seeds["tanh"].w1.add_(1)
        with self.assertRaisesRegex(RuntimeError, "inplace"):
            y.backward(self.dy)
        y = slot(self.h.clone().requires_grad_())
        y.backward(self.dy, retain_graph=True)
        with self.assertRaisesRegex(RuntimeError, "used once"):
            y.backward(self.dy)

    def test_saved_goes_on_with_the_same_bits(self):
        slot, other = self.planted("BLENDING"), urza.Slot(name="one", **OPTIONS)
        path = self.folder / "slot.pt"
        torch.save(slot.state_dict(), path)
        saved = torch.load(path, weights_only=True)
        with self.assertRaises((RuntimeError, urza.InvalidInputError)):
            other.load_state_dict(saved)
        other = urza.Slot(name="one", **OPTIONS)
        other.plant(self.packages["residual"], name="tanh")
        other.load_state_dict(saved)
        for _ in range(100):
            for each in (slot, other):
                each.zero_grad()
                each(self.h.clone().requires_grad_()).backward(self.dy)
                with torch.no_grad():
                    for p in each.parameters():
                        p.sub_(0.001 * p.grad)
                each.tick()
            self.assertEqual(slot.get_extra_state(), other.get_extra_state())
            for a, b in zip(slot.parameters(), other.parameters(), strict=True):
                self.assertTrue(torch.equal(a, b))
        del saved["seeds.tanh.w1"]
        with self.assertRaisesRegex(RuntimeError, "Missing"):
            other.load_state_dict(saved)

    def test_decisions(self):
        slot, other = self.planted("TRAINING"), self.planted("TRAINING")
        slot.command("prune")
        slot.tick()
        other.apply(slot.decision())
        self.assertEqual((other.state, list(other.parameters())), ("PRUNED", []))
        self.assertIs(other.apply(lambda module: None), other)

    def test_refused(self):
        slot = urza.Slot()
        for words, error in [({"init": "ones"}, ValueError), ({"name": "a.b"}, ValueError),
                             ({"name": ""}, ValueError), ({"name": "keys"}, ValueError)]:
            with self.assertRaises(error):
                slot.plant(self.packages["residual"], **words)
        with self.assertRaises(urza.UnsupportedError):
            slot.plant(self.packages["lerp"])
        self.assertEqual((slot.state, list(slot.parameters())), ("DORMANT", []))
        for chunks in (0, -1, 1.5, 65537):
            with self.assertRaises(ValueError):
                urza.Slot(chunks=chunks)


if __name__ == "__main__":
    unittest.main()
