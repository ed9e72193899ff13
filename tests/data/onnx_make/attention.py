"""Attention."""
import numpy as np

from onnx_make.kit import case, floats, integers, node


def attentions():
    heads, size, width, length, batch = 2, 4, 8, 3, 2
    name = "ms_attention"
    x = floats(name, batch, length, width)
    weights = {"w": floats(name, width, 3 * width, seed=1, scale=0.4),
               "b": floats(name, 3 * width, seed=2, scale=0.5)}
    past = floats(name, 2, batch, heads, 5, size, seed=3)
    for name, given, more, attributes in (
            ("past", {"past": past}, "- past", {}),
            ("past_causal", {"past": past}, "- past", {"unidirectional": 1}),
            ("past_mask", {"past": past}, "m past",
             {"m": np.array([[1] * 8, [0, 0, 1, 1, 1, 1, 1, 0]], "i4")}),
            ("mask_rows", {}, "m -", {"m": np.array([[[1, 0, 0], [1, 1, 0], [1, 1, 1]],
                                                      [[1, 1, 0], [1, 1, 0], [0, 1, 1]]], "i4")}),
            ("mask_lengths", {}, "m -", {"m": np.array([3, 2], "i4")}),
            ("mask_ranges", {}, "m -", {"m": np.array([3, 2, 1, 0], "i4")}),
            ("sizes", {}, "- -", {"qkv_hidden_sizes": [8, 8, 4]})):
        w = dict(weights)
        mask = attributes.pop("m", None)
        if name == "sizes":
            w = {"w": w["w"][:, :20].copy(), "b": w["b"][:20].copy()}
        if mask is not None:
            w["m"] = mask
        present = name.startswith("past")
        case(f"ort_ms_attention_{name}",
             node("com.microsoft.Attention", f"x w b {more}", "y p" if present else "y",
                  num_heads=heads, **attributes), {"x": x, **given}, "y p" if present else "y", w)
    name = "ort_qattention"
    case(name, node("com.microsoft.QAttention", "x w b xs ws m xz wz", "y", num_heads=heads),
         {"x": integers(name, 0, 256, batch, length, width, dtype="u1")}, "y",
         {"w": integers(name, -128, 128, width, 3 * width, seed=1, dtype="i1"),
          "b": weights["b"], "xs": np.array(0.02, "f4"), "ws": np.array(0.01, "f4"),
          "m": np.array([3, 2], "i4"), "xz": np.array(125, "u1"), "wz": np.array(0, "i1")})
    name = "mha"
    q = floats(name, batch, length, width)
    keys, values = floats(name, batch, 4, width, seed=1), floats(name, batch, 4, width, seed=2)
    old = {"pk": floats(name, batch, heads, 2, size, seed=3),
           "pv": floats(name, batch, heads, 2, size, seed=4)}
    rows = np.array([[[1, 1, 0, 1]] * 3, [[1, 0, 1, 1]] * 3], "i4")
    split = lambda a, n: a.reshape(batch, -1, heads, n, size)
    mha = "com.microsoft.MultiHeadAttention"
    def attended(q, k, v):
        q, k, v = (a.astype("f8").transpose(0, 2, 1, 3) for a in (q, k, v))
        e = np.exp(q @ k.transpose(0, 1, 3, 2) / size ** 0.5)
        y = e / e.sum(-1, keepdims=True) @ v
        return y.transpose(0, 2, 1, 3).reshape(batch, -1, width).astype("f4")

    # Not for CPUs in ONNX Runtime.
    packed = split(floats(name, batch, length, 3 * width, seed=5), 3)
    case("mha_packed_qkv", node(mha, "x", "y", num_heads=heads), {"x": packed}, "y",
         right=[attended(*(packed[:, :, :, i] for i in range(3)))])
    packed = split(floats(name, batch, 4, 2 * width, seed=6), 2)
    case("mha_packed_kv", node(mha, "q kv", "y", num_heads=heads), {"q": q, "kv": packed}, "y",
         right=[attended(split(q, 1)[:, :, :, 0], packed[:, :, :, 0], packed[:, :, :, 1])])
    case("ort_mha_mask_rows", node(mha, "q k v - m", "y", num_heads=heads),
         {"q": q, "k": keys, "v": values}, "y", {"m": rows})
    case("ort_mha_past_causal", node(mha, "q k v - - - pk pv", "y nk nv", num_heads=heads,
                                     unidirectional=1),
         {"q": q, "k": keys[:, :3].copy(), "v": values[:, :3].copy(), **old}, "y nk nv")
    name = "ort_embed_layer_norm_mask"
    case(name, node("com.microsoft.EmbedLayerNormalization", "ids seg word place kind g b mask",
                    "y mi", epsilon=1e-5),
         {"ids": integers(name, 0, 7, 2, 4, dtype="i4"),
          "seg": integers(name, 0, 2, 2, 4, seed=1, dtype="i4"),
          "mask": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], "i4")}, "y mi",
         {"word": floats(name, 7, 8, seed=2), "place": floats(name, 6, 8, seed=3),
          "kind": floats(name, 2, 8, seed=4), "g": floats(name, 8, seed=5),
          "b": floats(name, 8, seed=6)})


def group_query_attention():
    heads, shared, size = 4, 2, 16
    angles = np.arange(32)[:, None] / 10.0 ** np.linspace(0, 2, size // 2)
    turns = {"cos": np.cos(angles).astype("f4"), "sin": np.sin(angles).astype("f4")}
    for name, batch, length, past, options in (
            ("first", 2, 5, 0, {}), ("next", 2, 1, 6, {}), ("chunk", 1, 3, 6, {}),
            ("rotary_first", 2, 5, 0, {"do_rotary": 1}),
            ("rotary_next", 2, 1, 6, {"do_rotary": 1}),
            ("rotary_interleaved", 1, 1, 6, {"do_rotary": 1, "rotary_interleaved": 1}),
            ("window_first", 2, 5, 0, {"local_window_size": 2}),
            ("window_next", 1, 1, 6, {"local_window_size": 3}),
            ("cap_first", 2, 5, 0, {"softcap": 2.0}), ("cap_next", 1, 1, 6, {"softcap": 0.5}),
            ("scale", 1, 4, 0, {"scale": 0.125}), ("packed", 2, 4, 0, {"do_rotary": 1})):
        name = f"ort_gqa_{name}"
        parts = [floats(name, batch, length, n * size, seed=i)
                 for i, n in enumerate((heads, shared, shared))]
        given = dict(zip("qkv", parts))
        if "packed" in name:
            given = {"q": np.concatenate(parts, 2)}
        kept = {k: floats(name, batch, shared, past, size, seed=5 + i)
                for i, k in enumerate(("pk", "pv"))}
        total = length + past
        constants = {"n": np.full(batch, total - 1, "i4"), "t": np.array(total, "i4")}
        if "do_rotary" in options:
            constants |= turns
        names = [n if n in given | constants or n in kept and past else "-"
                 for n in ("q", "k", "v", "pk", "pv", "n", "t", "cos", "sin")]
        case(name, node("com.microsoft.GroupQueryAttention", " ".join(names), "y nk nv",
                        num_heads=heads, kv_num_heads=shared, **options),
             given | (kept if past else {}), "y nk nv", constants)
    # Rows of different lengths, whose caches end in what nobody reads; sizes that a call brings.
    name, batch, length, past = "ort_gqa_lengths", 2, 1, 6
    given = {k: floats(name, batch, length, n * size, seed=i)
             for i, (k, n) in enumerate((("q", heads), ("k", shared), ("v", shared)))}
    given |= {k: floats(name, batch, shared, past, size, seed=5 + i)
              for i, k in enumerate(("pk", "pv"))}
    given["n"] = np.array([6, 3], "i4")
    rows = {k: ["B", "L", given[k].shape[2]] for k in "qkv"}
    cache = {k: ["B", shared, "P", size] for k in ("pk", "pv")}
    constants = turns | {"t": np.array(7, "i4")}
    for suffix, dims in (("", {}), ("_named", rows | cache | {"n": ["B"]})):
        case(name + suffix, node("com.microsoft.GroupQueryAttention", "q k v pk pv n t cos sin",
                                 "y nk nv", num_heads=heads, kv_num_heads=shared, do_rotary=1),
             given, "y", constants, dims=dims)
    for cap in (0.0, 1.5):
        suffix, capped = ("_capped", {"softcap": cap}) if cap else ("", {})
        case("ort_gqa_bias" + suffix,
             node("com.microsoft.GroupQueryAttention", "q k v pk pv n t - - - b", "y nk nv",
                  num_heads=heads, kv_num_heads=shared, **capped),
             given | {"n": np.array([6, 6], "i4")}, "y",
             {"t": np.array(7, "i4"), "b": floats(name, batch, 1, length, past + length, seed=9)})
