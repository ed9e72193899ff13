"""Reads a case: a blueprint of the native dialect and the values of its parameters.

The result is a list of nodes in an order in which they can be computed. Values are named by
(node id, result); inputs and parameters have result 0. Nothing here depends on a framework.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
          "I8": "|i1", "U8": "|u1", "BOOL": "|b1"}


@dataclass
class Node:
    name: str
    op: str
    operands: list  # of (id, result), or None where an optional operand is left out
    attrs: dict


@dataclass
class Model:
    inputs: list[str]
    params: dict[str, np.ndarray]
    nodes: list[Node] = field(default_factory=list)
    outputs: list = field(default_factory=list)  # of (name, (id, result))


class UnknownOp(Exception):
    def __init__(self, op: str):
        super().__init__(f"op {op} is not known to this peer")


def read_safetensors(path: str) -> dict[str, np.ndarray]:
    data = Path(path).read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:end]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"parameter {name}: {entry['dtype']} is not known to this peer")
        low, high = entry["data_offsets"]
        flat = np.frombuffer(data[end + low:end + high], DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


class References:
    """Resolves what stands in `in` and `outputs`: an id, id.k, or a name from `out`."""

    def __init__(self, document: dict):
        self.values = {}
        self.nodes = {node["id"] for node in document["nodes"]}
        for entry in document["inputs"] + document.get("params", []):
            self.values[entry["id"]] = (entry["id"], 0)
        for node in document["nodes"]:
            self.values[node["id"]] = (node["id"], 0)
        for node in document["nodes"]:
            for result, name in enumerate(node.get("out", [])):
                self.values[name] = (node["id"], result)

    def find(self, text: str | None):
        if text is None or text in self.values:
            return self.values.get(text)
        name, _, result = text.rpartition(".")
        if name not in self.nodes or not result.isdigit():
            raise ValueError(f"reference {text} names nothing")
        return name, int(result)


def in_order(nodes: list[Node], known: set[str]) -> list[Node]:
    """Nodes may stand in any order in a blueprint."""
    ordered, waiting = [], nodes
    while waiting:
        ready = [n for n in waiting if all(o is None or o[0] in known for o in n.operands)]
        if not ready:
            raise ValueError(f"node {waiting[0].name} depends on itself")
        # Nodes that become ready together do not depend on each other.
        names = {n.name for n in ready}
        ordered += ready
        known = known | names
        waiting = [n for n in waiting if n.name not in names]
    return ordered


def read_model(blueprint: str, params: str | None) -> Model:
    document = json.loads(Path(blueprint).read_text())
    if "graph" in document:
        raise ValueError("a graph of primitives is not known to this peer")
    refs = References(document)
    model = Model([entry["id"] for entry in document["inputs"]], {})
    declared = [entry["id"] for entry in document.get("params", [])]
    stored = read_safetensors(params) if declared else {}
    model.params = {name: stored[name] for name in declared}
    nodes = [Node(n["id"], n["op"], [refs.find(o) for o in n.get("in", [])], n.get("attrs", {}))
             for n in document["nodes"]]
    model.nodes = in_order(nodes, set(model.inputs) | set(declared))
    for output in document["outputs"]:
        name = output if isinstance(output, str) else output["name"]
        value = output if isinstance(output, str) else output["value"]
        model.outputs.append((name, refs.find(value)))
    return model


def evaluate(model: Model, ops: dict, inputs: dict, params: dict) -> list:
    """Computes the outputs; ops maps names to functions of (operands, attributes)."""
    values = {(name, 0): value for name, value in (params | inputs).items()}
    for node in model.nodes:
        operands = [None if o is None else values[o] for o in node.operands]
        result = ops[node.op](operands, node.attrs)
        results = result if isinstance(result, (tuple, list)) else [result]
        for i, value in enumerate(results):
            values[(node.name, i)] = value
    return [values[value] for _, value in model.outputs]


def check_ops(model: Model, ops: dict) -> None:
    for node in model.nodes:
        if node.op not in ops:
            raise UnknownOp(node.op)


def ints(value, count: int) -> list[int]:
    """One integer stands for as many as are needed."""
    if isinstance(value, int):
        return [value] * count
    return list(value) * count if len(value) == 1 else list(value)


def operand(operands: list, index: int):
    return operands[index] if index < len(operands) else None
