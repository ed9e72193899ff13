"""A service as a child process, for tests: starting, asking, ending it, and what is left of it."""
import hashlib
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import uuid
import zipfile
from pathlib import Path

BUILD = Path(os.environ.get("URZA_BUILD_DIR", Path(__file__).parents[2] / "build"))
URZA = str(BUILD / "urza")
MARK = "URZA_TEST_MARK"
TARGET = "x86-64-v2"  # every machine that runs the tests has it


def blueprint(width, ops=("relu",)):
    """A small one; each width is another one."""
    nodes = [{"id": f"n{i}", "op": op, "in": [f"n{i - 1}" if i else "x"]}
             for i, op in enumerate(ops)]
    return {"format": "urza.blueprint/1", "nodes": nodes, "outputs": [f"n{len(ops) - 1}"],
            "inputs": [{"id": "x", "dtype": "f32", "shape": [2, width]}]}


def compile_body(ir, strategy="emergency", target=TARGET):
    hints = {"strategy": strategy, "target_hardware": target}
    return json.dumps({"blueprint_ir": ir, "optimization_hints": hints}).encode()


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Client:
    """One connection, opened again where it was closed."""

    def __init__(self, address, timeout=60):
        self.address, self.timeout, self.connection = address, timeout, None

    def ask(self, method, path, body=None, headers=None):
        """Reply; OSError or http.client.HTTPException when there is none."""
        if not self.connection:
            self.connection = http.client.HTTPConnection(*self.address, timeout=self.timeout)
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if body is not None else {}
        try:
            self.connection.request(method, path, body, {**sent, **(headers or {})})
            reply = self.connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def compile(self, ir, strategy="emergency", target=TARGET):
        return self.ask("POST", "/compile", compile_body(ir, strategy, target))

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Service:
    """environment: of the service only. Settings are options: queue_limit=4 is --queue-limit 4."""

    def __init__(self, data, environment=None, **settings):
        self.data, self.settings, self.environment = str(data), settings, environment or {}
        self.process, self.address, self.started_s = None, None, None
        self.log_path = Path(self.data + ".log")

    def command(self):
        words = [URZA, "serve", "--data", self.data, "--port", "0"]
        for name, value in self.settings.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return words

    def start(self, timeout=30):
        """Whether it listens; if not, it has ended: status is its exit status."""
        self.mark = uuid.uuid4().hex
        environment = {**os.environ, **self.environment, MARK: self.mark}
        environment.pop("MALLOC_PERTURB_", None)  # it touches memory that nobody asked to be zero
        begin = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.log_from = log.tell()
            self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log,
                                            env=environment)
        line = self.read_line(timeout)
        self.started_s = time.monotonic() - begin
        if not line.startswith("Urza serves at "):
            self.status = self.process.wait(timeout)
            self.process.stdout.close()
            self.process = None
            return False
        url = urllib.parse.urlsplit(line.split()[3].rstrip(";"))
        self.address = (url.hostname, url.port)
        return True

    def read_line(self, timeout):
        def give_up(*_):
            self.process.kill()
        before = signal.signal(signal.SIGALRM, give_up)
        signal.alarm(timeout)
        line = self.process.stdout.readline().decode()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        return line

    def client(self, timeout=60):
        return Client(self.address, timeout)

    def log(self):
        """What it said on standard error in this life."""
        return self.log_path.read_bytes()[self.log_from:].decode(errors="replace")

    def kill(self):
        self.process.kill()
        self.reap()

    def reap(self, timeout=30):
        status = self.process.wait(timeout)
        self.process.stdout.close()
        self.process = None
        return status

    def stop(self, timeout=30):
        """Its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.reap(timeout)

    def processes(self):
        """All that came of it, by the mark in their environments: {pid: command}."""
        return processes_marked(self.mark)

    def gone_within(self, seconds):
        """What is left then: {}."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return left

    def rss_bytes(self):
        return rss_bytes(self.process.pid)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def tool(self, *words, environment=None):
        """urza fsck or gc on its data: exit status and all that it said."""
        done = subprocess.run([URZA, *words, "--data", self.data], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=120,
                              env={**os.environ, **(environment or {})})
        return done.returncode, done.stdout.decode(errors="replace")


def processes_marked(mark):
    found, wanted = {}, f"{MARK}={mark}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if wanted not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                continue
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                found[int(pid)] = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
    return found


def rss_bytes(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def check_package(data, kernel_id):
    """What is wrong with a package; None: its id, and all that the id covers, are right."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        manifest = archive.read("manifest.json")
        if "kernel-" + hashlib.sha256(manifest).hexdigest() != kernel_id:
            return "its manifest has another digest than its id"
        for name, digest in json.loads(manifest)["entries"].items():
            if hashlib.sha256(archive.read(name)).hexdigest() != digest:
                return f"entry {name} has another digest than the manifest says"
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        return f"it cannot be read: {error}"
    return None


class Tap:
    """Results in the form of the Test Anything Protocol."""

    def __init__(self):
        self.count = self.failed = 0
        print("TAP version 13", flush=True)

    def ok(self, passed, name, *details):
        self.count += 1
        self.failed += not passed
        print(f"{'' if passed else 'not '}ok {self.count} - {name}", flush=True)
        if not passed:
            for detail in details:
                self.say(detail)
        return passed

    def say(self, text):
        for line in str(text).splitlines():
            print(f"# {line}", flush=True)

    def end(self):
        print(f"1..{self.count}", flush=True)
        sys.exit(1 if self.failed else 0)
