"""What the tests of `urza serve` share: a server in a folder of its own, requests, blueprints."""
import contextlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
URZA = Path(os.environ.get("URZA_BUILD_DIR", ROOT / "build")).resolve() / "urza"
JSON = "application/json"
START_SECONDS = 30
WAIT_SECONDS = 30


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


class Server:
    """urza serve on a port of its choice. settings: as flags, True and False for those that are."""

    def __init__(self, folder=None, environment=None, context=None, **settings):
        self.own_folder = folder is None
        self.folder = Path(folder or tempfile.mkdtemp(prefix="urza-serve-"))
        self.context = context
        self.token = None
        self.log_path = self.folder / "log"
        settings = {"port": 0, "data": self.folder / "data", "workers": 4, **settings}
        command = [URZA, "serve"]
        for name, value in settings.items():
            value = str(value).lower() if isinstance(value, bool) else str(value)
            command += ["--" + name.replace("_", "-"), value]
        with self.open_log() as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True,
                                            env={**clean_environment(), **(environment or {})})
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if "://" not in line:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            raise AssertionError(f"it did not start: {line!r} {self.log()[-600:]}")
        self.url = line.split("serves at ")[1].split(";")[0]
        self.port = int(self.url.rsplit(":", 1)[1])

    def open_log(self):
        return open(self.log_path, "ab")

    def log(self):
        return self.log_path.read_text(errors="replace")

    def connect(self, timeout=WAIT_SECONDS):
        if self.context:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout,
                                               context=self.context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, connection=None, **headers):
        """A request. Bodies but bytes are sent as JSON; underscores in headers are dashes."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            headers.setdefault("Authorization", "Bearer " + self.token)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers.setdefault("Content-Type", JSON)
        used = connection or self.connect()
        try:
            used.request(method, path, body, headers)
            return Reply(used.getresponse())
        finally:
            if not connection:
                used.close()

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, body, **headers):
        return self.ask("POST", path, body, **headers)

    def compile(self, ir, **hints):
        body = {"blueprint_ir": ir}
        if hints:
            body["optimization_hints"] = hints
        return self.post("/compile", body)

    def metric(self, name):
        """The sum over its labels."""
        values = [line.rsplit(" ", 1) for line in self.get("/metrics").body.decode().splitlines()
                  if line.startswith((name + " ", name + "{"))]
        return sum(float(value) for _, value in values)

    def compilations(self):
        return int(self.metric("urza_compilations_total"))

    def children(self):
        return children_of(self.process.pid)

    def spawner(self):
        return next(pid for pid in self.children() if name_of(pid) == "urza-spawner")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def stop(self, number=signal.SIGTERM, timeout=12):
        """Its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()

    def close(self):
        if self.process.poll() is None:
            for pid in self.children():
                os.kill(pid, signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


class Held:
    """While it lasts no compiler is started: the process that starts them is stopped."""

    def __init__(self, server):
        self.pid = server.spawner()

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)
        return self

    def __exit__(self, *ignored):
        self.go_on()

    def go_on(self):
        with contextlib.suppress(ProcessLookupError): # it may have ended meanwhile
            os.kill(self.pid, signal.SIGCONT)


def clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("URZA_")}


def children_of(pid):
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def wait_for(condition, seconds=WAIT_SECONDS, what="it did not happen"):
    """What condition() gives once that is true."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} within {seconds} s")
        time.sleep(0.01)


def run_urza(*words, environment=None):
    return subprocess.run([URZA, *map(str, words)], capture_output=True, text=True, timeout=60,
                          env={**clean_environment(), **(environment or {})})


# Blueprints.


def chain(name, width, *kinds, rows=-1):
    """x -> linear or activation -> ... -> y."""
    nodes = [{"id": "x", "op_type": "input", "attributes": {"shape": [rows, width]}}]
    for i, kind in enumerate(kinds):
        linear = kind == "linear"
        attributes = {"in_features": width, "out_features": width} if linear else {"type": kind}
        nodes.append({"id": f"n{i}", "op_type": "linear" if linear else "activation",
                      "attributes": attributes})
    nodes.append({"id": "y", "op_type": "output", "attributes": {}})
    edges = [{"source": a["id"], "target": b["id"]} for a, b in zip(nodes, nodes[1:])]
    return {"id": name, "nodes": nodes, "edges": edges}


def tiny(name="tiny", width=4, kind="relu"):
    return chain(name, width, kind)


# Tests.

KERNEL_ID = re.compile(r"kernel-[0-9a-f]{64}$")
CHEAP = {"strategy": "emergency"}


class ServedCase(unittest.TestCase):
    """Tests that share one server."""
    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(**cls.settings)
        cls.addClassCleanup(cls.server.close)

    def get(self, path, status=200, **headers):
        reply = self.server.get(path, **headers)
        self.assertEqual(reply.status, status, reply.body[:400])
        return reply

    def post(self, path, body, status=200, **headers):
        reply = self.server.post(path, body, **headers)
        self.assertEqual(reply.status, status, reply.body[:400])
        return reply

    def ask(self, method, path, body=None, status=200, **headers):
        reply = self.server.ask(method, path, body, **headers)
        self.assertEqual(reply.status, status, reply.body[:400])
        return reply

    def compile(self, ir, **hints):
        reply = self.server.compile(ir, **hints)
        self.assertEqual(reply.status, 200, reply.body[:400])
        return reply.json()

    def check_error(self, reply, status, name, blueprint_id=None, place=None):
        self.assertEqual(reply.status, status, reply.body[:400])
        body = reply.json()
        self.assertEqual(body["error"], name, body)
        self.assertTrue(body["message"])
        self.assertEqual(body["blueprint_id"], blueprint_id, body)
        self.assertEqual(body["request_id"], reply.headers["X-Request-Id"])
        if place:
            self.assertIn(place, body.get("place", ""), body)
        self.assertEqual(reply.headers["Content-Type"], "application/json")


# TAP.


class Tap(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.number = 0

    def say(self, test, ok, text=""):
        self.number += 1
        name = test.id().split(".", 1)[-1]
        print(f"{'ok' if ok else 'not ok'} {self.number} - {name}{text}", flush=True)

    def report(self, test, err):
        for line in self._exc_info_to_string(err, test).splitlines():
            print("# " + line)
        self.say(test, False)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.say(test, True)

    def addError(self, test, err):
        super().addError(test, err)
        self.report(test, err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.report(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"# {reason}")
        self.number += 1
        print(f"ok {self.number} # SKIP {test.id().split('.', 1)[-1]}", flush=True)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.report(subtest, err)


def main():
    """Runs the tests of the calling program, or those whose names have one of its arguments."""
    if not URZA.exists():
        print(f"not built: {URZA}")
        sys.exit(77)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    words = sys.argv[1:]
    tests = [test for group in suite for test in group]
    kept = [test for test in tests if not words or any(word in test.id() for word in words)]
    result = Tap()
    unittest.TestSuite(kept).run(result)
    print(f"1..{result.number}")
    sys.exit(0 if result.wasSuccessful() else 1)
