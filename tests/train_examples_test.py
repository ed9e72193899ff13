#!/usr/bin/env python3
"""The training programs of examples/train: the same bits from each run, on any number of threads,
and from a run that went on from a checkpoint; checkpoints that are refused; losses that fall.
Prints TAP."""
import json
import re
import shutil
import struct
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from serve_util import URZA, clean_environment, main

ROOT = Path(__file__).resolve().parent.parent
TEXT = [ROOT / "docs" / name for name in ("blueprint.md", "models.md", "training.md")]
STEP = "adamw(weight_decay=0.1, clip_norm=1, schedule=cosine, warmup=10, steps=100)"
SMALL = ["--batch", 4, "--length", 16]


class Fixture(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="urza-train-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.environment = {**clean_environment(), "URZA_HOME": str(cls.folder / "home")}
        fast = ["--strategy", "fast", "--target", "native"]
        for name, loss in (("char_transformer", "loss"), ("digits_conv", "cross_entropy(logits)")):
            source = ROOT / "examples" / f"{name}.json"
            cls.run_at(URZA, "compile", source, *fast, "-o", f"{name}.net")
            cls.run_at(URZA, "compile", source, *fast, "--step", STEP, "--loss", loss, "-o",
                       f"{name}.step")
        cls.key = cls.run_at(URZA, "keys", "show").stdout.strip()

    @classmethod
    def run_at(cls, *words, status=0):
        done = subprocess.run([str(word) for word in words], cwd=cls.folder, env=cls.environment,
                              capture_output=True, text=True, errors="replace", timeout=120)
        if done.returncode != status:
            raise AssertionError(f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    @classmethod
    def text(cls, *words, status=0, net="char_transformer"):
        return cls.run_at(URZA.parent / "train-text", f"{net}.net", f"{net}.step", cls.key, *TEXT,
                          *words, status=status)

    @classmethod
    def digits(cls, *words, status=0):
        return cls.run_at(URZA.parent / "train-digits", "digits_conv.net", "digits_conv.step",
                          cls.key, *words, status=status)

    def bytes_of(self, name):
        return (self.folder / name).read_bytes()


class SameBits(Fixture):
    def check(self, program, *words):
        """Steps 1 to 12 at once, on two threads, and with a stop behind step 5."""
        whole = program(*words, "--steps", 12, "--checkpoint", "whole", "--losses", "losses")
        program(*words, "--steps", 12, "--threads", 2, "--checkpoint", "threads")
        program(*words, "--steps", 5, "--checkpoint", "part")
        rest = program(*words, "--steps", 12, "--resume", "part", "--checkpoint", "rest",
                       "--losses", "losses.rest")
        self.assertEqual(self.bytes_of("whole"), self.bytes_of("threads"))
        self.assertEqual(self.bytes_of("whole"), self.bytes_of("rest"))
        self.assertNotEqual(self.bytes_of("whole"), self.bytes_of("part"))
        losses = self.bytes_of("losses").split()
        self.assertEqual(losses[5:], self.bytes_of("losses.rest").split())
        self.assertEqual(len(losses), 12)
        self.assertEqual(*(re.split(r"fastest [\d.]+\n", out)[1] for out in (whole.stdout,
                                                                             rest.stdout)))
        self.assertFalse((self.folder / "whole.new").exists())

    def test_text(self):
        self.check(self.text, *SMALL)

    def test_digits(self):
        self.check(self.digits, "--batch", 8)

    def test_checkpoint_while_running(self):
        """The one of step 8 is replaced by that of step 10, and is what a run of 8 steps leaves."""
        self.text(*SMALL, "--steps", 8, "--checkpoint", "eight")
        self.text(*SMALL, "--steps", 10, "--checkpoint", "ten", "--every", 4)
        self.text(*SMALL, "--steps", 10, "--resume", "eight", "--checkpoint", "eight")
        self.assertEqual(self.bytes_of("ten"), self.bytes_of("eight"))

    def test_other_seed(self):
        self.text(*SMALL, "--steps", 2, "--checkpoint", "one")
        self.text(*SMALL, "--steps", 2, "--seed", 2, "--checkpoint", "two")
        header = len(self.bytes_of("one")) // 2
        self.assertNotEqual(self.bytes_of("one")[header:], self.bytes_of("two")[header:])


class Learns(Fixture):
    def test_text(self):
        """From the entropy of 128 characters, 4.85, to less than that of single letters, 3.2."""
        out = self.text("--batch", 8, "--length", 32, "--steps", 100, "--svg", "curve.svg").stdout
        first = float(re.search(r"step 1: loss ([\d.]+)", out).group(1))
        unseen = float(re.search(r"loss ([\d.]+) on unseen text", out).group(1))
        self.assertGreater(first, 4.7)
        self.assertLess(unseen, 3.2)
        written = out.split("on unseen text\n")[1]
        self.assertGreater(len(written), 200)
        tree = ElementTree.parse(self.folder / "curve.svg").getroot()
        lines = tree.findall("{http://www.w3.org/2000/svg}polyline")
        points = [[tuple(map(float, point.split(","))) for point in line.get("points").split()]
                  for line in lines]
        self.assertEqual([len(line) for line in points], [100, 50])
        self.assertTrue(all(0 <= x <= 640 and 0 <= y <= 360 for line in points for x, y in line))
        self.assertLess(points[1][0][1], points[1][-1][1])  # y grows downward, as losses fall

    def test_digits(self):
        """From ln 10 = 2.30; one in ten is right by chance."""
        out = self.digits("--steps", 100, "--lr", "0.005").stdout
        right, of = map(int, re.search(r"(\d+) of (\d+) unseen", out).groups())
        self.assertGreater(float(re.search(r"step 1: loss ([\d.]+)", out).group(1)), 2)
        self.assertLess(float(re.search(r"step 100: loss ([\d.]+)", out).group(1)), 0.5)
        self.assertEqual(of, 512)
        self.assertGreater(right, 0.9 * of)


class Refused(Fixture):
    def setUp(self):
        self.text(*SMALL, "--steps", 3, "--checkpoint", "good")

    def refuse(self, data, words, *options, program=None):
        (self.folder / "bad").write_bytes(data)
        done = (program or self.text)(*SMALL, "--steps", 4, "--resume", "bad", "--checkpoint",
                                      "after", *options, status=1)
        self.assertIn(words, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertFalse((self.folder / "after").exists())

    def changed(self, place, mask=1):
        data = bytearray(self.bytes_of("good"))
        data[place] ^= mask
        return bytes(data)

    def test_damaged(self):
        good = self.bytes_of("good")
        begin = 8 + struct.unpack("<Q", good[:8])[0]
        for place in (begin, begin + 1, (begin + len(good)) // 2, len(good) - 1):
            self.refuse(self.changed(place), "checksum")
        for size in (begin, begin + 4, len(good) - 1):
            self.refuse(good[:size], f"is damaged: {size} bytes, expected {len(good)}")
        self.refuse(good + b"x", "is damaged")
        self.refuse(self.changed(0), "is damaged")  # the length of the header
        self.refuse(self.changed(good.index(b'checksum":"') + 12, 1), "checksum")

    def test_foreign(self):
        good = self.bytes_of("good")
        for data in (b"", b"x", good[:8], good[:40], b"x" * 400,
                     struct.pack("<Q", 2) + b"{}", struct.pack("<Q", 2**63) + good[8:30]):
            self.refuse(data, "is no checkpoint of this program")
        self.refuse(good, "is a checkpoint of another run, 'seed=1 ", "--seed", 7)
        self.refuse(good, "this one is 'seed=1 lr=0.5 ", "--lr", "0.5")
        self.refuse(good, "batch=4x16", "--length", 15)
        self.refuse(good, "is a checkpoint of another run", program=self.digits)

    def test_every_place_of_the_header(self):
        """Whatever byte is another one, the file is refused; some say more than others."""
        good = self.bytes_of("good")
        begin = 8 + struct.unpack("<Q", good[:8])[0]
        for place in range(0, begin, 97):
            self.refuse(self.changed(place, 2), "bad: ")

    def test_other_packages(self):
        """The two packages in the other order, one of another kind, and one of another dtype."""
        program, fast = URZA.parent / "train-digits", ["--strategy", "fast", "--target", "native"]
        source = ROOT / "examples" / "digits_conv.json"
        narrow = self.folder / "narrow.json"
        narrow.write_text(source.read_text().replace('"f32"', '"bf16"'))
        self.run_at(URZA, "compile", source, *fast, "--backward", "-o", "both")
        self.run_at(URZA, "compile", narrow, *fast, "-o", "narrow")
        net, step = "digits_conv.net", "digits_conv.step"
        for first, second, words in (
                (step, net, f"{step} is a training step, 'adamw(beta1=0.9, "),
                (step, step, f"{step} is a training step"),
                (net, net, f"{net} is no whole training step: compile the block with --step\n"),
                (net, "both", "compile the block with --step, not with --backward"),
                ("narrow", step, "output 'logits' of the block is bf16: this program reads f32")):
            self.assertIn(words, self.run_at(program, first, second, self.key, status=1).stderr)

    def test_other_optimizer(self):
        """Of one whose states have the same names and shapes."""
        self.run_at(URZA, "compile", ROOT / "examples" / "digits_conv.json", "--strategy", "fast",
                    "--target", "native", "--step", "adam", "--loss", "cross_entropy(logits)", "-o",
                    "adam.step")
        self.digits("--batch", 8, "--steps", 2, "--checkpoint", "adamw")
        done = self.run_at(URZA.parent / "train-digits", "digits_conv.net", "adam.step", self.key,
                           "--batch", 8, "--steps", 4, "--resume", "adamw", status=1)
        self.assertIn("is a checkpoint of another run", done.stderr)
        self.assertIn("weight_decay=0.1, clip_norm=1, ", done.stderr)
        self.assertIn(" adam(beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0) of cross_entropy",
                      done.stderr)

    def test_other_tensor(self):
        good = self.bytes_of("good")
        name = b"blocks.1.up.weight"
        self.refuse(good.replace(name, b"blocks.1.Up.weight", 1),
                    "does not fit the step package: tensor 'blocks.1.up.weight'")

    def test_readable(self):
        """By the rules of safetensors: what is in it, and where."""
        good = self.bytes_of("good")
        length = struct.unpack("<Q", good[:8])[0]
        header = json.loads(good[8:8 + length])
        self.assertEqual(header.pop("__metadata__").keys(), {"checksum", "run"})
        at = 0
        for entry in header.values():
            count = 1
            for size in entry["shape"]:
                count *= size
            width = {"F32": 4, "I64": 8}[entry["dtype"]]
            self.assertEqual(entry["data_offsets"], [at, at + count * width])
            at += count * width
        self.assertEqual(8 + length + at, len(good))
        low, high = (8 + length + i for i in header["step"]["data_offsets"])
        self.assertEqual(struct.unpack("<q", good[low:high])[0], 3)
        self.assertIn("m.head.weight", header)

    def test_command_line(self):
        for options, words in ((["--steps", "x"], "'x' is no number"), (["--steps"], "missing"),
                               (["--lr", "nan"], "no learning rate"), (["--best", 1], "no such"),
                               (["--batch", 70000], "is no number"),
                               (["--batch", 300], "B: 300 is not from 1 to 256"),
                               (["--resume", "nowhere"], "nowhere: No such file"),
                               (["--steps", 1, "--checkpoint", "no/where"], "no/where")):
            self.assertIn(words, self.text(*options, status=1).stderr)
        self.assertIn("input 'x' of the step", self.text(status=1, net="digits_conv").stderr)
        self.run_at(URZA.parent / "train-text", status=64)


if __name__ == "__main__":
    main()
