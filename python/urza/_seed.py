"""Seeds of urza.Slot: their parameters, how these begin, and modules that become grafts."""
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import warnings
import weakref
from pathlib import Path

import torch

import urza

from . import _client, _store, _torch

INITS = ("zero", "lora", "gradmax", None)
GATE = "gate."  # parameters of the blend, which begin as zeros
CHUNKS_MOST = 65536


# Parameters.

def _values(module, index, info):
    shape, dtype, data = info.shape, getattr(torch, info.dtype), module._param_bytes(index)
    if not data:
        return torch.zeros(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


def _place(top, dotted):
    """(the module inside top where a dotted name is, its last part)."""
    *path, name = dotted.split(".")
    for step in path:
        if step not in top._modules:
            top.add_module(step, torch.nn.Module())
        top = top._modules[step]
    return top, name


def of_package(module):
    """A module with a graft's parameters, dotted names nested, and the package's values."""
    top = torch.nn.Module()
    for index, info in enumerate(module.params):
        inner, name = _place(top, info.name)
        inner.register_parameter(name, torch.nn.Parameter(_values(module, index, info)))
    return top


def features_dim(rank):
    return 1 if rank >= 4 else rank - 1


def chunk_of(shape, chunks):
    """The shape of h's chunk, as a seed of its own sees it."""
    if chunks == 1:
        return shape
    place = features_dim(len(shape))
    if len(shape) < 2 or shape[place] % chunks != 0:
        raise ValueError(f"h of shape {tuple(shape)} has no {chunks} chunks of features")
    return (*shape[:place], shape[place] // chunks, *shape[place + 1:])


def _stacked(module, chunks):
    """A module with a module's parameters and buffers, so many of each along a new first dim."""
    top = torch.nn.Module()
    for dotted, each in module.named_parameters():
        inner, name = _place(top, dotted)
        copies = each.detach().expand(chunks, *each.shape).clone()
        inner.register_parameter(name, torch.nn.Parameter(copies, each.requires_grad))
    for dotted, each in module.named_buffers():
        inner, name = _place(top, dotted)
        inner.register_buffer(name, each.expand(chunks, *each.shape).clone())
    return top


class _Shared(torch.nn.Module):
    """Another module's parameters and submodules: the same objects under the same names."""

    def __init__(self, module):
        super().__init__()
        for name in _torch.SHARED:
            if name in module.__dict__:
                self.__dict__[name] = module.__dict__[name]
        self.__dict__["training"] = module.training


class _Block(_Shared):
    """What is exported: the input's name is x, whatever the module calls it, as a graft has inputs
    of its own."""

    def __init__(self, module):
        super().__init__(module)
        self.__dict__["_inner"] = module

    def forward(self, x):
        return self._inner(x)


def of_source(module, blend, shape, dtype, chunks):
    """A module that shows a module's own parameters, of several chunks copies of them; a gate's
    beside them."""
    module = module if chunks == 1 else _stacked(module, chunks)
    if blend != "gate":
        return module
    if hasattr(module, "gate"):
        raise ValueError("a seed of a gate slot has no attribute 'gate', where the gate's own "
                         "parameters are")
    holder, gate = _Shared(module), torch.nn.Module()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    features = shape[features_dim(len(shape))]
    gate.weight = torch.nn.Parameter(torch.zeros(features, dtype=wide))
    gate.bias = torch.nn.Parameter(torch.zeros((), dtype=wide))
    holder.__dict__["_modules"] = {**module._modules, "gate": gate}
    return holder


def tensor(holder, name):
    """A parameter or buffer; None: there is none of this name."""
    *path, last = name.split(".")
    for step in path:
        holder = holder._modules.get(step)
        if holder is None:
            return None
    found = holder._parameters.get(last)
    return holder._buffers.get(last) if found is None else found


# How they begin.

def stream(slot, seed, random_seed, number):
    """A generator of a seed's own random numbers; none of PyTorch's are used up."""
    text = "\0".join(map(str, (slot, seed, random_seed, number)))
    drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(drawn)


def check_gradmax(tensors, last, features):
    """(name of the first layer's matrix, of the last one's); ValueError where there are no two."""
    matrices = {name: each for name, each in tensors.items()
                if each.dim() >= 2 and not name.startswith(GATE)}
    inner = [name for name in matrices if name not in last]
    outer = [name for name in matrices if name in last]
    if len(inner) != 1 or len(outer) != 1 or \
            tuple(matrices[inner[0]].shape[:1]) != tuple(matrices[outer[0]].shape[1:]):
        raise ValueError("init 'gradmax' is for seeds with two matrices, [hidden, features] and "
                         f"[features, hidden]; this one has "
                         f"{ {n: tuple(each.shape) for n, each in matrices.items()} }")
    if matrices[inner[0]].dim() != 2 or matrices[outer[0]].shape[0] != features or \
            matrices[inner[0]].shape[1] != features:
        raise ValueError(f"init 'gradmax' is for seeds with features last: h has {features}, the "
                         f"seed's matrices are { [tuple(m.shape) for m in matrices.values()] }")
    return inner[0], outer[0]


def _gradmax(tensors, last, generator, moment):
    """GradMax (Evci, van Merriënboer, Unterthiner, Pedregosa and Vladymyrov, "GradMax: Growing
    Neural Networks using Gradient Information", ICLR 2022): with the first layer zero, the gradient
    by it is W_lastᵀ M with M = Σ dL/dy hᵀ, whose norm is greatest for columns of W_last that are
    the first left singular vectors of M. Each has the length √(features / 3 hidden), which columns
    have on average that PyTorch draws for a Linear. Columns beyond the features are drawn."""
    inner, outer = check_gradmax(tensors, last, moment.shape[0])
    for name, each in tensors.items():
        if not name.startswith(GATE) and each.is_floating_point() and each.requires_grad:
            each.zero_()
    features, hidden = tensors[outer].shape
    columns = torch.linalg.svd(moment)[0][:, :hidden]
    more = torch.randn(features, hidden - columns.shape[1], generator=generator,
                       dtype=torch.float64)
    columns = torch.cat([columns, more / more.norm(dim=0)], 1)
    tensors[outer].copy_(columns * (features / (3 * hidden)) ** 0.5)


@torch.no_grad()
def begin(init, tensors, graft, generator, moment=None):
    """Sets initial values. tensors: by names; graft: what the package says of itself.

    "zero": the last layer is zero. "lora": so, and all other matrices are Kaiming-uniform with
    a = √5 (He et al. 2015), as the matrix A of LoRA is (Hu et al., "LoRA: Low-Rank Adaptation of
    Large Language Models", 2021, and its code). "gradmax": see _gradmax.
    """
    last, chunks = graft["last"], graft["chunks"]
    if init == "gradmax":
        _gradmax(tensors, last, generator, moment)
    if init not in ("zero", "lora"):
        return
    for name, each in tensors.items():
        if name in last:
            each.zero_()
        elif init == "lora" and not name.startswith(GATE):
            for part in each if chunks > 1 else [each]:
                if part.dim() >= 2:
                    torch.nn.init.kaiming_uniform_(part, a=5 ** 0.5, generator=generator)


# Modules that become grafts.

def export(module, shape, dtype):
    """The module as a program of one input like h, with any number of rows."""
    shape = (max(shape[0], 2), *shape[1:])  # a size of 1 would be taken for a constant
    rows = torch.export.Dim("rows", min=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(_Block(module), (torch.zeros(shape, dtype=dtype),),
                                          dynamic_shapes=({0: rows},))
    except Exception as problem:
        raise _store.error("UnsupportedError", f"torch.export refuses the module: {problem}",
                           type(module).__name__) from problem
    statistics, written = _torch._writes(program)
    for name in sorted(statistics | written.keys()):
        raise _store.error("UnsupportedError", "the module changes it when it runs; a batch norm "
                           "does so in training mode, and after eval() it does not", name)
    return program


def check_hints(hints, client):
    for name in hints if client is None else ():
        if name not in _torch.OPTIONS:
            raise TypeError(f"plant has no hint {name!r} without a client; it has "
                            f"{', '.join(_torch.OPTIONS)}")


def _kill(processes, owner):
    """In the child of a fork they are not its own."""
    for process in processes if os.getpid() == owner else ():
        with contextlib.suppress(OSError):
            process.kill()


class Job:
    """A program on its way to a graft, on a thread of its own. package, or the error's text."""

    def __init__(self, program, blend, client, threads, hints):
        self.package, self.error = None, "the thread that compiled it is in another process"
        self._blend, self._client, self._threads, self._hints = blend, client, threads, hints
        self._processes, self._cancelled = [], False
        weakref.finalize(self, _kill, self._processes, os.getpid())  # also when Python ends
        self._folder = Path(tempfile.mkdtemp(prefix="urza-seed-"))
        self._source = self._folder / "seed.pt2"
        try:
            torch.export.save(program, os.fspath(self._source))
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._thread = threading.Thread(target=self._run, name="urza seed", daemon=True)
        self._thread.start()

    @property
    def done(self):
        return not self._thread.is_alive()

    def wait(self):
        self._thread.join()

    def cancel(self):
        self._cancelled = True
        _kill(self._processes, os.getpid())

    def _run(self):
        try:
            self.package = self._fetched() if self._client else self._compiled()
            self.error = None
        except BaseException as problem:
            self.error = str(problem) or type(problem).__name__
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _fetched(self):
        words = {"expected_workload": "training", "graft": self._blend, **self._hints}
        answer = self._client.compile(self._source, **words)
        return self._client.fetch(answer["kernel_id"], threads=self._threads)

    def _compiled(self):
        words = []
        for name, value in {"strategy": "fast", **self._hints}.items():
            words += [f"--{name}", str(value)]
        made = self._folder / "seed.urza"
        process = subprocess.Popen(
            [_torch._program(), "compile", str(self._source), "-o", str(made), "--json", "--quiet",
             "--graft", self._blend, "--backward", *words], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._processes.append(process)
        if self._cancelled:
            process.kill()
        said = process.communicate()[0]
        self._processes.clear()
        if process.returncode == 0:
            data = made.read_bytes()
            package = urza.load(data, threads=self._threads)
            _store.keep_bytes(package.kernel_id, data)
            return package
        for line in reversed(said.splitlines()):
            if line.startswith("{"):
                raise _client._error_of(json.loads(line), process.returncode)
        raise _store.error("CompilationError", f"status {process.returncode}: {said.strip()}",
                           "urza compile")
