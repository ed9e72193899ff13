"""Packages and slots as operators of PyTorch, for graphs that are compiled or exported.

Each is a function of its arguments, which name a package by its kernel's id and a slot by a name of
this process. What autograd needs is computed by operators of its own, so that a compiled graph is
made of these and has a node for each part of a step:

    run ──► train ──► outputs, tape          slot ──► slot_train ──► y, tape
            train_backward ──► gradients              slot_backward ──► gradients

A tape is a tensor without content of interest; in this process its memory leads to the tape of the
runtime, which ends with the tensor. That only saves work: where a tape is a copy, was used before,
or is of other memory than the tensors that backward is given (a compiled graph may compute these
again, and use their memory for something else), the forward pass is run again on those tensors.

A package is found among those that this process has loaded, else in the user's folder.
"""
import functools
import itertools
import re
import weakref

import torch
from torch.autograd.function import once_differentiable

import urza

from . import _store

_library = torch.library.Library("urza", "DEF")
_loaded_here = {}  # by id: packages that no one else holds
_slots = weakref.WeakValueDictionary()  # urza.Slot by name
_slot_numbers = itertools.count(1)
_tapes = weakref.WeakValueDictionary()  # _Memory by the address of its bytes


def _define(name, schema, run, fake):
    """run is for all devices, so that it is urza that says which it does not know."""
    _library.define(name + schema)
    _library.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"urza::{name}", fake, lib=_library)
    return getattr(torch.ops.urza, name).default


# Tapes.

class _Memory(bytearray):
    """The bytes of a tensor that stands for a tape, while the tensor lives."""
    __slots__ = ("__weakref__", "addresses", "tapes")


def _addresses(tensors):
    return [each.data_ptr() for each in tensors]


def _tape_tensor(tape, number, tensors):
    """tensors: those whose memory the tape reads."""
    memory = _Memory(number.to_bytes(8, "little"))
    memory.tapes, memory.addresses = [tape], _addresses(tensors)
    tensor = torch.frombuffer(memory, dtype=torch.int64)
    _tapes[tensor.data_ptr()] = memory
    return tensor


def _take_tape(tensor, tensors):
    """A list of the tape, or an empty one: it is not here, or not one of these tensors."""
    memory = _tapes.get(tensor.data_ptr())
    if memory is None or memory.addresses != _addresses(tensors):
        return []
    tapes, memory.tapes = memory.tapes, []
    return tapes


def _fake_tape():
    return torch.empty(1, dtype=torch.int64)


# Packages.

def _module(kernel):
    found = _store.loaded.get(kernel)
    if found is None:
        found = _loaded_here[kernel] = urza.load(kernel)
    return found


_NAME = re.compile(r"max(?=\()|[A-Za-z_][A-Za-z0-9_.]*")
_LINEAR = re.compile(r"(?:(\d+)\*)?([A-Za-z_][A-Za-z0-9_.]*)(?: ([+-]) (\d+))?")


def _sizes(shape):
    """Functions of the named dims' values; numbers as they are."""
    found = []
    for size in shape:
        if isinstance(size, str):
            if not re.fullmatch(r"[\d\s+\-*/(),]*", _NAME.sub("", size)):
                raise _store.error("InvalidPackageError", "it is no expression of dims", size)
            code = _NAME.sub(lambda m: m[0] if m[0] == "max" else f"dims[{m[0]!r}]", size)
            size = eval(f"lambda dims: {code}", {"max": torch.sym_max})  # noqa: S307  nothing else
        found.append(size)
    return found


class _Facts:
    """What fake tensors need to know of a package."""

    def __init__(self, kernel):
        module = _module(kernel)
        self.kernel = kernel
        self.infos = (*module.inputs, *module.params)
        self.names = [info.name for info in self.infos]
        self.gradients = [module._has_gradient(name) for name in self.names]
        self.all_gradients = all(self.gradients)
        self.counts = len(module.inputs), len(module.params)
        self.dims = module.dims
        self.inputs = [(info, _sizes(info.shape)) for info in self.infos]
        self.outputs = [(getattr(torch, info.dtype), _sizes(info.shape))
                        for info in module.outputs]

    def given(self, inputs, params):
        """All tensors of a call: the inputs, and the parameters if they are not the package's."""
        if len(inputs) != self.counts[0] or (params and len(params) != self.counts[1]):
            raise _store.error("InvalidInputError", f"{len(inputs)} inputs and {len(params or ())} "
                               f"parameters are given, expected {self.counts[0]} and "
                               f"{self.counts[1]}", self.kernel)
        return (*inputs, *(params or ()))

    def check_gradients(self, tensors):
        for each, name, has in zip(tensors, self.names, self.gradients, strict=False):
            if each.requires_grad and not has:
                raise _store.error("UnsupportedError", "it requires grad, and the package has no "
                                   "gradient by it", name)

    def bind(self, tensors):
        """Values of the named dims, which may be symbols; checks types and shapes. tensors: the
        inputs, and the parameters if they are given."""
        dims = {}
        for info, each in zip(self.infos, tensors, strict=False):
            _check_kind(info, each)
            for size, text in zip(each.shape, info.shape, strict=True):
                linear = isinstance(text, str) and _LINEAR.fullmatch(text)
                if linear and linear[2] not in dims:
                    offset = int((linear[3] or "") + (linear[4] or "0"))
                    dims[linear[2]] = (size - offset) // int(linear[1] or 1)
        for name, info in self.dims.items():
            if name not in dims:  # elements of an input decide it
                dims[name] = torch.library.get_ctx().new_dynamic_size(min=info.min, max=info.max)
            elif torch.compiler.is_exporting():
                _check_dim(name, info, dims[name])
        self._check_shapes(tensors, dims)
        return dims

    def _check_shapes(self, tensors, dims):
        for (info, sizes), each in zip(self.inputs, tensors, strict=False):
            for axis, (size, given) in enumerate(zip(sizes, each.shape, strict=True)):
                torch._check(given == _size(size, dims), lambda info=info, axis=axis: f"input "
                             f"'{info.name}': dim {axis} must be {info.shape[axis]}")


def _size(size, dims):
    return size(dims) if callable(size) else size


def _check_kind(info, tensor):
    if tensor.dtype != getattr(torch, info.dtype) or tensor.dim() != len(info.shape):
        raise _store.error("InvalidInputError", f"is {tensor.dtype} of {tensor.dim()} dims, "
                           f"expected {info.dtype} of {len(info.shape)}", f"input '{info.name}'")


def _check_dim(name, info, size):
    """An exported program says of its inputs what the package allows. A graph of this process gets
    no guards by that, since the package refuses other sizes itself, when it is called."""
    torch._check(size >= info.min, lambda: f"dim '{name}' is at least {info.min}")
    torch._check(size <= info.max, lambda: f"dim '{name}' is at most {info.max}")
    if info.multiple_of > 1:
        torch._check(size % info.multiple_of == 0,
                     lambda: f"dim '{name}' is a multiple of {info.multiple_of}")


_facts = functools.lru_cache(maxsize=256)(_Facts)


def _list(outputs):
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def _run(kernel, inputs, params=None):
    module = _module(kernel)
    return _list(module.forward_train(*inputs, params=params)[0] if params else module(*inputs))


def _fake_run(kernel, inputs, params=None):
    facts = _facts(kernel)
    given = facts.given(inputs, params)
    dims, device = facts.bind(given), given[0].device if given else "cpu"
    return [torch.empty([_size(size, dims) for size in sizes], dtype=dtype, device=device)
            for dtype, sizes in facts.outputs]


def _step(kernel, inputs, params):
    """Outputs and the runtime's tape."""
    outputs, tape = _module(kernel).forward_train(*inputs, params=params or None)
    return _list(outputs), tape


def _train(kernel, inputs, params):
    outputs, tape = _step(kernel, inputs, params)
    return outputs, _tape_tensor(tape, 0, (*inputs, *params, *outputs))


def _fake_train(kernel, inputs, params):
    return _fake_run(kernel, inputs, params), _fake_tape()


def _gradients(kernel, tapes, cotangents, inputs, params, wrt):
    """tapes: a list, from which the tape is taken; empty: the forward pass is run again."""
    tape = tapes.pop() if tapes else _step(kernel, inputs, params)[1]
    names = [_facts(kernel).names[i] for i in wrt]
    found = tape.backward(*cotangents, wrt=names)
    return [found[name] for name in names]


def _train_backward(kernel, tape, cotangents, inputs, params, outputs, wrt):
    tapes = _take_tape(tape, (*inputs, *params, *outputs))
    return _gradients(kernel, tapes, cotangents, inputs, params, wrt)


def _fake_train_backward(kernel, tape, cotangents, inputs, params, outputs, wrt):
    tensors = _facts(kernel).given(inputs, params)
    return [tensors[i].new_empty(tensors[i].shape) for i in wrt]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernel, count, plain, *tensors):
        inputs, params = tensors[:count], tensors[count:]
        outputs, tape = (_step if plain else train)(kernel, inputs, params)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(y for y in outputs if not y.is_floating_point()))
        # The tape reads this memory: saved, so that PyTorch refuses what was changed since.
        ctx.save_for_backward(*tensors, *outputs, *(() if plain else (tape,)))
        ctx.tapes = [tape] if plain else None
        ctx.kernel, ctx.count = kernel, count
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, *cotangents):
        needed, saved, kernel = ctx.needs_input_grad[3:], ctx.saved_tensors, ctx.kernel
        inputs, params = saved[:ctx.count], saved[ctx.count:len(needed)]
        wrt = [i for i, need in enumerate(needed) if need]
        if ctx.tapes is not None:
            found = _gradients(kernel, ctx.tapes, cotangents, inputs, params, wrt)
        else:
            found = train_backward(kernel, saved[-1], cotangents, inputs, params,
                                   saved[len(needed):-1], wrt)
        found = iter(found)
        return None, None, None, *(next(found) if need else None for need in needed)


# The keys of tensors in memory where nothing else looks on: what comes behind autograd is the
# operator's own function, so that the dispatcher need not be asked again.
_PLAIN = (torch._C.DispatchKeySet(torch._C.DispatchKey.CPU) |
          torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradCPU)).raw_repr()


def _run_recorded(keyset, kernel, inputs, params=None):
    """run where autograd looks on."""
    plain = keyset.raw_repr() == _PLAIN
    if not torch.is_grad_enabled() or not torch._C._any_requires_grad(inputs, params):
        if plain:
            return _run(kernel, inputs, params)
        with torch._C._AutoDispatchBelowAutograd():
            return run.redispatch(keyset & torch._C._after_autograd_keyset, kernel, inputs, params)
    facts = _facts(kernel)
    given = facts.given(inputs, params)
    if not facts.all_gradients:
        facts.check_gradients(given)
    return list(_Run.apply(kernel, len(inputs), plain, *given))


run = _define("run", "(str kernel, Tensor[] inputs, Tensor[]? params=None) -> Tensor[]",
              _run, _fake_run)
train = _define("train", "(str kernel, Tensor[] inputs, Tensor[] params) -> (Tensor[], Tensor)",
                _train, _fake_train)
train_backward = _define("train_backward", "(str kernel, Tensor tape, Tensor?[] cotangents, "
                         "Tensor[] inputs, Tensor[] params, Tensor[] outputs, int[] wrt) "
                         "-> Tensor[]", _train_backward, _fake_train_backward)
_library.impl("run", _run_recorded, "Autograd", with_keyset=True)


# Slots. Their state and step are those of the moment when the operator runs.

def add_slot(slot):
    """A name for a urza.Slot, as long as it lives."""
    name = f"slot-{next(_slot_numbers)}"
    _slots[name] = slot
    return name


def _slot_of(name):
    found = _slots.get(name)
    if found is None:
        raise _store.error("NotFoundError", "the slot is gone, or was one of another process", name)
    return found


def _run_slot(name, h, params, factors, learns):
    """(y, tape); y is memory of its own."""
    y, tape = _slot_of(name)._run(h, tuple(params), factors, learns)
    return h.clone(memory_format=torch.contiguous_format) if y is h else y, tape


def _slot(name, h, params, factors=None):
    return _run_slot(name, h, params, factors, False)[0]


def _fake_slot(name, h, params, factors=None):
    return h.new_empty(h.shape)


def _read_by_slot(h, params, factors, y):
    return (h, y, *params) if factors is None else (h, y, factors, *params)


def _slot_train(name, h, params, factors=None):
    y, tape = _run_slot(name, h, params, factors, True)
    return y, _tape_tensor(tape, _slot_of(name)._ticks, _read_by_slot(h, params, factors, y))


def _fake_slot_train(name, h, params, factors=None):
    return h.new_empty(h.shape), _fake_tape()


def _slot_backward(name, tape, dy, h, params, factors, y, wanted):
    slot = _slot_of(name)
    found = _take_tape(tape, _read_by_slot(h, params, factors, y))
    if not found:
        if int(tape) != slot._ticks:
            raise _store.error("UsageError", "the slot ticked between forward and backward, and "
                               "the tape is not kept", name)
        found = [_run_slot(name, h, params, factors, True)[1]]
    dy = dy.contiguous()
    if slot._plan is not None:
        slot._plan.add(h, dy)
    dh = torch.empty_like(dy)
    gradients = [torch.empty_like(p, memory_format=torch.contiguous_format) if want else None
                 for p, want in zip(params, wanted, strict=True)]
    is_dy = slot._slot.backward(found[0], dy, dh, tuple(gradients))
    return [dh.copy_(dy) if is_dy else dh, *(each for each in gradients if each is not None)]


def _fake_slot_backward(name, tape, dy, h, params, factors, y, wanted):
    return [h.new_empty(h.shape), *(p.new_empty(p.shape)
                                    for p, want in zip(params, wanted, strict=True) if want)]


class _Slot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, name, factors, h, *params):
        y, tape = slot_train(name, h, params, factors)
        ctx.save_for_backward(tape, y, factors, h, *params)
        ctx.name = name
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        tape, y, factors, h, *params = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        dh, *found = slot_backward(ctx.name, tape, dy, h, params, factors, y, wanted)
        found = iter(found)
        return None, None, dh, *(next(found) if want else None for want in wanted)


def _slot_recorded(keyset, name, h, params, factors=None):
    if torch.is_grad_enabled() and torch._C._any_requires_grad(h, params):
        return _Slot.apply(name, factors, h, *params)
    if keyset.raw_repr() == _PLAIN:
        return _slot(name, h, params, factors)
    with torch._C._AutoDispatchBelowAutograd():
        return slot.redispatch(keyset & torch._C._after_autograd_keyset, name, h, params, factors)


slot = _define("slot", "(str slot, Tensor h, Tensor[] params, Tensor? factors=None) -> Tensor",
               _slot, _fake_slot)
slot_train = _define("slot_train", "(str slot, Tensor h, Tensor[] params, Tensor? factors=None) "
                     "-> (Tensor, Tensor)", _slot_train, _fake_slot_train)
slot_backward = _define("slot_backward", "(str slot, Tensor tape, Tensor dy, Tensor h, "
                        "Tensor[] params, Tensor? factors, Tensor y, bool[] wanted) -> Tensor[]",
                        _slot_backward, _fake_slot_backward)
_library.impl("slot", _slot_recorded, "Autograd", with_keyset=True)
