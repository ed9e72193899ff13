"""urza.Slot with seeds that are modules of PyTorch, and how seeds begin, beside PyTorch itself."""
import copy
import io
import os
import re
import subprocess
import time
import unittest

import urza
from support import BUILD, ROOT, Case

try:
    import torch
    from torch import nn
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing

OPTIONS = {"train_ticks": 2, "blend_ticks": 4}
NEAR = {"rtol": 1e-4, "atol": 1e-4}


class Net(nn.Module):
    """Its argument has the name of an input that grafts have."""

    def __init__(self, width=16, hidden=32):
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, h):
        return self.down(torch.tanh(self.up(h)))


class Raises(Net):
    def forward(self, h):
        raise ValueError("no day for work")


class Seeds(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        path = os.environ["PATH"]
        cls.addClassCleanup(os.environ.__setitem__, "PATH", path)
        os.environ["PATH"] = f"{BUILD.resolve()}{os.pathsep}{path}"
        source = ROOT / "examples" / "seed.json"
        cls.package = cls.compile("seed", source, "--graft", "residual", "--backward")
        torch.manual_seed(5)
        cls.h, cls.dy = torch.randn(8, 16), torch.randn(8, 16)

    def step(self, slot, h=None):
        h = (self.h if h is None else h).clone().requires_grad_()
        y = slot(h)
        y.backward(self.dy if y.shape == self.dy.shape else torch.ones_like(y))
        return y, h, slot.tick()

    def until(self, slot, state):
        for _ in range(40):
            if slot.state == state:
                slot.zero_grad()
                return slot
            self.step(slot)
        raise AssertionError(f"{slot.state}: {slot.events()}")

    def planted(self, source, blend="residual", **words):
        slot = urza.Slot(blend, name="one", **OPTIONS)
        slot.plant(source, name="net", example_inputs=self.h, wait=True, **words)
        return slot

    def test_its_own_parameters_are_trained(self):
        net = Net()
        slot = self.until(self.planted(net, init=None), "HOLDING")
        mine, its = dict(slot.seeds["net"].named_parameters()), dict(net.named_parameters())
        self.assertEqual(list(mine), list(its))
        self.assertTrue(all(mine[name] is its[name] for name in its))
        y, h, _ = self.step(slot)
        expected = self.h.clone().requires_grad_()
        grads = torch.autograd.grad(expected + net(expected), [expected, *its.values()], self.dy)
        torch.testing.assert_close(y, self.h + net(self.h), **NEAR)
        for got, each in zip([h, *its.values()], grads, strict=True):
            torch.testing.assert_close(got.grad, each, **NEAR)
        for rows in (1, 3, 200):  # the number of rows was left open
            h = torch.randn(rows, 16)
            with torch.no_grad():
                torch.testing.assert_close(slot(h), h + net(h), **NEAR)
        self.assertEqual([e["kind"] for e in slot.events()], ["state"] * 4)

    def test_other_blends(self):
        for blend, expected in [("lerp", lambda h, s: s),
                                ("multiply", lambda h, s: h * (1 + torch.tanh(s - h))),
                                ("gate", lambda h, s: h + 0.5 * (s - h))]:
            with self.subTest(blend=blend):
                net = Net()
                slot = self.until(self.planted(net, blend, init=None), "HOLDING")
                with torch.no_grad():
                    torch.testing.assert_close(slot(self.h), expected(self.h, net(self.h)), **NEAR)
                gate = {"gate.weight", "gate.bias"} if blend == "gate" else set()
                self.assertEqual({n for n, _ in slot.seeds["net"].named_parameters()},
                                 {n for n, _ in net.named_parameters()} | gate)
        with self.assertRaisesRegex(ValueError, "gate"):
            net = Net()
            net.gate = nn.Linear(2, 2)
            self.planted(net, "gate")

    def test_buffers_and_what_is_frozen(self):
        """A batch norm in eval mode has statistics without gradients; so has a frozen matrix."""
        net = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16)).eval()
        net[1].running_mean.normal_()
        net[0].weight.requires_grad_(False)
        slot = self.until(self.planted(net, init=None), "HOLDING")
        with torch.no_grad():
            torch.testing.assert_close(slot(self.h), self.h + net(self.h), **NEAR)
        self.step(slot)
        self.assertIsNone(net[0].weight.grad)
        self.assertIsNotNone(net[1].bias.grad)

    def test_dropout(self):
        """Of a module in training mode: drawn anew for each step, and alike within one."""
        net = nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.5), nn.Linear(32, 16))
        slot = self.until(self.planted(net, init=None), "HOLDING")
        with torch.no_grad():
            first = slot(self.h) - self.h
            self.assertTrue(torch.equal(slot(self.h) - self.h, first))
            found = []
            for _ in range(400):
                slot.tick()
                found.append(slot(self.h) - self.h)
            self.assertFalse(torch.equal(found[0], first))
            mean = torch.stack(found).mean(0)
            spread = torch.stack(found).std(0) / 20  # of a mean of 400
            self.assertTrue(((mean - net.eval()(self.h)).abs() < 6 * spread).all())

    def test_saved(self):
        """What was saved is not begun anew, whether it comes before the kernel or afterwards."""
        def train(slot):
            for p in slot.parameters():
                p.grad = None
            y = self.step(slot)[0].detach()
            with torch.no_grad():
                for p in slot.parameters():
                    p.sub_(0.01 * p.grad)
            return y
        slot = self.until(self.planted(Net()), "HOLDING")
        for _ in range(5):
            train(slot)
        saved = io.BytesIO()
        torch.save(slot.state_dict(), saved)
        others = [self.planted(Net()), urza.Slot(name="one", **OPTIONS)]
        others[1].plant(Net(), name="net", example_inputs=self.h)
        for each in others:
            saved.seek(0)
            each.load_state_dict(torch.load(saved, weights_only=True))
        with torch.no_grad():
            expected, until = slot(self.h), time.monotonic() + 60
            self.assertTrue(torch.equal(others[0](self.h), expected))
            while torch.equal(others[1](self.h), self.h) and time.monotonic() < until:
                others[1].tick()
                time.sleep(0.01)
            self.assertTrue(torch.equal(others[1](self.h), expected))
        for _ in range(20):
            self.assertTrue(torch.equal(train(slot), train(others[0])))
        self.assertEqual(slot.get_extra_state(), others[0].get_extra_state())
        copied = copy.deepcopy(slot)
        self.assertTrue(torch.equal(train(slot), train(copied)))
        self.assertIsInstance(copied.seeds["net"], Net)

    def test_compiled_beside_the_training(self):
        slot = urza.Slot(name="one", germinate_ticks=1000000, **OPTIONS)
        self.step(slot)  # from here the shape is known
        net = Net()
        slot.plant(net, name="net")
        self.assertEqual(slot.state, "GERMINATED")
        until = time.monotonic() + 60
        while slot.state == "GERMINATED" and time.monotonic() < until:
            y, h, _ = self.step(slot)
            self.assertEqual(y.data_ptr(), h.data_ptr())
            time.sleep(0.01)
        self.assertEqual(slot.state, "TRAINING", slot.events())
        self.assertFalse(net.down.weight.any())

    def test_pruned_while_it_is_compiled(self):
        slot = urza.Slot(name="one", **OPTIONS)
        slot.plant(Net(), example_inputs=(self.h,))
        slot.command("prune")
        self.assertEqual(slot.tick(), "PRUNED")
        self.assertEqual(list(slot.parameters()), [])
        self.until(slot, "DORMANT")
        slot.plant(self.package)
        self.until(slot, "TRAINING")

    def test_faults_of_a_module_are_events(self):
        """The host's step completes."""
        path = os.environ["PATH"]
        for source, reason in [
            (Raises(), "no day for work"), (nn.Linear(16, 8), "differ"),
            (nn.Linear(4, 4), "torch.export"),
            (nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16)),
             "1.num_batches_tracked: the module changes it"),
            (nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (8, 16))), "torch.export"),
        ]:
            with self.subTest(source=source):
                slot = self.planted(source)
                y, h, state = self.step(slot)
                self.assertEqual((y.data_ptr(), state), (h.data_ptr(), "PRUNED"))
                self.assertTrue(torch.equal(h.grad, self.dy))
                self.assertIn(reason, next(e["reason"] for e in slot.events()
                                           if e["kind"] == "fault"))
                self.assertEqual(list(slot.parameters()), [])
        try:
            os.environ["PATH"] = str(self.folder)
            slot = self.planted(Net())
        finally:
            os.environ["PATH"] = path
        self.assertEqual(self.step(slot)[2], "PRUNED")
        self.assertTrue(any("no program 'urza'" in e["reason"] for e in slot.events()))

    def test_refused(self):
        slot = urza.Slot()
        with self.assertRaisesRegex(urza.UsageError, "not called yet"):
            slot.plant(Net())
        with self.assertRaisesRegex(TypeError, "no hint 'speed'"):
            slot.plant(Net(), example_inputs=self.h, speed=1)
        with self.assertRaisesRegex(TypeError, "example_inputs"):
            slot.plant(self.package, example_inputs=self.h)
        with self.assertRaisesRegex(TypeError, "like h"):
            slot.plant(Net(), example_inputs=[self.h, self.h])
        with self.assertRaisesRegex(ValueError, "two matrices"):
            slot.plant(self.compile("one", self.one_layer(), "--graft", "residual", "--backward"),
                       init="gradmax")
        self.assertEqual((slot.state, list(slot.parameters())), ("DORMANT", []))

    @staticmethod
    def one_layer():
        return {"format": "urza.blueprint/1", "name": "one",
                "dims": {"B": {"min": 1, "max": 64, "typical": 8}},
                "inputs": [{"id": "x", "dtype": "f32", "shape": ["B", 16]}],
                "params": [{"id": "w", "dtype": "f32", "shape": [16, 16],
                            "init": {"kind": "kaiming_uniform"}}],
                "nodes": [{"id": "s", "op": "linear", "in": ["x", "w"]}], "outputs": ["s"]}

    # How seeds begin.

    def test_lora(self):
        def begun(name="tanh", seed=1, **words):
            slot = urza.Slot(name="one", random_seed=seed, **OPTIONS)
            slot.plant(words.pop("package", self.package), name=name, init="lora", **words)
            return [p.detach().clone() for p in slot.parameters()]
        before = torch.get_rng_state()
        w1, b1, w2, b2 = begun()
        self.assertTrue(torch.equal(before, torch.get_rng_state()))  # it has numbers of its own
        self.assertFalse(b1.any() or w2.any() or b2.any())
        bound = 1 / 4  # Kaiming with a = √5: √(6 / (1 + 5) / 16)
        self.assertTrue(0.8 * bound < w1.abs().max() <= bound)
        self.assertAlmostEqual(float(w1.var()), bound ** 2 / 3, delta=0.004)  # 512 numbers: ±4 σ
        self.assertTrue(torch.equal(w1, begun()[0]))
        self.assertFalse(torch.equal(w1, begun(name="other")[0]))
        self.assertFalse(torch.equal(w1, begun(seed=2)[0]))
        net = Net()
        with torch.no_grad():
            net.up.bias.fill_(3)
        w1, b1, w2, b2 = begun(package=net, name="net", example_inputs=self.h, wait=True)
        # set when the kernel has come, which is where the last layer is known
        self.assertTrue(0.8 * bound < net.up.weight.abs().max() <= bound)
        self.assertTrue((net.up.bias == 3).all())
        self.assertFalse(net.down.weight.any() or net.down.bias.any())

    def test_lora_in_chunks(self):
        """Each chunk's matrix is drawn as if it were alone."""
        package = self.compile("chunks", ROOT / "examples" / "seed.json", "--graft", "residual/8",
                               "--backward")
        slot = urza.Slot(chunks=8, name="one", **OPTIONS)
        slot.plant(package, init=None)
        bias = slot.seeds["seed"].b1.detach().clone()
        slot = urza.Slot(chunks=8, name="one", **OPTIONS)
        slot.plant(package, init="lora")
        seed = slot.seeds["seed"]
        self.assertEqual(tuple(seed.w1.shape), (8, 32, 16))
        self.assertTrue(0.24 < seed.w1.abs().max() <= 0.25)
        self.assertFalse(seed.w2.any())
        self.assertTrue(torch.equal(seed.b1, bias))
        with self.assertRaisesRegex(ValueError, "two matrices"):
            urza.Slot(chunks=8).plant(package, init="gradmax")

    def chunked(self, h, net):
        """A HOLDING slot of three chunks, its seed's parameters drawn anew, and each chunk's."""
        slot = urza.Slot(chunks=3, name="three", **OPTIONS)
        slot.plant(net, name="net", example_inputs=h, wait=True, init=None)
        self.assertEqual(slot.state, "GERMINATED", slot.events())
        torch.manual_seed(1)
        named = dict(slot.seeds["net"].named_parameters())
        self.assertEqual({name: tuple(p.shape) for name, p in named.items()},
                         {name: (3, *p.shape) for name, p in net.named_parameters()})
        with torch.no_grad():
            for each in named.values():
                each.copy_(torch.randn_like(each) / 4)
        for _ in range(40):
            if slot.state == "HOLDING":
                break
            slot(h).sum().backward()
            slot.tick()
        slot.zero_grad()
        return slot, named

    def compare_chunks(self, h, dim, net):
        slot, named = self.chunked(h, net)
        self.assertEqual(slot.state, "HOLDING", slot.events())
        h, dy = h.clone().requires_grad_(), torch.randn(h.shape)
        y = slot(h)
        y.backward(dy)
        mine = h.detach().clone().requires_grad_()
        own = {name: p.detach().clone().requires_grad_() for name, p in named.items()}
        parts = [torch.func.functional_call(net, {name: p[i] for name, p in own.items()}, (part,))
                 for i, part in enumerate(mine.chunk(3, dim))]
        expected = mine + torch.cat(parts, dim)
        expected.backward(dy)
        torch.testing.assert_close(y, expected, **NEAR)
        torch.testing.assert_close(h.grad, mine.grad, **NEAR)
        for name, each in named.items():
            torch.testing.assert_close(each.grad, own[name].grad, **NEAR)

    def test_chunks(self):
        self.compare_chunks(torch.randn(5, 12), 1, Net(4, 7))

    def test_chunks_of_channels(self):
        net = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(),
                            nn.Conv2d(6, 4, 1))
        self.compare_chunks(torch.randn(2, 12, 5, 7), 1, net)

    def test_chunks_are_those_of_the_slot(self):
        with self.assertRaisesRegex(ValueError, "no 3 chunks"):
            urza.Slot(chunks=3).plant(Net(), example_inputs=self.h)
        with self.assertRaisesRegex(urza.UnsupportedError, "1 chunks, and the slot 2"):
            urza.Slot(chunks=2).plant(self.package)
        with self.assertRaisesRegex(ValueError, "one chunk"):
            urza.Slot(chunks=2).plant(Net(8), example_inputs=self.h, init="gradmax")

    def test_gradmax(self):
        for source, words in [(self.package, {}),
                              (Net(), {"example_inputs": self.h, "wait": True})]:
            with self.subTest(source=source):
                self.check_gradmax(source, words)

    def check_gradmax(self, source, words):
        slot = urza.Slot(name="one", **OPTIONS)
        slot.plant(source, name="net", init="gradmax", **words)
        self.assertEqual(slot.tick(), "GERMINATED")  # there was no step yet
        self.step(slot)
        params = list(slot.parameters())
        w1, b1, w2, b2 = params
        self.assertFalse(w1.any() or b1.any() or b2.any())
        # The gradient by the first layer, of PyTorch, beside the greatest that there is.
        x = self.h.double()
        inner, a, outer, b = (p.detach().double().requires_grad_() for p in params)
        y = x + torch.tanh(x @ inner.T + a) @ outer.T + b
        got, = torch.autograd.grad(y, inner, self.dy.double())
        length = (16 / (3 * 32)) ** 0.5
        values = torch.linalg.svdvals(self.dy.double().T @ x)
        torch.testing.assert_close(w2.double().norm(dim=0), torch.full((32,), length).double(),
                                   rtol=1e-5, atol=0)
        rows = got.norm(dim=1)
        torch.testing.assert_close(rows[:16], values * length, rtol=1e-4, atol=1e-4)
        self.assertTrue((rows[16:] <= values[0] * length).all())
        self.until(slot, "HOLDING")
        self.assertTrue(torch.equal(slot(self.h), self.h))  # it begins as nothing

    def test_gradmax_sums_a_step(self):
        """Two calls between ticks are one step."""
        slot = urza.Slot(name="one", **OPTIONS)
        slot.plant(self.package, name="net", init="gradmax")
        for rows in (slice(0, 3), slice(3, 8)):
            slot(self.h[rows].clone().requires_grad_()).backward(self.dy[rows])
        slot.tick()
        other = urza.Slot(name="one", **OPTIONS)
        other.plant(self.package, name="net", init="gradmax")
        self.step(other)
        mine, its = (each.seeds["net"].w2[:, :8] for each in (slot, other))
        torch.testing.assert_close(mine.abs(), its.abs(), **NEAR)

    def test_a_registry_compiles(self):
        data = self.folder / "registry"
        log = open(self.folder / "serve.log", "wb")
        self.addCleanup(log.close)
        server = subprocess.Popen([BUILD / "urza", "serve", "--data", data, "--port", "0"],
                                  stdout=log, stderr=log)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        until, url = time.monotonic() + 30, None
        while url is None and time.monotonic() < until:
            text = (self.folder / "serve.log").read_text()
            at = text.find("http://127.0.0.1:")
            url = re.match(r"http://[0-9.:]*", text[at:])[0] if at >= 0 else None
            time.sleep(0.05)
        os.environ["URZA_URL"] = url
        self.addCleanup(os.environ.pop, "URZA_URL")
        self.urza("remote", "trust", "team")
        net = Net()
        slot = self.planted(net, init=None, client=urza.Client(url), strategy="fast")
        self.until(slot, "HOLDING")
        with torch.no_grad():
            torch.testing.assert_close(slot(self.h), self.h + net(self.h), **NEAR)
        slot = self.planted(nn.Linear(16, 8), client=urza.Client(url))
        self.assertEqual(self.step(slot)[2], "PRUNED")

    # What was mended before, and had no test.

    def test_arguments_of_other_kinds(self):
        slot = urza.Slot(name="one", **OPTIONS)
        slot.plant(self.package, name="net")
        self.until(slot, "HOLDING")
        with self.assertRaisesRegex(urza.InvalidInputError, "device meta"):
            slot(torch.zeros(8, 16, device="meta"))
        empty = torch.zeros(0, 16, requires_grad=True)
        y = slot(empty)
        y.sum().backward()
        self.assertEqual((tuple(y.shape), tuple(empty.grad.shape)), ((0, 16), (0, 16)))
        self.assertEqual(slot.tick(), "HOLDING")
        self.assertEqual([e for e in slot.events() if e["kind"] == "fault"], [])

    def test_another_locale(self):
        """Numbers of saved states have no decimal comma."""
        made = subprocess.run(["bash", "-c", "localedef -i de_DE -f UTF-8 ./de_DE.UTF-8"],
                              cwd=self.folder, capture_output=True, check=False)
        if not (self.folder / "de_DE.UTF-8").is_dir():
            self.skipTest(f"no locale with a decimal comma: {made.stderr.decode().strip()}")
        os.environ["LOCPATH"] = str(self.folder)
        self.addCleanup(os.environ.pop, "LOCPATH")
        self.python("""
import locale, sys, torch, urza
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
assert locale.localeconv()["decimal_point"] == ","
def planted():
    slot = urza.Slot(name="one", train_ticks=1, blend_ticks=3, gradient_ratio=0.125)
    slot.plant(sys.argv[1], name="net")
    return slot
slot, other = planted(), planted()
for _ in range(4):
    slot(torch.ones(2, 16, requires_grad=True)).sum().backward()
    slot.tick()
slot.rollout(sys.argv[1], "flag", percent=10)
other.rollout(sys.argv[1], "flag", percent=10)
other.set_extra_state(slot.get_extra_state())
assert 0 < other.alpha < 1 and other.alpha == slot.alpha, (other.alpha, slot.alpha)
assert other.get_extra_state() == slot.get_extra_state()
""", self.package)


if __name__ == "__main__":
    unittest.main()
