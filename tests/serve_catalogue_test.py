#!/usr/bin/env python3
"""What urza serve keeps, as clients see it: packages, kernels, blueprints, figures. Prints TAP."""
import hashlib
import io
import json
import re
import shutil
import subprocess
import zipfile

from serve_util import CHEAP, Held, Server, ServedCase, chain, main, tiny, wait_for


class Package(ServedCase):
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


class Catalogue(ServedCase):
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


class Submit(ServedCase):
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


class CompileSubmitted(ServedCase):
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


class Figures(ServedCase):
    def test_counters(self):
        self.compile(tiny("figures", 3))
        self.compile(tiny("figures", 3))
        self.server.compile({"id": "figures", "nodes": [], "edges": []})
        for line in ('urza_compilations_total{status="success"} 1',
                     'urza_compilations_total{status="failed"} 1',
                     'urza_cache_requests_total{level="memory"} 1',
                     'urza_cache_requests_total{level="none"} 2',
                     'urza_compilation_duration_seconds_count 1',
                     'urza_http_requests_total{method="POST",route="/compile",status="200"} 2',
                     'urza_http_requests_total{method="POST",route="/compile",status="400"} 1'):
            # a request is counted once its reply was sent
            wait_for(lambda sought=line: sought + "\n" in self.get("/metrics").body.decode(),
                     what=f"no line {line}")
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
