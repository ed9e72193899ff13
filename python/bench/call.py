"""What a call costs besides the work: two small tensors, on one core.

Usage: python python/bench/call.py PACKAGE [CORE]

PACKAGE has two inputs and one output, as of examples/gated.json. Prints the median of rounds, in
microseconds, for each library of arrays that is installed.
"""
import importlib
import os
import statistics
import sys
import time

import urza

ROUNDS, CALLS = 1001, 200  # short ones: most are not interrupted


def median_us(function):
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        for _ in range(CALLS):
            function()
        times.append((time.perf_counter_ns() - began) / CALLS / 1e3)
    return statistics.median(times)


def arrays_of(name, module):
    """The inputs and an output, each dim that is named 4 long."""
    library = importlib.import_module("jax.numpy" if name == "jax" else name)
    dims = {dim: max(info.min, min(4, info.max)) for dim, info in module.dims.items()}

    def make(info):
        shape = [dims.get(size, size) for size in info.shape]
        return library.zeros(tuple(shape), dtype=getattr(library, info.dtype))
    return [make(info) for info in module.inputs], make(module.outputs[0])


def main():
    module = urza.load(sys.argv[1], allow_unsigned=True)
    os.sched_setaffinity(0, {int(sys.argv[2]) if len(sys.argv) > 2 else 0})
    for name in ("numpy", "torch", "jax"):
        try:
            inputs, out = arrays_of(name, module)
        except ImportError:
            print(f"{name}: not installed")
            continue
        x, y = inputs
        line = f"{name:6} new {median_us(lambda: module(x, y)):6.3f} µs"
        if name != "jax":  # its arrays are not written
            line += f"   out {median_us(lambda: module(x, y, out=out)):6.3f} µs"
        print(f"{line}   an empty function {median_us(lambda: None):6.3f} µs")


if __name__ == "__main__":
    main()
