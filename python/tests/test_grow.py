"""examples/grow.py with few steps: what it prints, and its drawing."""
import os
import re
import subprocess
import sys
import unittest
import xml.etree.ElementTree as ElementTree

from support import BUILD, ROOT, Case

try:
    import torch  # noqa: F401
except ImportError as missing:
    raise unittest.SkipTest("PyTorch is not installed (URZA_TEST_TORCH=1 installs it)") from missing

SVG = "{http://www.w3.org/2000/svg}"
MARKS = {"GERMINATED": "planted", "TRAINING": "learns", "BLENDING": "blends", "HOLDING": "held",
         "FOSSILIZED": "kept", "PRUNED": "pruned"}


class Grow(Case):
    def test_few_steps(self):
        path = self.folder / "grow.svg"
        done = subprocess.run(
            [sys.executable, ROOT / "examples" / "grow.py", "--steps", "300", "--ticks", "80",
             "--seconds", "170", "--out", path], capture_output=True, text=True, timeout=240,
            env={**os.environ, "PATH": f"{BUILD.resolve()}{os.pathsep}{os.environ['PATH']}"})
        self.assertEqual(done.returncode, 0, done.stderr)
        told = re.findall(r"^step (\d+): (layer \d): (\w+) -> (\w+): (.*)$", done.stdout,
                          re.MULTILINE)
        planted = [(slot, reason) for _, slot, _, to, reason in told if to == "GERMINATED"]
        self.assertEqual(planted, [("layer 1", "planted: bend"), ("layer 2", "planted: bend"),
                                   ("layer 3", "planted: scale")], done.stdout)
        for slot in ("layer 1", "layer 2", "layer 3"):
            way = [(a, b) for _, name, a, b, _ in told if name == slot]
            self.assertEqual(way[:4], [("DORMANT", "GERMINATED"), ("GERMINATED", "TRAINING"),
                                       ("TRAINING", "BLENDING"), ("BLENDING", "HOLDING")])
            self.assertTrue(all(a[1] == b[0] for a, b in zip(way, way[1:])))
            self.assertIn(way[-1][1], ("FOSSILIZED", "DORMANT"))
            self.assertIn(f"\n{slot}: {way[-1][1]}\n", done.stdout)
        # One helps, and one that cannot goes.
        self.assertIn("\nlayer 1: FOSSILIZED\n", done.stdout)
        self.assertIn("\nlayer 3: DORMANT\n", done.stdout)
        losses = dict(re.findall(r"^(with\w* seeds): loss ([0-9.]+) after", done.stdout,
                                 re.MULTILINE))
        self.assertLess(float(losses["with seeds"]), 0.9 * float(losses["without seeds"]))
        self.check_drawing(ElementTree.parse(path).getroot(), told)

    def check_drawing(self, root, told):
        self.assertEqual(root.tag, f"{SVG}svg")
        _, _, width, height = map(float, root.get("viewBox").split())
        lines = root.findall(f"{SVG}polyline")
        self.assertEqual(len(lines), 2)
        for line in lines:
            points = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
            self.assertGreaterEqual(len(points), 30)
            self.assertTrue(all(0 <= x <= width and 0 <= y <= height for x, y in points))
            self.assertEqual(points, sorted(points, key=lambda p: p[0]))
        labels = [each.text for each in root.findall(f"{SVG}text[@class='event']")]
        expected = [f"{slot} {'goes' if (a, b) == ('HOLDING', 'BLENDING') else MARKS[b]}"
                    for _, slot, a, b, _ in told if b in MARKS]
        self.assertEqual(labels, expected)


if __name__ == "__main__":
    unittest.main()
