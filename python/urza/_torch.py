"""PyTorch's side: modules that urza compiles, with autograd. Imported when urza.compile is called.

A module is exported (torch.export), compiled with its backward pass, and loaded. What comes back
has the module's own parameters and buffers, and gives them to each call as arguments: whatever
changed them, in place or not, the next call sees it. That is so without gradients, too: a package's
own parameters would be packed for its kernels, but a write by `.data` or by NumPy changes no
version that could be asked whether the packed ones are still right.
"""
import contextlib
import inspect
import json
import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from torch.autograd.function import once_differentiable
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

import urza

from . import _client, _store

# Hints of a compilation on this machine, which are options of the program of the same name.
OPTIONS = ("strategy", "target", "tune", "timeout", "memory", "specialise")
# What nn.Module keeps of itself that is shared with the module that was compiled.
SHARED = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set",
          "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
          "_load_state_dict_post_hooks")


def _keeps_graph():
    """Whether the backward pass that runs may be run again (retain_graph)."""
    asked = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if asked is None else asked()


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, package, names, *tensors):
        count = len(package.inputs)
        outputs, tape = package.forward_train(*tensors[:count], params=tensors[count:])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(y for y in outputs if not y.is_floating_point()))
        # The tape reads this memory: saved, so that PyTorch refuses what was changed since.
        ctx.save_for_backward(*tensors, *outputs)
        ctx.tape, ctx.names = tape, names
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx, *cotangents):
        ctx.saved_tensors  # noqa: B018  raises if one was changed, or the graph is gone
        needed = ctx.needs_input_grad[2:]
        wanted = [name for name, need in zip(ctx.names, needed, strict=True) if need]
        found = ctx.tape.backward(*cotangents, wrt=wanted, keep=_keeps_graph())
        return (None, None, *(found[name] if need else None
                              for name, need in zip(ctx.names, needed, strict=True)))


class CompiledModule(torch.nn.Module):
    """What urza.compile returns. package: the urza.Module that runs."""

    def __init__(self, module, program, package, names, examples):
        super().__init__()
        for name in SHARED:
            if name in module.__dict__:
                self.__dict__[name] = module.__dict__[name]
        self.__dict__["training"] = module.training
        self.package = package
        self._inside = list(module.modules())[1:]
        self._modes = {self._mode()}  # those in which the module computes what the package does
        self._source = (module, examples, _text(program))  # None: copied, or from a pickle
        self._names = _argument_names(module, len(examples[0]))
        self._in_spec, self._out_spec = program.call_spec.in_spec, program.call_spec.out_spec
        self._has_backward = bool(names)
        self._differentiable = _same(program, names)
        self._bind_inputs(program)
        self._bind_params(program)
        self._bind_outputs(program)
        self._all_names = [info.name for info in (*package.inputs, *package.params)]

    def _bind_inputs(self, program):
        specs = [spec.arg for spec in program.graph_signature.input_specs
                 if spec.kind == InputKind.USER_INPUT]
        places = {arg.name: i for i, arg in enumerate(specs) if isinstance(arg, TensorArgument)}
        unknown = [info.name for info in self.package.inputs if info.name not in places]
        if unknown:
            raise _store.error("UnsupportedError", "it is no tensor among the arguments",
                               f"input {unknown[0]!r}")
        self._places = [places[info.name] for info in self.package.inputs]
        self._baked = {i: arg.value for i, arg in enumerate(specs)
                       if isinstance(arg, ConstantArgument)}
        self._plain = len(self._names) == len(specs) and not self._baked and \
            all(child.is_leaf() for child in self._in_spec.child(0).children())

    def _bind_params(self, program):
        """Where each parameter of the package is, and what the compiler made a constant of."""
        inputs = {}
        for spec in program.graph_signature.input_specs:
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
                inputs[spec.target] = spec
        self._where, self._own, named = [], {}, set()
        for info in self.package.params:
            named.add(info.name)
            if info.name not in inputs:
                raise _store.error("InvalidPackageError", "the module has no such parameter",
                                   f"parameter {info.name!r}")
            if inputs[info.name].kind == InputKind.CONSTANT_TENSOR:
                self._own[info.name] = program.constants[info.name]
            *path, last = info.name.split(".")
            self._where.append((info.name, tuple(path), last))
        users = {node.name: node.users for node in program.graph.nodes if node.op == "placeholder"}
        self._fixed = []
        for name, spec in inputs.items():
            if spec.kind == InputKind.BUFFER and name not in named and users[spec.arg.name]:
                *path, last = name.split(".")
                value = program.state_dict.get(name, program.constants.get(name))
                self._fixed.append((name, tuple(path), last, value.detach().clone()))

    def _bind_outputs(self, program):
        for spec in program.graph_signature.output_specs:
            if spec.kind != OutputKind.USER_OUTPUT:
                raise _store.error("UnsupportedError", "the module changes it when it runs",
                                   str(spec.target))
        count = len(program.graph_signature.output_specs)
        if count != len(self.package.outputs):
            raise _store.error("UnsupportedError", f"the module gives {count} tensors, the package "
                               f"{len(self.package.outputs)}", "outputs")

    def _tensor(self, name, path, last):
        owner = self
        if name in self._own:
            return self._own[name]
        for step in path:
            owner = owner._modules[step]
        found = owner._parameters.get(last)
        found = owner._buffers.get(last) if found is None else found
        if found is None:
            raise _store.error("InvalidInputError", "the module has it no more",
                               f"parameter {name!r}")
        return found

    def _inputs(self, args, words):
        """The arguments' tensors, in the order of the package's inputs."""
        for name in self._names[len(args):] if words else ():
            if name in words:
                args = (*args, words.pop(name))
        if words:
            raise TypeError(f"forward has no argument {next(iter(words))!r}, or has it twice")
        if self._plain and len(args) == len(self._names):
            return self._tensors(args)
        leaves, spec = pytree.tree_flatten((args, {}))
        if spec != self._in_spec:
            raise TypeError(f"the arguments are {spec}, the module was compiled for "
                            f"{self._in_spec}")
        for place, value in self._baked.items():
            if leaves[place] != value:
                raise _store.error("InvalidInputError", f"the module was compiled for {value!r}, "
                                   f"not {leaves[place]!r}", f"argument {place}")
        return self._tensors(leaves)

    def _tensors(self, leaves):
        found = [leaves[place] for place in self._places]
        for info, each in zip(self.package.inputs, found, strict=True):
            if not isinstance(each, torch.Tensor):
                raise TypeError(f"input {info.name!r} is no tensor of PyTorch")
        return found

    def _mode(self):
        return self.training, *[each.training for each in self._inside]

    def _learn_mode(self):
        """Exports the module again in the mode (train, eval) that it is in; the package is right
        for it if the program is the same."""
        if self._source is None:
            return
        module, (args, dynamic_shapes), text = self._source
        before, module.training = module.training, self.training
        try:
            if _text(_export(module, args, dynamic_shapes)) == text:
                self._modes.add(self._mode())
        finally:
            module.training = before

    def _check_mode(self):
        self._learn_mode()
        if self._mode() not in self._modes:
            raise _store.error("UnsupportedError", "the module was compiled in another mode "
                               "(train, eval), and computes something else in this one; compile it "
                               "in this mode, too", "training")

    def _check_fixed(self):
        for name, path, last, value in self._fixed:
            if not torch.equal(self._tensor(name, path, last), value):
                raise _store.error("UnsupportedError", "the buffer changed since the module was "
                                   "compiled; scalars and small tables of integers are constants "
                                   "in the package", f"buffer {name!r}")

    def forward(self, *args, **words):
        _check_autocast()
        if self._mode() not in self._modes:
            self._check_mode()
        if self._fixed:
            self._check_fixed()
        params = [self._tensor(*where) for where in self._where]
        inputs = self._inputs(args, words)
        if torch.is_grad_enabled() and any(each.requires_grad for each in (*inputs, *params)):
            outputs = self._recorded(inputs, params)
        elif self._has_backward:
            outputs, _ = self.package.forward_train(*inputs, params=params)
        else:
            outputs = self.package(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return outputs[0] if self._out_spec.is_leaf() else \
            pytree.tree_unflatten(outputs, self._out_spec)

    def _recorded(self, inputs, params):
        for name, each in zip(self._all_names, (*inputs, *params), strict=True):
            if each.requires_grad and name not in self._differentiable:
                raise _store.error("UnsupportedError", "it requires grad, and did not when the "
                                   "module was compiled", name)
        return _Step.apply(self.package, self._all_names, *inputs, *params)

    def __getstate__(self):
        """For copies and pickles, which have no module to export: both modes are tried before."""
        mode = self._mode()
        try:
            for training in (True, False) if self._source else ():
                self.train(training)
                if self._mode() not in self._modes:
                    with contextlib.suppress(urza.Error):
                        self._learn_mode()
        finally:
            for each, training in zip((self, *self._inside), mode, strict=True):
                each.training = training
        return {**self.__dict__, "_source": None, "_modes": set(self._modes)}

    def extra_repr(self):
        return f"urza: {self.package.kernel_id}"


def _check_autocast():
    if torch.is_autocast_enabled("cpu"):
        raise _store.error("UnsupportedError", "a package computes in the types that it was "
                           "compiled for; call it outside, or compile the module in another dtype",
                           "torch.autocast")


def _text(program):
    return program.graph_module.code


def _argument_names(module, count):
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in inspect.signature(module.forward).parameters.values()
            if each.kind in kinds][:count]


def _export(module, args, dynamic_shapes):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, args, dynamic_shapes=dynamic_shapes)
    except Exception as problem:
        raise _store.error("UnsupportedError", f"torch.export refuses the module: {problem}",
                           type(module).__name__) from problem


def _differentiable(program):
    """Names by which the package gives gradients: all floats among the inputs, and the parameters
    that require grad. Where that is nothing, all floats: without a backward pass a package cannot
    take its parameters as arguments."""
    values = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    inputs, trained, others = [], [], []
    for spec in program.graph_signature.input_specs:
        node = values.get(getattr(spec.arg, "name", None))
        value = node.meta.get("val") if node is not None and node.users else None
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            continue
        if spec.kind == InputKind.USER_INPUT:
            inputs.append(spec.arg.name)
        elif spec.kind == InputKind.PARAMETER and program.state_dict[spec.target].requires_grad:
            trained.append(spec.target)
        elif spec.kind == InputKind.PARAMETER or value.dim() > 0:
            others.append(spec.target)
    return inputs + trained or others


def _program():
    found = shutil.which("urza")
    if not found:
        raise _store.error("NotFoundError", "there is no program 'urza' in the folders of PATH, "
                           "and no client= was given", "urza")
    return found


def _compile_here(source, names, hints):
    """The bytes of the package that the program `urza` makes."""
    words = []
    for name, value in {"strategy": "fast", **hints}.items():
        if name not in OPTIONS:
            raise TypeError(f"compile has no hint {name!r} without a client; it has "
                            f"{', '.join(OPTIONS)}")
        words += [f"--{name}", str(value)]
    if names:
        words += ["--backward", "--wrt", ",".join(names)]
    package = source.with_suffix(".urza")
    done = subprocess.run([_program(), "compile", str(source), "-o", str(package), "--json",
                           "--quiet", *words], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)
    if done.returncode == 0:
        return package.read_bytes()
    for line in reversed((done.stdout + done.stderr).splitlines()):
        if line.startswith("{"):
            raise _client._error_of(json.loads(line), done.returncode)
    raise _store.error("CompilationError", f"status {done.returncode}: {done.stderr.strip()}",
                       "urza compile")


def compile(module, example_inputs, dynamic_shapes, client, threads, hints, check=None):
    """See urza.compile. check: may refuse the exported program."""
    _check_autocast()
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"compile takes a torch.nn.Module, not a {type(module).__name__}")
    args = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
    program = _export(module, args, dynamic_shapes)
    if check:
        check(program)
    names = _differentiable(program)
    with tempfile.TemporaryDirectory(prefix="urza-compile-") as folder:
        source = Path(folder) / "module.pt2"
        torch.export.save(program, os.fspath(source))
        if client is None:
            data = _compile_here(source, names, hints)
            package = urza.load(data, threads=threads)
            _store.keep_bytes(package.kernel_id, data)
        else:
            words = {"expected_workload": "training", **hints}
            package = client.fetch(client.compile(source, **words)["kernel_id"], threads=threads)
    return CompiledModule(module, program, package, names, (args, dynamic_shapes))


def _same(program, names):
    """The names, and all others of the same parameters: of tied weights the package has one."""
    tensors = program.state_dict
    chosen = {id(tensors[name]) for name in names if name in tensors}
    return {*names, *(name for name, each in tensors.items() if id(each) in chosen)}
