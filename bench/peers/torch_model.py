"""A blueprint as a torch.nn.Module: each node becomes a call of torch.nn.functional."""

import numpy as np
import torch
import torch.nn.functional as F

from blueprint import Model, check_ops, evaluate, ints, operand

DTYPES = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16,
          "bf16": torch.bfloat16, "i64": torch.int64, "i32": torch.int32, "i16": torch.int16,
          "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool}


def plain(function, *names):
    """A function of the operands and of those of the named attributes that are given."""
    def call(x, a):
        return function(*[o for o in x if o is not None],
                        **{n: a[n] for n in names if a.get(n) is not None})
    return call


def conv(function, rank):
    def call(x, a):
        padding = a.get("padding", 0)
        data = x[0]
        if isinstance(padding, list) and len(padding) == 2 * rank:
            low, high = padding[:rank], padding[rank:]
            sides = [s for d in reversed(range(rank)) for s in (low[d], high[d])]
            data, padding = F.pad(data, sides), 0
        if not isinstance(padding, str):
            padding = ints(padding, rank)
        return function(data, x[1], operand(x, 2), ints(a.get("stride", 1), rank), padding,
                        ints(a.get("dilation", 1), rank), a.get("groups", 1))
    return call


def conv_transpose(function, rank):
    def call(x, a):
        stride, padding = ints(a.get("stride", 1), rank), ints(a.get("padding", 0), rank)
        return function(x[0], x[1], operand(x, 2), stride, padding,
                        ints(a.get("output_padding", 0), rank), a.get("groups", 1),
                        ints(a.get("dilation", 1), rank))
    return call


def batch_norm(x, a):
    mean, var = operand(x, 1), operand(x, 2)
    return F.batch_norm(x[0], mean, var, operand(x, 3), operand(x, 4), training=mean is None,
                        eps=a.get("eps", 1e-5))


def normalized(x, a):
    if "normalized_shape" in a:
        return ints(a["normalized_shape"], 1)
    return list(x[0].shape[-a.get("dims", 1):])


def layer_norm(x, a):
    return F.layer_norm(x[0], normalized(x, a), operand(x, 1), operand(x, 2), a.get("eps", 1e-5))


def rms_norm(x, a):
    shape, weight, eps = normalized(x, a), operand(x, 1), a.get("eps")
    if not torch.onnx.is_in_onnx_export():
        return F.rms_norm(x[0], shape, weight, eps)
    # The exporter does not know it; ONNX Runtime and OpenVINO fuse this pattern.
    eps = torch.finfo(x[0].dtype).eps if eps is None else eps
    mean = x[0].pow(2).mean(list(range(-len(shape), 0)), keepdim=True)
    y = x[0] / torch.sqrt(mean + eps)
    return y if weight is None else y * weight


def group_norm(x, a):
    return F.group_norm(x[0], a["num_groups"], operand(x, 1), operand(x, 2), a.get("eps", 1e-5))


def instance_norm(x, a):
    return F.instance_norm(x[0], None, None, operand(x, 1), operand(x, 2), eps=a.get("eps", 1e-5))


def attention(x, a):
    query, key, value = x[:3]
    grouped = a.get("enable_gqa", False)
    if grouped and torch.onnx.is_in_onnx_export():  # the exporter does not know groups
        groups = query.shape[-3] // key.shape[-3]
        key, value = (t.unsqueeze(-3).expand(*t.shape[:-2], groups, *t.shape[-2:]).flatten(-4, -3)
                      for t in (key, value))
        grouped = False
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=operand(x, 3), is_causal=a.get("is_causal", False),
        scale=a.get("scale"), enable_gqa=grouped)


def multi_head_attention(x, a):
    query = x[0]
    key = query if x[1] is None else x[1]
    value = key if x[2] is None else x[2]
    if not a.get("batch_first", True):
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
    weights = x[3].chunk(3)
    biases = (None, None, None) if x[4] is None else x[4].chunk(3)
    if key is query and value is key:
        q, k, v = F.linear(query, x[3], x[4]).chunk(3, -1)
    else:
        q, k, v = (F.linear(t, w, b) for t, w, b in zip((query, key, value), weights, biases))
    heads = a["num_heads"]
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    mask = operand(x, 7)
    if mask is not None and mask.dtype == torch.bool:
        mask = ~mask
    if mask is not None and mask.dim() == 3:
        mask = mask.unflatten(0, (-1, heads))
    y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=a.get("is_causal", False))
    y = F.linear(y.transpose(1, 2).flatten(2), x[5], operand(x, 6))
    return y if a.get("batch_first", True) else y.transpose(0, 1)


def rotary_embedding(x, a):
    data, cos, sin = x
    if a.get("interleaved", False):
        even, odd = data[..., 0::2], data[..., 1::2]
        return torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)
    low, high = data.chunk(2, -1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)


def slice_(x, a):
    size = x[0].shape[a.get("dim", 0)]
    start, stop, step = slice(a.get("start", 0), a.get("end"), a.get("step", 1)).indices(size)
    index = [slice(None)] * x[0].dim()
    index[a.get("dim", 0)] = slice(start, max(start, stop), step)
    return x[0][tuple(index)]


def reduction(function, *names):
    def call(x, a):
        dims = a.get("dim")
        dims = list(range(x[0].dim())) if dims is None else ints(dims, 1)
        more = {n: a[n] for n in names if n in a}
        return function(x[0], dim=dims, keepdim=a.get("keepdim", False), **more)
    return call


def prod(x, a):
    y = x[0]
    dims = a.get("dim")
    dims = range(y.dim()) if dims is None else [d % y.dim() for d in ints(dims, 1)]
    for dim in sorted(dims, reverse=True):
        y = y.prod(dim, keepdim=a.get("keepdim", False))
    return y


def interpolate(x, a):
    mode = a.get("mode", "nearest")
    more = {} if mode.startswith("nearest") else {"align_corners": a.get("align_corners", False)}
    return F.interpolate(x[0], a.get("size"), a.get("scale_factor"), mode, **more)


def global_pool(function):
    return lambda x, a: function(x[0], tuple(range(2, x[0].dim())), keepdim=True)


def topk_gating(x, a):
    values, index = torch.topk(torch.softmax(x[0], -1), a["k"])
    if a.get("renormalize", True):
        values = values / values.sum(-1, keepdim=True)
    return values, index


def take(x, a):
    dim, data, index = a.get("dim", 0), x[0], x[1]
    dim %= data.dim()
    picked = data.index_select(dim, index.flatten())
    return picked.reshape(data.shape[:dim] + index.shape + data.shape[dim + 1:])


def squeeze(x, a):
    return x[0].squeeze() if a.get("dim") is None else x[0].squeeze(tuple(ints(a["dim"], 1)))


def flip(x, a):
    dims = a.get("dims")
    return x[0].flip(list(range(x[0].dim())) if dims is None else ints(dims, 1))


def default_dim(function, dim):
    return lambda x, a: function(x[0], a.get("dim", dim))


def gelu(x, a):
    return F.gelu(x[0], approximate=a.get("approximate", "none"))


def addmm(x, a):
    return torch.addmm(*x, beta=a.get("beta", 1), alpha=a.get("alpha", 1))


POOL = ("kernel_size", "stride", "padding", "ceil_mode")
AVG = POOL + ("count_include_pad", "divisor_override")

OPS = {name: plain(getattr(torch, name)) for name in (
    "matmul", "bmm", "outer", "sigmoid", "tanh", "neg", "abs", "sign", "floor", "ceil", "round",
    "trunc", "sqrt", "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tan",
    "atan", "erf", "erfc", "reciprocal", "square", "isnan", "add", "sub", "mul", "remainder",
    "pow", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or",
    "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not",
    "where")}
OPS |= {name: plain(getattr(F, name)) for name in (
    "linear", "relu", "relu6", "prelu", "selu", "silu", "mish", "hardswish", "hardsigmoid",
    "softsign", "logsigmoid", "embedding")}
OPS |= {name: reduction(getattr(torch, name)) for name in (
    "sum", "mean", "amax", "amin", "any", "all", "logsumexp")}
OPS |= {
    "addmm": addmm,
    "einsum": lambda x, a: torch.einsum(a["equation"], *x),
    "leaky_relu": plain(F.leaky_relu, "negative_slope"),
    "elu": plain(F.elu, "alpha"),
    "celu": plain(F.celu, "alpha"),
    "gelu": gelu,
    "hardtanh": plain(F.hardtanh, "min_val", "max_val"),
    "hardshrink": plain(F.hardshrink, "lambd"),
    "softshrink": plain(F.softshrink, "lambd"),
    "softplus": plain(F.softplus, "beta", "threshold"),
    "softmax": default_dim(torch.softmax, -1),
    "log_softmax": default_dim(torch.log_softmax, -1),
    "softmin": lambda x, a: torch.softmax(-x[0], a.get("dim", -1)),
    "glu": default_dim(F.glu, -1),
    "swiglu": lambda x, a: F.silu(x[0]) * x[1],
    "dropout": lambda x, a: x[0],
    "identity": lambda x, a: x[0],
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "conv1d": conv(F.conv1d, 1),
    "conv2d": conv(F.conv2d, 2),
    "conv3d": conv(F.conv3d, 3),
    "conv_transpose1d": conv_transpose(F.conv_transpose1d, 1),
    "conv_transpose2d": conv_transpose(F.conv_transpose2d, 2),
    "conv_transpose3d": conv_transpose(F.conv_transpose3d, 3),
    "max_pool1d": plain(F.max_pool1d, *POOL, "dilation"),
    "max_pool2d": plain(F.max_pool2d, *POOL, "dilation"),
    "max_pool3d": plain(F.max_pool3d, *POOL, "dilation"),
    "avg_pool1d": plain(F.avg_pool1d, *POOL, "count_include_pad"),
    "avg_pool2d": plain(F.avg_pool2d, *AVG),
    "avg_pool3d": plain(F.avg_pool3d, *AVG),
    "adaptive_avg_pool1d": plain(F.adaptive_avg_pool1d, "output_size"),
    "adaptive_avg_pool2d": plain(F.adaptive_avg_pool2d, "output_size"),
    "adaptive_max_pool1d": plain(F.adaptive_max_pool1d, "output_size"),
    "adaptive_max_pool2d": plain(F.adaptive_max_pool2d, "output_size"),
    "global_avg_pool": global_pool(torch.mean),
    "global_max_pool": global_pool(torch.amax),
    "scaled_dot_product_attention": attention,
    "multi_head_attention": multi_head_attention,
    "rotary_embedding": rotary_embedding,
    "take": take,
    "index_select": lambda x, a: x[0].index_select(a["dim"], x[1]),
    "gather": lambda x, a: x[0].gather(a["dim"], x[1]),
    "concat": lambda x, a: torch.cat(x, a.get("dim", 0)),
    "cat": lambda x, a: torch.cat(x, a.get("dim", 0)),
    "stack": lambda x, a: torch.stack(x, a.get("dim", 0)),
    "split": lambda x, a: x[0].split(a["split_size"], a.get("dim", 0)),
    "chunk": lambda x, a: x[0].chunk(a["chunks"], a.get("dim", 0)),
    "unbind": lambda x, a: x[0].unbind(a.get("dim", 0)),
    "flatten": lambda x, a: x[0].flatten(a.get("start_dim", 0), a.get("end_dim", -1)),
    "reshape": lambda x, a: x[0].reshape(ints(a["shape"], 1)),
    "unflatten": lambda x, a: x[0].unflatten(a["dim"], ints(a["sizes"], 1)),
    "permute": lambda x, a: x[0].permute(ints(a["dims"], 1)),
    "transpose": lambda x, a: x[0].transpose(a["dim0"], a["dim1"]),
    "squeeze": squeeze,
    "unsqueeze": lambda x, a: x[0].unsqueeze(a["dim"]),
    "expand": lambda x, a: x[0].expand(ints(a["size"], 1)),
    "repeat": lambda x, a: x[0].repeat(ints(a["repeats"], 1)),
    "repeat_interleave": lambda x, a: x[0].repeat_interleave(a["repeats"], a["dim"]),
    "flip": flip,
    "tril": lambda x, a: x[0].tril(a.get("diagonal", 0)),
    "triu": lambda x, a: x[0].triu(a.get("diagonal", 0)),
    "pixel_shuffle": plain(F.pixel_shuffle, "upscale_factor"),
    "pixel_unshuffle": plain(F.pixel_unshuffle, "downscale_factor"),
    "slice": slice_,
    "pad": plain(F.pad, "pad", "mode", "value"),
    "interpolate": interpolate,
    "topk": lambda x, a: torch.topk(x[0], a["k"], a.get("dim", -1), a.get("largest", True)),
    "top_k": lambda x, a: torch.topk(x[0], a["k"], a.get("dim", -1), a.get("largest", True)),
    "topk_gating": topk_gating,
    "div": plain(torch.div, "rounding_mode"),
    "masked_fill": lambda x, a: x[0].masked_fill(x[1], a["value"]),
    "clamp": plain(torch.clamp, "min", "max"),
    "to": lambda x, a: x[0].to(DTYPES[a["dtype"]]),
    "prod": prod,
    "var": reduction(torch.var, "correction"),
    "std": reduction(torch.std, "correction"),
    "argmax": plain(torch.argmax, "dim", "keepdim"),
    "argmin": plain(torch.argmin, "dim", "keepdim"),
    "cumsum": plain(torch.cumsum, "dim"),
    "cumprod": plain(torch.cumprod, "dim"),
}


class BlueprintModule(torch.nn.Module):
    """Parameters are attributes p0, p1 …: names in a blueprint may hold what torch refuses."""

    def __init__(self, model: Model):
        super().__init__()
        check_ops(model, OPS)
        self.model = model
        for i, value in enumerate(model.params.values()):
            tensor = torch.from_numpy(np.array(value))
            if tensor.is_floating_point():
                setattr(self, f"p{i}", torch.nn.Parameter(tensor, requires_grad=False))
            else:
                self.register_buffer(f"p{i}", tensor)

    def forward(self, *inputs):
        params = {name: getattr(self, f"p{i}") for i, name in enumerate(self.model.params)}
        given = dict(zip(self.model.inputs, inputs))
        return tuple(evaluate(self.model, OPS, given, params))


def has_conv(model: Model) -> bool:
    return any(node.op == "conv2d" for node in model.nodes)
