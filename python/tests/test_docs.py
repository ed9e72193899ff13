"""The blocks of docs/python.md, one after the other, as a reader runs them."""
import importlib.util
import os
import re
import subprocess
import sys
import unittest

from support import BUILD, ROOT, Case

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Docs(Case):
    def test_blocks(self):
        for name, target in (("build", BUILD), ("examples", ROOT / "examples")):
            (self.folder / name).symlink_to(target.resolve())
        blocks = BLOCK.findall((ROOT / "docs" / "python.md").read_text())
        self.assertGreater(len(blocks), 8)
        before, space = os.getcwd(), {"__name__": "docs"}
        path = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        os.environ["PATH"] = f"{BUILD.resolve()}{os.pathsep}{path}"
        os.chdir(self.folder)
        said, sys.stdout = sys.stdout, open(os.devnull, "w")
        try:
            for language, text in blocks:
                missing = [library for word, library in (("torch.", "torch"), ("jax.", "jax"))
                           if word in text and not importlib.util.find_spec(library)]
                if missing:
                    print(f"# skipped: {missing[0]} is not installed", file=said)
                elif language == "python":
                    exec(compile(text, "docs/python.md", "exec"), space)
                else:
                    subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True,
                                   stdout=subprocess.DEVNULL, timeout=120)
        finally:
            sys.stdout.close()
            sys.stdout = said
            if os.path.exists("serve.pid"):
                subprocess.run("kill $(cat serve.pid) 2>/dev/null", shell=True)
            os.chdir(before)


if __name__ == "__main__":
    unittest.main()
