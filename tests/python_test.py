#!/usr/bin/env python3
"""The Python package: makes its wheel, installs it in a virtual environment of its own, and runs
python/tests there.

Usage: tests/python_test.py [WORD...]      all tests, or those whose names have one of the words

URZA_TEST_TORCH=1 and URZA_TEST_JAX=1 install these for the tests, from PyPI. URZA_TEST_PYTHON names
an interpreter that has the libraries, which then runs the tests instead. Prints TAP. Exit status
77: nothing is built, or PyPI cannot be reached.
"""
import os
import subprocess
import sys
from pathlib import Path

from serve_util import URZA

ROOT = Path(__file__).resolve().parent.parent
FOLDER = URZA.parent / "python-test"
LIBRARIES = ["numpy", "ml_dtypes"]


def skip(reason):
    print(reason)
    sys.exit(77)


def run(*words):
    return subprocess.run([str(word) for word in words], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)


def make_wheel():
    done = run("tools/wheel", URZA.parent / "wheel")
    if done.returncode == 77:
        skip(f"the tools for wheels cannot be installed: {done.stdout.strip().splitlines()[-1:]}")
    if done.returncode != 0:
        sys.exit(f"tools/wheel failed:\n{done.stdout}")
    return max((ROOT / "dist").glob("urza-*.whl"), key=lambda path: path.stat().st_mtime)


def make_environment():
    """A virtual environment with libraries of arrays; its interpreter."""
    wanted = LIBRARIES + [name for name in ("torch", "jax")
                          if os.environ.get(f"URZA_TEST_{name.upper()}")]
    python, ready = FOLDER / "venv/bin/python", FOLDER / ("ready-" + "-".join(wanted))
    if not ready.exists():
        done = run(sys.executable, "-m", "venv", FOLDER / "venv")
        if done.returncode == 0:
            done = run(python, "-m", "pip", "install", "--disable-pip-version-check", *wanted)
        if done.returncode != 0:
            skip(f"{' and '.join(wanted)} cannot be installed: "
                 f"{done.stdout.strip().splitlines()[-1:]}")
        ready.touch()
    return python


def main():
    if not URZA.exists():
        skip(f"not built: {URZA}")
    wheel = make_wheel()
    python = os.environ.get("URZA_TEST_PYTHON") or make_environment()
    site = FOLDER / "site"
    done = run(python, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps",
               "--no-index", "--upgrade", "--force-reinstall", "--target", site, wheel)
    if done.returncode != 0:
        sys.exit(f"the wheel cannot be installed:\n{done.stdout}")
    environment = {**os.environ, "PYTHONPATH": str(site), "URZA_BUILD_DIR": str(URZA.parent)}
    os.execve(python, [str(python), str(ROOT / "python/tests/run.py"), *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
