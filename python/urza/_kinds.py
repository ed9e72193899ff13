"""What the extension asks of the libraries of arrays that the process uses. It imports none of them
for itself: an array of a library is there only if that was imported."""
import sys


def _numpy(cls):
    numpy = sys.modules.get("numpy")
    return numpy if numpy and issubclass(cls, (numpy.ndarray, numpy.generic)) else None


def describe(cls):
    """How results are made for arrays of a type: ("numpy", ndarray), ("from", from_dlpack of its
    library), or ("own", None)."""
    numpy = _numpy(cls)
    if numpy:
        return "numpy", numpy.ndarray
    if cls.__module__.partition(".")[0] in ("jax", "jaxlib") and "jax.numpy" in sys.modules:
        return "from", sys.modules["jax.numpy"].from_dlpack
    for base in cls.__mro__:
        library = sys.modules.get(base.__module__.partition(".")[0])
        if hasattr(library, "from_dlpack"):
            return "from", library.from_dlpack
    return "own", None


def numpy_dtypes(names):
    """NumPy's dtypes of these names."""
    import numpy
    if "bfloat16" in names:
        try:
            import ml_dtypes
        except ImportError:
            raise TypeError("NumPy has no bfloat16: install ml_dtypes for results of that dtype, "
                            "or pass arrays of another library") from None
        known = {"bfloat16": numpy.dtype(ml_dtypes.bfloat16)}
    else:
        known = {}
    return tuple(known.get(name) or numpy.dtype(name) for name in names)


def bits(array):
    """NumPy's array of bfloat16, which is no dtype of its own, seen as uint16; else None."""
    numpy = _numpy(type(array))
    if numpy and array.dtype.name == "bfloat16":
        return array.view(numpy.uint16)
    return None


def grad_enabled(array):
    """Whether operations on a PyTorch tensor that requires grad would be recorded."""
    torch = sys.modules.get("torch")
    return bool(torch is None or torch.is_grad_enabled())
