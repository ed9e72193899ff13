"""Packages for the tests, compiled by the program that was built here, in folders of their own."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("URZA_BUILD_DIR", ROOT / "build"))
PROGRAM = BUILD / "urza"

DTYPES = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "i8": "int8",
          "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8", "u16": "uint16",
          "u32": "uint32", "u64": "uint64", "bool": "bool"}


def blueprint(inputs, nodes, outputs, **dims):
    """inputs: {name: (dtype, shape)}; nodes: {name: (op, operands, attributes)}."""
    return {"format": "urza.blueprint/1", "name": "test", "dims": dims,
            "inputs": [{"id": name, "dtype": dtype, "shape": shape}
                       for name, (dtype, shape) in inputs.items()],
            "nodes": [{"id": name, "op": op, "in": operands, "attrs": attributes}
                      for name, (op, operands, attributes) in nodes.items()],
            "outputs": [{"name": name, "value": name} for name in outputs]}


B = {"min": 0, "max": 100000, "typical": 4}


def sum_of_two():
    """z = x + y, of [B, 8]."""
    return blueprint({"x": ("f32", ["B", 8]), "y": ("f32", ["B", 8])},
                     {"z": ("add", ["x", "y"], {})}, ["z"], B=B)


def moved(dtype):
    """z = x twice, side by side, and s as a vector: of each dtype, moved and not computed."""
    return blueprint({"x": (dtype, ["B", 3]), "s": (dtype, [])},
                     {"z": ("concat", ["x", "x"], {"dim": 1}),
                      "r": ("reshape", ["s"], {"shape": [1]})}, ["z", "r"], B=B)


def scaled_scalar():
    """y = s + s, without dims."""
    return blueprint({"s": ("f32", [])}, {"y": ("add", ["s", "s"], {})}, ["y"])


class Case(unittest.TestCase):
    """Has a folder in which this user's keys and packages are."""

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="urza-python-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        before = os.environ.get("URZA_HOME")
        os.environ["URZA_HOME"] = str(cls.folder / "home")
        cls.addClassCleanup(lambda: os.environ.pop("URZA_HOME") if before is None
                            else os.environ.__setitem__("URZA_HOME", before))
        (cls.folder / "home").mkdir(mode=0o700)

    @classmethod
    def urza(cls, *words):
        done = subprocess.run([PROGRAM, *map(str, words)], cwd=cls.folder, capture_output=True,
                              text=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    @classmethod
    def compile(cls, name, source, *words):
        """Compiles a blueprint, or a file; returns the package's path."""
        if not isinstance(source, Path):
            path = cls.folder / f"{name}.json"
            path.write_text(json.dumps(source))
            source = path
        package = cls.folder / f"{name}.urza"
        cls.urza("compile", source, "-o", package, "--strategy", "fast", *words)
        return package

    @classmethod
    def python(cls, script, *words):
        """What another process prints, which has this one's environment."""
        done = subprocess.run([sys.executable, "-c", script, *map(str, words)], cwd=cls.folder,
                              capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout
