#!/usr/bin/env python3
"""What one client may not do to another, nor to the service. Prints TAP."""
import hashlib
import http.client
import json
import os
import shutil
import socket
import tempfile
import threading
import time
import unittest
from pathlib import Path

from serve_util import CHEAP, Held, Server, main, run_urza, tiny, wait_for


def tokens_file(folder, **clients):
    """name=scopes: a file of their tokens, each named after its client."""
    lines = [f"{hashlib.sha256(name.encode()).hexdigest()} {scopes} {name}"
             for name, scopes in clients.items()]
    path = Path(folder) / "tokens"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


class Guarded(unittest.TestCase):
    """alice and mallory may compile, root may do everything; nobody else may do anything."""
    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="urza-guard-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        tokens = tokens_file(cls.folder, alice="read,compile", mallory="read,compile",
                             root="read,compile,admin")
        cls.server = Server(folder=cls.folder, tokens=tokens, **cls.settings)
        cls.addClassCleanup(cls.server.close)

    def ask(self, client, method, path, body=None, status=200, **headers):
        reply = self.server.ask(method, path, body, Authorization="Bearer " + client, **headers)
        self.assertEqual(reply.status, status, reply.body[:400])
        return reply

    def compile(self, client, ir, status=200, path="/compile", **more):
        body = {"blueprint_ir": ir, "hints": CHEAP, **more}
        return self.ask(client, "POST", path, body, status).json()


class Clients(Guarded):
    settings = {"max_concurrent_compilations": 1, "queue_limit": 8}

    def test_jobs_of_others(self):
        with Held(self.server):
            job = self.compile("alice", tiny("hers", 3), 202, "/compile?async=true")["job_id"]
            self.ask("mallory", "DELETE", "/api/v1/jobs/" + job, status=403)
            self.ask("alice", "DELETE", "/api/v1/jobs/" + job)
            job = self.compile("alice", tiny("hers", 4), 202, "/compile?async=true")["job_id"]
            self.ask("root", "DELETE", "/api/v1/jobs/" + job)

    def test_names_of_keys(self):
        self.compile("alice", tiny("secret", 5), cache_key="a name of alice's")
        answer = self.compile("mallory", tiny("secret", 5))
        self.assertTrue(answer["cache_hit"])
        self.assertNotIn("alice", json.dumps(answer))

    def test_what_only_admins_do(self):
        kernel = self.compile("alice", tiny("kept", 6))["kernel_id"]
        self.ask("mallory", "DELETE", "/api/v1/kernels/" + kernel, status=403)
        self.ask("mallory", "PATCH", "/api/v1/kernels/" + kernel, {"status": "RETIRED"}, 403)
        self.ask("mallory", "DELETE", "/api/v1/failures/none", status=403)
        self.ask("mallory", "POST", "/api/v1/jobs/none/release", status=403)

    def test_the_last_places_are_for_others(self):
        """mallory fills what places she gets; alice is still served, and in turn."""
        replies = {"alice": [], "mallory": []}

        def ask(client, width):
            reply = self.server.post("/compile?priority=9" if client == "mallory" else "/compile",
                                     {"blueprint_ir": tiny("turn", width), "hints": CHEAP},
                                     Authorization="Bearer " + client)
            replies[client].append((reply.status, time.monotonic()))
        threads = []
        with Held(self.server):
            for width in range(100, 112):
                threads.append(threading.Thread(target=ask, args=("mallory", width)))
                threads[-1].start()
            wait_for(lambda: len(replies["mallory"]) >= 5) # refused
            threads.append(threading.Thread(target=ask, args=("alice", 200)))
            threads[-1].start()
            wait_for(lambda: self.metric("urza_queued_compilations") == 7)
        for thread in threads:
            thread.join()
        self.assertEqual([status for status, _ in replies["alice"]], [200])
        statuses = sorted(status for status, _ in replies["mallory"])
        self.assertEqual(statuses, [200] * 7 + [503] * 5) # one under way, six wait
        later = [at for status, at in replies["mallory"]
                 if status == 200 and at > replies["alice"][0][1]]
        self.assertGreaterEqual(len(later), 3)

    def metric(self, name):
        text = self.ask("alice", "GET", "/metrics").body.decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith((name + " ", name + "{")))

    def test_who_hung_up_is_not_compiled_for(self):
        before = self.metric("urza_compilations_total")
        with Held(self.server):
            first = threading.Thread(target=self.compile, args=("alice", tiny("waits", 300)))
            first.start()
            wait_for(lambda: self.metric("urza_active_compilations") == 1)
            body = json.dumps({"blueprint_ir": tiny("gone", 301), "hints": CHEAP}).encode()
            with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
                connection.sendall(b"POST /compile HTTP/1.1\r\nHost: localhost\r\n"
                                   b"Authorization: Bearer mallory\r\n"
                                   b"Content-Type: application/json\r\n"
                                   b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
                wait_for(lambda: self.metric("urza_queued_compilations") == 1)
        first.join()
        wait_for(lambda: self.metric("urza_compilations_total") == before + 2)
        items = self.ask("alice", "GET", "/api/v1/kernels?name=gone").json()["items"]
        self.assertEqual(items, [])


class Memory(Guarded):
    settings = {"max_bodies_mb": 64, "max_body_mb": 4}

    def test_bodies_have_a_share(self):
        """48 of 64 MB, where a byte counts four times: twelve bodies of 1 MB, and no more."""
        held = []
        for _ in range(16):
            connection = socket.create_connection(("127.0.0.1", self.server.port))
            connection.sendall(b"POST /compile HTTP/1.1\r\nHost: localhost\r\n"
                               b"Authorization: Bearer mallory\r\n"
                               b"Content-Type: application/json\r\nContent-Length: 1040000\r\n\r\n")
            connection.sendall(b" " * 1030000)
            held.append(connection)
        wait_for(lambda: self.server.ask("GET", "/metrics", Authorization="Bearer alice").body
                 .find(b'urza_refused_total{reason="memory"}') >= 0)
        self.compile("alice", tiny("small", 7))
        for connection in held:
            connection.close()
        wait_for(lambda: self.server.ask(
            "POST", "/compile", b" " * 1030000, Authorization="Bearer mallory").status == 400)

    def test_values_are_counted_whatever_the_type(self):
        bomb = b'{"id":"a","x":[' + b"[]," * 1300000 + b"[]]}"
        before = self.server.resident_kib()
        for kind, status in (("application/json", 413), ("application/octet-stream", None)):
            reply = self.server.ask("POST", "/compile", bomb, Authorization="Bearer alice",
                                    Content_Type=kind)
            self.assertIn(reply.status, (400, 413))
            self.assertTrue(status is None or reply.status == status)
        self.assertLess(self.server.resident_kib() - before, 100 * 1024)

    def test_what_is_listed_is_bounded(self):
        self.ask("alice", "POST", "/api/v1/blueprints",
                 {"blueprint_ir": tiny("big"), "metadata": {"a": "x" * 70000}}, 413)
        for number in range(60):
            self.ask("alice", "POST", "/api/v1/blueprints",
                     {"id": f"b{number}", "blueprint_ir": tiny("big", number + 3),
                      "metadata": {"a": "x" * 60000}}, 201)
        seen, cursor = [], ""
        while cursor is not None:
            page = self.ask("alice", "GET", "/api/v1/blueprints?limit=500" +
                            (f"&cursor={cursor}" if cursor else ""))
            self.assertLess(len(page.body), 4 << 20)
            seen += [item["id"] for item in page.json()["items"]]
            cursor = page.json()["next"]
        mine = [name for name in seen if name.startswith("b") and name[1:].isdigit()]
        self.assertEqual(mine, [f"b{number}" for number in reversed(range(60))])


class Pages(unittest.TestCase):
    """A service that asks for no token, and pages of others in a browser on the same machine."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)

    def ask(self, method, path, body=None, **headers):
        return self.server.ask(method, path, body, **headers).status

    def test_they_may_do_nothing(self):
        body = json.dumps({"blueprint_ir": tiny("csrf"), "hints": CHEAP}).encode()
        own = f"http://127.0.0.1:{self.server.port}"
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", own + ".evil.example"):
            with self.subTest(origin=origin):
                self.assertEqual(self.ask("POST", "/compile", body, Origin=origin), 403)
        self.assertEqual(self.ask("POST", "/compile", body, Sec_Fetch_Site="cross-site"), 403)
        self.assertEqual(self.ask("GET", "/api/v1/kernels", Host="evil.example"), 403)
        self.assertEqual(self.ask("GET", "/status", Host="127.0.0.1.evil.example:80"), 403)

    def test_its_own_page_may(self):
        body = json.dumps({"blueprint_ir": tiny("own"), "hints": CHEAP}).encode()
        own = f"http://127.0.0.1:{self.server.port}"
        self.assertEqual(self.ask("POST", "/compile", body, Origin=own,
                                  Sec_Fetch_Site="same-origin"), 200)
        for host in ("localhost", "127.0.0.1:80", "[::1]:9", "urza"):
            self.assertEqual(self.ask("GET", "/status", Host=host), 200)
        self.assertEqual(self.ask("GET", "/health/live", Host="probe.example"), 200)

    def test_arguments_that_stand_twice(self):
        self.assertEqual(self.ask("GET", "/api/v1/kernels?limit=1&limit=5"), 400)
        self.assertEqual(self.ask("GET", "/status?history=1&history=1"), 400)
        self.assertEqual(self.ask("GET", "/status?color=red"), 400)


class Crowd(unittest.TestCase):
    def test_idle_connections_make_room(self):
        server = Server(max_connections=64)
        self.addCleanup(server.close)
        idle = []
        for _ in range(100):
            try:
                idle.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            except OSError:
                break
        self.addCleanup(lambda: [connection.close() for connection in idle])
        wait_for(lambda: answers(server), 15)

    def test_a_log_that_nobody_reads(self):
        folder = Path(tempfile.mkdtemp(prefix="urza-log-"))
        self.addCleanup(shutil.rmtree, folder)
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        server = LoggedServer(folder, writer)
        self.addCleanup(server.close)
        os.close(writer)
        for _ in range(400): # of some 200 bytes each: more than the pipe holds
            self.assertEqual(server.get("/status").status, 200)
        self.assertEqual(server.stop(), 0)


def answers(server):
    try:
        return server.ask("GET", "/health/live", connection=server.connect(2)).status == 200
    except (OSError, http.client.HTTPException):
        return False


class LoggedServer(Server):
    """Its log goes to a descriptor."""

    def __init__(self, folder, descriptor):
        self.descriptor = descriptor
        super().__init__(folder=folder, log_level="debug")

    def open_log(self):
        return os.fdopen(os.dup(self.descriptor), "ab")


class Places(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="urza-place-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def refused(self, word):
        done = run_urza("serve", "--data", self.folder / "data", "--port", 0)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(word, done.stderr)

    def test_a_folder_of_everybody(self):
        (self.folder / "data").mkdir()
        (self.folder / "data").chmod(0o777)
        self.refused("others may write")

    @unittest.skipUnless(os.geteuid() == 0, "only root may give folders away")
    def test_a_folder_of_somebody_else(self):
        (self.folder / "data").mkdir()
        os.chown(self.folder / "data", 12345, 12345)
        self.refused("another user")

    def test_a_lock_that_leads_elsewhere(self):
        (self.folder / "data").mkdir()
        (self.folder / "data" / "lock").symlink_to(self.folder / "victim")
        self.refused("lock")
        self.assertFalse((self.folder / "victim").exists())


if __name__ == "__main__":
    main()
