"""Packages and slots as operators of PyTorch: in graphs that are compiled and exported, beside the
same networks in eager PyTorch; and what opcheck and gradcheck say of them."""
import copy
import gc
import json
import os
import shutil
import unittest

import urza
from support import BUILD, ROOT, Case, blueprint, sum_of_two

try:
    import torch
    from torch import nn
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing

import urza.torch  # noqa: E402
from torch._dynamo.testing import CompileCounterWithBackend  # noqa: E402
from torch.autograd import gradcheck  # noqa: E402
from torch.library import opcheck  # noqa: E402
from urza import _ops  # noqa: E402

ops = torch.ops.urza
BATCH = torch.export.Dim("batch", min=1, max=256)
NEAR = {"rtol": 1e-4, "atol": 1e-5}  # float32; sums of 64 products in another order
# What compiles a graph: the last one writes C++.
BACKENDS = ["eager", "aot_eager", *(["inductor"] if shutil.which("g++") else [])]


class Net(nn.Module):
    """A part between others, whose input and output are memory that a compiled graph may use for
    something else, or compute again for the backward pass."""

    def __init__(self, inner):
        super().__init__()
        self.before, self.inner, self.after = nn.Linear(16, 32), inner, nn.Linear(32, 4)

    def forward(self, x):
        return self.after(torch.sigmoid(self.inner(torch.relu(self.before(x) * 2))))


def inner():
    return nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 32))


def expressions():
    """Outputs whose sizes are no plain dims; s is made of integers."""
    return blueprint({"x": ("f32", ["B", "4*T"]), "n": ("i64", ["B + 2"]),
                      "p": ("f32", [1, 1, "B"])},
                     {"z": ("concat", ["x", "x"], {"dim": 0}),
                      "r": ("reshape", ["x"], {"shape": [-1, 4]}),
                      "e": ("max_pool1d", ["p"], {"kernel_size": 3, "stride": 2}),
                      "s": ("add", ["n", "n"], {})}, ["z", "r", "e", "s"],
                     B={"min": 3, "max": 64, "typical": 4}, T={"min": 1, "max": 64, "typical": 4})


def seed(dtype, sizes=None):
    """sizes: in the place of 16 and 32."""
    source = json.loads((ROOT / "examples" / "seed.json").read_text())
    for each in (*source["inputs"], *source["params"]):
        each["dtype"] = dtype
        each["shape"] = [(sizes or {}).get(size, size) for size in each["shape"]]
    return source


class Ops(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{BUILD.resolve()}{os.pathsep}{before}"
        cls.addClassCleanup(os.environ.__setitem__, "PATH", before)
        torch.manual_seed(11)
        cls.seeds = {name: cls.compile(f"seed_{name}", source, "--graft", "residual", "--backward")
                     for name, source in (("f32", seed("f32")), ("bf16", seed("bf16")),
                                          ("f64", seed("f64", {16: 4, 32: 3})))}
        cls.dense = {dtype: urza.load(cls.compile(f"dense_{dtype}", seed(dtype), "--backward"))
                     for dtype in ("f32", "bf16")}
        cls.reference = Net(inner())

    def setUp(self):
        torch._dynamo.reset()

    def compiled_net(self):
        net = copy.deepcopy(self.reference)
        net.inner = urza.compile(net.inner, (torch.randn(8, 32),), dynamic_shapes=({0: BATCH},))
        return net

    def assert_same_step(self, run, net, rows):
        """Values, and gradients by the input and all parameters."""
        found = []
        for each, call in ((net, run), (self.reference, self.reference)):
            torch.manual_seed(rows)
            x = torch.randn(rows, 16).requires_grad_()
            each.zero_grad()
            y = call(x)
            y.square().sum().backward()
            found.append((y, x.grad, *(p.grad for p in each.parameters())))
        for got, expected in zip(*found, strict=True):
            torch.testing.assert_close(got, expected, **NEAR)

    # Operators by themselves.

    def test_opcheck_of_packages(self):
        for dtype, module in self.dense.items():
            kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
            params = [torch.randn(info.shape).to(kind) for info in module.params]
            wide = torch.randn(6, 32).to(kind)
            for name, x in (("dense", wide[:, :16].contiguous()), ("strided", wide[:, ::2]),
                            ("one row", wide[:1, :16])):
                with self.subTest(dtype=dtype, x=name):
                    self.opcheck_package(module.kernel_id, x, params)

    def opcheck_package(self, kernel, x, params):
        learned = [each.clone().requires_grad_() for each in params]
        opcheck(ops.run, (kernel, [x]))
        opcheck(ops.run, (kernel, [x], params))
        opcheck(ops.run, (kernel, [x.clone().requires_grad_()]))
        opcheck(ops.run, (kernel, [x], learned))
        opcheck(ops.run, (kernel, [x.clone().requires_grad_()], learned))
        opcheck(ops.train, (kernel, [x], params))
        outputs, tape = ops.train(kernel, [x], params)
        dy = [torch.randn_like(each) for each in outputs]
        for wrt in ([0], [4, 1], []):
            opcheck(ops.train_backward, (kernel, tape, dy, [x], params, outputs, wrt))
        opcheck(ops.train_backward, (kernel, tape, [None], [x], params, outputs, [0, 2]))

    def test_opcheck_of_shapes(self):
        module = urza.load(self.compile("expressions", expressions()))
        for rows, columns in ((4, 12), (5, 4), (3, 8)):
            with self.subTest(rows=rows):
                opcheck(ops.run, (module.kernel_id, self.expressed(rows, columns)))
        module = urza.load(self.compile("sum", sum_of_two(), "--backward"))
        for rows in (0, 1, 3):
            x, y = torch.randn(rows, 8), torch.randn(rows, 8).requires_grad_()
            with self.subTest(rows=rows):
                opcheck(ops.run, (module.kernel_id, [x, y]))

    @staticmethod
    def expressed(rows, columns):
        return [torch.randn(rows, columns), torch.arange(rows + 2), torch.randn(1, 1, rows)]

    def test_sizes_are_symbols(self):
        """One program for all sizes, which computes with the sizes of results."""
        module = urza.load(self.compile("expressions", expressions()))
        kernel = module.kernel_id

        class Sizes(nn.Module):
            def forward(self, x, n, p):
                outputs = ops.run(kernel, [x, n, p])
                return [torch.ones(size) for each in outputs for size in each.shape]
        auto = torch.export.Dim.AUTO
        program = torch.export.export(Sizes(), tuple(self.expressed(6, 8)), dynamic_shapes=(
            {0: auto, 1: auto}, {0: auto}, {2: auto})).module()
        for rows, columns in ((6, 8), (9, 20), (64, 4)):
            given = self.expressed(rows, columns)
            sizes = [len(each) for each in program(*given)]
            self.assertEqual(sizes, [size for y in module(*given) for size in y.shape])
        for rows, columns in ((65, 4), (2, 4)):
            with self.assertRaises((AssertionError, RuntimeError)):
                program(*self.expressed(rows, columns))

    def test_opcheck_of_slots(self):
        for dtype, state in (("f32", "TRAINING"), ("f32", "BLENDING"), ("f32", "HOLDING"),
                             ("bf16", "HOLDING")):
            slot, h = self.planted(state, dtype)
            for name, each in (("dense", h), ("strided", torch.cat([h, h], 1)[:, ::2]),
                               ("no rows", h[:0])):
                with self.subTest(dtype=dtype, state=state, h=name):
                    self.opcheck_slot(slot, each)

    def opcheck_slot(self, slot, h):
        name, params = slot._handle, [p.detach() for p in slot._order]
        factors = torch.linspace(0, 1, len(h))
        for given in (None, factors):
            opcheck(ops.slot, (name, h, params, given))
            opcheck(ops.slot, (name, h.clone().requires_grad_(), list(slot._order), given))
            opcheck(ops.slot_train, (name, h, params, given))
            y, tape = ops.slot_train(name, h, params, given)
            for wanted in ([True] * 4, [False, True, False, False]):
                opcheck(ops.slot_backward, (name, tape, torch.randn_like(y), h, params, given, y,
                                            wanted))

    def planted(self, state, dtype="f32", **options):
        kind = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16}[dtype]
        torch.manual_seed(3)
        slot = urza.Slot("residual", train_ticks=2, blend_ticks=4, **options)
        slot.plant(self.seeds[dtype], name="tanh", init=None)
        h = torch.randn(8, 4 if dtype == "f64" else 16).to(kind)
        for _ in range(40):
            if slot.state == state:
                slot.zero_grad()
                return slot, h
            slot(h.clone().requires_grad_()).backward(torch.randn_like(h))
            slot.tick()
        raise AssertionError(f"{slot.state}: {slot.events()}")

    def test_gradcheck(self):
        module = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
        x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
        run = urza.compile(module, (x,))
        params = list(run.parameters())
        self.assertTrue(gradcheck(lambda x, *p: run(x), (x, *params)))
        kernel = run.package.kernel_id
        self.assertTrue(gradcheck(lambda x, *p: ops.run(kernel, [x], list(p))[0], (x, *params)))
        for state in ("BLENDING", "HOLDING"):
            slot, h = self.planted(state, "f64", isolate=False)
            slot.tick()
            given = (h.requires_grad_(), *slot._order)
            with self.subTest(state=state):
                self.assertGreater(slot.alpha, 0)
                run = torch.compile(slot, backend="aot_eager", fullgraph=True)
                self.assertTrue(gradcheck(lambda h, *p: run(h), given))
                self.assertTrue(gradcheck(lambda h, *p: ops.slot(slot._handle, h, list(p)), given))

    # Tapes.

    def test_tapes(self):
        """A tape is taken where it fits, and what it saved is computed again where not."""
        module = self.dense["f32"]
        kernel, x = module.kernel_id, torch.randn(4, 16)
        params = [torch.randn(info.shape) for info in module.params]
        outputs, tape = ops.train(kernel, [x], params)
        dy = torch.randn(4, 16)

        def backward(tape, x, outputs):
            before = module.stats()["calls"]
            found = ops.train_backward(kernel, tape, [dy], [x], params, outputs, [0, 1])
            return found, module.stats()["calls"] - before
        first, calls = backward(tape, x, outputs)
        for given in ((tape, x, outputs), (tape.clone(), x, outputs),
                      (ops.train(kernel, [x], params)[1], x, outputs),
                      (ops.train(kernel, [x.clone()], params)[1], x, outputs)):
            found, again = backward(*given)
            self.assertGreater(again, calls)
            for a, b in zip(found, first, strict=True):
                self.assertTrue(torch.equal(a, b))
        inner = torch.tanh(x @ params[0].T + params[1])
        dt = dy @ params[2] * (1 - inner * inner)
        torch.testing.assert_close(first[0], dt @ params[0], **NEAR)
        torch.testing.assert_close(first[1], dt.T @ x, **NEAR)

    def test_tapes_end_with_their_results(self):
        """Of steps without a backward pass; the runtime has 1024 tapes at most."""
        kernel, x = self.dense["f32"].kernel_id, torch.randn(4, 16).requires_grad_()
        slot, h = self.planted("HOLDING")
        h.requires_grad_()
        graph = torch.compile(lambda x: ops.run(kernel, [x])[0], backend="aot_eager")
        for call in (lambda: ops.run(kernel, [x]), lambda: ops.slot(slot._handle, h, slot._order),
                     lambda: slot(h), lambda: graph(x)):
            for _ in range(1100):
                y = call()
            del y
        y = slot(h)
        self.assertNotEqual(y.data_ptr(), h.data_ptr())
        self.assertEqual([each for each in slot.events() if each["kind"] == "fault"], [])
        gc.collect()
        self.assertEqual(len(_ops._tapes), 0)

    # Graphs.

    def test_networks(self):
        """One graph for all batches, forward and backward."""
        for backend in BACKENDS:
            torch._dynamo.reset()
            net, counter = self.compiled_net(), CompileCounterWithBackend(backend)
            run = torch.compile(net, backend=counter, fullgraph=True, dynamic=True)
            with self.subTest(backend):
                for rows in (8, 5, 32, 256):
                    self.assert_same_step(run, net, rows)
                self.assertEqual(counter.frame_count, 1)
                with torch.no_grad():
                    x = torch.randn(7, 16)
                    torch.testing.assert_close(run(x), self.reference(x), **NEAR)
                    net.inner.get_parameter("0.bias").add_(1)
                    torch.testing.assert_close(run(x), net(x), **NEAR)
                with self.assertRaisesRegex(urza.InvalidInputError, "300, expected 1 to 256"):
                    run(torch.randn(300, 16))

    def test_steps(self):
        """Optimizer's steps change parameters in place; the graph sees them, and stays."""
        net, reference = self.compiled_net(), copy.deepcopy(self.reference)
        run = torch.compile(net, backend=BACKENDS[-1], fullgraph=True, dynamic=True)
        losses = []
        for each, call in ((net, run), (reference, reference)):
            optimizer = torch.optim.Adam(each.parameters(), 0.01)
            torch.manual_seed(1)
            losses.append([])
            for step in range(20):
                loss = call(torch.randn(4 + step, 16)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses[-1].append(loss.item())
                torch._dynamo.config.error_on_recompile = each is net and step > 0
            torch._dynamo.config.error_on_recompile = False
        self.assertLess(losses[0][-1], losses[0][0] / 2)
        torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-3, atol=1e-4)

    def test_called_twice(self):
        """Two calls that are one after the elimination of common subexpressions, with one tape."""
        net = self.compiled_net()
        run = torch.compile(lambda h: net.inner(h) * net.inner(h), backend="aot_eager",
                            fullgraph=True)
        h = torch.randn(8, 32).requires_grad_()
        for _ in range(2):
            got, = torch.autograd.grad(run(h).sum(), h)
            expected, = torch.autograd.grad(self.reference.inner(h).square().sum(), h)
            torch.testing.assert_close(got, expected, **NEAR)

    def test_kept_graphs_and_checkpoints(self):
        net = self.compiled_net()
        run = torch.compile(net, backend="aot_eager", fullgraph=True)
        x = torch.randn(8, 16)
        params = list(net.parameters())
        expected = torch.autograd.grad(self.reference(x).sum(), list(self.reference.parameters()))
        loss = run(x).sum()
        again = torch.utils.checkpoint.checkpoint(net, x, use_reentrant=False).sum()
        for found in (torch.autograd.grad(loss, params, retain_graph=True),
                      torch.autograd.grad(loss, params), torch.autograd.grad(again, params)):
            for a, b in zip(found, expected, strict=True):
                torch.testing.assert_close(a, b, **NEAR)

    def test_export(self):
        net, x = self.compiled_net(), torch.randn(6, 16)
        path = self.folder / "net.pt2"
        program = torch.export.export(net, (torch.randn(8, 16),), dynamic_shapes=({0: BATCH},))
        torch.export.save(program, path)
        y = net(x)
        y.sum().backward()
        torch.save((x, y.detach(), [p.grad for p in net.parameters()]), self.folder / "values.pt")
        self.python("""if True:
            import sys, torch, urza.torch
            module = torch.export.load(sys.argv[1]).module()
            x, y, gradients = torch.load(sys.argv[2])
            got = module(x)
            assert torch.allclose(got, y, atol=1e-6), got - y
            got.sum().backward()
            for param, expected in zip(module.parameters(), gradients, strict=True):
                assert torch.allclose(param.grad, expected, atol=1e-5)
        """, path, self.folder / "values.pt")
        with self.assertRaisesRegex(Exception, "at most 256"):
            torch.export.export(net, (torch.randn(300, 16),))

    def test_refused(self):
        with self.assertRaisesRegex(urza.NotFoundError, "no package of this id"):
            ops.run("kernel-" + "0" * 64, [torch.ones(1)])
        kernel, x = self.dense["f32"].kernel_id, torch.randn(2, 16)
        plain = urza.load(self.compile("plain", seed("f32"), "--backward", "--wrt", "w1"))
        with self.assertRaisesRegex(urza.UnsupportedError, "x: it requires grad"):
            ops.run(plain.kernel_id, [x.clone().requires_grad_()])
        with self.assertRaisesRegex(urza.InvalidInputError, "2 inputs and 0 parameters"):
            ops.run(kernel, [x.clone().requires_grad_(), x])
        with self.assertRaisesRegex(urza.InvalidInputError, "input 'x'.*dim 1"):
            ops.run(kernel, [x[:, :8]])
        with self.assertRaisesRegex(RuntimeError, "once_differentiable"):
            x.requires_grad_()
            y = ops.run(kernel, [x])[0]
            first, = torch.autograd.grad(y.square().sum(), x, create_graph=True)
            first.sum().backward()

        def graph(x):
            return ops.run(kernel, [x])[0]
        run = torch.compile(graph, backend="eager", fullgraph=True)
        for given, text in ((x[:, :8], "dim 1 must be 16"), (x.double(), "float64"),
                            (x[0], "1 dims, expected float32 of 2")):
            with self.subTest(text), self.assertRaisesRegex(Exception, text):
                run(given.detach())

    def test_modes_and_constants(self):
        class Moded(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(4, 4)
                self.register_buffer("shift", torch.tensor(2))

            def forward(self, x):
                y = self.layer(x) + self.shift
                return y if self.training else y * 3
        x, module = torch.randn(2, 4), Moded()
        net = nn.Sequential(urza.compile(module, (x,)))
        run = torch.compile(net, backend=BACKENDS[-1], fullgraph=True)
        torch.testing.assert_close(run(x), module(x), **NEAR)
        net.eval()
        with self.assertRaisesRegex(Exception, "in this mode .* yet: call it once outside"):
            run(x)
        net(x)
        torch.testing.assert_close(run(x), module.eval()(x), **NEAR)
        net.train()
        with torch.no_grad():
            net[0].shift.add_(1)
        with self.assertRaisesRegex(RuntimeError, "'shift' changed"):
            run(x)
        with torch.autocast("cpu", torch.bfloat16), self.assertRaisesRegex(Exception, "autocast"):
            run(x)

    def test_arguments(self):
        """Nested, by names, numbers; results too; a weight under two names."""
        class Nested(nn.Module):
            def __init__(self):
                super().__init__()
                self.up, self.down = nn.Linear(4, 4), nn.Linear(4, 4)
                self.down.weight = self.up.weight

            def forward(self, x, more, scale=2.0):
                a, b = more["ab"]
                return {"s": self.down(torch.tanh(self.up(x))) + a * scale, "t": (b * 2,)}
        x, a, b = (torch.randn(3, 4) for _ in range(3))
        module = Nested()
        net = urza.compile(module, (x, {"ab": (a, b)}, 2.0))
        for run in (torch.compile(net, backend=BACKENDS[-1], fullgraph=True),
                    torch.export.export(net, (x, {"ab": (a, b)}, 2.0)).module()):
            found = []
            for each in (run, module):
                module.zero_grad()
                y = each(x, {"ab": (a, b)}, 2.0)
                y["s"].square().sum().backward()
                found.append((y["s"], y["t"][0], *(p.grad for p in module.parameters())))
            for got, expected in zip(*found, strict=True):
                torch.testing.assert_close(got, expected, **NEAR)
        run = torch.compile(net, backend="eager", fullgraph=True)
        torch.testing.assert_close(run(x, more={"ab": (a, b)}, scale=2.0)["s"], found[1][0], **NEAR)

    def test_training_mode(self):
        """Statistics of batches are written, as by PyTorch, and dropout draws in each call."""
        reference = Net(nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.Linear(32, 32)))
        net = copy.deepcopy(reference)
        net.inner = urza.compile(net.inner, (torch.randn(8, 32),), dynamic_shapes=(
            {0: torch.export.Dim("batch", min=2, max=256)},))
        net.eval()
        net(torch.randn(2, 16))
        counter = CompileCounterWithBackend(BACKENDS[-1])
        run = torch.compile(net, backend=counter, fullgraph=True, dynamic=True)
        for step in range(5):
            for each in (net, reference):
                each.train(step < 3)
            found, x = [], torch.randn(4 + step, 16)
            for each, call in ((net, run), (reference, reference)):
                each.zero_grad()
                y = call(x) * call(x + 1)  # two forward passes before the backward pass
                y.square().sum().backward()
                found.append((y, *(p.grad for p in each.parameters()), *each.buffers()))
            for got, expected in zip(*found, strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        self.assertEqual(counter.frame_count, 2)

        drop = urza.compile(nn.Dropout(0.5), (torch.ones(64, 64),))
        run = torch.compile(drop, backend=BACKENDS[-1], fullgraph=True)
        ones = torch.ones(64, 64).requires_grad_()
        torch.manual_seed(3)
        y, other = run(ones), run(ones)
        torch.manual_seed(3)
        self.assertTrue(torch.equal(run(ones), y))
        self.assertFalse(torch.equal(other, y))
        self.assertAlmostEqual(y.mean().item(), 1, delta=0.1)  # of 4096: six deviations
        y.sum().backward()
        self.assertTrue(torch.equal(ones.grad, y))

    # Slots in graphs.

    def test_slot_grows_in_a_graph(self):
        """From TRAINING over a ramp of alpha to FOSSILIZED, and another one to PRUNED, beside the
        same slots outside of a graph: same bits, and one graph as long as there is a seed."""
        for ending in ("fossilize", "prune"):
            torch._dynamo.reset()
            slots = [self.planted("TRAINING", hold_ticks=3)[0] for _ in range(2)]
            counter = CompileCounterWithBackend(BACKENDS[-1])
            run = torch.compile(lambda h, slot=slots[0]: slot(torch.relu(h)) * 2, backend=counter,
                                fullgraph=True, dynamic=True)
            calls, states = (run, lambda h, slot=slots[1]: slot(torch.relu(h)) * 2), []
            seeds = set()
            for step in range(16):
                if step == 8:
                    for slot in slots:
                        slot.command(ending)
                found = []
                seeds.add(len(list(slots[0].parameters())))
                for slot, call in zip(slots, calls, strict=True):
                    torch.manual_seed(step)
                    h = torch.randn(4 + step, 16).requires_grad_()
                    slot.zero_grad()
                    y = call(h)
                    y.square().sum().backward()
                    found.append((y, h.grad, *(p.grad for p in slot.parameters())))
                    with torch.no_grad():
                        for p in slot.parameters():
                            p.sub_(0.001 * p.grad)
                    slot.tick()
                for got, expected in zip(*found, strict=True):
                    torch.testing.assert_close(got, expected, **NEAR)
                states.append((slots[0].state, slots[0].alpha))
                self.assertEqual(states[-1], (slots[1].state, slots[1].alpha))
                self.assertEqual(counter.frame_count, len(seeds))
            seen = {state for state, _ in states}
            self.assertLess({"TRAINING", "BLENDING", "HOLDING"}, seen)
            self.assertIn("FOSSILIZED" if ending == "fossilize" else "PRUNED", seen)
            self.assertGreaterEqual(len({alpha for _, alpha in states}), 5)

    def test_slot_swaps_kernels(self):
        """Under a rollout, its steps, a rollback and another one, in one graph."""
        source = {**seed("f32"), "name": "another"}
        other = urza.load(self.compile("other", source, "--graft", "residual", "--backward"))
        slot, h = self.planted("HOLDING")
        params, counter = slot._order, CompileCounterWithBackend(BACKENDS[-1])
        run = torch.compile(lambda h: slot(torch.relu(h)) * 2, backend=counter, fullgraph=True,
                            dynamic=True)
        plain = torch.relu(h) + torch.tanh(torch.relu(h) @ params[0].T + params[1]) \
            @ params[2].T + params[3]
        expected = (plain * 2).square().sum()
        gradients = torch.autograd.grad(expected, params)

        def steps(count):
            calls = other.stats()["calls"]
            for _ in range(count):
                loss = run(h).square().sum()
                torch.testing.assert_close(loss, expected, **NEAR)
                for a, b in zip(torch.autograd.grad(loss, params), gradients, strict=True):
                    torch.testing.assert_close(a, b, **NEAR)
                slot.tick()
            return other.stats()["calls"] > calls
        ran = [steps(3)]
        slot.rollout(other, "flag", percent=100)
        ran.append(steps(3))
        slot.rollback()
        ran.append(steps(3))
        slot.rollout(other, "next", sample_every=1)
        ran.append(steps(3))
        self.assertEqual(ran, [False, True, False, True])
        self.assertEqual((slot.alpha, slot.rollout_state()["errors"]), (1, 0))
        self.assertEqual(counter.frame_count, 1)

    def test_slot_tells_its_gain_in_a_graph(self):
        """From factors that the graph computes, and whose memory it uses for something else."""
        slot, h = self.planted("BLENDING", gain=0.1, hold_ticks=2)
        run = torch.compile(lambda h, f: (slot(h, (f * 2).clamp(0, 1)), torch.exp(f * 3)),
                            backend=BACKENDS[-1], fullgraph=True)
        factors, losses = torch.tensor([0.0, 1.0] * 4), torch.tensor([3.0, 1.0] * 4)
        for _ in range(40):
            y, _ = run(h.clone().requires_grad_(), factors)
            self.assertTrue(torch.equal(y[::2], h[::2]))
            y.sum().backward()
            if slot.tick(losses) == "FOSSILIZED":
                break
        self.assertEqual(slot.state, "FOSSILIZED")
        self.assertFalse(torch.equal(y[1::2], h[1::2]))

    def test_slot_copies_and_modules(self):
        """A copy is a slot of its own; a module as a seed waits for its kernel, and for a step."""
        slot, h = self.planted("HOLDING")
        other = copy.deepcopy(slot)
        with torch.no_grad():
            other._order[3].add_(1)
        both = torch.compile(lambda h: (slot(h), other(h)), backend="aot_eager", fullgraph=True)
        for got, each in zip(both(h), (slot, other), strict=True):
            torch.testing.assert_close(got, each(h), **NEAR)
        module = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16))
        slot = urza.Slot("residual", train_ticks=2, blend_ticks=4)
        run = torch.compile(lambda h: slot(torch.relu(h)), backend=BACKENDS[-1], fullgraph=True)
        slot.plant(module, init="gradmax", example_inputs=h, wait=True)
        states = []
        for _ in range(9):
            y = run(h)
            (y * y).sum().backward()
            slot.tick()
            states.append(slot.state)
            torch.testing.assert_close(run(h), slot(torch.relu(h)), **NEAR)
        self.assertEqual(sorted(set(states)), ["BLENDING", "GERMINATED", "HOLDING", "TRAINING"])
        self.assertEqual(module[0].weight.abs().max(), 0)  # as gradmax begins
        self.assertGreater(module[2].weight.abs().max(), 0)

    def test_slot_without_a_seed(self):
        slot = urza.Slot()
        run = torch.compile(lambda h: slot(h) * 2, backend="aot_eager", fullgraph=True)
        h = torch.randn(3, 16)
        self.assertTrue(torch.equal(run(h), h * 2))

    def test_slot_is_of_this_process(self):
        slot, h = self.planted("HOLDING")
        with self.assertRaisesRegex(Exception, "cannot be exported"):
            torch.export.export(nn.Sequential(slot), (h,))
        name, params = slot._handle, [p.detach() for p in slot._order]
        y, tape = ops.slot_train(name, h, params)
        slot.tick()
        ops.slot_backward(name, tape, h, h, params, None, y, [True] * 4)
        with self.assertRaisesRegex(urza.UsageError, "ticked between"):
            ops.slot_backward(name, tape, h, h, params, None, y, [True] * 4)
        del slot, tape
        gc.collect()
        with self.assertRaisesRegex(urza.NotFoundError, "is gone"):
            ops.slot(name, h, params)


if __name__ == "__main__":
    unittest.main()
