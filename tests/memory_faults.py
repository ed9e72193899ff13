#!/usr/bin/env python3
"""Commands whose memory runs out, at each place that asks for some, in the program and in the
processes that it starts: they end with the exit status of OutOfMemoryError and say so, or do what
they were to do. Nothing half-written is left.

Usage: tests/memory_faults.py [--most N] [--at CASE:N[:children]] [CASE ...]

All places are tried at which the program itself asks, and of those at which libraries do (LLVM,
libcrypto, the C library) --most of a case, spread over all there are; 0: all, which takes half an
hour. --at: one of them, as a failed test names it. CASE: only these.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
from service import BUILD, TARGET, URZA, Tap  # noqa: E402

NO_MEMORY, NO_MEMORY_CLASS = 78, "OutOfMemoryError"
LIMIT_S = 60

MLP = {"format": "urza.blueprint/1", "outputs": ["y"], "dims": {"B": {"min": 1, "max": 8}},
       "inputs": [{"id": "x", "dtype": "f32", "shape": ["B", 16]}],
       "params": [{"id": "w", "dtype": "f32", "shape": [8, 16], "init": {"kind": "normal"}}],
       "nodes": [{"id": "h", "op": "linear", "in": ["x", "w"]},
                 {"id": "y", "op": "relu", "in": ["h"]}]}

# {x}: the folder of what the commands need; what they write, they write where they run.
COMPILE = ["compile", "{x}/small.json", "-o", "out", "--strategy", "fast", "--target", TARGET]
CASES = {
    "compile": COMPILE,
    "compile-json": COMPILE + ["--json", "--no-cache"],
    "import": ["import", "{x}/small.json", "-o", "out"],
    "export": ["export", "{x}/small.urza", "-o", "out"],
    "inspect": ["inspect", "{x}/small.urza"],
    "inspect-json": ["inspect", "{x}/small.urza", "--json"],
    "graph": ["graph", "{x}/small.json"],
    "run": ["run", "{x}/small.urza", "--out", "out.d", "--json"],
    "verify": ["verify", "{x}/small.urza"],
    "ops": ["ops", "--json"],
    "keys": ["keys", "show"],
    "config": ["config", "export", "out"],
    "tune": ["tune", "{x}/small.json", "--budget", "0.02", "--target", TARGET],
}
MEASURE = ("tune", "run")  # their output has times
ALONE = ("inspect", "inspect-json", "run", "ops", "keys", "config")  # they start no process


def files_of(folder):
    """Contents of all files, by name."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(Path(folder).rglob("*")) if path.is_file()}


class Case:
    def __init__(self, name, world):
        self.name, self.world = name, world
        self.arguments = [part.replace("{x}", world) for part in CASES[name]]
        self.json = "--json" in CASES[name]

    def run(self, plan, places=None):
        """Status, standard output, standard error, files."""
        folder = tempfile.mkdtemp(dir=self.world, prefix="run-")
        home = folder + ".home"
        shutil.copytree(self.world + "/home", home)
        environment = {**os.environ, "URZA_HOME": home, "URZA_FAIL": plan,
                       "LD_PRELOAD": str(BUILD / "tests" / "libfail_nth.so")}
        if places:
            environment["URZA_FAIL_PLACES"] = places
        try:
            done = subprocess.run([URZA] + self.arguments, cwd=folder, env=environment,
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S)
            left = [name for name in files_of(home) if ".tmp" in name or name.endswith("~")]
            return done.returncode, done.stdout, done.stderr.decode(errors="replace"), \
                files_of(folder), left
        except subprocess.TimeoutExpired:
            return "timeout", b"", "", {}, []
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(home, ignore_errors=True)

    def places(self, who):
        """Numbers of the first allocation at each place: of the program, of libraries."""
        noted = Path(f"{self.world}/places-{self.name}")
        status, _, said, _, _ = self.run("memory:0:1" + who, str(noted))
        if status != 0:
            raise AssertionError(f"{self.name}: {status} {said}")
        lines = [line.split() for line in noted.read_text().splitlines()]
        return [sorted({int(number) for number, ours in lines if ours == which})
                for which in "10"]

    def says_so(self, said):
        if not self.json:
            return f"urza: {NO_MEMORY_CLASS}: " in said
        lines = [line for line in said.splitlines() if line.startswith("{")]
        return len(lines) == 1 and json.loads(lines[0])["error"] == NO_MEMORY_CLASS

    def wrong(self, result, good):
        status, out, said, files, left = result
        if left:
            return f"left {left}"
        if status == 0:
            same = self.name in MEASURE or timeless(out) == timeless(good[1])
            return None if same and files == good[3] else "ended well, with another result"
        if status != NO_MEMORY:
            return f"status {status}: {said[-300:]}"
        if not self.says_so(said):
            return f"says {said!r}"
        for name, content in files.items():
            if good[3].get(name) != content:
                return f"left '{name}'"
        return None


def timeless(out):
    """What was printed, without times."""
    return re.sub(rb"[0-9]+\.[0-9]+(e-?[0-9]+)?|[0-9]+(?= (ns|us|ms|s)\b)", b"#", out)


def sample(numbers, most):
    if most == 0 or len(numbers) <= most:
        return numbers
    return [numbers[i * len(numbers) // most] for i in range(most)]


def walk(tap, pool, case, who, most):
    """How many places were tried."""
    ours, library = case.places(who)
    good = case.run("memory:0:1" + who)
    tried = ours + sample(library, most)
    results = pool.map(lambda number: (number, case.run(f"memory:{number}:1{who}")), tried)
    wrong, ended = [], 0
    for number, result in results:
        ended += result[0] == NO_MEMORY
        why = case.wrong(result, good)
        if why:
            wrong.append(f"{case.name}:{number}{who}: {why}")
    tap.ok(not wrong, f"{case.name}{who}: {len(ours)} places of the program and {len(library)} of "
                      f"libraries, {len(tried)} tried, {ended} ended", *wrong[:12])
    return len(tried)


def make_world(folder):
    os.mkdir(folder + "/home")
    environment = {**os.environ, "URZA_HOME": folder + "/home"}
    Path(folder, "small.json").write_text(json.dumps(MLP))
    for arguments in (["compile", "small.json", "-o", "small.urza", "--target", TARGET],
                      ["tune", "small.json", "--budget", "0.02", "--target", TARGET]):
        subprocess.run([URZA] + arguments, cwd=folder, env=environment, check=True,
                       stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=24)
    parser.add_argument("--at")
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    folder, tap = tempfile.mkdtemp(prefix="urza-memory-"), Tap()
    try:
        make_world(folder)
        if options.at:
            name, _, plan = options.at.partition(":")
            number, _, who = plan.partition(":")
            who = ":" + who if who else ""
            case = Case(name, folder)
            good = case.run("memory:0:1" + who)
            result = case.run(f"memory:{number}:1{who}")
            print(result[0], result[1].decode(errors="replace"), result[2])
            tap.ok(not case.wrong(result, good), options.at)
        else:
            reached = 0
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for name in options.cases or CASES:
                    case = Case(name, folder)
                    for who in ("", ":children"):
                        if who == "" or case.name not in ALONE:
                            reached += walk(tap, pool, case, who, options.most)
            tap.ok(options.cases or reached > 400, f"{reached} places were tried")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


if __name__ == "__main__":
    main()
