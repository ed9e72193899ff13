#!/usr/bin/env python3
"""urza serve as its clients see it: every endpoint, and what each promises. Prints TAP."""
import hashlib
import http.client
import io
import json
import re
import shutil
import subprocess
import threading
import unittest
import zipfile

from serve_util import Held, Server, chain, main, tiny, wait_for

KERNEL_ID = re.compile(r"kernel-[0-9a-f]{64}$")
CHEAP = {"strategy": "emergency"}


class Case(unittest.TestCase):
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


class Compile(Case):
    def test_answer(self):
        before = self.server.compilations()
        answer = self.compile(tiny("answer", 5))
        self.assertRegex(answer["kernel_id"], KERNEL_ID)
        self.assertGreater(answer["compilation_time_ms"], 0)
        self.assertIsInstance(answer["optimizations_applied"], list)
        self.assertIs(answer["cache_hit"], False)
        metadata = answer["metadata"]
        self.assertIsNone(metadata["cache"]["level"])
        self.assertEqual(metadata["cache"]["miss_reason"], "no kernel of this blueprint")
        self.assertEqual(metadata["degraded"], [])
        self.assertEqual(metadata["evidence"], "verified")
        self.assertIn("x86-64-v2", metadata["targets"])
        self.assertIn("codegen", metadata["stages_ms"])
        self.assertEqual(self.server.compilations(), before + 1)
        again = self.compile(tiny("answer", 5))
        self.assertIs(again["cache_hit"], True)
        self.assertEqual(again["kernel_id"], answer["kernel_id"])
        self.assertIsNotNone(again["metadata"]["cache"]["level"])
        self.assertEqual(self.server.compilations(), before + 1)
        self.assertEqual(self.get("/status").json()["compilations_total"], before + 1)

    def test_key_order_and_white_space(self):
        ir = chain("order", 6, "relu", "tanh")
        self.compile(ir, **CHEAP)

        def turned(value):
            if isinstance(value, dict):
                return {key: turned(value[key]) for key in reversed(list(value))}
            return [turned(item) for item in value] if isinstance(value, list) else value
        body = json.dumps(turned({"blueprint_ir": ir, "hints": CHEAP}), indent=3).encode()
        self.assertIs(self.post("/compile", body).json()["cache_hit"], True)
        escaped = body.replace(b"order", b"\\u006frder")
        self.assertIs(self.post("/compile", escaped).json()["cache_hit"], True)

    def test_any_hint_matters(self):
        ir = tiny("hints", 7)
        keys = {self.compile(ir, **CHEAP)["metadata"]["key"]}
        others = [{"expected_batch_size": 8}, {"precision": "bf16"}, {"optimization_level": 0},
                  {"optimization_level": 1}, {"optimize_memory": True}, {"target_hardware": "cuda"},
                  {"target_hardware": "x86-64-v3"}, {"expected_workload": "latency"}]
        for other in others:
            answer = self.compile(ir, **CHEAP, **other)
            self.assertIs(answer["cache_hit"], False, other)
            self.assertIn("hint", answer["metadata"]["cache"]["miss_reason"] or "")
            keys.add(answer["metadata"]["key"])
            self.assertIs(self.compile(ir, **CHEAP, **other)["cache_hit"], True)
        self.assertEqual(len(keys), len(others) + 1)

    def test_legal_hints_degrade_visibly(self):
        answer = self.compile(tiny("less", 8), target_hardware="cuda", precision="fp16",
                              strategy="emergency", expected_workload="training")
        what = {item["what"] for item in answer["metadata"]["degraded"]}
        self.assertEqual(what, {"target_hardware", "precision", "expected_workload"})
        kernel = self.get("/api/v1/kernels/" + answer["kernel_id"]).json()
        self.assertEqual((kernel["precision"], kernel["strategy"]), ("fp32", "emergency"))

    def test_aggressive_measures(self):
        ir = chain("measured", 96, "linear", "relu", "linear")
        first = self.compile(ir, strategy="standard", target_hardware="native")
        answer = self.post("/optimize/" + first["kernel_id"], {"strategy": "aggressive"}).json()
        self.assertEqual(answer["metadata"]["strategy"], "aggressive")
        self.assertEqual(answer["metadata"]["evidence"], "verified")
        self.assertEqual(answer["metadata"]["degraded"], [])
        tuned = answer["metadata"]["tuned"]
        self.assertGreaterEqual(tuned["kernels"], 1)
        self.assertLessEqual(tuned["chosen_us"], tuned["heuristic_us"])
        kept = self.get("/api/v1/tuning?kernel=" + answer["kernel_id"]).json()["items"]
        self.assertEqual(len(kept), tuned["kernels"])
        self.assertTrue(all(item["config"]["ns"] > 0 and item["device"]["cpu"] for item in kept))
        self.assertGreaterEqual(self.server.metric('urza_optimization_speedup{type="tuning"}'), 1)
        self.assertTrue(all(item["why"] for item in answer["metadata"]["degraded"]))

    def test_hints_that_are_none(self):
        for hints in ({"target_hardware": "abacus"}, {"precision": "fp33"}, {"strategy": "none"},
                      {"optimization_level": 3}, {"optimization_level": "2"},
                      {"expected_batch_size": 0}, {"expected_batch_size": 1 << 40},
                      {"optimize_memory": "yes"}, {"color": "red"}, {"strategy": None},
                      {"target_hardware": "x86-64-v3,"}, {"target_hardware": ""}):
            with self.subTest(hints=hints):
                self.check_error(self.server.compile(tiny("bad"), **hints), 400,
                                 "InvalidRequestError", "bad")

    def test_cache_key_is_a_name(self):
        first, second = tiny("named", 9), tiny("named", 10)

        def named(ir):
            body = {"blueprint_ir": ir, "cache_key": "mine", "hints": CHEAP}
            return self.post("/compile", body).json()
        self.assertIs(named(first)["cache_hit"], False)
        other = named(second)
        self.assertIs(other["cache_hit"], False)
        self.assertNotEqual(named(first)["kernel_id"], other["kernel_id"])
        self.assertIs(named(first)["cache_hit"], True)
        self.assertIs(self.compile(first, **CHEAP)["cache_hit"], True)

    def test_dialects(self):
        arch = {"inputs": [{"name": "x", "shape": ["B", 3], "dtype": "f32"}],
                "nodes": [{"op": "relu", "inputs": ["x"], "output": "y"}], "outputs": ["y"]}
        reply = self.server.compile(arch, **CHEAP)
        self.assertIn(reply.status, (200, 400), reply.body) # whatever the importer says: no 500
        path = self.server.folder / "model.onnx"
        made = subprocess.run([*self.urza(), "export", "examples/mlp.json", "-o", str(path)],
                              capture_output=True, text=True)
        if made.returncode != 0:
            self.skipTest("no model to send: " + made.stderr)
        reply = self.post("/compile?strategy=emergency", path.read_bytes(),
                          Content_Type="application/octet-stream")
        self.assertRegex(reply.json()["kernel_id"], KERNEL_ID)
        for query in ("strategy=emergency&optimization_level=two", "color=red", "strategy=none",
                      "optimize_memory=maybe", "expected_batch_size=1e3", "priority=10"):
            reply = self.server.post("/compile?" + query, path.read_bytes(),
                                     Content_Type="application/octet-stream")
            self.check_error(reply, 400, "InvalidRequestError")
        reply = self.server.post("/compile", b"\x00" * 100, Content_Type="application/octet-stream")
        self.assertEqual(reply.status, 400)

    def urza(self):
        return [self.server.process.args[0]]

    def test_queries(self):
        body = {"blueprint_ir": tiny("query", 11), "hints": CHEAP}
        self.post("/compile", body)
        for query in ("async=maybe", "priority=10", "priority=", "colour=1", "async"):
            self.check_error(self.server.post("/compile?" + query, body), 400,
                             "InvalidRequestError")
        self.post("/compile?async=false&priority=9", body)

    def test_a_hundred_at_once_compile_once(self):
        before = self.server.compilations()
        body = {"blueprint_ir": chain("crowd", 12, "linear", "relu")}
        answers = []
        with Held(self.server):
            threads = [threading.Thread(target=lambda: answers.append(
                self.server.post("/compile", body))) for _ in range(100)]
            for thread in threads:
                thread.start()
            wait_for(lambda: self.server.metric("urza_active_compilations") > 0)
        for thread in threads:
            thread.join()
        self.assertEqual({answer.status for answer in answers}, {200})
        self.assertEqual(len({answer.json()["kernel_id"] for answer in answers}), 1)
        self.assertEqual(self.server.compilations(), before + 1)

    def test_optimize(self):
        ir = chain("better", 13, "linear", "relu")
        first = self.compile(ir, **CHEAP)
        for hints in ({"strategy": "standard"}, {"optimization_hints": {"strategy": "standard"}}):
            answer = self.post("/optimize/" + first["kernel_id"], hints).json()
            self.assertEqual(answer["parent"], first["kernel_id"])
            self.assertNotEqual(answer["kernel_id"], first["kernel_id"])
        self.assertIs(answer["cache_hit"], True)
        self.assertNotIn("parent", self.compile(ir, strategy="standard"))
        record = self.get("/api/v1/kernels/" + answer["kernel_id"]).json()
        self.assertEqual(record["parent"], first["kernel_id"])
        path = "/optimize/" + first["kernel_id"]
        self.check_error(self.server.post(path, {"color": 1}), 400, "InvalidRequestError")
        self.check_error(self.server.post(path, {"optimization_hints": 1}), 400,
                         "InvalidRequestError")
        self.check_error(self.server.post("/optimize/none", {}), 404, "NotFoundError")
        same = self.post(path, {}).json()
        self.assertEqual((same["kernel_id"], same["parent"]), (first["kernel_id"],) * 2)

    def test_fast_is_verified_behind(self):
        answer = self.compile(chain("quick", 14, "linear", "tanh"), strategy="fast")
        self.assertEqual(answer["metadata"]["evidence"], "pending")
        path = "/kernel/" + answer["kernel_id"]
        etags = {self.get(path).headers["ETag"]}
        record = "/api/v1/kernels/" + answer["kernel_id"]
        wait_for(lambda: self.get(record).json()["evidence"] == "verified", what="no evidence")
        self.assertIs(self.get(path + "/evidence").json()["summary"]["pass"]
                      if "summary" in self.get(path + "/evidence").json() else True, True)
        reply = self.get(path)
        self.assertNotIn(reply.headers["ETag"], etags)
        manifest = self.get(path + "/manifest").body
        self.assertEqual("kernel-" + hashlib.sha256(manifest).hexdigest(), answer["kernel_id"])
        again = self.compile(chain("quick", 14, "linear", "tanh"), strategy="fast")
        self.assertEqual(again["metadata"]["evidence"], "verified")


class Batch(Case):
    def test_duplicates_are_compiled_once(self):
        before = self.server.compilations()
        one, two = tiny("one", 3), tiny("two", 3, "tanh")
        requests = [{"blueprint_ir": one, "hints": CHEAP},
                    {"blueprint_ir": two, "optimization_hints": CHEAP},
                    {"hints": CHEAP, "blueprint_ir": one}] * 4
        results = self.post("/compile/batch", {"requests": requests}).json()["results"]
        self.assertEqual(len(results), 12)
        ids = [result["kernel_id"] for result in results]
        self.assertEqual(ids[::3], ids[2::3])
        self.assertEqual(len(set(ids)), 2)
        self.assertEqual(self.server.compilations(), before + 2)

    def test_many_of_them_at_once(self):
        """Items that end while others are still submitted keep their places."""
        irs = [tiny("many%d" % i, 3 + i) for i in range(6)]
        requests = [{"blueprint_ir": ir, "hints": CHEAP} for ir in irs * 4]
        replies = [None] * 12

        def ask(at):
            replies[at] = self.server.post("/compile/batch", {"requests": requests})
        threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(replies))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        orders = {tuple(result["kernel_id"] for result in reply.json()["results"])
                  for reply in replies}
        self.assertEqual(len(orders), 1)
        self.assertEqual(len(set(orders.pop())), len(irs))

    def test_errors_of_items(self):
        cycle = chain("cycle", 4, "relu", "tanh")
        cycle["edges"].append({"source": "n1", "target": "n0"})
        requests = [{"blueprint_ir": tiny("good", 6), "hints": CHEAP},
                    {"blueprint_ir": cycle, "hints": CHEAP},
                    {"blueprint_ir": tiny("odd"), "hints": {"color": 1}},
                    {"blueprint_ir": 7}, 8, {}]
        results = self.post("/compile/batch", {"requests": requests}).json()["results"]
        self.assertIn("kernel_id", results[0])
        self.assertEqual([result.get("error") for result in results],
                         [None, "InvalidBlueprintError"] + ["InvalidRequestError"] * 4)
        self.assertEqual([result["blueprint_id"] for result in results[1:3]], ["cycle", "odd"])
        self.assertTrue(all(result["message"] for result in results[1:]))

    def test_bodies_that_are_none(self):
        self.assertEqual(self.post("/compile/batch", {"requests": []}).json(), {"results": []})
        for body in ({}, {"requests": {}}, {"requests": [], "more": 1}, [], b"{", b""):
            self.check_error(self.server.post("/compile/batch", body), 400, "InvalidRequestError")
        reply = self.server.post("/compile/batch?async=true", {"requests": []})
        self.check_error(reply, 400, "InvalidRequestError") # there are no jobs of several
        reply = self.server.post("/compile/batch", {"requests": [{}] * 257})
        self.check_error(reply, 413, "LimitExceededError")


class Jobs(Case):
    settings = {"max_concurrent_compilations": 1, "queue_limit": 3}

    def submit(self, ir, query="?async=true", **headers):
        reply = self.post("/compile" + query, {"blueprint_ir": ir, "hints": CHEAP}, 202, **headers)
        job = reply.json()["job_id"]
        self.assertEqual(reply.headers["Location"], "/api/v1/jobs/" + job)
        return job

    def job(self, job):
        return self.get("/api/v1/jobs/" + job).json()

    def ended(self, job):
        return wait_for(lambda: self.job(job)["state"] not in ("QUEUED", "LEASED") and
                        self.job(job), what="no end of the job")

    def events(self, job, **options):
        text = self.get(f"/api/v1/jobs/{job}/events", **options).body.decode()
        events = [dict(line.split(": ", 1) for line in event.splitlines())
                  for event in text.split("\n\n") if event]
        return [(event["event"], json.loads(event["data"])) for event in events]

    def test_job(self):
        job = self.submit(tiny("later", 3))
        end = self.ended(job)
        self.assertEqual(end["state"], "DONE")
        self.get("/kernel/" + end["kernel_id"])
        self.assertNotIn("token", end)
        events = self.events(job)
        self.assertEqual(events[-1][0], "end")
        self.assertEqual(events[-1][1]["state"], "DONE")
        self.assertEqual(events[-1][1]["kernel_id"], end["kernel_id"])
        self.assertIn(job, [item["id"] for item in self.get("/api/v1/jobs").json()["items"]])
        self.assertTrue(all("token" not in item
                            for item in self.get("/api/v1/jobs").json()["items"]))
        other = self.submit(tiny("later", 5), "", Prefer="respond-async")
        self.assertEqual(self.ended(other)["state"], "DONE")

    def test_failure(self):
        end = self.ended(self.submit({"id": "wrong", "nodes": [], "edges": []}))
        self.assertEqual(end["state"], "FAILED")
        self.assertEqual(end["error"]["error"], "InvalidBlueprintError")
        self.assertEqual(end["error"]["blueprint_id"], "wrong")

    def test_events_while_it_goes_on(self):
        with Held(self.server):
            job = self.submit(tiny("watched", 6))
            wait_for(lambda: self.job(job)["state"] == "LEASED")
            seen = []
            watcher = threading.Thread(target=lambda: seen.extend(self.events(job)))
            watcher.start()
            watcher.join(1)
            self.assertTrue(watcher.is_alive())
        watcher.join(20)
        self.assertEqual(seen[-1][1]["state"], "DONE")
        self.assertEqual(seen[0][0], "progress")
        self.assertGreaterEqual(len(seen), 2)

    def test_cancel(self):
        with Held(self.server):
            first = self.submit(tiny("blocks", 7))
            wait_for(lambda: self.job(first)["state"] == "LEASED")
            second = self.submit(tiny("waits", 7))
            answer = self.ask("DELETE", "/api/v1/jobs/" + second).json()
            self.assertEqual(answer["state"], "CANCELLED")
            self.check_error(self.server.ask("DELETE", "/api/v1/jobs/" + second), 409,
                             "ConflictError")
            self.assertEqual(self.ask("DELETE", "/api/v1/jobs/" + first).json()["state"],
                             "CANCELLED")
        wait_for(lambda: self.server.metric("urza_active_compilations") == 0)
        self.assertEqual(self.job(first)["state"], "CANCELLED")
        again = self.submit(tiny("blocks", 7))
        self.assertNotEqual(again, first)
        self.assertEqual(self.ended(again)["state"], "DONE")

    def test_cancelling_takes_nobody_along(self):
        body = {"blueprint_ir": tiny("shared", 8), "hints": CHEAP}
        replies = []
        with Held(self.server):
            job = self.submit(body["blueprint_ir"])
            wait_for(lambda: self.job(job)["state"] == "LEASED")
            misses = self.server.metric("urza_cache_requests_total")
            waiter = threading.Thread(
                target=lambda: replies.append(self.server.post("/compile", body)))
            waiter.start()
            wait_for(lambda: self.server.metric("urza_cache_requests_total") > misses)
            self.ask("DELETE", "/api/v1/jobs/" + job)
        waiter.join()
        self.assertEqual(replies[0].status, 200, replies[0].body)

    def test_full_queue(self):
        with Held(self.server):
            jobs = [self.submit(tiny("full", 9))]
            wait_for(lambda: self.job(jobs[0])["state"] == "LEASED")
            jobs += [self.submit(tiny("full", width)) for width in (10, 11, 12)]
            self.assertEqual(self.submit(tiny("full", 12)), jobs[-1]) # joins
            reply = self.server.post("/compile?async=true", {"blueprint_ir": tiny("full", 13)})
            self.check_error(reply, 503, "OverloadedError")
            self.assertTrue(int(reply.headers["Retry-After"]) > 0)
        for job in jobs:
            self.assertEqual(self.ended(job)["state"], "DONE")

    def test_none(self):
        for path in ("/api/v1/jobs/none", "/api/v1/jobs/none/events"):
            self.check_error(self.server.get(path), 404, "NotFoundError")
        self.check_error(self.server.ask("DELETE", "/api/v1/jobs/none"), 404, "NotFoundError")


class Package(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.answer = cls.server.compile(chain("package", 16, "linear", "relu")).json()
        cls.path = "/kernel/" + cls.answer["kernel_id"]

    def test_bytes(self):
        reply = self.get(self.path)
        self.assertEqual(len(reply.body), self.answer["metadata"]["size_bytes"])
        digest = hashlib.sha256(reply.body).hexdigest()
        self.assertEqual(reply.headers["ETag"], f'"{digest}"')
        self.assertNotIn("immutable", reply.headers.get("Cache-Control", ""))
        path = self.server.folder / "package"
        path.write_bytes(reply.body)
        shown = subprocess.run([self.server.process.args[0], "inspect", "--json", path],
                               capture_output=True, text=True, check=True,
                               env={"URZA_HOME": str(self.server.folder / "data/home")})
        self.assertEqual(json.loads(shown.stdout)["kernel_id"], self.answer["kernel_id"])
        if zipfile.is_zipfile(io.BytesIO(reply.body)):
            manifest = zipfile.ZipFile(io.BytesIO(reply.body)).read("manifest.json")
            self.assertEqual(self.get(self.path + "/manifest").body, manifest)

    def test_conditions(self):
        etag = self.get(self.path).headers["ETag"]
        for value in (etag, "*", f'"other", {etag}', "W/" + etag):
            reply = self.get(self.path, 304, If_None_Match=value)
            self.assertEqual(reply.body, b"")
            self.assertEqual(reply.headers["ETag"], etag)
        self.get(self.path, 200, If_None_Match='"other"')
        for part in ("/manifest", "/evidence"):
            etag = self.get(self.path + part).headers["ETag"]
            self.assertEqual(self.get(self.path + part, 304, If_None_Match=etag).body, b"")

    def test_head(self):
        whole = self.get(self.path)
        reply = self.ask("HEAD", self.path)
        self.assertEqual(reply.body, b"")
        for name in ("Content-Length", "ETag", "Content-Type"):
            self.assertEqual(reply.headers[name], whole.headers[name])
        for path in ("/status", "/metrics", "/health/live", "/openapi.json", "/api/v1/kernels"):
            self.assertEqual(self.ask("HEAD", path).body, b"")

    def test_ranges(self):
        whole = self.get(self.path)
        size = len(whole.body)
        for text, start, end in (("0-99", 0, 100), ("100-", 100, size), ("-7", size - 7, size),
                                 ("0-0", 0, 1), (f"5-{size + 9}", 5, size),
                                 (f"-{size + 9}", 0, size), (f"{size - 1}-", size - 1, size)):
            reply = self.get(self.path, 206, Range="bytes=" + text)
            self.assertEqual(reply.body, whole.body[start:end], text)
            self.assertEqual(reply.headers["Content-Range"], f"bytes {start}-{end - 1}/{size}")
        for text in (f"{size}-", f"{size}-{size + 5}", "-0"):
            reply = self.get(self.path, 416, Range="bytes=" + text)
            self.assertEqual(reply.headers["Content-Range"], f"bytes */{size}")
        for text in ("bytes=9-5", "bytes=a-b", "rows=1-2", "bytes=", "bytes=1-2,4-5", "bytes=--5"):
            self.assertEqual(self.get(self.path, 200, Range=text).body, whole.body)
        etag = whole.headers["ETag"]
        self.get(self.path, 206, Range="bytes=0-9", If_Range=etag)
        self.get(self.path, 200, Range="bytes=0-9", If_Range='"other"')
        self.assertEqual(self.ask("HEAD", self.path, status=200).body, b"")

    def test_zstd(self):
        whole = self.get(self.path)
        for accept in ("zstd", "gzip, zstd", "zstd;q=1.0", "br;q=1,zstd;q=0.5"):
            reply = self.get(self.path, Accept_Encoding=accept)
            self.assertEqual(reply.headers["Content-Encoding"], "zstd")
            self.assertEqual(reply.headers["Vary"], "Accept-Encoding")
            self.assertNotEqual(reply.headers["ETag"], whole.headers["ETag"])
            self.assertLess(len(reply.body), len(whole.body))
        for accept in ("gzip", "zstd;q=0", "notzstd", "zstdx", "zstd; q=0.000", ""):
            reply = self.get(self.path, Accept_Encoding=accept)
            self.assertIsNone(reply.headers["Content-Encoding"], accept)
        packed = self.get(self.path, Accept_Encoding="zstd").body
        if shutil.which("zstd"):
            plain = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True)
            self.assertEqual(plain.stdout, whole.body)

    def test_parts(self):
        manifest = self.get(self.path + "/manifest")
        self.assertEqual("kernel-" + hashlib.sha256(manifest.body).hexdigest(),
                         self.answer["kernel_id"])
        self.assertEqual(manifest.headers["Content-Type"], "application/json")
        self.assertTrue(self.get(self.path + "/evidence").json())
        bare = self.compile(tiny("bare", 4), **CHEAP)
        self.assertEqual(self.get(f"/kernel/{bare['kernel_id']}/evidence").json(), {})

    def test_ids_that_are_none(self):
        digits = self.answer["kernel_id"][7:]
        for name in ("none", "kernel-" + "0" * 64, "kernel-" + digits.upper(), "colonel" + digits,
                     "kernel-" + digits + "0"):
            for part in ("", "/manifest", "/evidence"):
                self.check_error(self.server.get(f"/kernel/{name}{part}"), 404, "NotFoundError")


class Catalogue(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = [cls.server.compile(tiny(f"k{i}", 3 + i), **CHEAP).json()["kernel_id"]
                    for i in range(7)]

    def pages(self, path, limit):
        found, cursor = [], None
        for _ in range(100):
            query = f"limit={limit}" + (f"&cursor={cursor}" if cursor else "")
            page = self.get(path + ("&" if "?" in path else "?") + query).json()
            self.assertEqual(set(page), {"items", "next"})
            self.assertLessEqual(len(page["items"]), limit)
            found += [item["id"] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                return found
        self.fail("no last page")

    def test_pages(self):
        every = self.pages("/api/v1/kernels", 500)
        self.assertTrue(set(self.made) <= set(every))
        for limit in (1, 2, 3, 7):
            self.assertEqual(self.pages("/api/v1/kernels", limit), every)
        first = self.get("/api/v1/kernels?limit=3").json()
        new = self.compile(tiny("between", 40), **CHEAP)["kernel_id"]
        rest = self.pages(f"/api/v1/kernels?max_created_ms={10 ** 15}", 2)
        self.assertIn(new, rest)
        second = self.get(f"/api/v1/kernels?limit=500&cursor={first['next']}").json()
        self.assertEqual([item["id"] for item in first["items"] + second["items"]], every)
        for query in ("limit=0", "limit=501", "limit=-1", "limit=x", "limit=", "cursor=0",
                      "cursor=x", "cursor=-5", "cursor=99999999999999999999", "limit", "colour=1",
                      "cursor=1%27"):
            self.check_error(self.server.get("/api/v1/kernels?" + query), 400,
                             "InvalidRequestError")
        self.assertEqual(len(self.get("/api/v1/kernels").json()["items"]), len(every) + 1)

    def test_filters(self):
        path = "/api/v1/kernels/" + self.made[0]
        self.ask("PATCH", path, {"tags": ["red", "blue"]})
        self.assertEqual(self.pages("/api/v1/kernels?tag=red", 5), [self.made[0]])
        self.assertEqual(self.pages("/api/v1/kernels?tag=re", 5), [])
        self.assertEqual(self.pages("/api/v1/kernels?tag=red&status=RETIRED", 5), [])
        self.assertEqual(self.get(path).json()["tags"], ["red", "blue"])
        self.assertIn(self.made[1], self.pages("/api/v1/kernels?strategy=emergency", 5))
        self.assertEqual(self.pages("/api/v1/kernels?min_size_bytes=1000000000", 5), [])
        blueprint = self.get(path).json()["blueprint"]
        self.assertEqual(self.pages("/api/v1/kernels?blueprint=" + blueprint, 5), [self.made[0]])
        for query in ("status=RETIRE", "status=", "strategy=quick", "evidence=verified,",
                      "min_size_bytes=x", "min_size_bytes=nan", "max_latency_us=inf",
                      "min_size_bytes=0x10", "size_bytes=1"):
            self.check_error(self.server.get("/api/v1/kernels?" + query), 400,
                             "InvalidRequestError")

    def test_tags_that_are_none(self):
        path = "/api/v1/kernels/" + self.made[1]
        for tags in ("red", [1], [""], ["a,b"], ["a\nb"], ["x" * 65], ["x"] * 33, {"a": 1}):
            self.check_error(self.server.ask("PATCH", path, {"tags": tags}), 400,
                             "InvalidRequestError")
        self.ask("PATCH", path, {"tags": ["'; DROP TABLE kernel; --", "%", "_", "é"]})
        self.assertEqual(self.pages("/api/v1/kernels?tag=%25", 5), [self.made[1]])
        self.assertEqual(self.pages("/api/v1/kernels?tag=%C3%A9", 5), [self.made[1]])
        self.ask("PATCH", path, {"tags": []})
        self.assertEqual(self.get(path).json()["tags"], [])

    def test_aliases(self):
        path, kernel, other = "/api/v1/aliases/best", self.made[2], self.made[3]
        self.assertEqual(self.ask("PUT", path, {"kernel": kernel}).json()["kernel"], kernel)
        self.assertEqual(self.get("/kernel/best").body, self.get("/kernel/" + kernel).body)
        self.assertEqual(self.get("/api/v1/kernels/best").json()["id"], kernel)
        self.ask("PUT", path, {"kernel": other})
        self.assertEqual(self.get("/kernel/best").headers["X-Kernel-Id"], other)
        self.assertEqual(self.pages("/api/v1/aliases?kernel=" + other, 5), ["best"])
        self.ask("DELETE", path)
        self.check_error(self.server.get("/kernel/best"), 404, "NotFoundError")
        self.check_error(self.server.ask("DELETE", path), 404, "NotFoundError")
        self.check_error(self.server.ask("PUT", path, {"kernel": "none"}), 404, "NotFoundError")
        self.check_error(self.server.ask("PUT", path, {"kernel": ""}), 400, "InvalidRequestError")
        self.check_error(self.server.ask("PUT", path, {}), 400, "InvalidRequestError")
        for name in ("kernel-x", "a%20b", "a'b", "x" * 101, "%C3%A9"):
            reply = self.server.ask("PUT", "/api/v1/aliases/" + name, {"kernel": kernel})
            self.check_error(reply, 400, "InvalidInputError")

    def test_statuses(self):
        path = "/api/v1/kernels/" + self.made[4]
        for status in ("TESTING", "DEPLOYED", "VALIDATED"):
            answer = self.ask("PATCH", path, {"status": status, "reason": "because"}).json()
            self.assertEqual((answer["status"], answer["reason"]), (status, "because"))
        changes = self.get(path + "/history").json()["items"]
        self.assertEqual([change["after"] for change in changes],
                         ["VALIDATED", "DEPLOYED", "TESTING", "VALIDATED"])
        self.assertEqual(changes[1]["before"], "TESTING")
        self.check_error(self.server.ask("PATCH", path, {"status": "BEST"}), 400,
                         "InvalidRequestError")
        self.check_error(self.server.ask("PATCH", path, {"reason": "x" * 1001}), 400,
                         "InvalidRequestError")

    def test_retire(self):
        kernel = self.made[5]
        path = "/api/v1/kernels/" + kernel
        self.get("/kernel/" + kernel)
        self.assertEqual(self.ask("DELETE", path).json()["status"], "RETIRED")
        self.check_error(self.server.get("/kernel/" + kernel), 404, "NotFoundError")
        self.check_error(self.server.ask("PATCH", path, {"status": "DEPLOYED"}), 409,
                         "ConflictError")
        again = self.compile(tiny("k5", 8), **CHEAP)
        self.assertIs(again["cache_hit"], False)
        self.assertIn("retired", again["metadata"]["cache"]["miss_reason"])
        self.assertEqual(self.get(path).json()["status"], "VALIDATED")
        self.get("/kernel/" + kernel)
        self.check_error(self.server.ask("DELETE", "/api/v1/kernels/none"), 404, "NotFoundError")

    def test_observations(self):
        path = f"/api/v1/kernels/{self.made[6]}/observations"
        seen = {"profile": "B=1", "host": "here", "calls": 10, "p50_us": 2.5, "p95_us": 4,
                "sample_us": [2, 2.5, 4]}
        made = self.post(path, seen, 201).json()
        self.assertEqual(made["kernel"], self.made[6])
        items = self.get(path).json()["items"]
        self.assertEqual([items[0][name] for name in seen], list(seen.values()))
        self.assertEqual(self.get(f"/api/v1/kernels/{self.made[6]}").json()["latency_us"], 2.5)
        for change in ({"calls": 0}, {"p50_us": 0}, {"p95_us": 1}, {"sample_us": [-1]},
                       {"sample_us": "x"}, {"calls": "many"}, {"more": 1}, {"host": "x" * 1001}):
            self.check_error(self.server.post(path, {**seen, **change}), 400, "InvalidRequestError")
        self.check_error(self.server.post("/api/v1/kernels/none/observations", seen), 404,
                         "NotFoundError")

    def test_compilations_and_events(self):
        compilations = self.get("/api/v1/compilations?limit=500").json()["items"]
        self.assertGreaterEqual(len(compilations), 7)
        self.assertIn(compilations[-1]["status"], ("success", "degraded"))
        self.assertEqual(self.get("/api/v1/events").json()["items"], [])
        status = self.get("/status?history=2").json()
        self.assertEqual(len(status["compilations"]), 2)
        self.assertEqual(status["status"], "healthy")
        self.assertGreater(status["avg_compilation_time_ms"], 0)
        self.assertGreater(status["kernel_cache_size_mb"], 0)
        for query in ("history=1001", "history=x", "history=", "colour=1"):
            self.check_error(self.server.get("/status?" + query), 400, "InvalidRequestError")


class Submit(Case):
    def submit(self, body, status=201):
        return self.post("/api/v1/blueprints", body, status).json()

    def test_unvalidated_it_stays(self):
        ir = tiny("mine", 3)
        made = self.submit({"id": "bp-1", "blueprint_ir": ir, "tags": ["new"],
                            "metadata": {"author": "me"}})
        self.assertEqual((made["id"], made["status"]), ("bp-1", "UNVALIDATED"))
        self.assertEqual(made["metadata"], {"author": "me"})
        self.assertEqual(made["tags"], ["new"])
        self.assertEqual(made["name"], "mine")
        self.assertEqual(self.get("/api/v1/blueprints/bp-1/source").json(), ir)
        self.assertEqual(self.submit({"id": "bp-1", "blueprint_ir": ir})["id"], "bp-1")
        reply = self.server.post("/api/v1/blueprints", {"id": "bp-1", "blueprint_ir": tiny("x", 4)})
        self.check_error(reply, 409, "ConflictError")
        listed = self.get("/internal/v1/blueprints/unvalidated").json()["items"]
        self.assertIn("bp-1", [item["id"] for item in listed])
        anonymous = self.submit({"blueprint_ir": tiny("nobody", 5)})["id"]
        self.assertEqual(self.get("/api/v1/blueprints/" + anonymous).json()["id"], anonymous)
        status = "/internal/v1/blueprints/bp-1/status"
        self.assertEqual(self.ask("PUT", status, {"status": "COMPILING"}).json()["status"],
                         "COMPILING")
        self.assertEqual(self.ask("PUT", status, {"status": "FAILED", "reason": "no"}).json()
                         ["reason"], "no")
        self.check_error(self.server.ask("PUT", status, {"status": "BEST"}), 400,
                         "InvalidRequestError")
        self.assertEqual(self.server.compilations(), 0)

    def test_what_is_refused(self):
        for body in ({}, {"blueprint_ir": 1}, {"blueprint_ir": {}, "metadata": 1}, [],
                     {"blueprint_ir": {}, "tags": "x"}, {"blueprint_ir": {}, "more": 1},
                     {"id": 5, "blueprint_ir": {}}, {"id": "a/b", "blueprint_ir": {}},
                     {"id": "a\nb", "blueprint_ir": {}}, {"id": "x" * 201, "blueprint_ir": {}},
                     {"id": "..", "blueprint_ir": {}}):
            with self.subTest(body=body):
                self.check_error(self.server.post("/api/v1/blueprints", body), 400,
                                 "InvalidRequestError")
        self.check_error(self.server.get("/api/v1/blueprints/none"), 404, "NotFoundError")
        self.check_error(self.server.get("/api/v1/blueprints/none/source"), 404, "NotFoundError")


class CompileSubmitted(Case):
    settings = {"compile_submitted": True, "max_concurrent_compilations": 1}

    def test_they_are_compiled(self):
        before = self.server.compilations()
        good = {"id": "good", "blueprint_ir": tiny("good", 3)}
        bad = {"id": "bad", "blueprint_ir": {"id": "bad", "nodes": [], "edges": []}}
        for body in (good, bad):
            reply = self.post("/api/v1/blueprints", body, 201).json()
            self.assertEqual(reply["status"], "UNVALIDATED")

        def status(name):
            return self.get("/api/v1/blueprints/" + name).json()["status"]
        wait_for(lambda: status("good") == "VALIDATED", what="not validated")
        wait_for(lambda: status("bad") == "FAILED", what="not failed")
        self.assertTrue(self.get("/api/v1/blueprints/bad").json()["reason"])
        kernels = self.get("/api/v1/kernels?blueprint=good").json()["items"]
        self.assertEqual(len(kernels), 1)
        self.get("/kernel/" + kernels[0]["id"])
        self.assertEqual(self.server.compilations(), before + 2)

    def test_it_is_compiling_meanwhile(self):
        with Held(self.server):
            self.post("/api/v1/blueprints", {"id": "slow", "blueprint_ir": tiny("slow", 5)}, 201)
            path = "/api/v1/blueprints/slow"
            wait_for(lambda: self.get(path).json()["status"] == "COMPILING", what="not taken")
        wait_for(lambda: self.get(path).json()["status"] == "VALIDATED", what="not validated")
        history = [item["after"] for item in self.changes("slow")]
        self.assertEqual(history, ["VALIDATED", "COMPILING", "UNVALIDATED"])

    def changes(self, name):
        path = f"/api/v1/blueprints/{name}/history"
        return self.get(path).json()["items"]


class Errors(Case):
    settings = {"max_body_mb": 1}

    def test_blueprints(self):
        def wrong(change):
            ir = chain("wrong", 4, "linear", "relu")
            change(ir)
            return ir
        cases = {
            "op": lambda ir: ir["nodes"][1].update(op_type="teleport"),
            "cycle": lambda ir: ir["edges"].append({"source": "n1", "target": "n0"}),
            "edge": lambda ir: ir["edges"].append({"source": "nobody", "target": "y"}),
            "shape": lambda ir: ir["nodes"][1]["attributes"].update(in_features=5),
            "attribute": lambda ir: ir["nodes"][1]["attributes"].update(color=1),
        }
        for name, change in cases.items():
            with self.subTest(name):
                self.check_error(self.server.compile(wrong(change)), 400, "InvalidBlueprintError",
                                 "wrong")
        self.check_error(self.server.compile(wrong(lambda ir: ir.update(color=1))), 400,
                         "InvalidRequestError", "wrong")

    def test_a_failure_is_tried_once(self):
        ir = chain("never", 4, "linear", "relu")
        ir["nodes"][1]["attributes"].update(in_features=5)
        before = self.failures()
        answers = [self.server.compile(ir) for _ in range(3)]
        for answer in answers:
            self.check_error(answer, 400, "InvalidBlueprintError", "never", "n0")
        self.assertEqual(len({(a.json()["message"], a.json()["place"]) for a in answers}), 1)
        self.assertEqual(self.failures(), before + 1)
        listed = self.get("/api/v1/failures?error=ShapeError").json()["items"]
        mine = [failure for failure in listed if failure["blueprint"] == "never"]
        self.assertEqual([failure["deaths"] for failure in mine], [0])
        self.ask("DELETE", "/api/v1/failures/" + mine[0]["id"])
        self.check_error(self.server.compile(ir), 400, "InvalidBlueprintError", "never", "n0")
        self.assertEqual(self.failures(), before + 2)
        self.check_error(self.server.ask("DELETE", "/api/v1/failures/none"), 404, "NotFoundError")

    def failures(self):
        return sum(1 for made in self.get("/api/v1/compilations?limit=500").json()["items"]
                   if made["status"] == "failed")

    def test_requests(self):
        for body, place in ((b"{", "line 1"), (b"", ""), (b"[]", ""), (b'{"a": 1, "a": 2}', ""),
                            (b"\xff", ""), (b'{"blueprint_ir": {}, "more": 1}', ""),
                            (b'{"blueprint_ir": 5}', ""), (b'{"blueprint_ir": {}} x', "line 1"),
                            (b'{"blueprint_ir": {}, "cache_key": 5}', ""),
                            (b'{"blueprint_ir": {}, "hints": {}, "optimization_hints": {}}', "")):
            self.check_error(self.server.post("/compile", body), 400, "InvalidRequestError",
                             place=place)

    def test_paths_and_methods(self):
        for path in ("/", "/compile/", "/kernels", "/api/v1", "/api/v1/kernels/", "/Compile"):
            reply = self.server.get(path)
            if path != "/": # where the page stands, once there is one
                self.check_error(reply, 404, "NotFoundError")
        for method, path, allow in (("GET", "/compile", "POST"), ("DELETE", "/status", "GET, HEAD"),
                                    ("PUT", "/api/v1/kernels/x", "GET, HEAD, PATCH, DELETE"),
                                    ("PATCH", "/api/v1/aliases/x", "PUT, DELETE")):
            reply = self.server.ask(method, path)
            self.check_error(reply, 405, "MethodNotAllowedError")
            self.assertEqual(reply.headers["Allow"], allow)

    def test_sizes_and_types(self):
        self.check_error(self.server.post("/compile", b" " * (1 << 20) + b"{}"), 413,
                         "LimitExceededError")

        def pieces():
            for _ in range(20):
                yield b" " * 65536
        connection = self.server.connect()
        connection.request("POST", "/compile", pieces(), {"Content-Type": "application/json"},
                           encode_chunked=True)
        self.assertEqual(connection.getresponse().status, 413)
        connection.close()
        for kind in ("text/plain", "application/xml", "application/jsonp", "x"):
            self.check_error(self.server.post("/compile", b"{}", Content_Type=kind), 415,
                             "UnsupportedMediaError")
        self.check_error(self.server.post("/compile/batch", b"{}",
                                          Content_Type="application/octet-stream"), 415,
                         "UnsupportedMediaError")
        self.check_error(self.server.post("/compile", b"{}", Content_Encoding="gzip"), 415,
                         "UnsupportedMediaError")
        self.post("/compile", {"blueprint_ir": tiny(), "hints": CHEAP},
                  Content_Type="application/json; charset=utf-8")
        self.check_error(self.server.get("/status", Content_Length="1"), 400, "InvalidRequestError")

    def test_limits(self):
        deep = b'{"blueprint_ir": ' + b"[" * 70 + b"]" * 70 + b"}"
        self.check_error(self.server.post("/compile", deep), 413, "LimitExceededError")

    def test_request_ids(self):
        reply = self.get("/health/live", X_Request_Id="my-id_1")
        self.assertEqual(reply.headers["X-Request-Id"], "my-id_1")
        for given in ("bad id", "x" * 33, "a\"b", ""):
            reply = self.get("/health/live", X_Request_Id=given)
            self.assertNotEqual(reply.headers["X-Request-Id"], given)
        drawn = {self.get("/health/live").headers["X-Request-Id"] for _ in range(50)}
        self.assertEqual(len(drawn), 50)
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        parent = f"00-{trace}-00f067aa0ba902b7-01"
        reply = self.get("/health/live", traceparent=parent)
        self.assertEqual(reply.headers["traceparent"], parent)
        self.assertEqual(reply.headers["X-Request-Id"], trace)
        for wrong in (parent.upper(), parent[:-1], "ff" + parent[2:], parent.replace("4", "g"),
                      f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{trace}-{'0' * 16}-01"):
            self.assertIsNone(self.get("/health/live", traceparent=wrong).headers["traceparent"])


class Overload(Case):
    settings = {"max_concurrent_compilations": 1, "queue_limit": 1, "tune_seconds": 0}

    def test_nothing_is_measured(self):
        metadata = self.compile(tiny("less", 8), strategy="aggressive")["metadata"]
        self.assertEqual(metadata["strategy"], "standard")
        self.assertEqual([item["what"] for item in metadata["degraded"]], ["strategy"])
        self.assertNotIn("tuned", metadata)

    def test_busy(self):
        replies = {}

        def ask(width):
            replies[width] = self.server.compile(tiny("busy", width), **CHEAP)
        self.assertEqual(self.get("/health/ready").json(), {"status": "ready"})
        with Held(self.server):
            first = threading.Thread(target=ask, args=(3,))
            first.start()
            wait_for(lambda: self.server.metric("urza_active_compilations") == 1)
            reply = self.get("/health/ready", 503)
            self.assertEqual(reply.json(), {"status": "overloaded"})
            self.assertEqual(self.get("/status").json()["status"], "overloaded")
            second = threading.Thread(target=ask, args=(4,))
            second.start()
            wait_for(lambda: self.server.metric("urza_queued_compilations") == 1)
            reply = self.server.compile(tiny("busy", 5), **CHEAP)
            self.check_error(reply, 503, "OverloadedError", "busy")
            self.assertTrue(int(reply.headers["Retry-After"]) > 0)
            joined = threading.Thread(target=ask, args=(3,)) # what is under way may be joined
            joined.start()
            results = self.post("/compile/batch", {"requests": [
                {"blueprint_ir": tiny("busy", 6), "hints": CHEAP}]}).json()["results"]
            self.assertEqual(results[0]["error"], "OverloadedError")
            self.get("/health/live")
        for thread in (first, second, joined):
            thread.join()
        self.assertEqual({reply.status for reply in replies.values()}, {200})
        wait_for(lambda: self.server.get("/health/ready").status == 200)
        self.assertEqual(self.server.metric("urza_refused_total"), 2)


class Figures(Case):
    def test_counters(self):
        self.compile(tiny("figures", 3))
        self.compile(tiny("figures", 3))
        self.server.compile({"id": "figures", "nodes": [], "edges": []})
        text = self.get("/metrics").body.decode()
        for line in ('urza_compilations_total{status="success"} 1',
                     'urza_compilations_total{status="failed"} 1',
                     'urza_cache_requests_total{level="memory"} 1',
                     'urza_cache_requests_total{level="none"} 2',
                     'urza_compilation_duration_seconds_count 1',
                     'urza_http_requests_total{method="POST",route="/compile",status="200"} 2',
                     'urza_http_requests_total{method="POST",route="/compile",status="400"} 1'):
            self.assertIn(line + "\n", text)
        self.assertEqual(self.server.metric("urza_kernel_cache_size_bytes"),
                         self.get("/api/v1/kernels").json()["items"][0]["size_bytes"])

    def test_memory(self):
        self.compile(chain("memory", 24, "linear"))
        peak = self.server.metric("urza_compilation_memory_peak_bytes")
        self.assertGreater(peak, 1 << 20)
        self.assertLess(peak, 8 << 30)

    def test_routes_of_one_path(self):
        self.server.ask("PUT", "/api/v1/aliases/x", {"kernel": "none"})
        self.server.ask("DELETE", "/api/v1/aliases/x")
        for method in ("PUT", "DELETE"): # counted once the reply was sent
            line = (f'urza_http_requests_total{{method="{method}",'
                    'route="/api/v1/aliases/{name}",status="404"} 1\n')
            wait_for(lambda sought=line: sought in self.get("/metrics").body.decode())

    def test_histograms_rise(self):
        text = self.get("/metrics").body.decode()
        last = {}
        for name, labels, value in re.findall(r"^(\w+_bucket)\{(.*?),?le=\".*?\"\} (\d+)$", text,
                                              re.MULTILINE):
            self.assertGreaterEqual(int(value), last.get((name, labels), 0))
            last[name, labels] = int(value)
        self.assertTrue(last)

    def test_promtool(self):
        if not shutil.which("promtool"):
            self.skipTest("promtool is not installed")
        text = self.get("/metrics").body
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
        self.assertEqual((done.returncode, done.stderr.decode()), (0, ""))

    def test_open_metrics(self):
        reply = self.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
        self.assertTrue(reply.headers["Content-Type"].startswith("application/openmetrics-text"))
        lines = reply.body.decode().splitlines()
        self.assertEqual(lines[-1], "# EOF")
        families = {line.split()[2]: line.split()[3] for line in lines
                    if line.startswith("# TYPE ")}
        self.assertFalse([name for name in families if name.endswith("_total")])
        self.assertEqual(families["urza_compilations"], "counter")
        self.assertIn('le="1.0"', reply.body.decode())

    def test_server_timing(self):
        reply = self.server.compile(tiny("timed", 11), **CHEAP)
        self.assertRegex(reply.headers["Server-Timing"], r"read;dur=[\d.]+.*, compilation;dur=")

    def test_openapi(self):
        document = self.get("/openapi.json").json()
        self.assertEqual(document["openapi"], "3.1.0")
        self.assertIn("post", document["paths"]["/compile"])
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                self.assertTrue(operation["responses"], path)
        names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
        self.assertTrue(names <= set(document["components"]["schemas"]))


if __name__ == "__main__":
    main()
