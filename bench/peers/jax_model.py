"""A blueprint as a JAX function: each node becomes calls of jax.numpy and lax.

Only what benchmarks use is here; products of f32 are computed in f32, as JAX does on CPUs.
"""

import jax
import jax.numpy as jnp
from jax import lax

from blueprint import Model, check_ops, evaluate, ints, operand

SPATIAL = {1: "H", 2: "HW", 3: "DHW"}


def conv(rank):
    def call(x, a):
        padding = a.get("padding", 0)
        if isinstance(padding, str):
            padding = padding.upper()
        elif isinstance(padding, list) and len(padding) == 2 * rank:
            padding = list(zip(padding[:rank], padding[rank:]))
        else:
            padding = [(p, p) for p in ints(padding, rank)]
        data = x[0] if x[0].ndim == rank + 2 else x[0][None]
        layout = ("NC" + SPATIAL[rank], "OI" + SPATIAL[rank], "NC" + SPATIAL[rank])
        y = lax.conv_general_dilated(
            data, x[1], ints(a.get("stride", 1), rank), padding,
            rhs_dilation=ints(a.get("dilation", 1), rank), dimension_numbers=layout,
            feature_group_count=a.get("groups", 1))
        if operand(x, 2) is not None:
            y = y + by_channel(x[2], y)
        return y if x[0].ndim == rank + 2 else y[0]
    return call


def by_channel(vector, like):
    return vector.reshape((1, -1) + (1,) * (like.ndim - 2))


def affine(y, weight, bias):
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def normalize(x, axes, eps):
    centred = x - x.mean(axes, keepdims=True)
    return centred * lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + eps)


def batch_norm(x, a):
    data, mean, var = x[0], operand(x, 1), operand(x, 2)
    eps = a.get("eps", 1e-5)
    if mean is None:
        y = normalize(data, (0,) + tuple(range(2, data.ndim)), eps)
    else:
        y = (data - by_channel(mean, data)) * by_channel(lax.rsqrt(var + eps), data)
    return channel_affine(y, x, 3)


def channel_affine(y, x, first):
    weight, bias = operand(x, first), operand(x, first + 1)
    return affine(y, None if weight is None else by_channel(weight, y),
                  None if bias is None else by_channel(bias, y))


def last_axes(x, a):
    count = len(ints(a["normalized_shape"], 1)) if "normalized_shape" in a else a.get("dims", 1)
    return tuple(range(-count, 0))


def layer_norm(x, a):
    y = normalize(x[0], last_axes(x, a), a.get("eps", 1e-5))
    return affine(y, operand(x, 1), operand(x, 2))


def rms_norm(x, a):
    eps = a.get("eps", float(jnp.finfo(x[0].dtype).eps))
    mean = jnp.square(x[0]).mean(last_axes(x, a), keepdims=True)
    return affine(x[0] * lax.rsqrt(mean + eps), operand(x, 1), None)


def group_norm(x, a):
    data = x[0]
    parts = data.reshape(data.shape[0], a["num_groups"], -1)
    return channel_affine(normalize(parts, (2,), a.get("eps", 1e-5)).reshape(data.shape), x, 1)


def instance_norm(x, a):
    axes = tuple(range(2, x[0].ndim))
    return channel_affine(normalize(x[0], axes, a.get("eps", 1e-5)), x, 1)


def linear(x, a):
    return affine(x[0] @ x[1].T, None, operand(x, 2))


def attend(q, k, v, mask, is_causal, scale):
    scores = jnp.einsum("...le,...se->...ls", q, k) * scale
    if is_causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf)
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == bool else scores + mask
    return jax.nn.softmax(scores, -1) @ v


def attention(x, a):
    q, k, v = x[:3]
    if a.get("enable_gqa", False):
        k, v = (jnp.repeat(t, q.shape[-3] // t.shape[-3], -3) for t in (k, v))
    scale = q.shape[-1] ** -0.5 if a.get("scale") is None else a["scale"]
    return attend(q, k, v, operand(x, 3), a.get("is_causal", False), scale)


def multi_head_attention(x, a):
    query = x[0]
    key = query if x[1] is None else x[1]
    value = key if x[2] is None else x[2]
    if not a.get("batch_first", True):
        query, key, value = (jnp.swapaxes(t, 0, 1) for t in (query, key, value))
    heads, weights = a["num_heads"], jnp.split(x[3], 3)
    biases = [None] * 3 if x[4] is None else jnp.split(x[4], 3)
    q, k, v = (linear([t, w, b], {}) for t, w, b in zip((query, key, value), weights, biases))
    q, k, v = (t.reshape(*t.shape[:2], heads, -1).swapaxes(1, 2) for t in (q, k, v))
    mask = operand(x, 7)
    if mask is not None and mask.dtype == bool:
        mask = ~mask
    if mask is not None and mask.ndim == 3:
        mask = mask.reshape(-1, heads, *mask.shape[1:])
    y = attend(q, k, v, mask, a.get("is_causal", False), q.shape[-1] ** -0.5)
    y = y.swapaxes(1, 2).reshape(query.shape)
    y = linear([y, x[5], operand(x, 6)], {})
    return y if a.get("batch_first", True) else jnp.swapaxes(y, 0, 1)


def rotary_embedding(x, a):
    data, cos, sin = x
    if a.get("interleaved", False):
        even, odd = data[..., 0::2], data[..., 1::2]
        pairs = jnp.stack((even * cos - odd * sin, odd * cos + even * sin), -1)
        return pairs.reshape(data.shape)
    low, high = jnp.split(data, 2, -1)
    return jnp.concatenate((low * cos - high * sin, high * cos + low * sin), -1)


def window(x, a, rank, start, combine, padding):
    size = ints(a["kernel_size"], rank)
    step = size if a.get("stride") is None else ints(a["stride"], rank)
    lead = x[0].ndim - rank
    return lax.reduce_window(
        x[0], start, combine, (1,) * lead + tuple(size), (1,) * lead + tuple(step),
        [(0, 0)] * lead + [(p, p) for p in padding],
        window_dilation=(1,) * lead + tuple(ints(a.get("dilation", 1), rank)))


def refuse_ceil_mode(a):
    if a.get("ceil_mode", False):
        raise ValueError("ceil_mode is not known to this peer")


def max_pool(rank):
    def call(x, a):
        refuse_ceil_mode(a)
        return window(x, a, rank, -jnp.inf, lax.max, ints(a.get("padding", 0), rank))
    return call


def avg_pool(rank):
    def call(x, a):
        refuse_ceil_mode(a)
        padding = ints(a.get("padding", 0), rank)
        total = window(x, a, rank, 0.0, lax.add, padding)
        if a.get("divisor_override") is not None:
            return total / a["divisor_override"]
        if a.get("count_include_pad", True):
            size = 1
            for extent in ints(a["kernel_size"], rank):
                size *= extent
            return total / size
        return total / window([jnp.ones_like(x[0])], a, rank, 0.0, lax.add, padding)
    return call


def adaptive_pool(rank, function):
    """Part i of n of a dim of s is floor(i*s/n) … ceil((i + 1)*s/n), as PyTorch has it."""
    def call(x, a):
        y = x[0]
        for axis, parts in zip(range(y.ndim - rank, y.ndim), ints(a["output_size"], rank)):
            extent = y.shape[axis]
            y = jnp.concatenate([
                function(lax.slice_in_dim(y, i * extent // parts,
                                          -(-(i + 1) * extent // parts), axis=axis),
                         axis, keepdims=True) for i in range(parts)], axis)
        return y
    return call


def global_pool(function):
    return lambda x, a: function(x[0], tuple(range(2, x[0].ndim)), keepdims=True)


def slice_(x, a):
    index = [slice(None)] * x[0].ndim
    index[a.get("dim", 0)] = slice(a.get("start", 0), a.get("end"), a.get("step", 1))
    return x[0][tuple(index)]


def pieces(data, sizes, dim):
    bounds = [sum(sizes[:i]) for i in range(1, len(sizes))]
    return jnp.split(data, bounds, dim)


def even_pieces(data, size, dim):
    extent = data.shape[dim]
    return pieces(data, [min(size, extent - at) for at in range(0, extent, size)], dim)


def split(x, a):
    size, dim = a["split_size"], a.get("dim", 0)
    return even_pieces(x[0], size, dim) if isinstance(size, int) else pieces(x[0], size, dim)


def chunk(x, a):
    dim = a.get("dim", 0)
    return even_pieces(x[0], -(-x[0].shape[dim] // a["chunks"]), dim)


def flatten(x, a):
    rank = x[0].ndim
    start, end = a.get("start_dim", 0) % rank, a.get("end_dim", -1) % rank
    return x[0].reshape(x[0].shape[:start] + (-1,) + x[0].shape[end + 1:])


def unflatten(x, a):
    dim = a["dim"] % x[0].ndim
    return x[0].reshape(x[0].shape[:dim] + tuple(ints(a["sizes"], 1)) + x[0].shape[dim + 1:])


def squeeze(x, a):
    if a.get("dim") is None:
        return x[0].squeeze()
    dims = [d % x[0].ndim for d in ints(a["dim"], 1)]
    return x[0].squeeze(tuple(d for d in dims if x[0].shape[d] == 1))


def expand(x, a):
    size = ints(a["size"], 1)
    old = (None,) * (len(size) - x[0].ndim) + x[0].shape
    return jnp.broadcast_to(x[0], [o if s == -1 else s for s, o in zip(size, old)])


def pad(x, a):
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge",
            "circular": "wrap"}[a.get("mode", "constant")]
    sides = a["pad"]
    if min(sides) < 0:
        raise ValueError("negative padding is not known to this peer")
    width = [(0, 0)] * (x[0].ndim - len(sides) // 2)
    width += [(sides[i], sides[i + 1]) for i in range(len(sides) - 2, -1, -2)]
    more = {"constant_values": a.get("value", 0)} if mode == "constant" else {}
    return jnp.pad(x[0], width, mode, **more)


def interpolate(x, a):
    """Nearest only, as PyTorch places it: the pixel at floor(i * old / new)."""
    if a.get("mode", "nearest") != "nearest":
        raise ValueError(f"interpolate by {a['mode']} is not known to this peer")
    y, rank = x[0], x[0].ndim - 2
    scale = a.get("scale_factor")
    scales = scale if isinstance(scale, list) else [scale] * rank
    for axis in range(rank):
        old = y.shape[axis + 2]
        if a.get("size") is not None:
            new = ints(a["size"], rank)[axis]
            step = old / new
        else:
            new, step = int(old * scales[axis]), 1 / scales[axis]
        y = jnp.take(y, jnp.array([min(int(i * step), old - 1) for i in range(new)]), axis + 2)
    return y


def reduction(function):
    def call(x, a):
        dims = a.get("dim")
        more = {"ddof": a.get("correction", 1)} if function in (jnp.var, jnp.std) else {}
        return function(x[0], axis=None if dims is None else tuple(ints(dims, 1)),
                        keepdims=a.get("keepdim", False), **more)
    return call


def div(x, a):
    mode = a.get("rounding_mode")
    y = x[0] / x[1]
    return {None: lambda t: t, "floor": jnp.floor, "trunc": jnp.trunc}[mode](y)


def topk(x, a):
    dim = a.get("dim", -1)
    data = jnp.moveaxis(x[0], dim, -1)
    values, index = lax.top_k(data if a.get("largest", True) else -data, a["k"])
    values = values if a.get("largest", True) else -values
    return jnp.moveaxis(values, -1, dim), jnp.moveaxis(index, -1, dim)


def gelu(x, a):
    return jax.nn.gelu(x[0], approximate=a.get("approximate", "none") == "tanh")


def plain(function):
    return lambda x, a: function(*x)


OPS = {name: plain(getattr(jnp, name)) for name in (
    "matmul", "outer", "tanh", "abs", "sign", "floor", "ceil", "round", "trunc", "sqrt", "exp",
    "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tan", "reciprocal", "square", "isnan",
    "remainder", "maximum", "minimum", "logical_and", "logical_or", "logical_xor", "logical_not",
    "bitwise_and", "bitwise_or", "bitwise_xor", "where")}
OPS |= {name: plain(getattr(jax.nn, name)) for name in ("relu", "relu6", "selu", "silu", "mish")}
OPS |= {name: reduction(getattr(jnp, name)) for name in ("sum", "prod", "mean", "any", "all",
                                                         "var", "std")}
OPS |= {
    "linear": linear,
    "bmm": plain(jnp.matmul),
    "addmm": lambda x, a: a.get("beta", 1) * x[0] + a.get("alpha", 1) * (x[1] @ x[2]),
    "einsum": lambda x, a: jnp.einsum(a["equation"], *x),
    "leaky_relu": lambda x, a: jax.nn.leaky_relu(x[0], a.get("negative_slope", 0.01)),
    "elu": lambda x, a: jax.nn.elu(x[0], a.get("alpha", 1)),
    "celu": lambda x, a: jax.nn.celu(x[0], a.get("alpha", 1)),
    "gelu": gelu,
    "hardswish": plain(jax.nn.hard_swish),
    "hardsigmoid": plain(jax.nn.hard_sigmoid),
    "hardtanh": lambda x, a: jnp.clip(x[0], a.get("min_val", -1), a.get("max_val", 1)),
    "softplus": lambda x, a: jax.nn.softplus(x[0] * a.get("beta", 1)) / a.get("beta", 1),
    "softsign": plain(jax.nn.soft_sign),
    "sigmoid": plain(jax.nn.sigmoid),
    "logsigmoid": plain(jax.nn.log_sigmoid),
    "softmax": lambda x, a: jax.nn.softmax(x[0], a.get("dim", -1)),
    "log_softmax": lambda x, a: jax.nn.log_softmax(x[0], a.get("dim", -1)),
    "softmin": lambda x, a: jax.nn.softmax(-x[0], a.get("dim", -1)),
    "glu": lambda x, a: jax.nn.glu(x[0], a.get("dim", -1)),
    "swiglu": lambda x, a: jax.nn.silu(x[0]) * x[1],
    "dropout": lambda x, a: x[0],
    "identity": lambda x, a: x[0],
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "conv1d": conv(1),
    "conv2d": conv(2),
    "conv3d": conv(3),
    "max_pool1d": max_pool(1),
    "max_pool2d": max_pool(2),
    "avg_pool1d": avg_pool(1),
    "avg_pool2d": avg_pool(2),
    "adaptive_avg_pool1d": adaptive_pool(1, jnp.mean),
    "adaptive_avg_pool2d": adaptive_pool(2, jnp.mean),
    "adaptive_max_pool1d": adaptive_pool(1, jnp.max),
    "adaptive_max_pool2d": adaptive_pool(2, jnp.max),
    "global_avg_pool": global_pool(jnp.mean),
    "global_max_pool": global_pool(jnp.max),
    "scaled_dot_product_attention": attention,
    "multi_head_attention": multi_head_attention,
    "rotary_embedding": rotary_embedding,
    "embedding": lambda x, a: x[1][x[0]],
    "take": lambda x, a: jnp.take(x[0], x[1], a.get("dim", 0)),
    "index_select": lambda x, a: jnp.take(x[0], x[1], a["dim"]),
    "concat": lambda x, a: jnp.concatenate(x, a.get("dim", 0)),
    "cat": lambda x, a: jnp.concatenate(x, a.get("dim", 0)),
    "stack": lambda x, a: jnp.stack(x, a.get("dim", 0)),
    "split": split,
    "chunk": chunk,
    "unbind": lambda x, a: list(jnp.moveaxis(x[0], a.get("dim", 0), 0)),
    "flatten": flatten,
    "reshape": lambda x, a: x[0].reshape(ints(a["shape"], 1)),
    "unflatten": unflatten,
    "permute": lambda x, a: jnp.transpose(x[0], ints(a["dims"], 1)),
    "transpose": lambda x, a: jnp.swapaxes(x[0], a["dim0"], a["dim1"]),
    "squeeze": squeeze,
    "unsqueeze": lambda x, a: jnp.expand_dims(x[0], a["dim"]),
    "expand": expand,
    "repeat_interleave": lambda x, a: jnp.repeat(x[0], a["repeats"], a["dim"]),
    "tril": lambda x, a: jnp.tril(x[0], a.get("diagonal", 0)),
    "triu": lambda x, a: jnp.triu(x[0], a.get("diagonal", 0)),
    "slice": slice_,
    "pad": pad,
    "interpolate": interpolate,
    "topk": topk,
    "top_k": topk,
    "neg": plain(jnp.negative),
    "rsqrt": plain(lax.rsqrt),
    "atan": plain(jnp.arctan),
    "erf": plain(lax.erf),
    "erfc": plain(lax.erfc),
    "add": plain(jnp.add),
    "sub": plain(jnp.subtract),
    "mul": plain(jnp.multiply),
    "div": div,
    "pow": plain(jnp.power),
    "eq": plain(jnp.equal),
    "ne": plain(jnp.not_equal),
    "lt": plain(jnp.less),
    "le": plain(jnp.less_equal),
    "gt": plain(jnp.greater),
    "ge": plain(jnp.greater_equal),
    "amax": reduction(jnp.max),
    "amin": reduction(jnp.min),
    "logsumexp": reduction(jax.nn.logsumexp),
    "masked_fill": lambda x, a: jnp.where(x[1], a["value"], x[0]),
    "clamp": lambda x, a: jnp.clip(x[0], a.get("min"), a.get("max")),
    "cumsum": lambda x, a: jnp.cumsum(x[0], a["dim"]),
    "cumprod": lambda x, a: jnp.cumprod(x[0], a["dim"]),
}


def make_function(model: Model):
    """Parameters are closed over: they are constants of the compiled function."""
    check_ops(model, OPS)
    params = {name: jnp.asarray(value) for name, value in model.params.items()}

    def function(*inputs):
        return tuple(evaluate(model, OPS, dict(zip(model.inputs, inputs)), params))

    return jax.jit(function)
