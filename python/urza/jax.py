"""Packages inside jax.jit: custom calls of XLA on the CPU, with gradients and vmap.

    mlp = urza.load("mlp.urza")
    step = jax.jit(lambda x: urza.jax.call(mlp, x) * 2)

A call becomes an operation of JAX's own, `urza_call`, which XLA runs by a handler of the extension
(python/src/ffi.c): it reads and writes XLA's buffers. Shapes are those that the runtime gives for
the shapes of the arguments, so what does not fit is an error while JAX traces. The gradient is a
second operation, `urza_backward`, which runs the forward part again and then the backward one: it
is a function of its operands, so that XLA may run it as often, and on as many threads, as it wants.
"""
import functools
import os

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla

from . import Module, _store, _urza, load

__all__ = ["call"]


class _Kept:
    """What the backward pass gets from the forward one; wanted is static."""

    def __init__(self, wanted, values):
        self.wanted, self.values = wanted, values


jax.tree_util.register_pytree_node(_Kept, lambda kept: (kept.values, kept.wanted), _Kept)


def _register():
    """Tells XLA of the handlers."""
    try:
        instantiate, *handlers = _urza._ffi_handlers()
        for target, handler in zip(("urza_call", "urza_backward"), handlers):
            jax.ffi.register_ffi_target(target, {"instantiate": instantiate, "execute": handler},
                                        platform="cpu")
        problem = ""
    except Exception as refused:  # whatever XLA throws where it wants another version
        problem = str(refused)
    major, minor, ours = _urza._ffi_version()
    if problem or major != ours:
        raise _store.error("UnsupportedError", f"JAX {jax.__version__} has version {major}.{minor} "
                           f"of XLA's foreign function interface, this extension has {ours}"
                           + (f" ({problem})" if problem else ""), "jax")


_register()

# Arguments.


def _refuse(kind, name, text):
    raise _store.error("InvalidInputError", text, f"{kind} '{name}'")


def _array(value, info, kind):
    """A value as an array of JAX; numbers of Python take the dtype that is wanted."""
    dtype = getattr(value, "dtype", None)
    if dtype is None and not isinstance(value, (bool, int, float)):
        raise TypeError(f"{kind} '{info.name}': no array: {type(value).__name__}")
    if dtype is not None and str(dtype) != info.dtype:
        _refuse(kind, info.name, f"its dtype is {dtype}, the package has {info.dtype}")
    array = jnp.asarray(value, None if dtype is not None else info.dtype)
    if str(array.dtype) != info.dtype:
        _refuse(kind, info.name, f"JAX makes {array.dtype} of {info.dtype}, unless jax_enable_x64 "
                "is set")
    return array


def _bind(module, arrays, by_name):
    """The inputs, in order."""
    names = [info.name for info in module.inputs]
    if len(arrays) > len(names):
        raise TypeError(f"{len(arrays)} inputs are given, the module has {len(names)}")
    given = dict(zip(names, arrays))
    for name, value in by_name.items():
        if name not in names:
            raise TypeError(f"there is no input '{name}'; the inputs are: {', '.join(names)}")
        if name in given:
            raise TypeError(f"input '{name}' is given twice")
        given[name] = value
    for name in names:
        if name not in given:
            raise TypeError(f"input '{name}' is missing")
    return [_array(given[info.name], info, "input") for info in module.inputs]


def _bind_params(module, params):
    names = [info.name for info in module.params]
    if isinstance(params, (list, tuple)):
        if len(params) != len(names):
            raise TypeError(f"params has {len(params)} arrays, the module has {len(names)} "
                            "parameters")
        params = dict(zip(names, params))
    for name in params:
        if name not in names:
            raise TypeError(f"there is no parameter '{name}'; the parameters are: "
                            f"{', '.join(names)}")
    for name in names:
        if name not in params:
            raise TypeError(f"parameter '{name}' is missing")
    return [_array(params[info.name], info, "parameter") for info in module.params]


# The operations. Their operands are the inputs, the parameters if they are given, and of a backward
# call the cotangents of outputs that are floats.


def _is_float(info):
    return info.dtype.startswith(("float", "bfloat"))


def _shaped(shape, info):
    return jax.core.ShapedArray(shape, jnp.dtype(info.dtype))


def _check_params(module, avals):
    for aval, info in zip(avals, module.params):
        if aval.shape != info.shape:
            _refuse("parameter", info.name, f"its shape is {aval.shape}, the package has "
                    f"{info.shape}")


def _outputs_of(module, avals):
    for aval, info in zip(avals, module.inputs):
        if not all(isinstance(size, int) for size in aval.shape):
            raise _store.error("UnsupportedError", f"its shape is {aval.shape}; sizes must be "
                               "numbers when JAX traces", f"input '{info.name}'")
    shapes = module._output_shapes(tuple(aval.shape for aval in avals[:len(module.inputs)]))
    return [_shaped(shape, info) for shape, info in zip(shapes, module.outputs)]


def _call_shapes(*avals, module, given, batch):
    _check_params(module, avals[len(module.inputs):])
    return _outputs_of(module, avals)


def _backward_shapes(*avals, module, given, batch, wanted):
    infos = (*module.inputs, *module.params)
    # Of parameters nothing is wanted unless they are operands.
    return [_shaped(avals[i].shape, infos[i]) for i in wanted] + _outputs_of(module, avals)


def _lower_call(ctx, *operands, module, given, batch):
    # What was lowered may be compiled when nobody else knows the module any more.
    ctx.module_context.add_keepalive(module)
    return jax.ffi.ffi_lowering("urza_call")(ctx, *operands, kernel=module._ffi_register())


def _lower_backward(ctx, *operands, module, given, batch, wanted):
    ctx.module_context.add_keepalive(module)
    count = len(module.inputs) + len(module.params)
    digits = "".join(str(int(i in wanted)) for i in range(count))
    return jax.ffi.ffi_lowering("urza_backward")(ctx, *operands, kernel=module._ffi_register(),
                                                 wanted=digits)


def _no_gradient(primals, tangents, *, module, **_):
    """Of a call by itself; first derivatives of packages that have them do not come here."""
    text = "second derivatives are not there"
    if not module._has_backward():
        text = "the package has no backward pass; compile it with --backward"
    raise _store.error("UnsupportedError", text, module.kernel_id)


# vmap. Examples are independent of each other; rows of a package's batch need not be (a norm over
# the batch). So the mapped axis goes into a named dim only if the caller said that they are, and is
# a loop otherwise.


def _has_rows(info, batch):
    return batch is not None and info.shape[:1] == (batch,)


def _fold(array, dim, size):
    """One array with all rows of all examples; dim None: each example has these rows."""
    if dim is None:
        array = jnp.broadcast_to(array, (size, *array.shape))
    else:
        array = jnp.moveaxis(array, dim, 0)
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def _folded(bind, operands, dims, infos, results, batch, size):
    """The results of one call for all examples; None: it cannot be one."""
    if not all(_has_rows(info, batch) for info in results):
        return None
    rows = [_has_rows(info, batch) for info in infos]
    if any(dim is not None and not has for dim, has in zip(dims, rows)):
        return None
    try:
        values = bind(*(_fold(each, dim, size) if has else each
                        for each, dim, has in zip(operands, dims, rows)))
    except _urza.InvalidInputError:  # more rows than the package allows
        return None
    return [each.reshape(size, each.shape[0] // size, *each.shape[1:]) for each in values]


def _batched(primitive):
    def rule(operands, dims, **params):
        size = next(each.shape[dim] for each, dim in zip(operands, dims) if dim is not None)
        bind = functools.partial(primitive.bind, **params)
        values = None
        if size > 0:
            values = _folded(bind, operands, dims, _operand_infos(params), _result_infos(params),
                             params["batch"], size)
        if values is None:
            mapped = [i for i, dim in enumerate(dims) if dim is not None]

            def one(examples):
                every = list(operands)
                for i, example in zip(mapped, examples):
                    every[i] = example
                return bind(*every)
            values = jax.lax.map(one, [jnp.moveaxis(operands[i], dims[i], 0) for i in mapped])
        return values, [0] * len(values)
    return rule


def _operand_infos(params):
    module = params["module"]
    infos = [*module.inputs, *(module.params if params["given"] else ())]
    if "wanted" in params:
        infos += [info for info in module.outputs if _is_float(info)]
    return infos


def _result_infos(params):
    module = params["module"]
    infos = (*module.inputs, *module.params)
    return [*(infos[i] for i in params.get("wanted", ())), *module.outputs]


def _primitive(name, shapes, lower, jvp):
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_impl(functools.partial(xla.apply_primitive, primitive))
    primitive.def_abstract_eval(shapes)
    mlir.register_lowering(primitive, lower, platform="cpu")
    ad.primitive_jvps[primitive] = jvp
    batching.primitive_batchers[primitive] = _batched(primitive)
    return primitive


_call_p = _primitive("urza_call", _call_shapes, _lower_call, _no_gradient)
_backward_p = _primitive("urza_backward", _backward_shapes, _lower_backward, _no_gradient)


# Gradients.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _differentiable(module, given, batch, *operands):
    return tuple(_call_p.bind(*operands, module=module, given=given, batch=batch))


def _forward(module, given, batch, *operands):
    infos = (*module.inputs, *module.params)
    wanted = tuple(i for i, operand in enumerate(operands) if operand.perturbed)
    for i in wanted:
        if not module._has_gradient(infos[i].name):
            raise _store.error("UnsupportedError", "the package has no gradient by it; compile it "
                               "with --backward and --wrt", infos[i].name)
    values = [operand.value for operand in operands]
    results = tuple(_call_p.bind(*values, module=module, given=given, batch=batch))
    return results, _Kept(wanted, values)


def _backward(module, given, batch, kept, cotangents):
    floats = [jnp.zeros(each.aval.shape, each.aval.dtype) if isinstance(each, SymbolicZero) else
              each for each, info in zip(cotangents, module.outputs) if _is_float(info)]
    gradients = [None] * len(kept.values)
    found = _backward_p.bind(*kept.values, *floats, module=module, given=given, batch=batch,
                             wanted=kept.wanted)
    for i, gradient in zip(kept.wanted, found):
        gradients[i] = gradient
    return tuple(gradients)


_differentiable.defvjp(_forward, _backward, symbolic_zeros=True)


# The call.


@functools.lru_cache(64)
def _loaded(path, stamp):
    return load(path)


def _module(package):
    """A path is loaded once, until the file is another one."""
    if isinstance(package, Module):
        return package
    if not isinstance(package, (str, os.PathLike)):
        raise TypeError(f"a package is a urza.Module or a path: {type(package).__name__}")
    path = os.fspath(package)
    try:
        found = os.stat(path)
        stamp = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
    except OSError:  # an id, or load says what is wrong
        stamp = None
    return _loaded(path, stamp)


def call(package, *arrays, params=None, batch=None, **by_name):
    """Calls a package inside jax.jit, or outside: an array, or a tuple of several.

    package: a urza.Module, or a path or id, which is loaded.
    arrays: its inputs, in order or by name.
    params: its parameters, a dictionary by names or a list in the order of module.params, to be
        differentiated and trained; None: the package's own, which are constants. Only a package
        with a backward pass takes them.
    batch: a named dim of the package that is the leading one of all outputs and in whose rows the
        package computes each by itself: jax.vmap then makes one call with the rows of all examples,
        as far as they have it, in place of a loop of calls.

    jax.grad works where the package has a backward pass. What does not fit the package is an
    exception while JAX traces; what fails in the call is JAX's jax.errors.JaxRuntimeError.
    """
    module = _module(package)
    if batch is not None and batch not in module.dims:
        raise _store.error("UsageError", f"the package has no dim '{batch}'; its dims are: "
                           f"{', '.join(module.dims) or 'none'}", "batch")
    operands = _bind(module, arrays, by_name)
    given = params is not None
    if given:
        if not module._has_backward():
            raise _store.error("UnsupportedError", "the package has no backward pass, and takes no "
                               "parameters; compile it with --backward", "params")
        operands += _bind_params(module, params)
    if module._has_backward():
        results = _differentiable(module, given, batch, *operands)
    else:
        results = _call_p.bind(*operands, module=module, given=given, batch=batch)
    return results[0] if len(module.outputs) == 1 else tuple(results)
