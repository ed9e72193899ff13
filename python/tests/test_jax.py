"""Arrays of JAX as arguments and results."""
import unittest

import numpy as np

import urza
from support import Case, moved, sum_of_two

try:
    import jax
    import jax.numpy as jnp
except ImportError as missing:
    raise unittest.SkipTest("JAX is not installed (URZA_TEST_JAX=1 installs it)") from missing


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


if __name__ == "__main__":
    unittest.main()
