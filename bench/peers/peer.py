"""Serves one contestant on stdin and stdout: one JSON object a line, as the harness speaks it.

  hello    -> {"ok", "contestant", "version"}
  prepare  -> {"ok", "outputs", "compile_ms"}: reads a case, compiles it, writes its outputs;
              compile_ms runs until the first result is there
  run      -> {"ok", "ns"}: the wall time of `repeat` warm calls
  quit

Whatever goes wrong is {"ok": false, "error"}. Libraries that print would break the protocol, so
their stdout is stderr.
"""

import json
import os
import sys
import time
from pathlib import Path


def limit_threads(count: int) -> None:
    """Before any library is imported: most read these once."""
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        os.environ[f"{name}_NUM_THREADS"] = str(count)
    os.environ["XLA_FLAGS"] = ("--xla_cpu_multi_thread_eigen=" + ("false" if count == 1 else "true")
                               + f" intra_op_parallelism_threads={count}")
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(count)
    # XLA makes as many threads as the process may use cores.
    if sys.argv[1] == "jax":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


class Server:
    def __init__(self, contestant, replies):
        self.contestant = contestant
        self.replies = replies
        self.call = None

    def hello(self, request: dict) -> dict:
        return {"contestant": self.contestant.name, "version": self.contestant.version}

    def prepare(self, request: dict) -> dict:
        import numpy as np
        from blueprint import read_model

        self.call = None
        model = read_model(request["blueprint"], request.get("params"))
        inputs = [np.load(request["inputs"][name]) for name in model.inputs]
        begin = time.perf_counter_ns()
        call = self.contestant.prepare(model, inputs)
        values = call()
        compile_ms = (time.perf_counter_ns() - begin) / 1e6
        outputs = {}
        for (name, _), value in zip(model.outputs, values):
            path = Path(request["out"]) / f"{name}.npy"
            np.save(path, np.ascontiguousarray(np.asarray(value)))
            outputs[name] = str(path)
        self.call = call
        return {"outputs": outputs, "compile_ms": compile_ms}

    def run(self, request: dict) -> dict:
        if self.call is None:
            raise RuntimeError("nothing is prepared")
        call = self.call
        begin = time.perf_counter_ns()
        for _ in range(request["repeat"]):
            call()
        return {"ns": time.perf_counter_ns() - begin}

    def quit(self, request: dict) -> dict:
        sys.exit(0)

    def answer(self, line: str) -> dict:
        try:
            request = json.loads(line)
            ops = {"hello": self.hello, "prepare": self.prepare, "run": self.run,
                   "quit": self.quit}
            return {"ok": True} | ops[request["op"]](request)
        except Exception as error:  # whatever a library raises must reach the harness as a reply
            text = str(error).strip() or type(error).__name__
            return {"ok": False, "error": text[:2000]}

    def serve(self) -> None:
        for line in sys.stdin:
            print(json.dumps(self.answer(line)), file=self.replies, flush=True)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: peer.py CONTESTANT THREADS")
    name, threads = sys.argv[1], int(sys.argv[2])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    limit_threads(threads)
    from contestants import make_contestant

    Server(make_contestant(name, threads), replies).serve()


if __name__ == "__main__":
    main()
