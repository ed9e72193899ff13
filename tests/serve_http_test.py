#!/usr/bin/env python3
"""What is no HTTP, or no request that can be meant: refused or closed, never done, never a fault of
the server, and nothing is left of it. Prints TAP."""
import json
import socket
import threading
import time
import unittest

from serve_util import Server, main, tiny, wait_for

LIVE = b"GET /health/live HTTP/1.1\r\n"
END = b"Connection: close\r\n\r\n"
HOST = b"Host: x\r\n"
JSON = b"Content-Type: application/json\r\n"
BODY = json.dumps({"blueprint_ir": tiny(), "hints": {"strategy": "emergency"}}).encode()


def live(*lines):
    return LIVE + HOST + b"".join(line + b"\r\n" for line in lines) + END


def target(text):
    return b"GET " + text + b" HTTP/1.1\r\n" + HOST + END


def post(path, body, *lines):
    return (b"POST " + path + b" HTTP/1.1\r\n" + HOST + JSON +
            b"".join(line + b"\r\n" for line in lines) + b"Connection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body)


def put(path, body):
    return post(path, body).replace(b"POST", b"PUT", 1)


def framed(*lines, body=b""):
    """A compilation whose length is told by these lines."""
    return (b"POST /compile HTTP/1.1\r\n" + HOST + JSON +
            b"".join(line + b"\r\n" for line in lines) + END + body)


def chunks(body):
    return framed(b"Transfer-Encoding: chunked", body=body)


def chunk(data, extra=b""):
    return b"%x%s\r\n%s\r\n" % (len(data), extra, data)


FIRST_LINES = [
    b"\r\n\r\n\r\n\r\nX\r\n\r\n", b"GET\r\n\r\n", b"GET /health/live\r\n\r\n", b"GARBAGE\r\n\r\n",
    b"\x00\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b" " + live(),
    b"GET /health/live HTTP/1.1 x\r\n" + HOST + END, b"GET  /health/live HTTP/1.1\r\n" + HOST + END,
    b"GET /health/live  HTTP/1.1\r\n" + HOST + END, b"GET\t/health/live HTTP/1.1\r\n" + HOST + END,
    b"GET /health/live\tHTTP/1.1\r\n" + HOST + END, b"GET /health/live HTTP/1.1 \r\n" + HOST + END,
    b"GET /health/live HTTP/1.2\r\n" + HOST + END, b"GET /health/live HTTP/1.10\r\n" + HOST + END,
    b"GET /health/live http/1.1\r\n" + HOST + END, b"GET /health/live HTTP/1,1\r\n" + HOST + END,
    b"GET /health/live HTTP/1\r\n" + HOST + END, b"GET /health/live HTTP/0.9\r\n" + HOST + END,
    b"GET /health/live HTTP/11\r\n" + HOST + END, b"GET /health/live HTTP/-1.1\r\n" + HOST + END,
    b"GET /health/live XTTP/1.1\r\n" + HOST + END, b"GET /health/live HTTP/1.1\n" + HOST + END,
    b"GET /health/live HTTP/1.1\r" + HOST + END, b"GET /health/live HTTP/1.1\x00\r\n" + HOST + END,
    b"GET /health/live\x00 HTTP/1.1\r\n" + HOST + END,
    b"get /health/live HTTP/1.1\r\n" + HOST + END,
    b"G\x00T /health/live HTTP/1.1\r\n" + HOST + END, b"G(T /health/live HTTP/1.1\r\n" + HOST + END,
    b"G\xffT /health/live HTTP/1.1\r\n" + HOST + END, b"GETGET /health/live HTTP/1.1\r\n" + HOST +
    END, b"X" * 40000 + b" /health/live HTTP/1.1\r\n" + HOST + END, b"CONNECT x:80 HTTP/1.1\r\n" +
    HOST + END, b"OPTIONS * HTTP/1.1\r\n" + HOST + END, b"TRACE /health/live HTTP/1.1\r\n" + HOST +
    END, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"OPTIONS /health/live HTTP/1.1\r\n" + HOST + END,
    b"QUERY /status HTTP/1.1\r\n" + HOST + END, b"HEAD /compile HTTP/1.1\r\n" + HOST + END,
]
TARGETS = [target(text) for text in (
    b"http://x/health/live", b"http://x", b"https://x:1/health/live", b"x/health/live", b"health",
    b"//health/live", b"/health//live", b"/health/live/", b"/health/./live", b"/health/../status",
    b"/health/live/..", b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"/health%2flive",
    b"/health%2Flive", b"/kernel/..%2f..%2fdata", b"/kernel/%2e%2e%2fcatalogue.db",
    b"/kernel/..%5c..", b"/health/live%00", b"/health/live%00.png", b"/health/live%",
    b"/kernel/%zz",
    b"/health/live%0", b"/health/live%u0041", b"/health/live%0d%0aX: y", b"/kernel/%ff",
    b"/kernel/%c0%ae", b"/kernel/%ed%a0%80", b"/kernel/\xff", b"/kernel/\xc3\xa9",
    b"/health/live#x",
    b"/kernel/a|b", b"/kernel/<x>", b"/kernel/\"", b"/kernel/^", b"/kernel/`", b"/kernel/{id}",
    b"/kernel/\\x", b"/kernel/\x01", b"/kernel/\x7f", b"/health/live;a=b", b"/health/live.json",
    b"/HEALTH/LIVE", b"*", b"/*", b"/kernel/" + b"a" * 3000, b"/" + b"a/" * 10000, b"/kernel/",
    b"/" + b"%41" * 8000, b"/api/v1/kernels/' OR '1'='1", b"/kernel/x'%20OR%20'1'='1",
    b"/api/v1/kernels/%27;DROP%20TABLE%20kernel;--", b"/api/v1/jobs/%00", b"/api/v1/jobs/%27--",
    b"/api/v1/kernels?limit=1%00", b"/api/v1/kernels?limit=99999999999999999999",
    b"/api/v1/kernels?limit=0x10", b"/api/v1/kernels?limit=1e2", b"/api/v1/kernels?limit=+1",
    b"/api/v1/kernels?limit=%201", b"/api/v1/kernels?limit=1&limit", b"/api/v1/kernels?&&&=",
    b"/api/v1/kernels?limit=\xff", b"/api/v1/kernels?status=%ff", b"/api/v1/kernels?%00=1",
    b"/api/v1/kernels?cursor=1%27%20OR%201=1", b"/api/v1/kernels?cursor=-1",
    b"/api/v1/kernels?cursor=9223372036854775808", b"/api/v1/kernels?cursor=1.5",
    b"/api/v1/kernels?cursor=%d9%a1", b"/api/v1/kernels?min_size_bytes=1e999",
    b"/api/v1/kernels?min_size_bytes=--1", b"/api/v1/kernels?min_size_bytes=1;",
    b"/api/v1/kernels?id=x", b"/api/v1/kernels?serial=1", b"/api/v1/kernels?status=a%zz",
    b"/status?history=-1", b"/status?history=%31%00", b"/api/v1/kernels?limit=1#x",
    b"/api/v1/events?kind=%c3%28", b"/api/v1/jobs?token=x", b"/openapi.json/x",
)]
HEADERS = [
    LIVE + END, LIVE + b"Host:\r\n" + END, LIVE + HOST + HOST + END, live(b"Host: y"),
    live(b"host: x"), LIVE + b"Host: a b\r\n" + END, LIVE + b"Host: x/y\r\n" + END,
    LIVE + b"Host: user@x\r\n" + END, LIVE + b"Host: x:y\r\n" + END,
    LIVE + b"Host: x:99999\r\n" + END, LIVE + b"Host: x:1:2\r\n" + END,
    LIVE + b"Host: x:\r\n" + END,
    LIVE + b"Host: :80\r\n" + END, LIVE + b"Host: [::1\r\n" + END, LIVE + b"Host: ::1\r\n" + END,
    LIVE + b"Host: []\r\n" + END, LIVE + b"Host: [x]\r\n" + END, LIVE + b"Host: x,y\r\n" + END,
    LIVE + b"Host: x\x00y\r\n" + END, LIVE + b"Host: \xff\r\n" + END, LIVE + b"Host: x%\r\n" + END,
    LIVE + b"Host: http://x\r\n" + END, LIVE + b"Host: x..y\r\n" + END,
    LIVE + b"Host: " + b"x" * 300 + b"\r\n" + END, LIVE + b"Host : x\r\n" + END,
    LIVE + b" Host: x\r\n" + END, LIVE + b"Host: x\r\n y\r\n" + END, LIVE + b"Hostx: x\r\n" + END,
    live(b"A B: c"), live(b"A : c"), live(b"A\t: c"), live(b": c"), live(b"A"), live(b"A(: c"),
    live(b"A\x00: c"), live(b"\x80: c"), live(b"A@: c"), live(b"A/B: c"), live(b'A": c'),
    live(b"A[: c"), live(b"A: b\x00c"), live(b"A: b\x01c"), live(b"A: b\x0bc"), live(b"A: b\x7fc"),
    live(b"A: b\rc"), live(b"A: b\nC: d"), live(b"A: b\n\nGET /x"), live(b"A: b", b" c"),
    live(b"A: b", b"\tc"), LIVE + HOST + b"A: b\n" + END,
    LIVE + HOST + b"A: b\n\n", live(*[b"A%d: b" % i for i in range(70)]),
    live(b"A: " + b"b" * 40000),
    live(b"A" * 40000 + b": b"), live(*[b"A: b"] * 3000), live(b"Expect: magic"),
    live(b"\x00\x00: x"), live(b"A: b\x00\x00c"), LIVE + HOST + b"\x00" + END,
]
FRAMES = [framed(*lines, body=BODY) for lines in (
    (b"Content-Length: -1",), (b"Content-Length: +5",), (b"Content-Length: 0x10",),
    (b"Content-Length: 1e2",), (b"Content-Length: 5 5",), (b"Content-Length: 5, 5",),
    (b"Content-Length: ",), (b"Content-Length: x",), (b"Content-Length: 99999999999999999999",),
    (b"Content-Length: 18446744073709551615",), (b"Content-Length: 18446744073709551616",),
    (b"Content-Length: 9223372036854775807",), (b"Content-Length: 1000000000000",),
    (b"Content-Length: %d" % len(BODY), b"Content-Length: %d" % len(BODY)),
    (b"Content-Length: %d" % len(BODY), b"Content-Length: 3"),
    (b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(BODY)),
    (b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: identity"),
    (b"Transfer-Encoding: gzip",), (b"Transfer-Encoding: gzip, chunked",),
    (b"Transfer-Encoding: chunked, chunked",), (b"Transfer-Encoding: chunked",) * 2,
    (b"Transfer-Encoding: xchunked",), (b"Transfer-Encoding: chunked;a=b",),
    (b"Transfer-Encoding: \x0bchunked",), (b"Transfer-Encoding: ",),
    (b"Transfer-Encoding : chunked",), (b"Transfer-Encoding:", b" chunked"),
    (b"Content-Length : %d" % len(BODY),), (b"Content-Length: %d\x00" % len(BODY),),
    (b"Content-Length:", b" %d" % len(BODY)), (b"Content-Length: \xb2",),
    (b"Content-Length: 0",), (), (b"Content-Length: 2",), (b"Content-Length: %d." % len(BODY),),
)] + [
    b"GET /health/live HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n" + END + b"abcde",
       LIVE + HOST + b"Transfer-Encoding: chunked\r\n" + END + b"0\r\n\r\n",
    b"POST /compile HTTP/1.0\r\n" + JSON + b"Transfer-Encoding: chunked\r\n" + END +
    chunk(BODY) + b"0\r\n\r\n",
]
CHUNKS = [chunks(body) for body in (
    b"zz\r\n", b"-5\r\nabcde\r\n0\r\n\r\n", b"+5\r\nabcde\r\n0\r\n\r\n",
    b"0x5\r\nabcde\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nabc", b"fffffffffffffffffffff\r\nabc", b"\r\n",
    b"5\r\nabcdefgh\r\n0\r\n\r\n",
    b"5\r\nab\r\n0\r\n\r\n", b" 5\r\nabcde\r\n0\r\n\r\n", b"5 \r\nabcde\r\n0\r\n\r\n",
    b"5;" + b"x" * 9000 + b"\r\nabcde\r\n0\r\n\r\n", b"0\r\nA\r\n\r\n", b"0" * 9000 + b"\r\n\r\n",
    b"5\nabcde\n0\n\n", b"g\r\n", b"\x00\r\n", b"5\x00\r\nabcde\r\n0\r\n\r\n", b"0\r\n\r\n",
    chunk(b"[]") + b"0\r\n\r\n", chunk(b"{") + chunk(b"}") + b"0\r\n\r\n",
)]
BODIES = [post(b"/compile", body) for body in (
    b"", b" ", b"\x00", b"{", b"}", b"[", b"null", b"true", b"1", b'""', b"NaN", b"[1,]", b"{,}",
    b"{'a': 1}", b'{"a": 1,}', b'{"blueprint_ir": {}, "blueprint_ir": {}}', b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00", b'{"blueprint_ir": "\xff"}', b'{"blueprint_ir": "\xed\xa0\x80"}',
    b'{"blueprint_ir": "\\ud800"}', b'{"blueprint_ir": "\\u0000"}', b'{"\\u0000": 1}',
    b'{"blueprint_ir": {"\xc0\x80": 1}}', b'{"blueprint_ir": 1e999}', b'{"blueprint_ir": -1e999}',
    b'{"blueprint_ir": 99999999999999999999}', b'{"blueprint_ir": 01}', b'{"blueprint_ir": 1.}',
    b'{"blueprint_ir": .5}', b'{"blueprint_ir": +1}', b'{"blueprint_ir": 0x1}', BODY + b"x",
    BODY + b"\x00", BODY + BODY, b"//\n" + BODY, b"[" * 100000, b'{"a":' * 100000,
    b'{"blueprint_ir": ' + b"[" * 63 + b"]" * 63 + b"}", b'{"blueprint_ir": {"nodes": [{}]}}',
    b'{"blueprint_ir": {"id": "' + b"x" * 100000 + b'"}}', b'{"blueprint_ir": {"id": "a\\nb"}}',
    b'{"blueprint_ir": {}, "cache_key": "' + b"x" * 201 + b'"}',
    b'{"blueprint_ir": {}, "cache_key": "a\\nb"}',
    b'{"blueprint_ir": {}, "hints": {"expected_batch_size": 1e3}}',
    b'{"blueprint_ir": {}, "hints": {"expected_batch_size": 9223372036854775807}}',
    b'{"blueprint_ir": {}, "hints": {"optimization_level": -9223372036854775808}}',
    b'{"blueprint_ir": {}, "hints": {"strategy": "' + b"x" * 100000 + b'"}}',
    b'{"blueprint_ir": {}, "hints": [1]}', b'{"blueprint_ir": {}, "hints": null}',
)] + [
    post(b"/compile/batch", b'{"requests": [' + b"[" * 70 + b"]" * 70 + b"]}"),
    post(b"/compile/batch", b'{"requests": {"0": {}}}'),
    post(b"/compile?async=true", b"{}"), post(b"/compile?priority=-1", BODY),
    post(b"/optimize/%27%20OR%201=1--", b"{}"), post(b"/optimize/none", b"[]"),
    put(b"/api/v1/aliases/x%27;DROP", b'{"kernel": "none"}'),
    put(b"/api/v1/aliases/x", b'{"kernel": "\' OR 1=1"}'),
    put(b"/api/v1/aliases/%F0%9F%92%A9", b'{"kernel": "none"}'),
    put(b"/api/v1/aliases/" + b"a" * 5000, b'{"kernel": "none"}'),
    put(b"/api/v1/aliases/.", b'{"kernel": "none"}'),
    put(b"/internal/v1/blueprints/none/status", b'{"status": "VALIDATED"}'),
    post(b"/api/v1/blueprints", b'{"blueprint_ir": {}, "tags": ["a,b"]}'),
    post(b"/api/v1/blueprints", b'{"blueprint_ir": {}, "tags": ["\\u0001"]}'),
    post(b"/api/v1/blueprints", b'{"blueprint_ir": {}, "id": "a\\u0001b"}'),
    post(b"/api/v1/blueprints", b'{"blueprint_ir": {}, "id": "../../x"}'),
    post(b"/api/v1/kernels/none/observations", b'{"calls": 1e999}'),
    post(b"/api/v1/kernels/none/observations", b'{"calls": 1, "p50_us": 1, "p95_us": 1}'),
    post(b"/compile", b"x", b"Content-Encoding: gzip"),
    post(b"/compile", b"x").replace(b"application/json", b"application/\x00json"),
    post(b"/compile", b"x").replace(b"application/json", b"multipart/form-data"),
    post(b"/compile", BODY).replace(b"application/json", b"application/x-www-form-urlencoded"),
]
# Odd, and right all the same.
RIGHT = [
    live(), LIVE + b"hOsT:x\r\n" + END, LIVE + b"Host:\t x \t\r\n" + END, live(b"A:"), live(b"A: "),
    LIVE + b"Host: [::1]:8080\r\n" + END, LIVE + b"Host: 127.0.0.1:1\r\n" + END, b"\r\n" + live(),
    b"GET /health/live HTTP/1.0\r\n\r\n", b"GET /health/live HTTP/1.0\r\n" + HOST + b"\r\n",
    live(*[b"A%d: b" % i for i in range(60)]), live(b"A: " + b"b" * 20000), live(b"A: \xff\xfe"),
    b"GET /health%2dlive HTTP/1.1\r\n".replace(b"%2dlive", b"/%6cive") + HOST + END,
    b"HEAD /health/live HTTP/1.1\r\n" + HOST + END, live(b"Cookie: a=b; c=d"),
    target(b"/api/v1/kernels?limit=%31"), target(b"/api/v1/kernels?tag=a+b%26c"),
    post(b"/compile", BODY), chunks(chunk(BODY) + b"0\r\n\r\n"), chunks(
        b"".join(chunk(BODY[i:i + 1]) for i in range(len(BODY))) + b"0\r\n\r\n"),
    chunks(chunk(BODY, b";name=value") + b"0\r\n\r\n"), chunks(chunk(BODY) + b"0\r\nA: b\r\n\r\n"),
    post(b"/compile", BODY, b"Expect: 100-continue"), post(b"/compile", b"\r\n\t " + BODY + b"\n"),
]
# What the library answers by itself, and closes: another version, and a line between chunks that is
# longer than the connection's memory.
ENDS = {505}
LONG_CHUNKS = [chunks(b"5;" + b"x" * 40000 + b"\r\nabcde\r\n0\r\n\r\n"),
               chunks(b"0" * 40000 + b"\r\n\r\n")]


class Case(unittest.TestCase):
    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(max_body_mb=1, **cls.settings)
        cls.addClassCleanup(cls.server.close)

    def connect(self, timeout=5):
        connection = socket.create_connection(("127.0.0.1", self.server.port), timeout)
        self.addCleanup(connection.close)
        return connection

    def send(self, data, timeout=5, half_close=True):
        """All that is answered until the server closes; None: it does not."""
        connection = self.connect(timeout)
        answer = b""
        try:
            connection.sendall(data)
            if half_close: # whoever waits for more sees that there is none
                connection.shutdown(socket.SHUT_WR)
            while True:
                piece = connection.recv(65536)
                if not piece:
                    return answer
                answer += piece
        except socket.timeout:
            return None
        except OSError:
            return answer
        finally:
            connection.close()

    def check_up(self):
        self.assertEqual(self.server.get("/health/live").status, 200)
        self.assertIsNone(self.server.process.poll())


def status(answer):
    first = answer.split(b"\r\n", 1)[0].split(b" ")
    return int(first[1]) if len(first) > 1 and first[0].startswith(b"HTTP/") else 0


class Malformed(Case):
    def refuse(self, cases):
        for data in cases:
            with self.subTest(data=data[:120], size=len(data)):
                answer = self.send(data)
                self.assertIsNotNone(answer, "neither answered nor closed")
                got = status(answer)
                self.assertTrue(got == 0 or 400 <= got < 500 or got in ENDS, answer[:300])
        self.check_up()

    def test_first_lines(self):
        self.refuse(FIRST_LINES)

    def test_targets(self):
        self.refuse(TARGETS)

    def test_headers(self):
        self.refuse(HEADERS)

    def test_frames(self):
        self.refuse(FRAMES)

    def test_chunks(self):
        self.refuse(CHUNKS)
        for data in LONG_CHUNKS:
            self.assertNotIn(b" 200 ", self.send(data))
        self.check_up()

    def test_bodies(self):
        self.refuse(BODIES)

    def test_there_are_enough(self):
        cases = FIRST_LINES + TARGETS + HEADERS + FRAMES + CHUNKS + BODIES
        self.assertGreaterEqual(len(set(cases)), 200)

    def test_what_is_right(self):
        for data in RIGHT:
            with self.subTest(data=data[:120], size=len(data)):
                answer = self.send(data, half_close=False)
                answer = (answer or b"").replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
                self.assertEqual(status(answer), 200, answer[:300])

    def test_nothing_was_done(self):
        self.assertEqual(self.server.get("/api/v1/aliases").json()["items"], [])
        self.assertEqual(self.server.get("/api/v1/blueprints?status=UNVALIDATED").json()["items"],
                         [])


class Pieces(Case):
    def test_one_byte_at_a_time(self):
        connection = self.connect()
        for byte in live():
            connection.sendall(bytes([byte]))
        self.assertEqual(status(connection.recv(1000)), 200)

    def test_pipelined(self):
        count = 20
        data = b"".join(LIVE + HOST + b"\r\n" for _ in range(count - 1)) + live()
        self.assertEqual(self.send(data, half_close=False).count(b'{"status":"alive"}'), count)
        mixed = LIVE + HOST + b"\r\n" + post(b"/compile", BODY).replace(END[:19], b"") + \
            target(b"/status")
        self.assertEqual(self.send(mixed, half_close=False).count(b"HTTP/1.1 200"), 3)

    def test_nothing_is_read_behind_what_is_wrong(self):
        for data in (framed(b"Content-Length: 3", b"Content-Length: 5"),
                     framed(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
                     chunks(b"zz\r\n"), live(b"A: b", b" c").replace(END, b"\r\n")):
            answer = self.send(data.replace(b"Connection: close\r\n", b"") + live())
            self.assertNotIn(b"alive", answer)

    def test_a_refusal_leaves_the_connection(self):
        connection = self.server.connect()
        for path, body, wanted in (("/none", None, 404), ("/compile", b"[]", 400),
                                   ("/none", b"x" * 5000, 404), ("/compile", b"x" * 2000000, 413),
                                   ("/health/live", None, 200)):
            reply = self.server.ask("POST" if body else "GET", path, body, connection=connection)
            self.assertEqual(reply.status, wanted)
        connection.close()


class Slow(Case):
    settings = {"request_timeout_seconds": 2, "connection_timeout_seconds": 1}

    def trickle(self, data, seconds):
        """How long a connection lasted on which a byte came now and then."""
        connection = self.connect(10)
        begin = time.monotonic()
        answer = b""
        try:
            for byte in data:
                connection.sendall(bytes([byte]))
                connection.settimeout(0.2)
                try:
                    answer = connection.recv(1000)
                    break
                except socket.timeout:
                    pass
                if time.monotonic() - begin > seconds:
                    self.fail("it goes on for ever")
        except OSError:
            pass
        self.assertNotEqual(status(answer), 200)
        return time.monotonic() - begin

    def test_all_that_trickles(self):
        body = post(b"/compile", b" " * 5000 + BODY)
        split = body.index(b"\r\n\r\n") + 4
        cases = [b"GET /" + b"a" * 500, LIVE + b"A: " + b"b" * 500, body[:split] + body[split:]]
        results = []
        threads = [threading.Thread(target=lambda data=data: results.append(
            self.trickle(data, 12))) for data in cases]
        for thread in threads:
            thread.start()
        connection = self.connect(10)
        connection.sendall(body[:split + 1000]) # and nothing more
        self.assertIn(connection.recv(1000)[:12], (b"", b"HTTP/1.1 408"))
        idle = self.connect(10)
        self.assertEqual(idle.recv(1000), b"")
        for thread in threads:
            thread.join()
        self.assertEqual(len(results), 3)
        self.check_up()


class Leaks(Case):
    def test_early_ends(self):
        requests = [live(), post(b"/compile", BODY), target(b"/api/v1/kernels"),
        target(b"/metrics"),
                    chunks(chunk(BODY)), target(b"/none")]

        def some(count):
            for i in range(count):
                data = requests[i % len(requests)]
                connection = socket.create_connection(("127.0.0.1", self.server.port), 5)
                connection.sendall(data[:(i * 37) % len(data) + 1])
                connection.close()
            for data in (FIRST_LINES + TARGETS + HEADERS + FRAMES + CHUNKS + BODIES)[::3]:
                self.send(data)
            wait_for(lambda: self.server.descriptors() <= self.limit, 10, "descriptors are left")
        self.server.compile(tiny(), strategy="emergency")
        self.limit = self.server.descriptors() + 4
        some(200)
        before = self.server.resident_kib()
        for _ in range(3):
            some(300)
        self.assertLess(self.server.resident_kib() - before, 8192, "KiB of growth")
        self.check_up()


if __name__ == "__main__":
    main()
