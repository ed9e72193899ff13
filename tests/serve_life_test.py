#!/usr/bin/env python3
"""The life of urza serve: settings, tokens, TLS, ends of all kinds, and what outlives them. Prints
TAP."""
import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from serve_util import CHEAP, Held, Server, chain, children_of, main, run_urza, tiny, wait_for


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="urza-serve-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def start(self, **options):
        server = Server(self.folder, **options)
        self.addCleanup(server.close)
        return server


class Settings(Case):
    def shown(self, *words, **options):
        done = run_urza("serve", "--print-config", *words, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return {name.strip(): value.strip() for name, _, value in
                (line.partition("=") for line in done.stdout.splitlines()) if value.strip()}

    def test_each_source_wins_over_the_one_before(self):
        path = self.folder / "urza.ini"
        path.write_text("[urza]\n; mine\nqueue_limit = 7\n cache_ttl_hours=5\nworkers = 3\n\n")
        environment = {"URZA_QUEUE_LIMIT": "8", "URZA_CACHE_TTL_HOURS": "6"}
        self.assertEqual(self.shown()["queue_limit"], "256")
        self.assertEqual(self.shown("--config", path)["queue_limit"], "7")
        shown = self.shown("--config", path, "--queue-limit", "9", environment=environment)
        self.assertEqual((shown["queue_limit"], shown["cache_ttl_hours"], shown["workers"]),
                         ("9", "6", "3"))

    def test_round_trip(self):
        first = run_urza("serve", "--print-config", "--port", "0", "--strategy", "fast",
                         "--enable-kernel-cache", "false").stdout
        path = self.folder / "urza.ini"
        path.write_text(first)
        self.assertEqual(run_urza("serve", "--print-config", "--config", path).stdout, first)
        for name in ("max_concurrent_compilations", "queue_limit", "compile_timeout_seconds",
                     "optimization_level", "cache_ttl_hours", "max_cache_size_gb",
                     "enable_kernel_cache"):
            self.assertIn(f"\n{name} = ", first)

    def test_what_is_refused(self):
        path = self.folder / "urza.ini"
        for text in ("queue_limit 7", "colour = red", "queue_limit = x", "queue_limit = 0",
                     "queue_limit = 99999999999", "enable_kernel_cache = maybe", "port = 65536",
                     "port = -1", "= 5"):
            path.write_text("\n" + text + "\n")
            done = run_urza("serve", "--print-config", "--config", path)
            self.assertEqual(done.returncode, 64, text)
            self.assertIn("line 2", done.stderr)
        for words in (("--strategy", "wild"), ("--log-level", "loud"), ("--host", "0.0.0.0"),
                      ("--host", "::"), ("--tls-key", path), ("--config", self.folder / "none"),
                      ("--tokens", self.folder / "none"), ("extra",), ("--colour", "red"),
                      ("--target-hardware", "abacus")):
            done = run_urza("serve", "--data", self.folder / "data", "--port", "0", *words)
            self.assertGreaterEqual(done.returncode, 64, words)
            self.assertTrue(done.stderr, words)

    def test_defaults_of_hints_are_settings(self):
        server = self.start(strategy="emergency", optimization_level=0)
        metadata = server.compile(tiny()).json()["metadata"]
        self.assertEqual((metadata["strategy"], metadata["targets"]), ("emergency", []))
        self.assertEqual(server.compile(tiny()).json()["metadata"]["cache"]["level"], "memory")

    def test_cache_that_is_off(self):
        server = self.start(strategy="emergency", enable_kernel_cache=False)
        for _ in range(2):
            self.assertIs(server.compile(tiny()).json()["cache_hit"], False)
        self.assertEqual(server.compilations(), 2)

    def test_one_server_a_folder(self):
        self.start()
        with self.assertRaisesRegex(AssertionError, "used by another process"):
            self.start()

    def test_a_folder_that_is_missing_is_made(self):
        self.start().stop()
        shutil.rmtree(self.folder / "data" / "objects", ignore_errors=True)
        self.start().stop()


class Tokens(Case):
    def token(self, name, scopes):
        done = run_urza("token", "new", name, "--scopes", scopes, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        made = json.loads(done.stdout)
        self.assertEqual(hashlib.sha256(made["token"].encode()).hexdigest(),
                         made["line"].split()[0])
        with open(self.folder / "tokens", "a") as file:
            file.write(made["line"] + "\n")
        (self.folder / "tokens").chmod(0o600)
        return made["token"]

    def test_scopes(self):
        tokens = {scopes: self.token(scopes.split(",")[0], scopes)
                  for scopes in ("read", "read,compile", "admin,read,compile", "worker")}
        server = self.start(tokens=self.folder / "tokens", host="0.0.0.0")
        kernel_path = "/api/v1/kernels/none"
        routes = [("GET", "/status", None, "read"), ("GET", "/metrics", None, "read"),
                  ("GET", "/kernel/none", None, "read"),
                  ("POST", "/compile", {"blueprint_ir": {}}, "compile"),
                  ("POST", "/api/v1/blueprints", {}, "compile"),
                  ("DELETE", kernel_path, None, "admin"),
                  ("GET", "/internal/v1/blueprints/unvalidated", None, "worker")]
        for method, path, body, needed in routes:
            reply = server.ask(method, path, body)
            self.assertEqual((reply.status, reply.json()["error"]), (401, "UnauthorizedError"))
            self.assertEqual(reply.headers["WWW-Authenticate"], "Bearer")
            for authorization in ("Bearer " + "x" * 43, "Bearer", "Bearer ", "Basic eDp5",
                                  tokens["read"], "Bearer  " + tokens["read"]):
                reply = server.ask(method, path, body, Authorization=authorization)
                self.assertEqual(reply.status, 401, authorization)
            for scopes, token in tokens.items():
                reply = server.ask(method, path, body, Authorization="Bearer " + token)
                allowed = needed in scopes.split(",")
                self.assertEqual(reply.status not in (401, 403), allowed, (path, scopes))
                if not allowed:
                    self.assertEqual((reply.status, reply.json()["error"]),
                                     (403, "ForbiddenError"))
        for path in ("/health/live", "/health/ready", "/openapi.json"):
            self.assertEqual(server.get(path).status, 200)
        server.token = tokens["read,compile"]
        kernel = server.post("/compile", {"blueprint_ir": tiny(), "hints": CHEAP}).json()
        path = "/api/v1/kernels/" + kernel["kernel_id"]
        self.assertEqual(server.ask("PATCH", path, {"status": "RETIRED"}).status, 403)
        self.assertEqual(server.ask("PATCH", path, {"status": "TESTING"}).status, 200)
        changes = server.get(path + "/history").json()["items"]
        self.assertEqual(changes[0]["client"], "read")
        self.assertNotIn(server.token, server.log())

    def test_files_that_are_none(self):
        path = self.folder / "tokens"
        digest = "0" * 64
        for text in ("x read me", digest, digest + " read", digest + " fly me",
                     digest + " read m e", digest[1:] + " read me", digest + " read,fly me",
                     digest + " read a/b"):
            path.write_text("# mine\n" + text + "\n")
            path.chmod(0o600)
            done = run_urza("serve", "--data", self.folder / "data", "--port", 0, "--tokens", path)
            self.assertEqual(done.returncode, 64, (text, done.stderr))
            self.assertIn("line 2", done.stderr)
        path.write_text(digest + " read me\n")
        path.chmod(0o666)
        done = run_urza("serve", "--data", self.folder / "data", "--port", 0, "--tokens", path)
        self.assertGreaterEqual(done.returncode, 64)


class Tls(Case):
    def test_https(self):
        if not shutil.which("openssl"):
            self.skipTest("openssl is not installed")
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=here",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out",
                        certificate], check=True, capture_output=True)
        context = ssl.create_default_context(cafile=certificate)
        server = self.start(tls_certificate=certificate, tls_key=key, context=context)
        self.assertTrue(server.url.startswith("https://"))
        answer = server.compile(tiny(), **CHEAP)
        self.assertEqual(answer.status, 200)
        self.assertEqual(server.get("/kernel/" + answer.json()["kernel_id"]).status, 200)
        server.context = None
        with self.assertRaises(OSError):
            server.get("/health/live") # plain HTTP
        self.assertEqual(server.stop(), 0)
        certificate.write_text("none")
        done = run_urza("serve", "--data", self.folder / "data", "--port", 0, "--tls-certificate",
                        certificate, "--tls-key", key)
        self.assertGreaterEqual(done.returncode, 64)


class Ends(Case):
    def ask_behind(self, server, count, **options):
        """Requests for compilations of their own that wait; (threads, replies)."""
        replies = []

        def ask(width):
            replies.append(server.compile(tiny("end", width), **CHEAP))
        threads = [threading.Thread(target=ask, args=(3 + i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        return threads, replies

    def test_what_was_read_is_answered(self):
        server = self.start(max_concurrent_compilations=1)
        idle = server.connect()
        self.assertEqual(server.ask("GET", "/health/live", connection=idle).status, 200)
        half = server.connect()
        half.connect()
        half.sock.sendall(b"POST /compile HTTP/1.1\r\nHost: x\r\n")
        with Held(server):
            threads, replies = self.ask_behind(server, 4)
            wait_for(lambda: server.metric("urza_queued_compilations") == 3)
            begin = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: len(replies) == 3, what="those that wait were not refused")
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - begin, 10)
        for thread in threads:
            thread.join()
        self.assertEqual([reply.status for reply in replies], [503, 503, 503, 200])
        self.assertTrue(all(reply.headers["Retry-After"] for reply in replies[:3]))
        with self.assertRaises(OSError):
            server.get("/health/live")
        idle.close()
        half.close()

    def test_what_takes_too_long_is_refused(self):
        server = self.start(max_concurrent_compilations=1)
        begin = time.monotonic()
        with Held(server) as held:
            threads, replies = self.ask_behind(server, 1)
            wait_for(lambda: server.metric("urza_active_compilations") == 1)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(6.5) # past the time that is given to what is under way
            held.go_on()
            self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - begin, 11)
        threads[0].join()
        self.assertIn(replies[0].status, (200, 503))

    def test_streams_end(self):
        server = self.start(max_concurrent_compilations=1)
        with Held(server):
            job = server.post("/compile?async=true", {"blueprint_ir": tiny(), "hints": CHEAP})
            path = job.headers["Location"]
            wait_for(lambda: server.get(path).json()["state"] == "LEASED")
            bodies = []
            watcher = threading.Thread(
                target=lambda: bodies.append(server.get(path + "/events").body))
            watcher.start()
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.stop(), 0)
        watcher.join(10)
        self.assertTrue(bodies)

    def test_interrupt(self):
        self.assertEqual(self.start().stop(signal.SIGINT), 0)

    def test_all_is_there_again(self):
        server = self.start()
        kernel = server.compile(chain("kept", 5, "linear")).json()["kernel_id"]
        server.ask("PUT", "/api/v1/aliases/best", {"kernel": kernel})
        server.ask("PATCH", "/api/v1/kernels/best", {"status": "DEPLOYED", "tags": ["a"]})
        server.post("/api/v1/blueprints", {"id": "mine", "blueprint_ir": tiny()})
        package = server.get("/kernel/best").body
        job = server.post("/compile?async=true", {"blueprint_ir": tiny("job"), "hints": CHEAP})
        path = job.headers["Location"]
        wait_for(lambda: server.get(path).json()["state"] == "DONE")
        paths = ("/api/v1/kernels", "/api/v1/aliases", "/api/v1/blueprints", "/api/v1/jobs",
                 "/api/v1/compilations", f"/api/v1/kernels/{kernel}/history", path)
        before = [server.get(path).json() for path in paths]
        for end in (signal.SIGTERM, signal.SIGKILL):
            pids = server.children()
            server.stop(end)
            wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
                     what="processes are left")
            checked = run_urza("fsck", "--data", self.folder / "data")
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
            server = self.start()
            after = [server.get(path).json() for path in paths]
            for one, other in zip(before, after):
                for item in one.get("items", []) + other.get("items", []):
                    for moving in ("used_ms", "uses"):
                        item.pop(moving, None)
            self.assertEqual(after, before)
            self.assertEqual(server.get("/kernel/best").body, package)
            again = server.compile(chain("kept", 5, "linear")).json()
            self.assertEqual((again["cache_hit"], again["kernel_id"]), (True, kernel))
            self.assertEqual(server.compilations(), 0)

    def test_jobs_outlive_it(self):
        server = self.start(max_concurrent_compilations=1)
        with Held(server):
            jobs = [server.post("/compile?async=true",
                                {"blueprint_ir": tiny("job", width), "hints": CHEAP})
                    .headers["Location"] for width in (3, 4, 5)]
            wait_for(lambda: server.get(jobs[0]).json()["state"] == "LEASED")
            server.process.kill()
            server.process.wait()
        server.close()
        server = self.start(max_concurrent_compilations=1)
        for job in jobs:
            wait_for(lambda: server.get(job).json()["state"] == "DONE", what="it is not done")


class Deaths(Case):
    def compiler(self, server):
        return wait_for(lambda: children_of(server.spawner()), what="no compiler")[0]

    def test_of_a_compiler(self):
        server = self.start(max_concurrent_compilations=1)
        replies = []
        big = chain("killed", 256, *["linear", "tanh"] * 12)
        asker = threading.Thread(target=lambda: replies.append(server.compile(big)))
        asker.start()
        os.kill(self.compiler(server), signal.SIGKILL)
        asker.join()
        self.assertIn(replies[0].status, (200, 500), replies[0].body)
        if replies[0].status == 200:
            self.assertTrue(replies[0].json()["metadata"]["degraded"])
        else:
            self.assertEqual(replies[0].json()["error"], "CompilationError")
        self.assertEqual(server.get("/health/ready").status, 200)
        self.assertEqual(server.compile(tiny(), **CHEAP).status, 200)

    def test_of_the_spawner(self):
        server = self.start()
        kernel = server.compile(tiny("before"), **CHEAP).json()["kernel_id"]
        os.kill(server.spawner(), signal.SIGKILL)
        wait_for(lambda: server.get("/health/ready").status == 503, what="it says it is ready")
        self.assertEqual(server.get("/health/live").status, 200)
        reply = server.compile(tiny("after"), **CHEAP)
        self.assertEqual(reply.status, 503, reply.body)
        self.assertEqual(server.get("/kernel/" + kernel).status, 200)
        self.assertIs(server.compile(tiny("before"), **CHEAP).json()["cache_hit"], True)
        self.assertEqual(server.stop(), 0)

    def test_of_disk(self):
        """An object that is damaged is 503, with an event, and not served."""
        server = self.start()
        kernel = server.compile(tiny("damaged"), **CHEAP).json()["kernel_id"]
        server.stop()
        package = max((path for path in (self.folder / "data/objects").rglob("*")
                       if path.is_file()), key=lambda path: path.stat().st_size)
        package.chmod(0o600)
        with open(package, "r+b") as file:
            file.seek(package.stat().st_size // 2)
            file.write(b"\xff" * 16)
        server = self.start()
        self.assertEqual(server.get("/kernel/" + kernel).status, 503)
        self.assertEqual(server.get("/api/v1/events").json()["items"][0]["kind"], "damage")
        self.assertEqual(server.get("/health/ready").status, 200)


if __name__ == "__main__":
    main()
