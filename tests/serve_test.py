#!/usr/bin/env python3
"""Compiling over HTTP: hits and misses, batches, jobs, errors, overload. Prints TAP."""
import hashlib
import json
import subprocess
import threading

from serve_util import CHEAP, Held, KERNEL_ID, ServedCase, chain, main, tiny, wait_for


class Compile(ServedCase):
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
                              strategy="emergency")
        what = {item["what"] for item in answer["metadata"]["degraded"]}
        self.assertEqual(what, {"target_hardware", "precision"})
        kernel = self.get("/api/v1/kernels/" + answer["kernel_id"]).json()
        self.assertEqual((kernel["precision"], kernel["strategy"]), ("fp32", "emergency"))

    def test_training_and_grafts(self):
        ir = chain("trained", 12, "linear", "relu", "linear")
        plain = self.compile(ir, strategy="fast")
        for hints, words in (({"expected_workload": "training"}, [b"forward_train"]),
                             ({"expected_workload": "training", "graft": "lerp"},
                              [b"forward_train", b'"blend":"lerp"'])):
            answer = self.compile(ir, strategy="fast", **hints)
            self.assertEqual(answer["metadata"]["degraded"], plain["metadata"]["degraded"])
            self.assertNotEqual(answer["kernel_id"], plain["kernel_id"])
            package = self.get("/kernel/" + answer["kernel_id"]).body
            for word in words:
                self.assertIn(word, package)
        narrow = chain("narrow", 12, "linear")
        narrow["nodes"][1]["attributes"]["out_features"] = 6
        self.check_error(self.server.compile(narrow, graft="residual"), 400,
                         "InvalidBlueprintError", "narrow")

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
                      {"target_hardware": "x86-64-v3,"}, {"target_hardware": ""}, {"graft": "sum"}):
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


class Batch(ServedCase):
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


class Jobs(ServedCase):
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


class Errors(ServedCase):
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


class Overload(ServedCase):
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


if __name__ == "__main__":
    main()
