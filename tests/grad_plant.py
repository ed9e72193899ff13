#!/usr/bin/env python3
"""Sources of src/compiler/grad with wrong rules that grad_faults_test can switch on.

Usage: grad_plant.py FAULTS OUT_DIR SOURCE...

Each `expression => wrong` of FAULTS becomes `(grad_fault == N ? (wrong) : (expression))`, and each
`expression ~> other` becomes `other`, in which a name GRAD_FAULT_… is a number N of its own. Writes
grad_planted_<source> for each source, and the numbers as grad_planted_rows.h: ROW(N, "line").
"""
import re
import sys
from pathlib import Path


def pattern(expression):
    tokens = re.findall(r"\w+|[^\w\s]", expression)
    joined = r"\s*".join(re.escape(t) for t in tokens)
    return re.compile((r"(?<!\w)" if tokens[0][0].isalnum() else "") + joined +
                      (r"(?!\w)" if tokens[-1][-1].isalnum() else ""))


def read_rows(path):
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        file, rest = line.split(": ", 1)
        sign = " ~> " if " ~> " in rest else " => "
        right, wrong = rest.split(sign, 1)
        rows.append((f"{path.name}:{number}", file, right, wrong, sign == " => ", line))
    return rows


def spans_of(text, rows, name):
    """(begin, end) -> replacements, each a function of what is there."""
    spans = {}
    for where, file, right, wrong, number, conditional in rows:
        if file != name:
            continue
        found = [m.span() for m in pattern(right).finditer(text)]
        if len(found) != 1:
            sys.exit(f"{where}: {len(found)} places in {file} are: {right}")
        spans.setdefault(found[0], []).append((where, wrong, number, conditional))
    for begin, end in spans:
        for where, _, _, conditional in spans[begin, end]:
            inside = [s for s in spans if begin <= s[0] and s[1] <= end and s != (begin, end)]
            if not conditional and (inside or len(spans[begin, end]) > 1):
                sys.exit(f"{where}: other rows are about parts of this")
    return spans


def render(text, spans, begin, end):
    inside = sorted((s for s in spans if begin <= s[0] and s[1] <= end and s != (begin, end)),
                    key=lambda s: (s[0], -s[1]))
    out, at = [], begin
    for span in inside:
        if span[0] < at:
            continue
        out += [text[at:span[0]], replaced(text, spans, span)]
        at = span[1]
    return "".join(out) + text[at:end]


def replaced(text, spans, span):
    what = render(text, spans, *span)
    for _, wrong, number, conditional in spans[span]:
        what = f"(grad_fault == {number} ? ({wrong}) : ({what}))" if conditional else wrong
    return what


def main():
    faults, out = Path(sys.argv[1]), Path(sys.argv[2])
    sources = [Path(s) for s in sys.argv[3:]]
    rows, numbers, lines = [], {}, []
    for where, file, right, wrong, conditional, line in read_rows(faults):
        names = sorted(set(re.findall(r"GRAD_FAULT_\w+", wrong)))
        if conditional or any(n not in numbers for n in names):
            lines.append(line)
        for name in names:
            numbers.setdefault(name, len(lines))
        rows.append((where, file, right, wrong, len(lines), conditional))
    known = {s.name for s in sources}
    unknown = [r[0] for r in rows if r[1] not in known]
    if unknown:
        sys.exit(f"{unknown[0]}: no such source")
    for source in sources:
        text = source.read_text()
        text = render(text, spans_of(text, rows, source.name), 0, len(text))
        text = text.replace('"compiler/grad/grad_priv.h"', '"grad_planted_grad_priv.h"')
        guard = '#include "tests/grad_faults.h"\n' if source.suffix == ".h" else ""
        defines = "".join(f"#define {n} {i}\n" for n, i in numbers.items()) if guard else ""
        (out / f"grad_planted_{source.name}").write_text(guard + defines + text)
    quoted = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    (out / "grad_planted_rows.h").write_text(
        "".join(f'ROW({i}, "{q}")\n' for i, q in enumerate(quoted, 1)))


main()
