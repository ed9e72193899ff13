#!/usr/bin/env python3
"""Blueprints and bodies that ask for more than there is, sent to a service: each is refused, or
compiled within its limits; none is an error of the service; the service stays small and goes on.

Usage: tests/bombs.py [--only NAME] [--verbose]
"""
import argparse
import http.client
import io
import json
import random
import shutil
import struct
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
from service import Service, Tap, blueprint, compile_body  # noqa: E402

TIMEOUT_S = 3
MEMORY_MB = 1024
BODY_MB = 16
DESCRIPTORS_MORE = 8  # each thread that reads keeps its own link to the catalogue
RSS_MOST = 400 << 20  # 202 to 275 MiB were seen; four workers may each read a largest request
BOMBS = {}


def bomb(make):
    """Registers a function that gives a body, or a body and its Content-Type."""
    BOMBS[make.__name__.replace("_", " ")] = make
    return make


def native(inputs, nodes, outputs, **more):
    return {"format": "urza.blueprint/1", "nodes": nodes, "outputs": outputs,
            "inputs": [{"id": name, "dtype": dtype, "shape": shape}
                       for name, dtype, shape in inputs], **more}


def node(name, op, inputs, **attributes):
    made = {"id": name, "op": op, "in": inputs}
    return {**made, "attrs": attributes} if attributes else made


def ask(ir, strategy="standard"):
    return compile_body(ir, strategy)


def chain(count, op, shape, step=lambda i: {}):
    nodes = [node(f"n{i}", op, [f"n{i - 1}" if i else "x"], **step(i)) for i in range(count)]
    return native([("x", "f32", shape)], nodes, [f"n{count - 1}"])


@bomb
def doubling_by_concat():
    nodes = [node(f"n{i}", "concat", [f"n{i - 1}" if i else "x"] * 2) for i in range(40)]
    return ask(native([("x", "f32", [16])], nodes, ["n39"]))


@bomb
def a_dag_of_2_to_the_60_paths():
    nodes = [node(f"n{i}", "add", [f"n{i - 1}" if i else "x"] * 2) for i in range(60)]
    return ask(native([("x", "f32", [16])], nodes, ["n59"]))


@bomb
def products_of_a_tower():
    nodes = [node(f"n{i}", "mul", [f"n{i - 1}" if i else "x"] * 2) for i in range(5000)]
    return ask(native([("x", "f32", [16])], nodes, ["n4999"]))


@bomb
def repeat_2_to_the_35():
    return ask(native([("x", "f32", [32])], [node("y", "repeat", ["x"], repeats=[1 << 30])], ["y"]))


@bomb
def an_input_of_2_to_the_35():
    return ask(native([("x", "f32", [1 << 35])], [node("y", "relu", ["x"])], ["y"]))


@bomb
def an_input_beyond_addresses():
    return ask(native([("x", "f32", [1 << 40, 1 << 40])], [node("y", "relu", ["x"])], ["y"]))


@bomb
def dims_whose_product_overflows():
    return ask(native([("x", "f32", [1 << 32] * 8)], [node("y", "relu", ["x"])], ["y"]))


@bomb
def an_outer_product_of_2_to_the_40():
    return ask(native([("x", "f32", [1 << 20])], [node("y", "outer", ["x", "x"])], ["y"]))


@bomb
def a_product_of_4000_cubed():
    return ask(native([("a", "f32", [4000, 4000]), ("b", "f32", [4000, 4000])],
                      [node("y", "matmul", ["a", "b"])], ["y"]))


@bomb
def products_of_4000_cubed_in_a_row():
    nodes = [node(f"n{i}", "matmul", [f"n{i - 1}" if i else "x", "x"]) for i in range(20)]
    return ask(native([("x", "f32", [4000, 4000])], nodes, ["n19"]))


@bomb
def nested_json():
    return b'{"blueprint_ir":' + b"[" * 100000 + b"]" * 100000 + b"}"


@bomb
def nested_objects_without_end():
    return b'{"a":' * 200000


@bomb
def sixty_thousand_nodes():
    return ask(chain(60000, "relu", [4]), "fast")


@bomb
def sixty_thousand_different_nodes():
    ops = ["relu", "neg", "sigmoid", "exp", "abs", "tanh"]
    nodes = [node(f"n{i}", ops[i % 6], [f"n{i - 1}" if i else "x"]) for i in range(60000)]
    return ask(native([("x", "f32", [4])], nodes, ["n59999"]))


@bomb
def more_nodes_than_there_may_be():
    return ask(chain(70000, "neg", [4]))


@bomb
def sixty_thousand_outputs():
    nodes = [node(f"n{i}", "add", ["x", f"n{i - 1}" if i else "x"]) for i in range(60000)]
    return ask(native([("x", "f32", [4])], nodes, [f"n{i}" for i in range(60000)]), "fast")


@bomb
def huge_windows():
    return ask(native([("x", "f32", [1, 1, 4096, 4096])],
                      [node("y", "max_pool2d", ["x"], kernel_size=2048, stride=1)], ["y"]))


@bomb
def a_convolution_with_huge_weights():
    return ask(native([("x", "f32", [1, 64, 2048, 2048]), ("w", "f32", [64, 64, 1023, 1023])],
                      [node("y", "conv2d", ["x", "w"], padding=511)], ["y"]))


@bomb
def dilation_and_padding_beyond_reason():
    return ask(native([("x", "f32", [1, 1, 8, 8]), ("w", "f32", [1, 1, 3, 3])],
                      [node("y", "conv2d", ["x", "w"], padding=1 << 39, dilation=1 << 38)], ["y"]))


@bomb
def padding_to_2_to_the_40():
    return ask(native([("x", "f32", [4])], [node("y", "pad", ["x"], pad=[1 << 39, 1 << 39])],
                      ["y"]))


@bomb
def a_dim_of_many_terms():
    names = [f"D{i}" for i in range(32)]
    inputs = [(f"x{i}", "f32", [name]) for i, name in enumerate(names)]
    shape = " + ".join(f"{i + 1}*{name}" for i, name in enumerate(names))
    return ask(native(inputs + [("z", "f32", [shape])], [node("y", "relu", ["z"])], ["y"],
                      dims={name: {} for name in names}))


@bomb
def a_dim_that_multiplies_out():
    names = [f"D{i}" for i in range(16)]
    inputs = [(f"x{i}", "f32", [name]) for i, name in enumerate(names)]
    shape = "*".join(f"({a} + {b} + 1)" for a, b in zip(names, names[1:] + names[:1]))
    return ask(native(inputs + [("z", "f32", [shape])], [node("y", "relu", ["z"])], ["y"],
                      dims={name: {} for name in names}))


@bomb
def a_dim_of_deep_parentheses():
    shape = "(" * 100000 + "B" + ")" * 100000
    return ask(native([("x", "f32", ["B", shape])], [node("y", "relu", ["x"])], ["y"],
                      dims={"B": {}}))


@bomb
def a_dim_of_nested_max():
    shape = "B"
    for i in range(3000):
        shape = f"max({shape}, {i} - B)"
    return ask(native([("x", "f32", ["B", shape])], [node("y", "relu", ["x"])], ["y"],
                      dims={"B": {}}))


@bomb
def a_chain_of_concats_of_one_dim():
    nodes = [node(f"n{i}", "concat", [f"n{i - 1}" if i else "x", "x"]) for i in range(3000)]
    return ask(native([("x", "f32", ["B", 2])], nodes, ["n2999"], dims={"B": {}}), "fast")


@bomb
def a_huge_literal():
    text = 'graph "g"\n%1 = const ' + " ".join(["1"] * (1 << 20)) + " : f32[1048576]\n"
    return ask({"format": "urza.blueprint/1", "graph": text})


@bomb
def a_graph_text_without_end():
    line = '%1 = input "x" : f32[4]\n'
    return ask({"format": "urza.blueprint/1", "graph": 'graph "g"\n' + line * 300000})


@bomb
def a_gigantic_string():
    return ask(native([("x", "f32", [4])], [node("n" * (8 << 20), "relu", ["x"])], ["x"]))


@bomb
def a_gigantic_id():
    return ask({**blueprint(3), "id": "i" * (8 << 20)})


@bomb
def a_number_of_a_million_digits():
    return b'{"blueprint_ir":{"format":"urza.blueprint/1","inputs":[{"id":"x","dtype":"f32",' \
        b'"shape":[' + b"9" * 1000000 + b']}],"nodes":[],"outputs":["x"]}}'


@bomb
def empty_lists():
    return b'{"blueprint_ir":{"nodes":[' + b"[]," * (5 << 20) + b"[]]}}"


@bomb
def empty_objects():
    return b'{"blueprint_ir":{"nodes":[' + b"{}," * (700 << 10) + b"{}]}}"


@bomb
def as_many_names_as_fit():
    return b'{"blueprint_ir":{' + b",".join(b'"%d":0' % i for i in range(700000)) + b"}}"


@bomb
def duplicate_names():
    nodes = [node("n", "relu", ["x"])] * 50000
    return ask(native([("x", "f32", [4])], nodes, ["n"]))


@bomb
def names_that_collide():
    nodes = [node(f"n{i:08x}" * 20, "relu", ["x"]) for i in range(20000)]
    return ask(native([("x", "f32", [4])], nodes, [nodes[-1]["id"]]), "fast")


@bomb
def a_cycle():
    nodes = [node(f"n{i}", "relu", [f"n{(i - 1) % 30000}"]) for i in range(30000)]
    return ask(native([("x", "f32", [4])], nodes, ["n0"]))


@bomb
def nodes_in_reverse():
    nodes = [node(f"n{i}", "neg", [f"n{i - 1}" if i else "x"]) for i in range(30000)]
    return ask(native([("x", "f32", [4])], nodes[::-1], ["n29999"]), "fast")


@bomb
def parameters_of_terabytes():
    params = [{"id": f"w{i}", "dtype": "f32", "shape": [1 << 20, 1 << 18], "init": {"kind": "ones"}}
              for i in range(4)]
    nodes = [node("y", "linear", ["x", "w0"])]
    return ask(native([("x", "f32", [1, 1 << 18])], nodes, ["y"], params=params))


@bomb
def parameters_of_a_few_gigabytes():
    params = [{"id": "w", "dtype": "f32", "shape": [1 << 15, 1 << 15],
               "init": {"kind": "normal", "seed": 1}}]
    return ask(native([("x", "f32", [1, 1 << 15])], [node("y", "linear", ["x", "w"])], ["y"],
                      params=params), "fast")


@bomb
def a_parameter_from_a_file():
    params = [{"id": "w", "dtype": "f32", "shape": [4, 4],
               "init": {"kind": "file", "path": "/etc/passwd"}}]
    return ask(native([("x", "f32", [1, 4])], [node("y", "linear", ["x", "w"])], ["y"],
                      params=params))


@bomb
def hints_without_end():
    hints = {f"tile_{i}": list(range(64)) for i in range(20000)}
    return json.dumps({"blueprint_ir": blueprint(3), "optimization_hints": hints}).encode()


@bomb
def a_batch_size_without_end():
    return json.dumps({"blueprint_ir": blueprint(3),
                       "optimization_hints": {"expected_batch_size": 1 << 62}}).encode()


@bomb
def attention_over_a_million():
    inputs = [(name, "f32", [64, 64, 1 << 20, 128]) for name in "qkv"]
    return ask(native(inputs, [node("y", "scaled_dot_product_attention", list("qkv"))], ["y"]))


@bomb
def an_einsum_of_everything():
    letters = "abcdefgh"
    inputs = [(f"x{i}", "f32", [64] * 8) for i in range(6)]
    equation = ",".join([letters] * 6) + "->" + letters[::-1]
    return ask(native(inputs, [node("y", "einsum", [f"x{i}" for i in range(6)],
                                    equation=equation)], ["y"]))


@bomb
def topk_of_everything():
    return ask(native([("x", "f32", [1 << 24])], [node("y", "topk", ["x"], k=1 << 24)], ["y"]))


@bomb
def split_into_a_million():
    return ask(native([("x", "f32", [1 << 20])], [node("y", "split", ["x"], split_size=1)], ["y"]))


@bomb
def an_architecture_of_a_million_layers():
    return ask({"architecture": {"type": "linear",
                                 "config": {"hidden_sizes": [4] * 1000000}}})


@bomb
def an_architecture_of_huge_blocks():
    return ask({"architecture": {"type": "custom",
                                 "config": {"dim": 1 << 20, "num_blocks": 10000}}})


@bomb
def a_body_beyond_the_limit():
    return b'{"blueprint_ir":"' + b"a" * (17 << 20) + b'"}'


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx_input(name, dims):
    shape = b"".join(field(1, varint(1 << 3) + varint(dim)) for dim in dims)
    tensor = varint(1 << 3) + varint(1) + field(2, shape)
    return field(1, name) + field(2, field(1, tensor))


def onnx_model(nodes, dims=(4,), more=b""):
    graph = b"".join(field(1, text) for text in nodes) + field(2, b"g") + more
    graph += field(11, onnx_input(b"x", dims)) + field(12, onnx_input(b"y", dims))
    return (varint(1 << 3) + varint(8) + field(7, graph) +
            field(8, field(1, b"") + varint(2 << 3) + varint(17)))


def onnx_node(op, inputs, output):
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, op)


ONNX = "application/onnx"


@bomb
def onnx_of_huge_shapes():
    return onnx_model([onnx_node(b"Relu", [b"x"], b"y")], (1 << 35, 1 << 20)), ONNX


@bomb
def onnx_that_doubles():
    nodes = [onnx_node(b"Add", [b"n%d" % (i - 1) if i else b"x"] * 2,
                       b"n%d" % i if i < 199 else b"y") for i in range(200)]
    return onnx_model(nodes), ONNX


@bomb
def onnx_of_half_a_million_nodes():
    return onnx_model([onnx_node(b"Relu", [b"x"], b"n%d" % i) for i in range(500000)]), ONNX


@bomb
def onnx_that_announces_terabytes():
    tensor = varint(1 << 3) + varint(1 << 40) + varint(2 << 3) + varint(1) + field(8, b"w")
    return onnx_model([onnx_node(b"Add", [b"x", b"w"], b"y")], more=field(5, tensor)), ONNX


@bomb
def onnx_of_a_length_beyond_the_end():
    return field(7, b"")[:1] + varint(1 << 40) + b"abc", ONNX


@bomb
def onnx_nested_deep():
    inner = b""
    for _ in range(3000):
        inner = field(7, field(1, onnx_node(b"If", [b"x"], b"y") + field(5, field(6, inner))))
        inner = inner[-(1 << 20):]
    return inner, ONNX


@bomb
def noise_as_onnx():
    return random.Random(1).randbytes(1 << 20), ONNX


PT2 = "application/zip"


def archive(entries, deflate=False):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as made:
        for name, data in entries.items():
            made.writestr(name, data)
    return out.getvalue()


@bomb
def a_truncated_zip():
    return archive({"archive_format": b"pt2", "models/model.json": b"{}" * 4000})[:-300], PT2


@bomb
def a_zip_bomb():
    return archive({"a/models/model.json": b" " * (256 << 20)}, deflate=True), PT2


@bomb
def a_zip_of_a_hundred_thousand_entries():
    return archive({f"a/{i}": b"" for i in range(100000)}), PT2


@bomb
def a_zip_that_lies_about_sizes():
    data = bytearray(archive({"a/models/model.json": b"{}"}))
    at = data.rfind(b"PK\1\2")
    data[at + 20:at + 28] = struct.pack("<II", 0xfffffff0, 0xfffffff0)
    return bytes(data), PT2


@bomb
def a_compressed_body():
    return zlib.compress(b" " * (1 << 24))


TYPES_JSON = "application/json"


class Watch(threading.Thread):
    """The greatest size that the service had."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service, self.most, self.over = service, 0, False

    def run(self):
        while not self.over:
            try:
                self.most = max(self.most, self.service.rss_bytes())
            except (OSError, AttributeError):  # it has ended
                return
            time.sleep(0.005)


def allowed(reply):
    if reply.status == 503:
        return "Retry-After" in reply.headers
    return reply.status == 200 or 400 <= reply.status < 500


def throw(tap, service, watch, client, name, verbose):
    made = BOMBS[name]()
    body, content_type = made if isinstance(made, tuple) else (made, TYPES_JSON)
    begin = time.monotonic()
    try:
        reply = client.ask("POST", "/compile", body, {"Content-Type": content_type})
    except (OSError, http.client.HTTPException) as error:
        # A client that still sends when it is refused may find the connection closed.
        tap.ok(len(body) > BODY_MB << 20, name, f"no reply: {error!r}", service.log()[-2000:])
        return
    seconds = time.monotonic() - begin
    text = reply.body[:300].decode(errors="replace")
    if verbose:
        sizes = f"{service.rss_bytes() >> 20} MiB, {watch.most >> 20} at most"
        tap.say(f"{reply.status} in {seconds:.2f} s, {len(body) >> 10} KiB, {sizes}: {text}")
    if reply.status == 200:
        text = json.dumps(reply.json()["metadata"]["degraded"])
    # Three attempts with their verifications, none longer than the limit.
    ok = allowed(reply) and seconds < 6 * TIMEOUT_S + 5
    tap.ok(ok, f"{name}: {reply.status}", f"{seconds:.1f} s", text)


def settle(service, before):
    """How many descriptors more than before, and processes that work, after a while."""
    deadline = time.monotonic() + 150 # measuring waits for quiet, and may take a minute then
    while time.monotonic() < deadline:
        more, left = service.descriptors() - before, len(service.processes())
        if more <= DESCRIPTORS_MORE and left == 2:
            break
        time.sleep(0.05)
    return more, left


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="names that contain this")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    folder, tap = tempfile.mkdtemp(prefix="urza-bombs-"), Tap()
    service = Service(folder + "/data", compile_timeout_seconds=TIMEOUT_S, max_body_mb=BODY_MB,
                      compile_memory_mb=MEMORY_MB)
    try:
        service.start()
        client = service.client(120)
        honest = client.compile(blueprint(7), "standard")
        tap.ok(honest.status == 200, "an honest request before", honest.body)
        before = service.descriptors()
        watch = Watch(service)
        watch.start()
        for i, name in enumerate(name for name in BOMBS if (options.only or "") in name):
            throw(tap, service, watch, client, name, options.verbose)
            after = client.compile(blueprint(100 + i), "emergency")
            if after.status != 200:
                tap.ok(False, f"{name}: the next honest request", after.status, after.body)
        watch.over = True
        more, left = settle(service, before)
        tap.ok(more <= DESCRIPTORS_MORE, "no descriptor is left open", f"{more} more than before")
        tap.ok(left == 2, "no process is left but the service and its spawner",
               service.processes())
        tap.say(f"the service had {watch.most >> 20} MiB at most")
        tap.ok(watch.most < RSS_MOST, f"it stays below {RSS_MOST >> 20} MiB",
               f"{watch.most >> 20} MiB")
        tap.ok(service.stop() == 0, "it stops")
        tap.ok(not service.gone_within(1), "nothing of it is left", service.processes())
        status, said = service.tool("fsck")
        tap.ok(status == 0, "urza fsck finds nothing", said)
    finally:
        if service.process:
            service.kill()
        shutil.rmtree(folder, ignore_errors=True)
    tap.end()


if __name__ == "__main__":
    main()
