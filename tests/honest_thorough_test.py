#!/usr/bin/env python3
"""urza verify, which goes to larger sizes than urza compile, passes what urza compile made of each
example and model; nothing of an output is unchecked, and each kernel was tried far out in a
range where there is one. Prints TAP."""
import json
import shutil
import tempfile
import unittest
from pathlib import Path

from serve_util import main, run_urza

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [*sorted((ROOT / "examples").glob("*.json")),
           *sorted((ROOT / "tests/data/models").glob("*/model.onnx"))]


class Honest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="urza-honest-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def evidence(self, source):
        package = self.folder / "package.urza"
        done = run_urza("compile", source, "-o", package)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = run_urza("verify", package, "--json")
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return json.loads(done.stdout)


def add(source):
    def test(self):
        evidence = self.evidence(source)
        self.assertTrue(all(check["pass"] for check in evidence["checks"]))
        self.assertLessEqual(max(output["not_checked"] for output in evidence["outputs"]), 0.01)
        self.assertTrue(all(output["quality"] is not None for output in evidence["outputs"]))
        if source.suffix == ".json":
            self.assertTrue({"end of range", "far", "far out"} &
                            {size["why"] for size in evidence["sizes"]})

    name = source.stem if source.suffix == ".json" else source.parent.name
    setattr(Honest, "test_" + name, test)


for path in SOURCES:
    add(path)

if __name__ == "__main__":
    main()
