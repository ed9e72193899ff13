"""Runs the tests of this folder, or those whose names have one of the arguments; prints TAP."""
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests")]

from serve_util import Tap  # noqa: E402


def tests_in(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_in(test)
        else:
            yield test


def main():
    words = sys.argv[1:]
    found = unittest.defaultTestLoader.discover(str(HERE), "test_*.py")
    kept = [test for test in tests_in(found) if not words or any(w in test.id() for w in words)]
    result = Tap()
    unittest.TestSuite(kept).run(result)
    print(f"1..{result.number}")
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
