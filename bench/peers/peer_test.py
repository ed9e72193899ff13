"""Checks that every contestant computes what Urza computes and survives what it cannot, and
prints latencies at one thread.

  PYTHON bench/peers/peer_test.py URZA [CONTESTANT...] [BLOCK...]

Run by hand with the Python of the peers' environment: the first run installs them. A block is an
example or one of bench/blocks, by its name; all of them without one, which takes minutes.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CONTESTANTS = ["torch", "torch-compile", "torch-compile-max", "onnxruntime", "openvino", "jax"]
BOUND = 1e-4  # of the largest magnitude of an output


class Peer:
    def __init__(self, name: str):
        self.process = subprocess.Popen([HERE / "run", name, "1"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, request: dict) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def quit(self) -> None:
        self.process.stdin.write('{"op": "quit"}\n')
        self.process.stdin.close()
        self.process.wait()


def check_failures(peer: Peer, case: dict) -> list[str]:
    """What is wrong must be an answer, and what follows must work."""
    folder, problems = case["folder"], []
    document = json.loads((folder / "blueprint.json").read_text())
    document["nodes"][0]["op"] = "no_such_op"
    unknown = folder / "unknown.json"
    unknown.write_text(json.dumps(document))
    broken = folder / "broken.json"
    broken.write_text("{")
    bad = {"op": "prepare", "params": str(folder / "params.safetensors"),
           "inputs": case["inputs"], "out": str(folder)}
    for request, words in (
            ({"op": "run", "repeat": 1}, "nothing is prepared"),
            ({"op": "dance"}, "dance"),
            (bad | {"blueprint": str(broken)}, "Expecting"),
            (bad | {"blueprint": str(unknown)}, "op no_such_op is not known"),
            ({"op": "run", "repeat": 1}, "nothing is prepared")):
        reply = peer.ask(request)
        if reply["ok"] or words not in reply["error"]:
            problems.append(f"{request['op']}: expected '{words}', not {reply}")
    return problems


def make_case(urza: str, source: Path, folder: Path) -> dict:
    """Compiles an example, runs and measures it on random inputs of the typical sizes."""
    folder.mkdir()
    package = folder / "case.urza"
    subprocess.run([urza, "compile", source, "-o", package], check=True, stdout=subprocess.DEVNULL)
    with zipfile.ZipFile(package) as archive:
        archive.extract("blueprint.json", folder)
        archive.extract("params.safetensors", folder)
    document = json.loads((folder / "blueprint.json").read_text())
    typical = {name: dim.get("typical") or 2 for name, dim in document.get("dims", {}).items()}
    random = np.random.default_rng(1)
    inputs = {}
    for entry in document["inputs"]:
        shape = [typical[d] if isinstance(d, str) else d for d in entry["shape"]]
        path = folder / f"{entry['id']}.npy"
        np.save(path, random.standard_normal(shape).astype(np.float32))
        inputs[entry["id"]] = str(path)
    given = [f"{name}={path}" for name, path in inputs.items()]
    subprocess.run([urza, "run", package, *[w for g in given for w in ("--in", g)],
                    "--out", folder / "urza"], check=True, stdout=subprocess.DEVNULL)
    dims = ",".join(f"{name}={size}" for name, size in typical.items())
    text = subprocess.run([urza, "bench", package, *(["--dims", dims] if dims else []),
                           "--seconds", "0.3"], check=True, capture_output=True, text=True).stdout
    return {"name": source.stem, "folder": folder, "inputs": inputs, "dims": typical,
            "urza": float(text.split("min ")[1].split()[0])}


def difference(case: dict, outputs: dict) -> float:
    """The largest error of an output, relative to its largest magnitude."""
    worst = 0.0
    for name, path in outputs.items():
        ours, theirs = np.load(case["folder"] / "urza" / f"{name}.npy"), np.load(path)
        if ours.shape != theirs.shape:
            return float("inf")
        error = float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-30))
        worst = max(worst, error if np.isfinite(error) else float("inf"))
    return worst


def measure(peer: Peer, case: dict) -> tuple[str, bool]:
    """A cell of the table, and whether the contestant agrees."""
    folder = case["folder"]
    out = folder / "out"
    out.mkdir(exist_ok=True)
    reply = peer.ask({"op": "prepare", "case": case["name"],
                      "blueprint": str(folder / "blueprint.json"),
                      "params": str(folder / "params.safetensors"), "dims": case["dims"],
                      "inputs": case["inputs"], "out": str(out)})
    if not reply["ok"]:
        print(f"{case['name']}: {reply['error']}", file=sys.stderr)
        return "failed", False
    error = difference(case, reply["outputs"])
    if error > BOUND:
        return f"off {error:.1e}", False
    if not reply["compile_ms"] > 0:
        return "no time", False
    best = min(peer.ask({"op": "run", "repeat": 10})["ns"] for _ in range(10)) / 10
    return f"{best / 1000:.1f}", True


def main() -> None:
    folders = [HERE / "../../examples", HERE / "../blocks"]
    sources = [path for folder in folders for path in sorted(folder.resolve().glob("*.json"))]
    urza, words = sys.argv[1], sys.argv[2:]
    names = [n for n in CONTESTANTS if n in words] or CONTESTANTS
    sources = [s for s in sources if s.stem in words] or sources
    agree = True
    with tempfile.TemporaryDirectory() as folder:
        cases = [make_case(urza, source, Path(folder) / source.stem) for source in sources]
        table = {case["name"]: [f"{case['urza']:.1f}"] for case in cases}
        for name in names:
            peer = Peer(name)
            hello = peer.ask({"op": "hello"})
            print(f"{hello['contestant']} {hello['version']}", file=sys.stderr)
            for problem in check_failures(peer, cases[0]):
                print(f"{name}: {problem}", file=sys.stderr)
                agree = False
            for case in cases:
                cell, good = measure(peer, case)
                table[case["name"]].append(cell)
                agree = agree and good
            peer.quit()
    print("best time in µs, 1 thread".ljust(30), *[n.rjust(17) for n in ["urza"] + names])
    for name, cells in table.items():
        print(name.ljust(30), *[cell.rjust(17) for cell in cells])
    sys.exit(0 if agree else 1)


if __name__ == "__main__":
    main()
