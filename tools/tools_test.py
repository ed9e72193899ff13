#!/usr/bin/env python3
"""Tests of the tools: tidy finds what it says it finds, test-summary counts what happened,
check-docs fails where documents are wrong."""
import importlib.machinery
import importlib.util
import os
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent


def load(name):
    """A tool without .py in its name, as a module."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(HERE / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


tidy = load("tidy")
summary = load("test-summary")
docs = load("check-docs")


class Tidy(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder.name)
        for name in ("base/a.h", "graph/g.h", "graph/g_priv.h", "compiler/loop/loop.h",
                     "compiler/opt/opt.h", "cli/c.h"):
            path = Path("src") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def includes(self, path, text):
        return [finding[1] for finding in tidy.check_includes(Path(path), text.splitlines())]

    def test_layers(self):
        Path("src/compiler/target").mkdir()
        Path("src/compiler/target/target.h").touch()
        target = '#include "compiler/target/target.h"'
        self.assertEqual(self.includes("src/compiler/opt/x.c", target), [])
        self.assertEqual(len(self.includes("src/compiler/ops/x.c", target)), 1)
        self.assertEqual(self.includes("src/graph/x.c", '#include "base/a.h"'), [])
        self.assertEqual(self.includes("src/base/x.c", '#include "graph/g.h"'),
                         ["graph/g.h: base may not include graph"])
        opt = '#include "compiler/opt/opt.h"'
        self.assertEqual(self.includes("src/compiler/lower/x.c", opt), [])
        self.assertEqual(self.includes("src/compiler/loop/x.c", opt),
                         ["compiler/opt/opt.h: loop may not include opt"])
        self.assertEqual(self.includes("src/compiler/x.c", '#include "compiler/loop/loop.h"'), [])
        self.assertEqual(len(self.includes("src/compiler/x.c", '#include "cli/c.h"')), 1)
        self.assertEqual(self.includes("src/base/x.c", '#include "base/none.h"'),
                         ["base/none.h: no such header"])

    def test_tests_see_all_rooms_they_link(self):
        opt = '#include "compiler/opt/opt.h"'
        self.assertEqual(self.includes("src/compiler/sched/x_test.c", opt), [])
        self.assertEqual(len(self.includes("src/compiler/loop/x_test.c", opt)), 1)

    def test_helpers_of_tests(self):
        opt = '#include "compiler/opt/opt.h"'
        for name in ("lowered.h", "codegen_kit.c", "x_test_util.h", "x_harness.c"):
            self.assertEqual(self.includes("src/compiler/sched/" + name, opt), [])
            self.assertEqual(len(self.includes("src/compiler/loop/" + name, opt)), 1)
        helper = '#include "compiler/loop/math_eval.h"'
        Path("src/compiler/loop/math_eval.h").touch()
        self.assertEqual(self.includes("src/compiler/sched/x_test.c", helper), [])
        self.assertEqual(self.includes("src/compiler/sched/lowered.c", helper), [])
        self.assertEqual(self.includes("src/compiler/sched/x.c", helper),
                         ["compiler/loop/math_eval.h is for tests only"])

    def test_private_headers(self):
        private = '#include "graph/g_priv.h"'
        self.assertEqual(self.includes("src/graph/x.c", private), [])
        self.assertEqual(self.includes("src/graph/inner/x.c", private), [])
        self.assertEqual(self.includes("tests/x.c", private),
                         ["graph/g_priv.h is private to src/graph"])

    def test_llvm_and_examples(self):
        llvm = "#include <llvm-c/Core.h>"
        self.assertEqual(self.includes("src/compiler/codegen/x.c", llvm), [])
        self.assertEqual(len(self.includes("src/compiler/x.c", llvm)), 1)
        self.assertEqual(len(self.includes("examples/x.c", '#include "base/a.h"')), 1)
        Path("examples/part").mkdir(parents=True)
        Path("examples/part/p.h").touch()
        self.assertEqual(self.includes("examples/x.c", '#include "part/p.h"'), [])
        self.assertEqual(self.includes("examples/part/x.c", '#include "p.h"'), [])

    def test_words(self):
        def words(text):
            lines = tidy.code_only(text).splitlines()
            return [number for number, _ in tidy.check_words(Path("x.c"), lines)]
        self.assertEqual(words("a;\nstrcpy(a, b);\ngetenv(c);"), [2, 3])
        self.assertEqual(words("// strcpy(a)\n/* atoi(\n */ f(\"gets()\", '\\\"'); atoi(s);"), [3])
        self.assertEqual(words("my_strcpy(a); snprintf(b);"), [])
        self.assertEqual(words("int main(void)\n{\n    getenv(c);\n}"), [])

    def test_sizes(self):
        def sizes(name, text):
            return [number for number, _ in tidy.check_sizes(Path(name), text.splitlines())]
        self.assertEqual(sizes("x.c", "void f(void)\n{\n" + "a;\n" * 68 + "}\n"), [])
        self.assertEqual(sizes("x.c", "void f(void)\n{\n" + "a;\n" * 69 + "}\n"), [2])
        self.assertEqual(sizes("x.c", "struct s {\n" + "a;\n" * 100 + "};\n"), [])
        self.assertEqual(sizes("x.h", "\n" * 250), [])
        self.assertEqual(sizes("x.h", "\n" * 251), [251])
        self.assertEqual(sizes("x.c", "\n" * 601), [601])

    def test_text(self):
        def findings(line):
            return len(list(tidy.check_text(Path("x.c"), [line])))
        self.assertEqual(findings("é" * 100), 0)
        self.assertEqual(findings("e" * 101), 1)
        self.assertEqual(list(tidy.check_text(Path("x.def"), ["e" * 101])), []) # a row of a table
        self.assertEqual(findings("// TO" + "DO: later"), 1)
        self.assertEqual(findings('mkstemp("fileXXXXXX")'), 0)


class Summary(unittest.TestCase):
    def count(self, stdout, status=0, result=None):
        result = result or ("OK" if status == 0 else "FAIL")
        passed, failures, skips = summary.count_program(
            {"name": "t", "stdout": stdout, "returncode": status, "result": result})
        return passed, len(failures), skips

    def test_cases(self):
        text = "1..3\nok 1 - a\nno such device\nnot ok 2 # SKIP b\nnot ok 3 - c\n# not ok - t\n"
        self.assertEqual(self.count(text, 1), (1, 1, ["t: b: no such device"]))

    def test_skip_without_reason(self):
        self.assertEqual(self.count("1..2\nok 1 - a\nnot ok 2 # SKIP b\n"),
                         (1, 0, ["t: b: no reason given"]))

    def test_crash_is_one_failure(self):
        self.assertEqual(self.count("1..3\nok 1 - a\n", -6), (1, 1, []))
        self.assertEqual(self.count("", -11), (0, 1, []))

    def test_early_end(self):
        self.assertEqual(self.count("1..3\nok 1 - a\n"), (1, 1, []))
        self.assertEqual(self.count("1..3\nok 1 - a\n", 0, "TIMEOUT"), (1, 1, []))

    def test_failed_group(self):
        text = "1..3\nnot ok 0 - t [  FAILED  ] GROUP SETUP\n"
        self.assertEqual(self.count(text, 1), (0, 1, []))
        self.assertEqual(self.count("1..1\nok 1 - a\n", 1), (1, 1, [])) # a group's teardown

    def test_several_groups(self):
        text = "1..1\nok 1 - a\n# ok - x\n1..2\nok 1 - b\nok 2 - c\n"
        self.assertEqual(self.count(text), (3, 0, []))

    def test_program_without_tap(self):
        self.assertEqual(self.count("fine"), (1, 0, []))
        self.assertEqual(self.count("broken", 1), (0, 1, []))
        self.assertEqual(self.count("no server", 77, "SKIP"), (0, 0, ["t: no server"]))


class CheckDocs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.addCleanup(setattr, docs, "ROOT", docs.ROOT)
        self.addCleanup(setattr, docs, "BUILD", docs.BUILD)
        docs.ROOT = docs.BUILD = Path(self.folder.name)
        self.place = docs.ROOT / "place"
        self.place.mkdir()

    def results(self, text):
        """What each check of a document of this text says: "" or the problem."""
        document = docs.ROOT / "page.md"
        document.write_text(text)
        found = []
        for _, check in docs.cases_of(document, self.place):
            try:
                check()
                found.append("")
            except (ValueError, docs.Skip) as problem:
                found.append(str(problem).splitlines()[0])
        return found

    def test_commands(self):
        self.assertEqual(self.results("```sh\ntrue\n```\n```\nfalse\n```\n"), ["", ""])
        self.assertEqual(self.results("```sh\nfalse\ntrue\n```\n"), ["", "exit status 1"])
        self.assertEqual(self.results("```sh\nfalse | true\n```\n"), ["", "exit status 1"])
        self.assertEqual(self.results("```sh\necho $none\n```\n"), ["", "exit status 1"])
        self.assertEqual(self.results("```sh no-such-program\nfalse\n```\n"),
                         ["", "not installed: no-such-program"])

    def test_blocks_share_a_folder(self):
        self.assertEqual(self.results("```json a.json\n{}\n```\n```sh\ncat a.json > b\n```\n"
                                      "```sh\ntest -s b\n```\n"), ["", "", "", ""])

    def test_quoted_files(self):
        (docs.ROOT / "a.c").write_text("int a;\n")
        self.assertEqual(self.results("```c a.c\nint a;\n```\n"), ["", ""])
        self.assertEqual(self.results("```c a.c\nint b;\n```\n"),
                         ["", "the block is not what a.c holds"])

    def test_links(self):
        self.assertEqual(self.results("[a](page.md#b) [c](https://d.example) [e](#f)"), [""])
        self.assertEqual(self.results("[a](none.md)"), ["no such file: none.md"])

    def test_tables(self):
        docgen = docs.ROOT / "docgen"
        docgen.write_text("#!/bin/sh\necho \"| $1 |\"\n")
        docgen.chmod(0o755)
        self.assertEqual(self.results(f"a\n{docs.BEGIN}| page |\n{docs.END}b\n"), ["", ""])
        wrong = f"a\n{docs.BEGIN}| other |\n{docs.END}b\n"
        self.assertEqual(self.results(wrong), [
            "", "not what docgen prints; tools/check-docs --update writes it"])
        docs.tables(docs.ROOT / "page.md", update=True)
        self.assertEqual((docs.ROOT / "page.md").read_text(),
                         f"a\n{docs.BEGIN}| page |\n{docs.END}b\n")


if __name__ == "__main__":
    unittest.main()
