"""The client of a registry: beside a real one, and one that answers whatever it likes."""
import contextlib
import http.server
import json
import os
import shutil
import threading
import time
import unittest
from pathlib import Path

import numpy as np
from serve_util import Server

import urza
from support import Case, moved, sum_of_two


class Hostile(http.server.BaseHTTPRequestHandler):
    """Answers as the server's function `answer` says: (status, headers, body)."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, body = self.server.answer(self)
        with contextlib.suppress(OSError):  # who asked may be gone
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        self.close_connection = True

    do_POST = do_GET

    def log_message(self, *_):
        pass


def trickle(handler, data):
    for byte in data:
        try:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.1)


JSON = {"Content-Type": "application/json"}
PACKAGE = {"Content-Type": "application/vnd.urza.package"}


@contextlib.contextmanager
def serving(answer):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        server.answer = answer if callable(answer) else lambda _: answer
        server.seen = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def packages():
    return Path(os.environ["URZA_HOME"]) / "cache" / "remote" / "packages"


class Served(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)
        cls.client = urza.Client(cls.server.url)
        cls.urza("keys", "trust", "registry", cls.server.get("/status").json()["public_key"])
        cls.x = np.arange(40, dtype=np.float32).reshape(5, 8)

    def test_compile_and_fetch(self):
        answer = self.client.compile(sum_of_two(), strategy="fast")
        self.assertFalse(answer["cache_hit"])
        path = self.folder / "sum.json"
        path.write_text(json.dumps(sum_of_two()))
        for given in (path, str(path), path.read_text(), path.read_bytes()):
            again = self.client.compile(given, strategy="fast")
            self.assertEqual((again["kernel_id"], again["cache_hit"]), (answer["kernel_id"], True))
        module = self.client.fetch(answer["kernel_id"])
        self.assertEqual(module.kernel_id, answer["kernel_id"])
        np.testing.assert_array_equal(module(self.x, self.x), 2 * self.x)
        nowhere = urza.Client("http://127.0.0.1:1", timeout=1)
        for path in (self.compile("here", sum_of_two()), str(self.folder / "here.urza")):
            self.assertEqual(urza.load(path, client=nowhere).kernel_id, module.kernel_id)
        for other in (urza.load(module.kernel_id, client=nowhere), urza.load(module.kernel_id),
                      nowhere.fetch(module.kernel_id, threads=2)):
            np.testing.assert_array_equal(other(self.x, self.x), 2 * self.x)

    def test_damage_in_the_folder(self):
        kernel = self.client.compile(moved("f32"), strategy="fast")["kernel_id"]
        self.client.fetch(kernel)
        stored = packages() / f"{kernel}.urza"
        whole = stored.read_bytes()
        for damage in (whole[:-100], b"", whole.replace(b"moved", b"mOved") + b"x"):
            stored.write_bytes(damage)
            self.assertEqual(self.client.fetch(kernel).kernel_id, kernel)
            self.assertEqual(stored.read_bytes(), whole)

    def test_alias(self):
        kernel = self.client.compile(moved("i32"), strategy="fast")["kernel_id"]
        self.server.ask("PUT", "/api/v1/aliases/best", json.dumps({"kernel": kernel}).encode(),
                        **{"Content-Type": "application/json"})
        self.assertEqual(self.client.fetch("best").kernel_id, kernel)

    def test_model(self):
        self.urza("export", self.compile("sum", sum_of_two()), "-o", "sum.onnx")
        answer = self.client.compile((self.folder / "sum.onnx").read_bytes(), strategy="fast")
        np.testing.assert_array_equal(self.client.fetch(answer["kernel_id"])(self.x, self.x),
                                      2 * self.x)

    def test_watch(self):
        job = self.client.submit(moved("f64"), strategy="fast")
        events = list(self.client.watch(job, timeout=60))
        self.assertEqual(events[-1]["state"], "DONE")
        self.assertRegex(events[-1]["kernel_id"], urza._store.ID)
        self.assertEqual(list(self.client.watch(job))[-1], events[-1])

    def test_errors_of_the_service(self):
        wrong = sum_of_two()
        wrong["nodes"][0]["op"] = "no_such_op"
        with self.assertRaises(urza.InvalidBlueprintError) as seen:
            self.client.compile(wrong)
        self.assertIn("z", seen.exception.place)
        with self.assertRaises(urza.InvalidRequestError):
            self.client.compile(sum_of_two(), no_such_hint=1)
        for call in (lambda: self.client.fetch("no-such-alias"),
                     lambda: self.client.fetch("kernel-" + "0" * 64),
                     lambda: list(self.client.watch("no-such-job"))):
            with self.assertRaises(urza.NotFoundError):
                call()
        job = self.client.submit(wrong | {"nodes": []})
        with self.assertRaises(urza.Error):
            list(self.client.watch(job, timeout=60))

    def test_unsigned(self):
        kernel = self.client.compile(moved("u8"), strategy="fast")["kernel_id"]
        home = os.environ["URZA_HOME"]
        os.environ["URZA_HOME"] = str(self.folder / "other")
        try:
            with self.assertRaises(urza.SignatureError):
                self.client.fetch(kernel)
            self.assertFalse((packages() / f"{kernel}.urza").exists())
        finally:
            os.environ["URZA_HOME"] = home


class Strange(Case):
    """What services that are none, broken or hostile answer."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.package = cls.compile("sum", sum_of_two()).read_bytes()
        cls.kernel = urza.load(cls.package).kernel_id

    def check(self, answer, error, text, call=lambda client: client.compile({}), **options):
        with serving(answer) as server:
            client = urza.Client(server.url, **{"timeout": 5, **options})
            with self.assertRaisesRegex(error, text):
                call(client)
            return server.seen

    def test_answers(self):
        for answer, error, text in [
            ((200, JSON, b"[]"), urza.ProtocolError, "no object"),
            ((200, JSON, b"{"), urza.ProtocolError, "not JSON"),
            ((200, JSON, b"[" * 100000), urza.ProtocolError, "not JSON"),
            ((200, {"Content-Type": "text/html"}, b"{}"), urza.ProtocolError, "text/html"),
            ((200, {**JSON, "Content-Encoding": "gzip"}, b"{}"), urza.ProtocolError, ""),
            ((500, JSON, b"{}"), urza.ProtocolError, "status 500"),
            ((500, JSON, b'{"error": "__class__"}'), urza.ProtocolError, "status 500"),
            ((404, {}, b"<html>"), urza.ProtocolError, "not JSON"),
            ((400, JSON, b'{"error": "ShapeError", "message": "m", "place": "p"}'),
             urza.ShapeError, "p: m"),
            ((204, {"Content-Length": "0"}, b""), urza.ProtocolError, ""),
        ]:
            with self.subTest(answer):
                self.check(answer, error, text)

    def test_redirects(self):
        """Nobody is asked elsewhere, where the token would go, too."""
        with serving((200, JSON, b"{}")) as other:
            for status in (301, 302, 303, 307, 308):
                self.check((status, {"Location": other.url}, b""), urza.ProtocolError,
                           f"status {status}", token="secret")
            self.assertEqual(other.seen, [])

    def test_sizes(self):
        most = urza._client.ANSWER_BYTES
        urza._client.ANSWER_BYTES = 1000
        try:
            self.check((200, JSON, b'{"a": "' + b"x" * 1000 + b'"}'), urza.LimitExceededError,
                       "1000", lambda client: client._ask("/", ("application/json", 1000)))
        finally:
            urza._client.ANSWER_BYTES = most
        self.check((500, JSON, b"x" * (2 << 20)), urza.LimitExceededError, "")
        self.check((200, {**JSON, "Content-Length": "100"}, b"{}"), urza.ConnectionError, "",
                   timeout=1)

    def test_packages(self):
        fetch = {"call": lambda client: client.fetch("kernel-" + "1" * 64)}
        self.check((200, PACKAGE, self.package), urza.InvalidPackageError, "another kernel",
                   **fetch)
        self.check((200, PACKAGE, b"PK" + self.package), urza.InvalidPackageError, "", **fetch)
        self.check((200, JSON, b"{}"), urza.ProtocolError, "", **fetch)
        self.check((200, {**PACKAGE, "X-Kernel-Id": "kernel-" + "2" * 64}, self.package),
                   urza.InvalidPackageError, "another kernel",
                   call=lambda client: client.fetch("alias"))
        self.assertFalse(packages().exists() and list(packages().iterdir()))
        with serving((200, PACKAGE, self.package)) as server:
            self.assertEqual(urza.Client(server.url).fetch(self.kernel).kernel_id, self.kernel)
        shutil.rmtree(packages())

    def test_tries(self):
        """503 is asked again after the time that it says; other refusals are not."""
        left = [2]

        def busy(_):
            left[0] -= 1
            if left[0] >= 0:
                return 503, {**JSON, "Retry-After": "0"}, b'{"error": "OverloadedError"}'
            return 200, JSON, b'{"kernel_id": "k"}'
        with serving(busy) as server:
            self.assertEqual(urza.Client(server.url, "secret").compile({}), {"kernel_id": "k"})
            self.assertEqual(len(server.seen), 3)
            self.assertEqual(server.seen[0][2]["Authorization"], "Bearer secret")
        seen = self.check((503, {**JSON, "Retry-After": "0"}, b'{"error": "OverloadedError"}'),
                          urza.OverloadedError, "")
        self.assertEqual(len(seen), 5)
        began = time.monotonic()
        self.check((503, {**JSON, "Retry-After": "100"}, b'{"error": "OverloadedError"}'),
                   urza.OverloadedError, "")
        self.assertLess(time.monotonic() - began, 2)
        self.assertEqual(len(self.check((401, JSON, b'{"error": "UnauthorizedError"}'),
                                        urza.UnauthorizedError, "")), 1)

    def test_times(self):
        """Silence, and bytes that drip."""
        def silent(_):
            time.sleep(3)
            return 200, JSON, b"{}"

        def drip(handler):
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            trickle(handler, b" " * 40)
            return 200, {}, b""

        def drip_headers(handler):
            trickle(handler, b"HTTP/1.1 200 OK\r\nServer: " + b"x" * 40)
            return 200, {}, b""
        for answer in (silent, drip, drip_headers):
            began = time.monotonic()
            self.check(answer, urza.ConnectionError, "", timeout=0.5)
            self.assertLess(time.monotonic() - began, 2)
        with self.assertRaises(urza.ConnectionError):
            urza.Client("http://127.0.0.1:1", timeout=0.3).compile({})

    def test_watches(self):
        stream = {"Content-Type": "text/event-stream"}
        self.check((200, stream, b"data: " + b"x" * 100000 + b"\n\n"), urza.LimitExceededError, "",
                   lambda client: list(client.watch("j")))
        self.check((200, stream, b"event: end\ndata: [\n\n"), urza.ProtocolError, "not JSON",
                   lambda client: list(client.watch("j")))

        def cancelled(handler):
            if handler.path.endswith("events"):
                return 200, stream, b'event: end\ndata: {"state": "CANCELLED"}\n\n'
            return 200, JSON, b'{"state": "CANCELLED"}'
        self.check(cancelled, urza.CancelledError, "", lambda client: list(client.watch("j")))
        went_on = []

        def breaks(handler):
            """The stream breaks once; what was told is not told again."""
            went_on.append(handler.path)
            if not handler.path.endswith("events"):
                return 200, JSON, b'{"state": "DONE"}'
            told = b'event: progress\ndata: {"state": "LEASED"}\n\n'
            end = b'event: end\ndata: {"state": "DONE"}\n\n'
            return 200, stream, told if len(went_on) == 1 else told + end
        with serving(breaks) as server:
            self.assertEqual(list(urza.Client(server.url, timeout=5).watch("j")),
                             [{"state": "LEASED"}, {"state": "DONE"}])
        self.check((200, stream, b""), urza.ConnectionError, "not over",
                   lambda client: list(client.watch("j", timeout=1)))
        began = time.monotonic()
        with self.assertRaisesRegex(urza.ConnectionError, "127.0.0.1:1: .*refused"):
            list(urza.Client("http://127.0.0.1:1", timeout=0.5).watch("j"))
        self.assertLess(time.monotonic() - began, 5)

    def test_arguments(self):
        for url in ("127.0.0.1:80", "ftp://a", "http://", "http://a?b", "http://u:p@a",
                    "file:///a"):
            with self.assertRaises(urza.UsageError):
                urza.Client(url)
        for words in ({"token": "a\nb"}, {"token": ""}, {"timeout": 0}):
            with self.assertRaises(urza.UsageError):
                urza.Client("http://a", **words)
        client = urza.Client("http://127.0.0.1:1", timeout=0.1)
        for name in ("a/b", "", "..", "a b", "x" * 101, 3):
            with self.assertRaises((urza.UsageError, TypeError)):
                client.fetch(name)
            with self.assertRaises(urza.UsageError):
                client.watch(name)
        with self.assertRaisesRegex(urza.InvalidRequestError, "not JSON"):
            client.compile("{1")
        with self.assertRaises(FileNotFoundError):
            client.compile("no-such-file")


if __name__ == "__main__":
    unittest.main()
