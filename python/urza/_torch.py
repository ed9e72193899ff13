"""PyTorch's side: modules that urza compiles, with autograd. Imported when urza.compile is called.

A module is exported (torch.export), compiled with its backward pass, and loaded. What comes back
has the module's own parameters and buffers, and gives them to each call as arguments: whatever
changed them, in place or not, the next call sees it. That is so without gradients, too: a package's
own parameters would be packed for its kernels, but a write by `.data` or by NumPy changes no
version that could be asked whether the packed ones are still right.

What a module computes may hang on its mode (train, eval), and on that of each module inside. So
there is a package for each mode in which it is called, exported and compiled at the first call;
modes whose programs are the same share one. In training mode a package gives the next values of
buffers as further results, which are copied into the buffers after the call, and dropout draws from
an input "seed", which a call takes from PyTorch's generator.
"""
import contextlib
import copy
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

from . import _client, _ops, _store  # noqa: F401  _ops registers the operators

# Hints of a compilation on this machine, which are options of the program of the same name.
OPTIONS = ("strategy", "target", "tune", "timeout", "memory", "specialise")
SEED, SEEDS = "seed", 1 << 42  # the input that dropout draws from, and how many values it gets
NEXT = "new."  # before a name: the output that is the next value
# What nn.Module keeps of itself that is shared with the module that was compiled.
SHARED = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set",
          "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
          "_load_state_dict_post_hooks")

AUTOCAST = "a package computes in the types that it was compiled for; call it outside of " \
    "torch.autocast, or compile the module in another dtype"


def _keeps_graph():
    """Whether the backward pass that runs may be run again (retain_graph)."""
    asked = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if asked is None else asked()


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mode, *tensors):
        package, count = mode.package, len(mode.package.inputs)
        given = tensors
        if mode.copied:  # the backward pass may read them, and they change when the call is over
            given = list(tensors)
            for place in mode.copied:
                given[place] = tensors[place].clone()
        outputs, tape = package.forward_train(*given[:count], params=given[count:])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        results = outputs[:mode.results]
        mode.store(tensors, outputs)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(y for y in results if not y.is_floating_point()))
        # The tape reads this memory: saved, so that PyTorch refuses what was changed since. Of
        # running statistics it reads none.
        if mode.statistics:
            given = [each for i, each in enumerate(given) if i not in mode.statistics]
        ctx.save_for_backward(*given, *results)
        ctx.tape, ctx.mode = tape, mode
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx, *cotangents):
        ctx.saved_tensors  # noqa: B018  raises if one was changed, or the graph is gone
        needed, names = ctx.needs_input_grad[1:], ctx.mode.all_names
        wanted = [name for name, need in zip(names, needed, strict=True) if need]
        none = (None,) * len(ctx.mode.changes)
        found = ctx.tape.backward(*cotangents, *none, wrt=wanted, keep=_keeps_graph())
        return (None, *(found[name] if need else None
                        for name, need in zip(names, needed, strict=True)))


class _Mode:
    """What a module computes in a mode: a package, and where its inputs, parameters and results are
    in the module's arguments, in the module, and in what the module returns."""

    def __init__(self, program, package, names, arguments):
        self.package, self.text, self.names = package, _text(program), arguments
        self._kernel = package.kernel_id
        self._in_spec, self._out_spec = program.call_spec.in_spec, program.call_spec.out_spec
        self._has_backward = bool(names)
        self._differentiable = _same(program, names)
        self.all_names = [info.name for info in (*package.inputs, *package.params)]
        self._bind_inputs(program)
        self._bind_params(program)
        self._bind_outputs(program)

    def _bind_inputs(self, program):
        specs = [spec.arg for spec in program.graph_signature.input_specs
                 if spec.kind == InputKind.USER_INPUT]
        places = {arg.name: i for i, arg in enumerate(specs) if isinstance(arg, TensorArgument)}
        names = [info.name for info in self.package.inputs]
        self._draws = bool(names) and names[-1] == SEED and SEED not in places
        if self._draws:
            names.pop()
        for name in names:
            if name not in places:
                raise _store.error("UnsupportedError", "it is no tensor among the arguments",
                                   f"input {name!r}")
        self._places = [places[name] for name in names]
        self._baked = {i: arg.value for i, arg in enumerate(specs)
                       if isinstance(arg, ConstantArgument)}
        self._plain = len(self.names) == len(specs) and not self._baked and \
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
        """The results, and behind them the next values of what the module changes."""
        for spec in program.graph_signature.output_specs:
            if spec.kind != OutputKind.USER_OUTPUT:
                raise _store.error("UnsupportedError", "the module changes it when it runs",
                                   str(spec.target))
        self.results = len(program.graph_signature.output_specs)
        names = [info.name for info in self.package.outputs[self.results:]]
        if len(self.package.outputs) < self.results or \
                any(not name.startswith(NEXT) for name in names):
            raise _store.error("UnsupportedError", f"the module gives {self.results} tensors, the "
                               f"package {len(self.package.outputs)}", "outputs")
        names = [name[len(NEXT):] for name in names]
        for name in names:
            if name in self._own or name not in self.all_names or not self._has_backward:
                raise _store.error("UnsupportedError", "the module changes it when it runs", name)
        # By places among inputs and parameters.
        self.changes = [self.all_names.index(name) for name in names]
        inputs = len(self.package.inputs)
        self.changed_inputs = [place for place in self.changes if place < inputs]
        statistics, self._written = _writes(program)
        self.statistics = {place for place, name in zip(self.changes, names, strict=True)
                           if name in statistics}
        self.copied = [place for place in self.changes if place not in self.statistics]
        self._written = [(self.all_names[place], self._written[self.all_names[place]])
                         for place in self.changes if self.all_names[place] in self._written]

    def store(self, tensors, outputs):
        """Copies next values into what changes."""
        if self.changes:
            torch._foreach_copy_([tensors[place] for place in self.changes],
                                 list(outputs[self.results:]))

    def _tensor(self, module, name, path, last):
        owner = module
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
        for name in self.names[len(args):] if words else ():
            if name in words:
                args = (*args, words.pop(name))
        if words:
            raise TypeError(f"forward has no argument {next(iter(words))!r}, or has it twice")
        if self._plain and len(args) == len(self.names):
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
        for name, each in zip(self.all_names, found, strict=False):
            if not isinstance(each, torch.Tensor):
                raise TypeError(f"input {name!r} is no tensor of PyTorch")
        if self._draws:
            found.append(torch.randint(SEEDS, (), dtype=torch.int64))
        return found

    def _check_fixed(self, module):
        for name, path, last, value in self._fixed:
            if not torch.equal(self._tensor(module, name, path, last), value):
                raise _store.error("UnsupportedError", "the buffer changed since the module was "
                                   "compiled; scalars and small tables of integers are constants "
                                   "in the package", f"buffer {name!r}")

    def run(self, module, args, words):
        if self._fixed:
            self._check_fixed(module)
        params = [self._tensor(module, *where) for where in self._where]
        tensors = (*self._inputs(args, words), *params)
        if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
            outputs = self._recorded(tensors)
        else:
            count = len(self.package.inputs)
            if self._has_backward:
                outputs, _ = self.package.forward_train(*tensors[:count], params=params)
            else:
                outputs = self.package(*tensors[:count])
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            if self.changes:
                with torch.no_grad():
                    self.store(tensors, outputs)
                outputs = outputs[:self.results]
        return outputs[0] if self._out_spec.is_leaf() else \
            pytree.tree_unflatten(outputs, self._out_spec)

    def traced(self, module, args, words):
        """run, as a part of a graph (torch.compile, torch.export): what PyTorch can follow, and one
        operator."""
        if self.copied:
            raise RuntimeError(f"the module changes {self.all_names[self.copied[0]]!r}, and may "
                               "need it for the backward pass; call it outside of torch.compile")
        for name, path, last, value in self._fixed:
            torch._assert_async((self._tensor(module, name, path, last) == value).all(),
                                f"buffer {name!r} changed since urza compiled the module")
        inputs = self._inputs(args, words)
        tensors = [*inputs, *(self._tensor(module, *where) for where in self._where)]
        if torch.is_grad_enabled():
            self._check_recorded(tensors)
        given = list(tensors)
        for place in self.changes:  # what is saved for the backward pass must not change
            given[place] = tensors[place].clone()
        count = len(inputs)
        outputs = torch.ops.urza.run(self._kernel, given[:count],
                                     given[count:] if self._has_backward else None)
        for place, value in zip(self.changes, outputs[self.results:], strict=True):
            tensors[place].copy_(value.detach())
        return outputs[0] if self._out_spec.is_leaf() else \
            pytree.tree_unflatten(outputs[:self.results], self._out_spec)

    def _recorded(self, tensors):
        self._check_recorded(tensors)
        return _Step.apply(self, *tensors)

    def _check_recorded(self, tensors):
        for name, each in zip(self.all_names, tensors, strict=True):
            if each.requires_grad and name not in self._differentiable:
                raise _store.error("UnsupportedError", "it requires grad, and did not when the "
                                   "module was compiled", name)
        for place in self.changes:
            if tensors[place].requires_grad:
                raise _store.error("UnsupportedError", "the module changes it when it runs, and it "
                                   "requires grad", self.all_names[place])
        if self._written:
            graded = {name for name, each in zip(self.all_names, tensors, strict=True)
                      if each.requires_grad}
            for name, sources in self._written:
                if sources & graded:
                    raise _store.error("UnsupportedError", "the module writes what has a gradient "
                                       "to it; detach that, or write under torch.no_grad()", name)


class _Source:
    """The module that was compiled, and how: for modes in which it was not called yet."""

    def __init__(self, module, args, dynamic_shapes, compiler):
        self.module, self.args, self.dynamic_shapes = module, args, dynamic_shapes
        self._compiler = compiler

    def mode(self, known):
        """For the mode that the module is in now; one of the known if it computes the same."""
        program = _export(self.module, self.args, self.dynamic_shapes)
        text = _text(program)
        for mode in known:
            if mode.text == text:
                return mode
        names = _differentiable(program)
        return _Mode(program, self._compiler(program, names), names,
                     _argument_names(self.module, len(self.args)))

    def same(self, known):
        """As mode, without compiling: None if it computes something else."""
        text = _text(_export(self.module, self.args, self.dynamic_shapes))
        return next((mode for mode in known if mode.text == text), None)

    def __deepcopy__(self, memo):
        return _Source(copy.deepcopy(self.module, memo), self.args, self.dynamic_shapes,
                       self._compiler)


class CompiledModule(torch.nn.Module):
    """What urza.compile returns. package: the urza.Module that runs in the mode that it is in."""

    def __init__(self, source):
        super().__init__()
        for name in SHARED:
            if name in source.module.__dict__:
                self.__dict__[name] = source.module.__dict__[name]
        self.__dict__["training"] = source.module.training
        self._inside = list(source.module.modules())[1:]
        self._source = source  # None: from a pickle
        self._modes = {}  # _Mode by what _mode gives
        self._enter()

    @property
    def package(self):
        mode = self._modes.get(self._mode())
        return (mode or next(iter(self._modes.values()))).package

    def _mode(self):
        return self.training, *[each.training for each in self._inside]

    def _enter(self):
        """Finds or compiles the package for the mode that the modules are in."""
        if self._source is None:
            raise _store.error("UnsupportedError", "the module is from a pickle, or a copy of what "
                               "cannot be copied, and was not called in this mode (train, eval) "
                               "before", "training")
        found = self._asked(self._source.mode)
        self._modes[self._mode()] = found
        return found

    def _asked(self, ask):
        module = self._source.module
        before, module.training = module.training, self.training
        try:
            return ask(list(dict.fromkeys(self._modes.values())))
        finally:
            module.training = before

    def forward(self, *args, **words):
        if torch.compiler.is_compiling():
            return self._traced(args, words)
        _check_autocast()
        mode = self._modes.get(self._mode()) or self._enter()
        return mode.run(self, args, words)

    def _traced(self, args, words):
        """In a graph of PyTorch, whose guards are on the modes of the modules inside."""
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError(AUTOCAST)
        mode = self._modes.get(self._mode())
        if mode is None:
            raise RuntimeError("urza has not compiled the module in this mode (train, eval) yet: "
                               "call it once outside of torch.compile")
        return mode.traced(self, args, words)

    def __getstate__(self):
        """For pickles, which have no module to export: in which of train and eval a package that
        there is computes the same is found out before."""
        mode, modes = self._mode(), dict(self._modes)
        try:
            for training in (True, False) if self._source else ():
                self.train(training)
                if self._mode() not in modes:
                    with contextlib.suppress(urza.Error):
                        modes[self._mode()] = self._asked(self._source.same)
        finally:
            for each, training in zip((self, *self._inside), mode, strict=True):
                each.training = training
        modes = {key: mode for key, mode in modes.items() if mode is not None}
        return {**self.__dict__, "_source": None, "_modes": modes}

    def __deepcopy__(self, memo):
        """A copy has a copy of the module, and goes on compiling what it is called in."""
        other = memo[id(self)] = self.__class__.__new__(self.__class__)
        for name, value in self.__dict__.items():
            if name != "_source":
                other.__dict__[name] = copy.deepcopy(value, memo)
        try:
            other.__dict__["_source"] = copy.deepcopy(self._source, memo)
        except Exception:  # something in the module that only compiling would need
            modes = copy.deepcopy(self.__getstate__()["_modes"], memo)
            other.__dict__.update(_source=None, _modes=modes)
        return other

    def extra_repr(self):
        return f"urza: {self.package.kernel_id}"


def _check_autocast():
    if torch.is_autocast_enabled("cpu"):
        raise _store.error("UnsupportedError", AUTOCAST, "torch.autocast")


def _text(program):
    return program.graph_module.code


def _argument_names(module, count):
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in inspect.signature(module.forward).parameters.values()
            if each.kind in kinds][:count]


def _export(module, args, dynamic_shapes):
    for name, each in module.named_modules():
        if isinstance(each, torch.nn.modules.batchnorm._BatchNorm) and each.training and \
                each.track_running_stats and each.momentum is None:
            raise _store.error("UnsupportedError", "momentum=None, an average of all batches, is a "
                               "number in Python, which torch.export cannot keep", name)
    try:
        # Blocks of torch.no_grad() are in the program only where they change something.
        with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
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

    def compiler(program, names):
        if check:
            check(program)
        with tempfile.TemporaryDirectory(prefix="urza-compile-") as folder:
            source = Path(folder) / "module.pt2"
            torch.export.save(program, os.fspath(source))
            if client is None:
                data = _compile_here(source, names, hints)
                package = urza.load(data, threads=threads)
                _store.keep_bytes(package.kernel_id, data)
                return package
            words = {"expected_workload": "training", **hints}
            return client.fetch(client.compile(source, **words)["kernel_id"], threads=threads)
    return CompiledModule(_Source(module, args, dynamic_shapes, compiler))


def _same(program, names):
    """The names, and all others of the same parameters: of tied weights the package has one."""
    tensors = program.state_dict
    chosen = {id(tensors[name]) for name in names if name in tensors}
    return {*names, *(name for name, each in tensors.items() if id(each) in chosen)}


def _writes(program):
    """What the program's in-place calls write to, by names of inputs and parameters: the running
    statistics, which nothing else reads, and {name: names of what has a part in what is written}
    of the others."""
    signature = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    roots, sources, statistics, written = {}, {}, set(), {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            spec = signature[node.name]
            name = spec.target if spec.kind != InputKind.USER_INPUT else node.name
            value = node.meta.get("val")
            roots[node] = name
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                sources[node] = {name}
            if node.users and all(_keeps_statistics(user, node) for user in node.users):
                statistics.add(name)
        elif node.op == "call_function":
            _follow(node, roots, sources, written)
    return statistics, {name: each for name, each in written.items() if each}


def _follow(node, roots, sources, written):
    target = str(node.target)
    operands = [each for each in node.all_input_nodes if each in roots or each in sources]
    found = set().union(*(sources.get(each, ()) for each in operands))
    if "detach" in target or ("set_grad_enabled" in target and node.args[0] is False):
        found = set()
    first = node.args[0] if node.args else None
    if isinstance(first, torch.fx.Node) and first in roots:
        roots[node] = roots[first]
        if target.partition(".")[2].partition(".")[0].endswith("_"):
            others = set().union(*(sources.get(each, ()) for each in operands if each is not first))
            written.setdefault(roots[first], set()).update(others)
    sources[node] = found


def _keeps_statistics(user, node):
    """Whether a call only updates a running statistic."""
    if user.target is torch.ops.aten.batch_norm.default:
        return user.args[5] is True and node in user.args[3:5] and node not in user.args[:3]
    return user.target is torch.ops.aten.add_.Tensor and user.args[0] is node and \
        isinstance(user.args[1], int) and \
        all(_keeps_statistics(other, user) for other in user.users)
