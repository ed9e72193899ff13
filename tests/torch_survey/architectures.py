"""Architectures of torchvision and transformers, by name, with random weights.

names() lists them; make(name) returns a module in eval mode that gives a tuple of tensors, and its
example inputs, of a batch of two. Networks of torchvision are those of up to LARGEST parameters, in
their published widths; networks of transformers have two layers of 64.
"""

import inspect

import torch
from torch import nn
from torch.utils import _pytree

BATCH = 2
SIDE = 64
SIDES = {"inception_v3": 96, "maxvit_t": 224}
LARGEST = 45e6  # parameters; larger ones are wider, or have more layers
VIDEO = ("mc3", "mvit", "r2plus1d", "r3d", "s3d", "swin3d")
FLOW = ("raft",)
DETECTION = ("rcnn", "retinanet", "ssd", "fcos")


class Tensors(nn.Module):
    """A model whose results are a flat tuple of tensors."""

    def __init__(self, model, names=(), keep=None):
        super().__init__()
        self.model, self.names, self.keep = model, names, keep

    def forward(self, *args):
        if self.names:
            result = self.model(**dict(zip(self.names, args)))
        else:
            result = self.model(*args)
        if self.keep:
            result = [result[key] for key in self.keep]
        return tuple(x for x in _pytree.tree_leaves(result) if isinstance(x, torch.Tensor))


class Backbone(nn.Module):
    """What a detector computes of images before it chooses boxes."""

    def __init__(self, model):
        super().__init__()
        self.backbone = model.backbone
        self.head = getattr(model, "head", None)
        self.rpn = getattr(getattr(model, "rpn", None), "head", None)

    def forward(self, x):
        features = self.backbone(x)
        features = [features] if isinstance(features, torch.Tensor) else list(features.values())
        if self.head is not None:
            return features + list(self.head(features).values())
        return features + [y for part in self.rpn(features) for y in part]


def images(*shape):
    return torch.randn(BATCH, 3, *shape)


def vision_names():
    from torchvision import models

    names = []
    for name in models.list_models():
        published = models.get_model_weights(name).DEFAULT
        if not name.startswith("quantized_") and published.meta["num_params"] <= LARGEST:
            names.append(name)
    return names


def vision_model(name):
    from torchvision import models

    build = models.get_model_builder(name)
    given = {"weights": None}
    if name.startswith(("vit_", "maxvit")):
        given["image_size" if name.startswith("vit") else "input_size"] = \
            SIDE if name.startswith("vit") else (224, 224)
    if any(kind in name for kind in DETECTION) or name.startswith(("deeplab", "fcn", "lraspp")):
        given["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        given["init_weights"] = False
    return build(**given)


def vision(name):
    model = vision_model(name).eval()
    for module in model.modules():  # statistics that are not the identity
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    if any(kind in name for kind in DETECTION):
        side = 300 if name == "ssd300_vgg16" else 128
        return Tensors(Backbone(model)), (images(side, side),)
    if name.startswith(FLOW):
        return Tensors(model), (images(128, 128), images(128, 128))
    if name.startswith("mvit"):
        return Tensors(model), (images(16, 224, 224)[:1],)
    if name.startswith(VIDEO):
        frames = 16 if name.startswith("s3d") else 8
        side = 224 if name.startswith("s3d") else SIDE
        return Tensors(model), (images(frames, side, side)[:BATCH if side == SIDE else 1],)
    side = SIDES.get(name, SIDE)
    return Tensors(model), (images(side, side),)


# Sizes, where a configuration has something of that name.
SMALL = {
    "vocab_size": 99, "hidden_size": 64, "d_model": 64, "n_embd": 64, "dim": 64, "emb_dim": 64,
    "embedding_size": 64, "embed_dim": 64, "encoder_embed_dim": 64, "encoder_hidden_size": 64,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2,
    "decoder_layers": 2, "num_decoder_layers": 2, "num_encoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 128, "n_inner": 128, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
    "d_ff": 128, "d_kv": 16, "hidden_dim": 128, "ffn_dim": 128, "head_dim": 16,
    "max_position_embeddings": 64, "n_positions": 64, "max_seq_len": 64,
    "image_size": 32, "patch_size": 8, "num_channels": 3, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "decoder_start_token_id": 1, "use_cache": False,
}

# model_type: what its configuration is given besides.
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
FEW = {"depths": [1, 1]}
SWIN = {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 2, "patch_size": 2}
TEXT = {
    "albert": {},
    "bart": {},
    "bert": {},
    "bert-generation": {},
    "big_bird": {"attention_type": "original_full"},
    "biogpt": {},
    "bloom": {},
    "camembert": {},
    "canine": {"num_hash_buckets": 99},
    "codegen": {"rotary_dim": 8},
    "cohere": {},
    "convbert": {},
    "ctrl": {"dff": 128},
    "data2vec-text": {},
    "deberta": RELATIVE,
    "deberta-v2": RELATIVE,
    "distilbert": {},
    "electra": {},
    "ernie": {},
    "falcon": {},
    "fnet": {},
    "funnel": {"architectures": ["FunnelModel"], "block_sizes": [1, 1], "d_head": 16,
               "d_inner": 128},
    "gemma": {},
    "gemma2": {},
    "gpt2": {},
    "gpt_bigcode": {},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gpt_neox": {},
    "gptj": {"rotary_dim": 8},
    "granite": {},
    "ibert": {},
    "layoutlm": {},
    "llama": {},
    "longformer": {"attention_window": [4, 4]},
    "luke": {"entity_vocab_size": 20},
    "m2m_100": {},
    "mamba": {"state_size": 8},
    "mbart": {},
    "megatron-bert": {},
    "mistral": {},
    "mixtral": {"num_local_experts": 4},
    "mobilebert": {"intra_bottleneck_size": 64, "hidden_size": 64, "true_hidden_size": 64},
    "mpnet": {},
    "mpt": {},
    "mt5": {},
    "nystromformer": {"num_landmarks": 9, "segment_means_seq_len": 9},
    "olmo": {},
    "opt": {"word_embed_proj_dim": 64},
    "pegasus": {},
    "persimmon": {},
    "phi": {},
    "phi3": {},
    "qwen2": {},
    "qwen2_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
                  "shared_expert_intermediate_size": 64},
    "qwen3": {},
    "rembert": {"input_embedding_size": 64, "output_embedding_size": 64},
    "roberta": {},
    "roformer": {},
    "squeezebert": {},
    "stablelm": {},
    "starcoder2": {},
    "t5": {},
    "xglm": {"attention_heads": 4},
    "xlm-roberta": {},
    "xlnet": {"d_inner": 128, "d_head": 16},
    "xmod": {"languages": ["en"], "default_language": "en"},
    "yoso": {},
}
IMAGE = {
    "beit": {},
    "bit": {"embedding_size": 64, "hidden_sizes": [128, 128], **FEW},
    "convnext": {"hidden_sizes": [16, 32], "num_stages": 2, "patch_size": 4, **FEW},
    "convnextv2": {"hidden_sizes": [16, 32], "num_stages": 2, "patch_size": 4, **FEW},
    "cvt": {"embed_dim": [16, 32, 64], "num_heads": [1, 2, 4], "depth": [1, 2, 10]},
    "data2vec-vision": {},
    "deit": {},
    "dinov2": {},
    "focalnet": {"embed_dim": 16, "focal_levels": [2, 2], "focal_windows": [3, 3],
                 "patch_size": 4, **FEW},
    "levit": {"image_size": 64, "patch_size": 16, "hidden_sizes": [32, 48, 64],
              "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1], "key_dim": [8, 8, 8]},
    "mobilenet_v1": {},
    "mobilenet_v2": {},
    "mobilevit": {"image_size": 64, "patch_size": 2},
    "poolformer": {"image_size": 64, "patch_size": 7},
    "regnet": {"embedding_size": 16, "hidden_sizes": [16, 32], **FEW},
    "resnet": {"embedding_size": 16, "hidden_sizes": [32, 64], **FEW},
    "segformer": {"image_size": 64, "hidden_sizes": [16, 32], "num_encoder_blocks": 2,
                  "num_attention_heads": [1, 2], "sr_ratios": [2, 1], **FEW},
    "swin": SWIN,
    "swinv2": SWIN,
    "vit": {},
    "vit_mae": {},
    "vit_msn": {},
    "yolos": {"image_size": [32, 32]},
}
AUDIO = {
    "audio-spectrogram-transformer": {"max_length": 32, "num_mel_bins": 16},
    "hubert": {},
    "wav2vec2": {},
    "whisper": {"num_mel_bins": 8, "max_source_positions": 16},
}
BOTH = {"clip": {}, "siglip": {}}

# What is not right, and why.
EXPECTED = {
    "transformers/fnet": "complex numbers",
    "transformers/longformer": "torch.export refuses it",
    "transformers/xmod": "a mask in an index: sizes that depend on data",
}


def transformer_names():
    return [*TEXT, *IMAGE, *AUDIO, *BOTH]


def small(config_class, extra):
    """A configuration with the sizes of SMALL that it knows, in parts, too."""
    default = config_class()
    known = {**default.to_dict(), **inspect.signature(config_class.__init__).parameters}
    names = getattr(config_class, "attribute_map", {})
    known.update({key: None for key in names})
    given = {key: value for key, value in SMALL.items()
             if key in known and names.get(key) not in extra}
    if isinstance(getattr(default, "num_key_value_heads", 1), type(None)):
        given["num_key_value_heads"] = 4
    given.update(extra)
    for key, part in getattr(config_class, "sub_configs", {}).items():
        given[key] = small(part, {}).to_dict()
    return config_class(**given)


def words(size, steps=9):
    return torch.randint(3, size, (BATCH, steps))


def transformer(name):
    from transformers import CONFIG_MAPPING, AutoModel

    group = next(g for g in (TEXT, IMAGE, AUDIO, BOTH) if name in g)
    config = small(CONFIG_MAPPING[name], group[name])
    model = AutoModel.from_config(config).eval()
    for part in model.modules():
        if isinstance(part, nn.Linear | nn.Conv2d) and part.weight.std() < 0.05:
            part.weight.normal_(0, 0.08)  # small initial values hide errors
    accepted = inspect.signature(model.forward).parameters
    if group is TEXT:
        ids = words(config.get_text_config().vocab_size if hasattr(config, "vocab_size") else 99)
        inputs = {"input_ids": ids}
        if "attention_mask" in accepted and name not in ("mamba", "fnet", "nystromformer"):
            mask = torch.ones_like(ids)
            mask[-1, -3:] = 0
            inputs["attention_mask"] = mask
        if config.is_encoder_decoder:
            inputs["decoder_input_ids"] = words(99, 5)
        return Tensors(model, tuple(inputs)), tuple(inputs.values())
    if name == "whisper":
        model = Tensors(model, ("input_features", "decoder_input_ids"))
        return model, (torch.randn(BATCH, 8, 32), words(99, 5))
    if name == "audio-spectrogram-transformer":
        return Tensors(model, ("input_values",)), (torch.randn(BATCH, 32, 16),)
    if group is AUDIO:
        return Tensors(model, ("input_values",)), (torch.randn(BATCH, 800),)
    side = getattr(config, "image_size", None) if group is IMAGE else SMALL["image_size"]
    image = images(*((side, side) if isinstance(side, int) else (SIDE, SIDE)))
    if group is BOTH:
        model = Tensors(model, ("input_ids", "pixel_values"))
        return model, (words(99), image)
    if name == "vit_mae":
        return Tensors(model, ("pixel_values", "noise")), (image, torch.rand(BATCH, 16))
    return Tensors(model, ("pixel_values",)), (image,)


def names():
    return [*("torchvision/" + name for name in vision_names()),
            *("transformers/" + name for name in transformer_names())]


def make(name):
    torch.manual_seed(1)
    source, own = name.split("/")
    with torch.no_grad():
        return (vision if source == "torchvision" else transformer)(own)
