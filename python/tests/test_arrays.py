"""Arrays as arguments and results: dtypes, layouts, whose memory it is, and what is refused."""
import array
import ctypes
import gc
import unittest

import numpy as np

import urza
from support import DTYPES, Case, moved, scaled_scalar, sum_of_two

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None


class Wrapped:
    """Exports another array by DLPack, as told; counts what it was asked."""

    def __init__(self, inner, device=(1, 0), capsule=None, old=False):
        self.inner, self.device, self.capsule, self.old = inner, device, capsule, old
        self.words = []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **words):
        if self.old and words:
            raise TypeError("unknown keywords")
        self.words.append(words)
        if self.capsule:
            return self.capsule() if callable(self.capsule) else self.capsule
        return self.inner.__dlpack__(**words)


class Bad:
    """Its __dlpack__ raises."""

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **_):
        raise RuntimeError("no tensor today")


class Far(Wrapped):
    """Says that it has 2^62 rows of 2^60 elements."""

    def __init__(self):
        super().__init__(np.zeros((1, 8), np.float32))

    def __dlpack__(self, **words):
        capsule = self.inner.__dlpack__()
        api = ctypes.pythonapi
        api.PyCapsule_GetPointer.restype = ctypes.c_void_p
        api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
        tensor = api.PyCapsule_GetPointer(capsule, b"dltensor")
        shape = ctypes.c_void_p.from_address(tensor + 24).value  # behind data, device, ndim, dtype
        ctypes.c_int64.from_address(shape).value = 1 << 62
        ctypes.c_int64.from_address(shape + 8).value = 1 << 60
        return capsule


def renamed(capsule, name):
    api = ctypes.pythonapi
    api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
    api.PyCapsule_SetName(capsule, name)
    return capsule


class Arrays(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.add = urza.load(cls.compile("add", sum_of_two()))
        rng = np.random.default_rng(1)
        cls.x, cls.y = (rng.standard_normal((5, 8), dtype=np.float32) for _ in range(2))
        cls.z = cls.x.astype(np.float64) + cls.y  # one rounding away from what the kernel gives

    def same(self, got, expected=None):
        np.testing.assert_array_equal(np.asarray(got),
                                      (self.z if expected is None else expected)
                                      .astype(np.float32))

    def test_results_are_of_numpy(self):
        z = self.add(self.x, self.y)
        self.assertIs(type(z), np.ndarray)
        self.assertTrue(z.flags.writeable and z.flags.c_contiguous)
        self.same(z)
        again = self.add(self.y, self.x)
        z[:] = 0  # the memory is its own
        self.same(again)

    def test_names_and_out(self):
        self.same(self.add(y=self.y, x=self.x))
        self.same(self.add(self.x, y=self.y, out=None))
        out = np.empty_like(self.x)
        self.assertIs(self.add(self.x, self.y, out=out), out)
        self.same(out)
        outs = [np.empty_like(self.x)]
        self.assertIs(self.add(self.x, self.y, out=outs), outs)
        self.same(outs[0])

    def test_every_dtype(self):
        for short, name in DTYPES.items():
            with self.subTest(name):
                if name == "bfloat16" and not ml_dtypes:
                    self.skipTest("ml_dtypes is not installed")
                dtype = np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)
                module = urza.load(self.compile(short, moved(short)))
                x = (np.arange(12).reshape(4, 3) % 5).astype(dtype)
                s = np.asarray(x[1, 1])
                z, r = module(x, s)
                self.assertEqual((z.dtype, r.dtype), (dtype, dtype))
                np.testing.assert_array_equal(z, np.concatenate([x, x], 1))
                np.testing.assert_array_equal(r, s.reshape(1))
                out = np.zeros((4, 6), dtype), np.zeros(1, dtype)
                self.assertIs(module(x, s, out=out), out)
                np.testing.assert_array_equal(out[0], np.concatenate([x, x], 1))
                z, r = module(x[:0], s)
                self.assertEqual((z.shape, z.dtype), ((0, 6), dtype))
                out = np.zeros((0, 6), dtype), np.zeros(1, dtype)
                module(x[:0], s, out=out)
                np.testing.assert_array_equal(out[1], s.reshape(1))

    def test_scalars(self):
        module = urza.load(self.compile("scalar", scaled_scalar()))
        for s in (np.float32(1.5), np.array(1.5, np.float32), ctypes.c_float(1.5)):
            y = module(s)
            self.assertEqual((np.asarray(y).shape, float(np.asarray(y))), ((), 3.0))

    def test_layouts(self):
        x = self.x
        wide = np.zeros((10, 16), np.float32)
        wide[::2, ::2] = x
        backward = np.ascontiguousarray(x[::-1, ::-1])
        column = np.asfortranarray(x)
        unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(5, 8)
        for given in (wide[::2, ::2], backward[::-1, ::-1], column, unaligned):
            self.same(self.add(given, self.y))
        row = np.broadcast_to(x[0], (5, 8))
        self.same(self.add(row, self.y), x[0].astype(np.float64) + self.y)
        out = np.zeros((10, 16), np.float32)
        self.add(x, self.y, out=out[::-2, 1::2])
        self.same(out[::-2, 1::2])
        self.assertFalse(out[::2].any() or out[:, ::2].any())
        columns = np.asfortranarray(np.zeros((5, 8), np.float32))
        self.same(self.add(x, self.y, out=columns))

    def test_read_only_inputs(self):
        x = self.x.copy()
        x.flags.writeable = False
        self.same(self.add(x, self.y))
        self.same(self.add(np.frombuffer(x.tobytes(), np.float32).reshape(5, 8), self.y))
        for out in (x, Wrapped(x), Wrapped(self.x.copy(), old=True)):
            with self.assertRaisesRegex(TypeError, "output 'z': the array is read-only"):
                self.add(self.x, self.y, out=out)

    def test_nothing_is_copied(self):
        """A result's memory is that of an output given, an input's is read where it lies."""
        counts = self.add.stats()["copied_inputs"]
        out = np.empty_like(self.x)
        where = out.ctypes.data
        self.add(self.x, self.y, out=out)
        self.assertEqual(out.ctypes.data, where)
        self.assertEqual(self.add.stats()["copied_inputs"], counts)
        z = self.add(self.x, self.y)
        seen = np.from_dlpack(z.base)
        self.assertEqual(seen.ctypes.data, z.ctypes.data)
        self.assertEqual(np.asarray(z.base).ctypes.data, z.ctypes.data)
        self.assertEqual(np.from_dlpack(z.base, copy=True)[0, 0], z[0, 0])
        self.assertNotEqual(np.from_dlpack(z.base, copy=True).ctypes.data, z.ctypes.data)

    def test_other_buffers(self):
        """What has no library gives urza.Tensor."""
        x = array.array("f", self.x.ravel())
        view = memoryview(x).cast("B").cast("f", (5, 8))
        z = self.add(view, self.y)
        self.assertIs(type(z), urza.Tensor)
        self.assertEqual((z.shape, z.dtype, repr(z)), ((5, 8), "float32",
                                                      "<urza.Tensor float32(5, 8)>"))
        self.same(z)
        self.assertEqual(memoryview(z).tolist(), np.asarray(z).tolist())
        self.same(self.add(z, self.y), np.asarray(z).astype(np.float64) + self.y)

    def test_dlpack(self):
        for words in ({}, {"old": True}):
            x = Wrapped(self.x.copy(), **words)
            self.same(self.add(x, self.y))
            if not words:
                self.assertEqual(x.words, [{"max_version": (1, 3), "dl_device": (1, 0),
                                            "copy": False}])
            out = Wrapped(np.empty_like(self.x))
            self.add(self.x, self.y, out=out)
            self.same(out.inner)

    def test_capsules_go_back(self):
        """A tensor that was lent is freed when the call ends, and not before."""
        x = self.x.copy()
        import sys
        before = sys.getrefcount(x)
        for _ in range(10):
            self.add(Wrapped(x), self.y)
        self.assertEqual(sys.getrefcount(x), before)

    def test_damaged_capsules(self):
        capsule = self.x.__dlpack__()
        for name in (b"used_dltensor", b"used_dltensor_versioned"):
            used = renamed(self.x.__dlpack__(), name)
            with self.assertRaisesRegex(BufferError, "used before"):
                self.add(Wrapped(None, capsule=used), self.y)
            renamed(used, b"dltensor")
        with self.assertRaisesRegex(BufferError, "no capsule of a tensor"):
            self.add(Wrapped(None, capsule=renamed(capsule, b"tensor")), self.y)
        renamed(capsule, b"dltensor")
        self.same(self.add(Wrapped(None, capsule=capsule), self.y))
        self.same(self.add(Wrapped(None, capsule=capsule), self.y))  # it was only lent
        with self.assertRaisesRegex(BufferError, "no capsule"):
            self.add(Wrapped(None, capsule=lambda: 3), self.y)
        with self.assertRaisesRegex(RuntimeError, "no tensor today"):
            self.add(Bad(), self.y)
        newer = self.x.__dlpack__(max_version=(1, 0))
        ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
        ctypes.pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
        major = ctypes.c_uint32.from_address(
            ctypes.pythonapi.PyCapsule_GetPointer(newer, b"dltensor_versioned"))
        major.value = 2
        with self.assertRaisesRegex(BufferError, "version 2 of DLPack"):
            self.add(Wrapped(None, capsule=newer), self.y)
        major.value = 1

    def test_other_devices(self):
        with self.assertRaisesRegex(urza.InvalidInputError, "input 'x': .*device type 2") as seen:
            self.add(Wrapped(self.x, device=(2, 0)), self.y)
        self.assertEqual(seen.exception.place, "input 'x'")
        with self.assertRaises(TypeError):
            self.add(Wrapped(self.x, device="CPU"), self.y)

    def test_refused_arrays(self):
        x, y = self.x, self.y
        for given, error, text in [
            (3.0, TypeError, "input 'x': <class 'float'> is not an array"),
            (None, TypeError, "not an array"),
            ([[1.0] * 8], TypeError, "not an array"),
            (x.astype(">f4"), TypeError, "input 'x': its bytes are not in this machine's order"),
            (np.array([None]), TypeError, "input 'x': arrays of format 'O' are not taken"),
            (x.astype(np.complex64), urza.InvalidInputError, "type code 5"),
            (x.astype("S4"), TypeError, "input 'x'"),
            (np.zeros(5, [("a", "f4"), ("b", "i2")])["a"], TypeError, "steps by 6 bytes"),
            (np.zeros((1,) * 12, np.float32), urza.InvalidInputError, "12 dims"),
            (x.astype(np.float64), urza.InvalidInputError, "input 'x': has dtype f64"),
            (x[:, :7], urza.InvalidInputError, "input 'x'"),
            (x[0], urza.InvalidInputError, "input 'x'"),
            (Far(), urza.InvalidInputError, "input 'x'"),
            (np.broadcast_to(np.float32(1), (200000, 8)), urza.InvalidInputError, "B"),
        ]:
            with self.subTest(text), self.assertRaisesRegex(error, text):
                self.add(given, y)
        with self.assertRaisesRegex(urza.InvalidInputError, "B"):
            self.add(x, y[:3])

    def test_refused_calls(self):
        x, y = self.x, self.y
        for call, text in [
            (lambda: self.add(x), "input 'y' is missing"),
            (lambda: self.add(x, y, y), "3 inputs are given, the module has 2"),
            (lambda: self.add(x, y, x=x), "input 'x' is given twice"),
            (lambda: self.add(x, w=y), "there is no input 'w'; the inputs are: x, y"),
            (lambda: self.add(x, y, out=(x, x)), "out has 2 arrays, the module has 1 outputs"),
            (lambda: self.add(x, y, out=3), "output 'z': <class 'int'> is not an array"),
        ]:
            with self.subTest(text), self.assertRaisesRegex(TypeError, text):
                call()

    def test_refused_outputs(self):
        x, y = self.x.copy(), self.y
        for out in (x, x[::-1], np.broadcast_to(np.zeros(8, np.float32), (5, 8)),
                    np.empty((5, 7), np.float32), np.empty((5, 8))):
            with self.assertRaises((urza.InvalidInputError, TypeError)):
                self.add(x, y, out=out)
        np.testing.assert_array_equal(x, self.x)

    def test_results_outlive_everything(self):
        module = urza.load(self.folder / "add.urza")
        kept = [module(self.x + i, self.y) for i in range(20)]
        del module
        gc.collect()
        for i, z in enumerate(kept):
            np.testing.assert_array_equal(z, (self.x + np.float32(i)) + self.y)

    def test_classes_made_on_the_way(self):
        """More types of arrays than are remembered."""
        for number in range(200):
            made = type(f"Made{number}", (np.ndarray,), {})
            z = self.add(self.x.view(made), self.y)
            self.assertIs(type(z), np.ndarray)
        self.same(z)


if __name__ == "__main__":
    unittest.main()
