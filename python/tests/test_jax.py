"""Arrays of JAX as arguments and results, and packages inside jax.jit."""
import gc
import os
import threading
import time
import unittest
import weakref

import numpy as np

import urza
from support import Case, blueprint, moved, sum_of_two
from test_training import BOUND, layer, reference

try:
    import jax
    import jax.export
    import jax.numpy as jnp
except ImportError as missing:
    raise unittest.SkipTest("JAX is not installed (URZA_TEST_JAX=1 installs it)") from missing
import urza.jax  # noqa: E402

ROWS = {"min": 0, "max": 64, "typical": 4}


class Jax(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.add = urza.load(cls.compile("add", sum_of_two()))
        cls.x = jnp.arange(40, dtype=jnp.float32).reshape(5, 8)
        cls.y = cls.x[::-1] * 2

    def test_results_are_of_jax(self):
        z = self.add(self.x, self.y)
        self.assertIsInstance(z, jax.Array)
        np.testing.assert_array_equal(np.asarray(z), np.asarray(self.x) + np.asarray(self.y))
        again = self.add(z, self.y)
        np.testing.assert_array_equal(np.asarray(again), np.asarray(z) + np.asarray(self.y))

    def test_narrow(self):
        module = urza.load(self.compile("bf16", moved("bf16")))
        x = jnp.arange(12, dtype=jnp.bfloat16).reshape(4, 3)
        z, r = module(x, x[1, 1])
        self.assertEqual((z.dtype, r.dtype), (jnp.bfloat16, jnp.bfloat16))
        np.testing.assert_array_equal(np.asarray(z, np.float32),
                                      np.asarray(jnp.concatenate([x, x], 1), np.float32))

    def test_outputs_are_read_only(self):
        with self.assertRaisesRegex(TypeError, "output 'z': the array is read-only"):
            self.add(self.x, self.y, out=jnp.zeros((5, 8), jnp.float32))
        module = urza.load(self.compile("bf16", moved("bf16")))
        out = jnp.zeros((4, 6), jnp.bfloat16), jnp.zeros(1, jnp.bfloat16)
        with self.assertRaisesRegex(TypeError, "output 'z': the array is read-only"):
            module(jnp.ones((4, 3), jnp.bfloat16), jnp.ones((), jnp.bfloat16), out=out)

    def test_out_of_numpy(self):
        out = np.empty((5, 8), np.float32)
        self.add(self.x, self.y, out=out)
        np.testing.assert_array_equal(out, np.asarray(self.x) + np.asarray(self.y))


def centred():
    """y = x less its mean over the rows: rows are not by themselves; n counts nothing."""
    return blueprint({"x": ("f32", ["B", 3]), "n": ("i32", ["B"])},
                     {"m": ("mean", ["x"], {"dim": [0], "keepdim": True}),
                      "y": ("sub", ["x", "m"], {}), "k": ("add", ["n", "n"], {})}, ["y", "k"],
                     B={"min": 1, "max": 64, "typical": 4})


def top_k():
    """An ONNX model, the k largest of 8, in protobuf's encoding: k is an input."""
    def field(number, value):
        if isinstance(value, int):
            return bytes([number << 3, value])
        value = value if isinstance(value, bytes) else value.encode()
        return bytes([number << 3 | 2, len(value)]) + value

    def tensor(name, dtype, size):
        dim = field(2 if isinstance(size, str) else 1, size)
        return field(1, name) + field(2, field(1, field(1, dtype) + field(2, field(1, dim))))
    node = b"".join(field(number, text) for number, text in
                    [(1, "x"), (1, "k"), (2, "y"), (2, "i"), (4, "TopK")])
    graph = field(1, node) + field(2, "g") + b"".join(
        field(number, tensor(*of)) for number, of in
        [(11, ("x", 1, 8)), (11, ("k", 7, 1)), (12, ("y", 1, "K")), (12, ("i", 7, "K"))])
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


class Calls(Case):
    """Beside definitions in float64 with NumPy, or in JAX."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.path = cls.compile("layer", layer(), "--backward")
        cls.module = urza.load(cls.path)
        rng = np.random.default_rng(5)
        cls.x, cls.w, cls.b, cls.dy, cls.ds = (
            rng.uniform(-1, 1, shape).astype(np.float32)
            for shape in ((5, 6), (8, 6), (8,), (5, 8), (5, 8)))
        cls.many = rng.uniform(-1, 1, (3, 5, 6)).astype(np.float32)
        cls.outputs, cls.gradients = reference(cls.x, cls.w, cls.b, cls.dy, cls.ds)

    def near(self, got, expected, bound=BOUND):
        self.assertIsInstance(got, jax.Array)
        np.testing.assert_allclose(np.asarray(got, np.float64), expected, rtol=0, atol=bound)

    def layer(self, x, w, b, **words):
        return urza.jax.call(self.module, x, params={"w": w, "b": b}, **words)

    def loss(self, x, w, b, **words):
        y, s = self.layer(x, w, b, **words)
        return (y * self.dy).sum() + (s * self.ds).sum()

    def test_values(self):
        for call in (self.layer, jax.jit(self.layer)):
            for got, expected in zip(call(self.x, self.w, self.b), self.outputs, strict=True):
                self.near(got, expected)
        own = dict(zip(["w", "b"], (np.frombuffer(self.module._param_bytes(i), np.float32)
                                    for i in range(2))))
        expected = np.tanh(self.x @ own["w"].reshape(8, 6).T.astype(np.float64) + own["b"])
        before = self.module.stats()["native_calls"]
        self.near(jax.jit(lambda x: urza.jax.call(self.module, x=x)[0])(self.x), expected)
        self.assertEqual(self.module.stats()["native_calls"], before + 1)
        self.near(urza.jax.call(str(self.path), self.x)[0], expected)
        self.assertIs(urza.jax._module(self.path), urza.jax._module(self.path))
        shapes = jax.eval_shape(self.layer, self.x, self.w, self.b)
        self.assertEqual([each.shape for each in shapes], [(5, 8), (5, 8)])

    def test_gradients(self):
        grad = jax.grad(self.loss, (0, 1, 2))
        for call in (grad, jax.jit(grad)):
            for _ in range(3):
                for name, got in zip("xwb", call(self.x, self.w, self.b), strict=True):
                    self.near(got, self.gradients[name])
        self.near(jax.jit(jax.grad(self.loss, 2))(self.x, self.w, self.b), self.gradients["b"])
        jaxpr = str(jax.make_jaxpr(jax.grad(self.loss, 2))(self.x, self.w, self.b))
        self.assertIn("wanted=(2,)", jaxpr.replace(" ", ""))
        # One output has no part in the loss, and the package's own parameters are constants.
        got = jax.grad(lambda x: (urza.jax.call(self.module, x)[1] * self.ds).sum())(self.x)
        w, b = (np.frombuffer(self.module._param_bytes(i), np.float32) for i in range(2))
        expected = reference(self.x, w.reshape(8, 6), b, 0 * self.dy, self.ds)[1]["x"]
        self.near(got, expected)

    def test_as_jax_has_it(self):
        """A step of training, beside the same in jnp, through scan, remat and value_and_grad."""
        def here(x, w, b):
            y = jnp.tanh(x @ w.T + b)
            return (y * self.dy).sum() + (y * y * self.ds).sum()

        def train(loss):
            def step(params, _):
                value, slopes = jax.value_and_grad(jax.checkpoint(loss), (1, 2))(self.x, *params)
                return tuple(p - 0.01 * s for p, s in zip(params, slopes)), value
            return jax.jit(lambda params: jax.lax.scan(step, params, length=20))((self.w, self.b))
        (w, b), losses = train(self.loss)
        (w_here, b_here), losses_here = train(here)
        # 20 steps add 20 times a hundredth of a gradient's error, and that of the weights; the
        # losses are sums of 80 such values.
        self.near(w, w_here, BOUND)
        self.near(b, b_here, BOUND)
        self.near(losses, losses_here, 80 * BOUND)
        self.assertLess(losses[-1], losses[0])

    def test_vmap(self):
        every = [reference(x, self.w, self.b, self.dy, self.ds) for x in self.many]
        for batch, calls in ((None, 3), ("B", 1)):
            call = jax.jit(jax.vmap(lambda x, batch=batch: self.layer(x, self.w, self.b,
                                                                      batch=batch)))
            before = self.module.stats()["calls"]
            y, s = jax.block_until_ready(call(self.many))
            self.assertEqual(self.module.stats()["calls"] - before, calls)
            self.near(y, np.stack([outputs[0] for outputs, _ in every]))
            self.near(s, np.stack([outputs[1] for outputs, _ in every]))
            # Gradients of each example: by rows together, by parameters for each.
            for which, name in enumerate("xwb"):
                grad = jax.jit(jax.vmap(jax.grad(lambda *a, b=batch: self.loss(*a, batch=b), which),
                                        (0, None, None)))
                self.near(grad(self.many, self.w, self.b),
                          np.stack([gradients[name] for _, gradients in every]))
            # jit of grad of vmap, with mapped axes elsewhere than in front.
            total = jax.jit(jax.grad(
                lambda w, batch=batch: jax.vmap(lambda x, w: self.loss(x, w, self.b, batch=batch),
                                                (1, None))(np.moveaxis(self.many, 0, 1), w).sum()))
            self.near(total(self.w), sum(gradients["w"] for _, gradients in every), 3 * BOUND)

    def test_vmap_of_what_is_too_much(self):
        """More rows than the package takes, no example, parameters for each example, twice."""
        thirty = np.stack([self.x] * 30)  # 150 rows; 64 are allowed
        call = jax.vmap(lambda x: self.layer(x, self.w, self.b, batch="B"))
        self.near(call(thirty)[0], np.stack([self.outputs[0]] * 30))
        self.assertEqual(call(thirty[:0])[0].shape, (0, 5, 8))
        each = jax.vmap(lambda x, w: self.layer(x, w, self.b, batch="B"))(
            self.many, np.stack([self.w, 2 * self.w, 3 * self.w]))[0]
        for i in range(3):
            self.near(each[i], reference(self.many[i], (i + 1) * self.w, self.b, 0, 0)[0][0])
        twice = jax.jit(jax.vmap(call))(self.many.reshape(1, 3, 5, 6))
        self.near(twice[0][0], np.stack([np.tanh(x @ self.w.T.astype(np.float64) + self.b)
                                         for x in self.many]))

    def test_rows_that_are_not_by_themselves(self):
        """Without batch= each example has its own mean; integers have no gradient."""
        module = urza.load(self.compile("centred", centred(), "--backward"))
        n = np.arange(5, dtype=np.int32)
        x = self.many[:, :, :3]

        def loss(x, n):
            y, k = urza.jax.call(module, x, n)
            return (y * self.dy[:, :3]).sum(), k
        y, k = jax.jit(jax.vmap(lambda x: urza.jax.call(module, x, n)))(x)
        self.near(y, x - x.mean(1, dtype=np.float64, keepdims=True))
        np.testing.assert_array_equal(k, np.stack([2 * n] * 3))
        slope, k = jax.jit(jax.vmap(jax.grad(loss, has_aux=True), (0, None)))(x, n)
        dy = self.dy[:, :3].astype(np.float64)
        self.near(slope, np.stack([dy - dy.mean(0)] * 3))

    def test_narrow_and_empty(self):
        module = urza.load(self.compile("bf16", moved("bf16")))
        x = jnp.arange(12, dtype=jnp.bfloat16).reshape(4, 3)
        z, r = jax.jit(lambda x: urza.jax.call(module, x, x[1, 1]))(x)
        self.assertEqual((z.dtype, r.dtype), (jnp.bfloat16, jnp.bfloat16))
        np.testing.assert_array_equal(z, jnp.concatenate([x, x], 1))
        z, r = jax.jit(lambda x: urza.jax.call(module, x[:0], x[0, 2]))(x)
        self.assertEqual((z.shape, float(r[0])), ((0, 6), 2))
        for dtype in ("bool", "i8", "i64", "u16", "f16", "f64"):
            with self.subTest(dtype), jax.enable_x64(True):
                module = urza.load(self.compile(dtype, moved(dtype)))
                x = jnp.asarray([[1, 0, 3]], module.inputs[0].dtype)
                z, r = jax.jit(lambda *a: urza.jax.call(module, *a))(x, x[0, 0])  # noqa: B023
                np.testing.assert_array_equal(z, jnp.concatenate([x, x], 1))
        source = layer()
        source["dims"]["B"]["min"] = 0
        empty = urza.load(self.compile("empty", source, "--backward"))
        slopes = jax.jit(jax.grad(lambda x, w: urza.jax.call(
            empty, x, params=[w, self.b])[0].sum(), (0, 1)))(self.x[:0], self.w)
        self.assertEqual(slopes[0].shape, (0, 6))
        self.near(slopes[1], np.zeros((8, 6)), 0)

    def test_narrow_gradients(self):
        """In bfloat16, of which a rounding is 2^-8 of a value."""
        module = urza.load(self.compile("square", blueprint(
            {"x": ("bf16", ["B", 4])}, {"y": ("mul", ["x", "x"], {})}, ["y"], B=ROWS),
            "--backward"))
        x = jnp.linspace(-2, 2, 12, dtype=jnp.bfloat16).reshape(3, 4)
        slope = jax.jit(jax.grad(lambda x: urza.jax.call(module, x).astype(jnp.float32).sum()))(x)
        self.assertEqual(slope.dtype, jnp.bfloat16)
        self.near(slope, 2 * np.asarray(x, np.float64), 4 * 2.0**-8)

    def test_refused_while_it_is_traced(self):
        plain = urza.load(self.compile("plain", sum_of_two()))
        call, params = urza.jax.call, {"w": self.w, "b": self.b}
        half = urza.load(self.compile("half", layer(), "--backward", "--wrt", "w,b"))
        for number, (function, error, text) in enumerate([
            (lambda x: call(self.module, x[:, :3]), urza.InvalidInputError, "input 'x': dim 1"),
            (lambda x: call(self.module, x[0]), urza.InvalidInputError, "input 'x'"),
            (lambda x: call(self.module, jnp.concatenate([x] * 20)), urza.InvalidInputError, "B"),
            (lambda x: call(self.module, x.astype(jnp.int32)), urza.InvalidInputError,
             "its dtype is int32, the package has float32"),
            (lambda x: call(self.module, x.astype(jnp.bfloat16)), urza.InvalidInputError, "bf"),
            (lambda x: call(self.module), TypeError, "input 'x' is missing"),
            (lambda x: call(self.module, x, x), TypeError, "2 inputs are given"),
            (lambda x: call(self.module, x, x=x), TypeError, "given twice"),
            (lambda x: call(self.module, y=x), TypeError, "there is no input 'y'"),
            (lambda x: call(self.module, "x"), TypeError, "input 'x': no array: str"),
            (lambda x: call(3, x), TypeError, "a package is a urza.Module"),
            (lambda x: call("nothing.urza", x), urza.NotFoundError, ""),
            (lambda x: call(self.module, x, batch="C"), urza.UsageError, "no dim 'C'"),
            (lambda x: call(self.module, x, params=[self.w]), TypeError, "params has 1 arrays"),
            (lambda x: call(self.module, x, params={"w": self.w}), TypeError, "'b' is missing"),
            (lambda x: call(self.module, x, params={**params, "c": x}), TypeError,
             "no parameter 'c'"),
            (lambda x: call(self.module, x, params=[self.w.T, self.b]), urza.InvalidInputError,
             "parameter 'w': its shape is"),
            (lambda x: call(plain, x, x, params=[]), urza.UnsupportedError, "no backward pass"),
            (jax.grad(lambda x: call(plain, x[:, :1] + jnp.ones((5, 8)), jnp.ones((5, 8))).sum()),
             urza.UnsupportedError, "no backward pass; compile it with --backward"),
            (jax.grad(lambda x: jax.grad(lambda x: call(self.module, x)[0].sum())(x).sum()),
             urza.UnsupportedError, "second derivatives"),
            (jax.grad(lambda x: call(half, x)[0].sum()), urza.UnsupportedError,
             "x: the package has no gradient by it"),
        ]):
            with self.subTest(number), self.assertRaisesRegex(error, text):
                jax.jit(function)(self.x)

    def test_what_fails_in_the_call(self):
        """What tracing would have refused, by the operation that it is made of."""
        wrong, right = jnp.zeros((5, 3)), jax.ShapeDtypeStruct((5, 8), jnp.float32)
        name = self.module._ffi_register()
        for target, count, attributes, operands, text in [
            ("urza_call", 2, {"kernel": name}, [wrong], "InvalidInputError: input 'x': dim 1 is 3"),
            ("urza_call", 2, {"kernel": name}, [self.x.astype(np.int8)], "InvalidInputError"),
            ("urza_call", 1, {"kernel": name}, [self.x], "does not fit its package"),
            ("urza_call", 2, {"kernel": name}, [self.x, self.x], "does not fit its package"),
            ("urza_call", 2, {"kernel": name}, [self.x.astype(np.complex64)], "does not fit"),
            ("urza_call", 2, {"kernel": "kernel-0/1"}, [self.x], "'kernel-0/1' is not loaded"),
            ("urza_call", 2, {}, [self.x], "is not loaded"),
            ("urza_backward", 3, {"kernel": name, "wanted": "100"}, [self.x, self.dy],
             "does not fit its package"),
            ("urza_backward", 2, {"kernel": name, "wanted": "100"}, [self.x, self.dy, self.ds],
             "does not fit its package"),
            ("urza_backward", 3, {"kernel": name, "wanted": "1"}, [self.x, self.dy, self.ds],
             "does not fit its package"),
            ("urza_backward", 3, {"kernel": name, "wanted": "100"}, [wrong, self.dy, self.ds],
             "InvalidInputError: input 'x'"),
        ]:
            call = jax.ffi.ffi_call(target, [right] * count)
            with self.subTest(text), self.assertRaisesRegex(jax.errors.JaxRuntimeError, text):
                jax.block_until_ready(jax.jit(lambda *a: call(*a, **attributes))(*operands))
        self.near(self.layer(self.x, self.w, self.b)[0], self.outputs[0])

    def test_threads(self):
        grad, call = jax.jit(jax.grad(self.loss, (0, 1, 2))), jax.jit(self.layer)
        wrong = []

        def work(number):
            for turn in range(100):
                if (turn + number) % 2:
                    found = dict(zip("xwb", grad(self.x, self.w, self.b)))
                    pairs = [(found[name], self.gradients[name]) for name in found]
                else:
                    pairs = list(zip(call(self.x, self.w, self.b), self.outputs))
                wrong.extend(got for got, expected in pairs
                             if not abs(np.asarray(got) - expected).max() <= BOUND)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_an_executable_keeps_its_module(self):
        """Also while others load and free modules of the same kernel."""
        module = urza.load(self.path)
        gone = weakref.ref(module)
        compiled = jax.jit(lambda x, m=module: urza.jax.call(m, x, params=[self.w, self.b])
                           ).lower(self.x).compile()
        del module
        jax.clear_caches()
        gc.collect()
        self.assertIsNotNone(gone())
        ended = threading.Event()

        def others():
            while not ended.is_set():
                urza.load(self.path)._ffi_register()
        thread = threading.Thread(target=others)
        thread.start()
        for _ in range(200):
            self.near(compiled(self.x)[0], self.outputs[0])
        ended.set()
        thread.join()
        del compiled
        jax.clear_caches()
        gc.collect()
        self.assertIsNone(gone())

    def test_what_waits_has_its_module(self):
        """A call that XLA has queued when all who know the module are gone; and then it goes."""
        source = layer()
        source["name"] = "another"
        path = self.compile("another", source, "--backward")

        def run(x, scale):
            module = urza.load(path)
            gone.append(weakref.ref(module))
            return jax.jit(lambda x, scale: urza.jax.call(module, scale * x, params=[
                self.w, self.b])[0])(x, scale)
        gone, wide = [], jnp.ones((600, 600)) / 600
        slow = jax.jit(lambda a: 1 + 0 * jax.lax.fori_loop(
            0, 30, lambda i, a: jnp.tanh(a @ a), a).max())
        slow(wide).block_until_ready()
        for _ in range(3):
            y = run(self.x, slow(wide))
            jax.clear_caches()
            gc.collect()
            self.assertIsNone(gone[-1]())
            self.near(y, self.outputs[0])
            del y
        names, until = [""], time.monotonic() + 30  # the first number is free when all are gone
        while not names[-1].endswith("/0") and time.monotonic() < until:
            names.append(urza.load(path)._ffi_register())
        self.assertRegex(names[-1], "/0$")

    def test_elsewhere(self):
        """Sizes that are not known, elements that decide sizes, devices, forward mode."""
        x = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 6"), jnp.float32)
        with self.assertRaisesRegex(urza.UnsupportedError, "input 'x': its shape is .b, 6.; sizes"):
            jax.export.export(jax.jit(lambda x: urza.jax.call(self.module, x)))(x)
        model = self.folder / "top_k.onnx"
        model.write_bytes(top_k())
        largest = urza.load(self.compile("top_k", model))
        k = np.array([3])
        np.testing.assert_array_equal(largest(np.arange(8, dtype=np.float32), k)[1], [7, 6, 5])
        with self.assertRaisesRegex(urza.UnsupportedError, "input 'k': its elements decide sizes"):
            with jax.enable_x64(True):
                urza.jax.call(largest, jnp.arange(8.0, dtype=jnp.float32), k)
        with self.assertRaisesRegex(TypeError, "forward-mode"):
            jax.jvp(lambda x: urza.jax.call(self.module, x)[0], (self.x,), (self.x,))
        slopes = jax.jacrev(lambda x: self.layer(x, self.w, self.b, batch="B")[0])(self.x)
        expected = jax.jacrev(lambda x: jnp.tanh(x @ self.w.T + self.b))(self.x)
        self.near(slopes, expected)
        script = """
import sys, urza, urza.jax, jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
module = urza.load(sys.argv[1])
x = np.linspace(-1, 1, 36, dtype=np.float32).reshape(6, 6)
rows = NamedSharding(Mesh(np.array(jax.devices()), ("d",)), P("d"))
y = jax.jit(lambda x: urza.jax.call(module, x)[0])(jax.device_put(x, rows))
print(len(jax.devices()), abs(np.asarray(y) - module(x)[0]).max())
"""
        before = os.environ.get("XLA_FLAGS")
        self.addCleanup(lambda: os.environ.pop("XLA_FLAGS") if before is None
                        else os.environ.__setitem__("XLA_FLAGS", before))
        os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
        devices, error = self.python(script, self.path).split()
        self.assertEqual(devices, "2")
        self.assertLessEqual(float(error), BOUND)

    def test_another_version_is_refused(self):
        """What the handler says to a XLA of another major version, and what the user is told."""
        self.assertEqual(urza._urza._ffi_version()[::2], (0, 0))
        script = """
import jax
from urza import _urza
_urza._ffi_version = lambda: (1, 0, 0)
try:
    import urza.jax
except _urza.UnsupportedError as error:
    print(error)
"""
        self.assertRegex(self.python(script), "has version 1.0 of XLA's .* this extension has 0")


if __name__ == "__main__":
    unittest.main()
