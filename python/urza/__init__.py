"""Urza: runs compiled kernels on arrays of NumPy, PyTorch, JAX and others, without copying them.

    module = urza.load("mlp.urza")
    y = module(x)
"""
import copyreg
import importlib
import os
import re

from . import _store, _urza
from ._urza import *  # noqa: F403  the exceptions and types, whose list the runtime has
from ._client import Client
from ._urza import DimInfo, Error, Module, Tape, Tensor, TensorInfo, __version__

__all__ = ["Client", "DimInfo", "Error", "Module", "Tape", "Tensor", "TensorInfo", "compile",
           "load"]
__all__ += [name for name, value in vars(_urza).items()
            if isinstance(value, type) and issubclass(value, Error) and value is not Error]

__all__ += ["Warning"]


class Warning(UserWarning):
    """Of what torch.compile(…, backend="urza") leaves to PyTorch."""


def __getattr__(name):
    """Slot and Governor import PyTorch and urza.jax JAX, so they wait until they are asked for."""
    if name == "jax":
        return importlib.import_module("urza.jax")
    if name == "Slot":
        from .slot import Slot as found
    elif name == "Governor":
        from ._governor import Governor as found
    else:
        raise AttributeError(f"module 'urza' has no attribute {name!r}")
    globals()[name] = found
    return found


def _keys(trust):
    """The bytes of keys: each 32 bytes, or 64 hexadecimal digits."""
    if isinstance(trust, (str, bytes)):
        trust = [trust]
    keys = []
    for key in trust:
        if isinstance(key, str) and re.fullmatch("[0-9a-fA-F]{64}", key):
            key = bytes.fromhex(key)
        if not isinstance(key, bytes) or len(key) != 32:
            raise TypeError("trust: a public key is 64 hexadecimal digits, or 32 bytes")
        keys.append(key)
    return tuple(keys)


def _restore(kernel_id, threads, keys, allow_unsigned):
    return load(kernel_id, threads=threads, trust=keys, allow_unsigned=allow_unsigned)


copyreg.pickle(Module, lambda module: (_restore, (module.kernel_id, *module._options)))


def load(package, client=None, threads=1, trust=(), allow_unsigned=False):
    """Loads a package and returns a Module.

    package: a path, the bytes of a package, or a kernel's id ("kernel-…"), which is looked up among
        the packages of this user: those loaded from a file before, and those that a client fetched.
    client: a urza.Client, which fetches an id or an alias that is not here. A string is a path even
        then if it has a slash or ends in ".urza".
    threads: how many threads a call uses, this one included.
    trust: public keys whose signatures are accepted besides the user's own and those that the user
        trusts (`urza keys`); each 64 hexadecimal digits.
    allow_unsigned: accept packages that nobody signed; a signature must still be right.
    """
    module = _load(package, client, threads, trust, allow_unsigned)
    _store.loaded[module.kernel_id] = module
    return module


def _load(package, client, threads, trust, allow_unsigned):
    keys = _keys(trust)
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError("threads is a number")
    if not 1 <= threads < 1 << 16:
        raise _store.error("UsageError", f"{threads} threads", "threads")
    kept = (threads, keys, bool(allow_unsigned))
    where = _store.home()
    options = (threads, where and os.fsencode(where), b"".join(keys), bool(allow_unsigned), None)
    if isinstance(package, (bytes, bytearray, memoryview)):
        return _urza.load(None, package, options, kept)
    path = os.fspath(package)
    is_id = isinstance(path, str) and _store.ID.fullmatch(path)
    is_path = not isinstance(package, str) or os.sep in package or package.endswith(".urza")
    if not is_id and (client is None or is_path):
        module = _urza.load(os.fsencode(path), None, options, kept)
        _store.keep_link(module.kernel_id, os.fsdecode(path))
        return module
    if is_id:
        try:
            module = _urza.load(os.fsencode(_store.path_of(path)), None, options, kept)
            if module.kernel_id == path:
                return module
            raise _store.error("InvalidPackageError", f"it holds another kernel, "
                               f"{module.kernel_id}", path)
        except Error:  # the client has another copy, perhaps
            if client is None:
                raise
    data, said = client._package(path)
    module = _urza.load(None, data, options, kept)
    wanted = path if is_id else said
    if wanted is not None and module.kernel_id != wanted:
        raise _store.error("InvalidPackageError", f"the package is another kernel, "
                           f"{module.kernel_id}", path)
    _store.keep_bytes(module.kernel_id, data)
    return module


def compile(module, example_inputs, dynamic_shapes=None, *, client=None, threads=1, **hints):
    """Compiles a torch.nn.Module and returns one that computes the same, with the same parameters.

    example_inputs: a tuple of forward's arguments; dynamic_shapes: which of their sizes may differ,
        as torch.export.export has it.
    client: a urza.Client, whose registry compiles; else the program `urza` of PATH does.
    threads: how many threads a call uses.
    hints: strategy ("fast", which does not verify, unless said otherwise), target, tune, timeout,
        memory, specialise, as options of `urza compile`; with a client, those of the service.

    What torch.export or the compiler refuses is an exception; nothing is left to PyTorch.
    """
    from . import _torch
    return _torch.compile(module, example_inputs, dynamic_shapes, client, threads, hints)
