"""Modules: loading, trust, what they say of themselves, pickles, threads, forks, leaks."""
import copy
import gc
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import unittest
import weakref
from pathlib import Path

import numpy as np

import urza
from support import ROOT, Case, moved, sum_of_two


def resident_kib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def add_in_child(module, x, y, queue):
    queue.put(module(x, y))


class Modules(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.path = cls.compile("add", sum_of_two())
        cls.x = np.arange(40, dtype=np.float32).reshape(5, 8)
        cls.y = cls.x[::-1].copy()
        cls.z = cls.x + cls.y

    def test_what_it_says(self):
        module = urza.load(self.path)
        self.assertRegex(module.kernel_id, "^kernel-[0-9a-f]{64}$")
        self.assertEqual(module.inputs, (("x", "float32", ("B", 8)), ("y", "float32", ("B", 8))))
        self.assertEqual(module.inputs[0].name, "x")
        self.assertEqual(module.outputs[0].shape, ("B", 8))
        self.assertEqual(module.params, ())
        self.assertEqual(dict(module.dims), {"B": (0, 100000, 1, 4)})
        self.assertEqual(module.dims["B"].typical, 4)
        self.assertEqual(pickle.loads(pickle.dumps(module.inputs)), module.inputs)
        self.assertIn(module.kernel_id, repr(module))
        self.assertNotEqual(module.target, "interpreter")
        module(self.x, self.y)
        self.assertEqual(module.stats()["calls"], 1)
        self.assertEqual(module.stats()["fallback_calls"], 0)
        with self.assertRaises(AttributeError):
            module.kernel_id = "other"
        with self.assertRaises(TypeError):
            urza.Module()
        mlp = urza.load(self.compile("mlp", ROOT / "examples" / "mlp.json"))
        self.assertIn(("fc1.weight", "float32", (256, 784)), mlp.params)

    def test_ways_to_load(self):
        data = self.path.read_bytes()
        for given in (self.path, str(self.path), data, bytearray(data), memoryview(data)):
            np.testing.assert_array_equal(urza.load(given)(self.x, self.y), self.z)
        module = urza.load(self.path, threads=2)
        np.testing.assert_array_equal(urza.load(module.kernel_id)(self.x, self.y), self.z)

    def test_refused(self):
        other = self.folder / "other.urza"
        for given, error, text in [
            (self.folder / "none.urza", urza.NotFoundError, "none.urza"),
            (b"PK", urza.InvalidPackageError, "no package"),
            (b"", urza.InvalidPackageError, ""),
            (self.path.read_bytes()[:-9], urza.InvalidPackageError, ""),
            ("kernel-" + "0" * 64, urza.NotFoundError, "no package of this id"),
            (3, TypeError, ""),
            ("a\0b", ValueError, "null"),
        ]:
            with self.subTest(text), self.assertRaisesRegex(error, text):
                urza.load(given)
        with self.assertRaises(urza.UsageError) as seen:
            urza.load(self.path, threads=0)
        self.assertEqual(seen.exception.place, "threads")
        for words in ({"threads": "2"}, {"trust": ["00"]}, {"more": 1}, {"trust": 3}):
            with self.assertRaises(TypeError):
                urza.load(self.path, **words)
        damaged = bytearray(self.path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        other.write_bytes(damaged)
        with self.assertRaises(urza.Error) as seen:
            urza.load(other)
        self.assertIn("other.urza", seen.exception.place)
        self.assertIn("other.urza", str(seen.exception))

    def test_trust(self):
        home = os.environ["URZA_HOME"]
        key = self.urza("keys", "show").strip()
        unsigned = self.compile("unsigned", sum_of_two(), "--unsigned")
        with self.assertRaisesRegex(urza.SignatureError, "not signed"):
            urza.load(unsigned)
        urza.load(unsigned, allow_unsigned=True)
        os.environ["URZA_HOME"] = str(self.folder / "stranger")
        try:
            for words in ({}, {"allow_unsigned": True}, {"trust": "0" * 64}):
                with self.assertRaisesRegex(urza.SignatureError, "not trusted"):
                    urza.load(self.path, **words)
            for trust in (key, [key], [bytes.fromhex(key), "0" * 64]):
                urza.load(self.path, trust=trust)
        finally:
            os.environ["URZA_HOME"] = home

    def test_errors_are_the_table(self):
        """Classes are those of the runtime's table, and the stubs list each."""
        table = (ROOT / "src" / "base" / "errors.def").read_text()
        names = {line.split('"')[1] for line in table.splitlines() if line.startswith("ERROR(")}
        names.discard("None")
        self.assertGreater(len(names), 20)
        stubs = (Path(urza.__file__).parent / "__init__.pyi").read_text()
        for name in names:
            self.assertTrue(issubclass(getattr(urza, name), urza.Error))
            self.assertEqual(getattr(urza, name).__module__, "urza")
            self.assertIn(f"class {name}(Error): ...", stubs)
        self.assertEqual(urza.Error("text").place, "")
        try:
            urza.load(self.folder / "none")
        except urza.NotFoundError as error:
            again = pickle.loads(pickle.dumps(error))
            self.assertEqual((type(again), str(again)), (type(error), str(error)))

    def test_pickles_name_the_kernel(self):
        module = urza.load(self.path, threads=2)
        data = pickle.dumps(module)
        self.assertLess(len(data), 300)
        again = pickle.loads(data)
        self.assertEqual((again.kernel_id, again._options), (module.kernel_id, module._options))
        self.assertIs(copy.deepcopy(module), module)
        self.assertIs(copy.copy(module), module)
        script = ("import pickle, sys, numpy as np\n"
                  "module = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
                  "x = np.ones((1, 8), np.float32)\n"
                  "print(module.kernel_id, module(x, x).tolist())")
        self.assertEqual(self.python(script, data.hex()).strip(),
                         f"{module.kernel_id} {[[2.0] * 8]}")

    def test_the_store_is_not_trusted(self):
        """A link that leads to another package, or nowhere."""
        module = urza.load(self.path)
        [stored] = Path(os.environ["URZA_HOME"]).rglob(f"{module.kernel_id}.urza")
        self.assertTrue(stored.is_symlink())
        other = self.compile("other", moved("f32"))
        stored.unlink()
        stored.symlink_to(other)
        with self.assertRaisesRegex(urza.InvalidPackageError, "another kernel"):
            urza.load(module.kernel_id)
        stored.unlink()
        stored.symlink_to(self.folder / "nowhere")
        with self.assertRaises(urza.NotFoundError):
            urza.load(module.kernel_id)
        urza.load(self.path)
        self.assertEqual(stored.resolve(), self.path.resolve())

    def test_threads(self):
        module = urza.load(self.path)
        wrong = []

        def work(number):
            rng = np.random.default_rng(number)
            for _ in range(400):
                x = rng.standard_normal((int(rng.integers(1, 400)), 8), dtype=np.float32)
                out = np.empty_like(x)
                z = module(x, x)
                module(z, x, out=out)
                if not (np.array_equal(z, x + x) and np.array_equal(out, z + x)):
                    wrong.append(number)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertEqual(module.stats()["calls"], 8 * 800)

    def test_long_calls_leave_the_interpreter(self):
        """While one thread is in a long call, another one runs."""
        mlp = urza.load(self.compile("mlp", ROOT / "examples" / "mlp.json"))
        x = np.ones((4096, 784), np.float32)
        out = np.empty((4096, 10), np.float32)
        for _ in range(3):
            mlp(x, out=out)
        stop, counted = threading.Event(), 0

        def call():
            for _ in range(5):
                mlp(x, out=out)
            stop.set()
        thread = threading.Thread(target=call)
        thread.start()
        while not stop.is_set():
            counted += 1
        thread.join()
        self.assertGreater(counted, 1000)

    def test_fork(self):
        module = urza.load(self.path, threads=2)
        module(self.x, self.y)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        children = [context.Process(target=add_in_child, args=(module, self.x, self.y, queue))
                    for _ in range(3)]
        for child in children:
            child.start()
        for _ in children:
            np.testing.assert_array_equal(queue.get(timeout=60), self.z)
        for child in children:
            child.join(60)
            self.assertEqual(child.exitcode, 0)

    def test_spawned_workers_take_pickles(self):
        module = urza.load(self.path)
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            for z in pool.map(module_of_ones, [module] * 4):
                np.testing.assert_array_equal(z, np.full((2, 8), 2, np.float32))

    def test_nothing_leaks(self):
        module = urza.load(self.path)
        out = np.empty_like(self.x)
        bad = self.x.astype(">f4")

        def some():
            module(self.x, self.y)
            module(self.x, y=self.y, out=out)
            np.from_dlpack(module(self.x, self.y).base)
            memoryview(module(memoryview(self.x), self.y)).release()
            for wrong in ((self.x,), (bad, self.y), (self.x, self.y[:2]), (self.x, 3)):
                try:
                    module(*wrong)
                except (TypeError, urza.InvalidInputError):
                    pass

        def many(count):
            for _ in range(count):
                some()
            gc.collect()
            return sys.getrefcount(self.x), sys.getrefcount(np.float32), len(gc.get_objects())
        first = many(2000)
        before = resident_kib()
        last = many(25000)  # 10^5 calls that work, as many that do not
        self.assertEqual(first[:2], last[:2])
        self.assertLess(last[2] - first[2], 50)
        self.assertLess(resident_kib() - before, 2000)

    def test_modules_go(self):
        module = urza.load(self.path)
        gone = weakref.ref(module)
        kept = module(self.x, self.y)
        del module
        gc.collect()
        self.assertIsNone(gone())
        np.testing.assert_array_equal(kept, self.z)
        before = None
        for turn in range(300):
            urza.load(self.path)(self.x, self.y)
            if turn == 100:
                before = resident_kib()
        self.assertLess(resident_kib() - before, 4000)

    def test_command(self):
        empty = {**os.environ, "PATH": str(self.folder)}
        done = subprocess.run([sys.executable, "-m", "urza", "--version"], env=empty,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no program 'urza'", done.stderr)
        (self.folder / "bin").mkdir()
        shutil.copy("/bin/echo", self.folder / "bin" / "urza")
        found = {**os.environ, "PATH": str(self.folder / "bin")}
        done = subprocess.run([sys.executable, "-m", "urza", "compile", "x"], env=found,
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, "compile x\n"))


def module_of_ones(module):
    x = np.ones((2, 8), np.float32)
    return module(x, x)


if __name__ == "__main__":
    unittest.main()
