"""Whole networks, by ONNX and by torch.export, compiled and timed beside others.

`./run bench models --help` lists the options. A network agrees when no output lies further from
what PyTorch computes in float64 than BOUND times as far as PyTorch's own float32 result.
Contestants live in processes of their own and take turns; the median of turns counts. The table is
Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("resnet50", "mobilenet_v3", "efficientnet_b0", "convnext_t", "vit_b_16", "unet",
         "bert_base", "gpt2", "llama", "lstm_tagger")
PEERS = ("onnxruntime", "openvino", "torch-compile")
WAYS = ("onnx", "pt2")
DOCUMENT = "docs/performance.md"
BOUND = 4.0
TURN_NS = 50e6
ROUNDS = 9
PAUSE_S = 0.002  # longer than idle threads of any contestant spin


class Process:
    def __init__(self, name: str, threads: int):
        self.process = subprocess.Popen([sys.executable, HERE / "serve.py", name, str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self.ask(op="hello").get("version", "")

    def ask(self, **request) -> dict:
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            return {"ok": False, "error": "the process has ended"}

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Failure(Exception):
    pass


def export(name: str, options) -> Path:
    folder = options.folder / ("tiny" if options.tiny else "full")
    if not (folder / name / "model.onnx").exists():  # what is written last
        command = [sys.executable, HERE / "export.py", *(["--tiny"] if options.tiny else [])]
        done = subprocess.run([*command, folder, name], stdout=sys.stderr)
        if done.returncode != 0:
            raise Failure(f"{name} cannot be exported")
    return folder / name


def compile_model(folder: Path, way: str, options) -> tuple[Path, float]:
    package = folder / f"{way}.urza"
    begin = time.perf_counter()
    done = subprocess.run(
        [options.urza, "compile", folder / f"model.{way}", "-o", package, "--unsigned",
         "--no-cache", "--strategy", "fast", "--target", "native"], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(done.stderr.strip())
    return package, time.perf_counter() - begin


def take_turns(processes: dict, seconds: float) -> dict:
    """Milliseconds of a call, by contestant."""
    times, repeat = {key: [] for key in processes}, {}
    for key, process in processes.items():
        once = min(process.ask(op="run", repeat=1)["ns"] for _ in range(2))
        repeat[key] = max(1, int(min(TURN_NS, seconds * 1e9 / ROUNDS) / once))
    order = list(processes)
    for turn in range(ROUNDS):
        for key in order[turn % len(order):] + order[:turn % len(order)]:
            time.sleep(PAUSE_S)
            took = processes[key].ask(op="run", repeat=repeat[key])["ns"]
            times[key].append(took / repeat[key] / 1e6)
    return {key: statistics.median(values) for key, values in times.items()}


class Contest:
    """What is known of each network and way; None is a failure, with a line on stderr."""

    def __init__(self, options):
        self.options, self.processes, self.rows, self.ok = options, {}, [], True

    def process(self, name: str, threads: int, key: str) -> Process:
        if (key, threads) not in self.processes:
            self.processes[key, threads] = Process(name, threads)
        return self.processes[key, threads]

    def complain(self, *what) -> None:
        print(*what, file=sys.stderr, flush=True)

    def prepare(self, key, process, request, row, bound) -> bool:
        reply = process.ask(op="prepare", **request)
        if not reply["ok"]:
            self.complain(row["name"], key, reply["error"])
            return False
        row["ready"][key], row["worst"][key] = reply["seconds"], reply["worst"]
        if reply["worst"] > bound:
            self.complain(row["name"], key, f"is {reply['worst']:.3g} errors of PyTorch away")
        return True

    def network(self, name: str) -> None:
        row = {"name": name, "compile": {}, "ready": {}, "worst": {}, "ms": {}}
        self.rows.append(row)
        folder, packages = export(name, self.options), {}
        for way in WAYS:
            try:
                packages[way], row["compile"][way] = compile_model(folder, way, self.options)
            except Failure as failure:
                self.complain(name, way, failure)
        for threads in self.options.threads:
            self.measure(row, folder, packages, threads)
        self.ok = self.ok and all(row["worst"].get(way, BOUND + 1) <= BOUND for way in WAYS)
        self.complain(json.dumps(row))

    def measure(self, row: dict, folder: Path, packages: dict, threads: int) -> None:
        request = {"folder": str(folder), "name": row["name"], "tiny": self.options.tiny}
        ready = {}
        for way, package in packages.items():
            process = self.process("urza", threads, way)
            if self.prepare(way, process, request | {"package": str(package)}, row, BOUND):
                ready[way] = process
        for peer in self.options.peers:
            process = self.process(peer, threads, peer)
            if self.prepare(peer, process, request, row, float("inf")):
                ready[peer] = process
        row["ms"][threads] = take_turns(ready, self.options.seconds)
        for process in ready.values():
            process.ask(op="drop")

    def close(self) -> None:
        for process in self.processes.values():
            process.close()


def cell(value, form="{:.2f}") -> str:
    return "" if value is None else form.format(value)


def table(rows: list, peers: list, threads: list) -> list[str]:
    heads = ["network", "way", "error", "compile s", *(f"{p} s" for p in peers)]
    for count in threads:
        heads += [f"ms, {count} thread{'s' if count > 1 else ''}", *peers]
    lines = ["| " + " | ".join(heads) + " |",
             "| --- | --- |" + " ---: |" * (len(heads) - 2)]
    for row in rows:
        for way in WAYS:
            cells = [row["name"], way, cell(row["worst"].get(way)), cell(row["compile"].get(way))]
            cells += [cell(row["ready"].get(peer)) for peer in peers]
            for count in threads:
                ms = row["ms"].get(count, {})
                ours = ms.get(way)
                cells.append(cell(ours, "{:.3g}"))
                cells += [cell(ms[p] / ours if p in ms and ours else None) for p in peers]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def parse_options():
    parser = argparse.ArgumentParser(prog="./run bench models",
                                     description="Whole networks beside other runtimes.")
    parser.add_argument("--tiny", action="store_true", help="small versions, to see that they work")
    parser.add_argument("--peers", nargs="?", default="", const=",".join(PEERS),
                        help="all of, or with --peers=LIST some of " + ",".join(PEERS))
    parser.add_argument("--threads", default="1,2", help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5,
                        help="for each contestant (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT}")
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of " + " ".join(NAMES))
    words = ["--peers=" + ",".join(PEERS) if word == "--peers" else word for word in sys.argv[1:]]
    options = parser.parse_args(words)
    options.folder, options.urza = Path(os.environ["URZA_MODELS_DIR"]), os.environ["URZA"]
    options.peers = [p for p in options.peers.split(",") if p]
    options.threads = [int(count) for count in options.threads.split(",")]
    unknown = set(options.peers) - set(PEERS) | set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"not known: {' '.join(sorted(unknown))}")
    return options


def put_into_document(lines: list[str]) -> None:
    """Between the marks."""
    path = HERE.parent.parent / DOCUMENT
    before, rest = path.read_text().split("<!-- models: begin -->\n")
    _, after = rest.split("<!-- models: end -->")
    path.write_text("".join([before, "<!-- models: begin -->\n", *(line + "\n" for line in lines),
                             "<!-- models: end -->", after]))


def main() -> int:
    options = parse_options()
    contest = Contest(options)
    for name in options.names or NAMES:
        contest.network(name)
    versions = {key: p.version for (key, _), p in contest.processes.items() if key not in WAYS}
    contest.close()
    lines = [f"- {key}: {version}" for key, version in versions.items()]
    lines += ["", *table(contest.rows, options.peers, options.threads)]
    print(*lines, sep="\n")
    if options.write:
        put_into_document(lines)
    return 0 if contest.ok else 1


sys.exit(main())
