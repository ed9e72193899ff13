#!/usr/bin/env python3
"""What kernels for given sizes gain: a package for all sizes, one with kernels for these sizes too
(urza compile --specialise), and one for each size alone (--dim), in turns.

Usage: specialised.py [OPTION...] BLUEPRINT SIZE...

A SIZE is "B=1,S=128". Least times in microseconds, then the medians over the rounds of times
over that of the package for the size alone; also sizes of packages and times to compile them. The
program is $URZA, else build/urza. It runs on the processors that taskset leaves it.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

URZA = Path(os.environ.get("URZA", Path(__file__).resolve().parent.parent / "build/urza"))


def urza(*words):
    done = subprocess.run([URZA, *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def compile_one(options, folder, name, words):
    path = str(Path(folder, f"{name}.urza"))
    step = ["--backward"] if options.backward else []
    answer = urza("compile", options.blueprint, *step, *words, "--strategy", "fast", "--target",
                  "native", "--no-cache", "--unsigned", "-o", path, "--json")
    print(f"{name}: {answer['size_bytes']} bytes, {answer['total_ms']:.0f} ms")
    return path


def least(options, path, dims):
    step = ["--backward"] if options.backward else []
    sizes = ["--dims", dims] if dims else []
    return urza("bench", path, *sizes, *step, "--seconds", str(options.seconds), "--threads",
                str(options.threads), "--allow-unsigned", "--json")["min_us"]


def compare(options, general, special, alone, size):
    rounds = [(least(options, general, size), least(options, special, size),
               least(options, alone, None)) for _ in range(options.rounds)]
    best = [min(column) for column in zip(*rounds)]
    ratios = [statistics.median(r[i] / r[2] for r in rounds) for i in range(2)]
    print(f"{size}: {best[0]:.1f} {best[1]:.1f} {best[2]:.1f}, over the last: "
          f"{ratios[0]:.3f} {ratios[1]:.3f}; of the least: {best[0] / best[2]:.3f} "
          f"{best[1] / best[2]:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backward", action="store_true")
    parser.add_argument("blueprint")
    parser.add_argument("sizes", nargs="+")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        general = compile_one(options, folder, "all", [])
        words = [word for size in options.sizes for word in ("--specialise", size)]
        special = compile_one(options, folder, "specialised", words)
        for size in options.sizes:
            dims = [word for dim in size.split(",") for word in ("--dim", dim)]
            alone = compile_one(options, folder, size, dims)
            compare(options, general, special, alone, size)


if __name__ == "__main__":
    main()
