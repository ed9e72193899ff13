"""Ten networks with random weights, in their published sizes or tiny, by name.

make(name, tiny) returns a module in eval mode and its example inputs. torchvision and transformers
define most of them and download nothing: sizes are given here, weights are drawn from a seed.
"""

import inspect

import torch
from torch import nn
from torch.nn import functional as F


def resnet50(tiny):
    from torchvision.models.resnet import Bottleneck, resnet50 as full

    if not tiny:
        return full(), image(224)
    half = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
    stem = nn.Sequential(nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16),
                         nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(stem, Bottleneck(16, 4), Bottleneck(16, 8, 2, half), Bottleneck(32, 8),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)), image(33)


def mobilenet_v3(tiny):
    from torchvision.models import mobilenet_v3_large
    from torchvision.models.mobilenetv3 import InvertedResidualConfig as Config
    from torchvision.models.mobilenetv3 import MobileNetV3

    if not tiny:
        return mobilenet_v3_large(), image(224)
    blocks = [Config(8, 3, 16, 8, False, "RE", 1, 1, 1), Config(8, 3, 24, 16, True, "RE", 2, 1, 1),
              Config(16, 5, 40, 16, True, "HS", 1, 2, 1)]
    return MobileNetV3(blocks, last_channel=24, num_classes=10), image(30)


def efficientnet_b0(tiny):
    from torchvision.models import efficientnet_b0 as b0
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    if not tiny:
        return b0(), image(224)
    blocks = [MBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(4, 5, 2, 8, 12, 2)]
    return EfficientNet(blocks, dropout=0.2, num_classes=10, last_channel=32), image(31)


def convnext_t(tiny):
    from torchvision.models import convnext_tiny
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    if not tiny:
        return convnext_tiny(), image(224)
    blocks = [CNBlockConfig(8, 20, 1), CNBlockConfig(20, None, 2)]
    return ConvNeXt(blocks, num_classes=10), image(32)


def vit_b_16(tiny):
    from torchvision.models import VisionTransformer

    sizes = (32, 8, 2, 3, 24, 40) if tiny else (224, 16, 12, 12, 768, 3072)
    return VisionTransformer(*sizes, num_classes=10 if tiny else 1000), image(sizes[0])


class DoubleConv(nn.Sequential):
    def __init__(self, channels, filters):
        layers = []
        for width in (channels, filters):
            layers += [nn.Conv2d(width, filters, 3, padding=1, bias=False),
                       nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """Ronneberger's net as it is used for images of MRI: padded, with batch norms."""

    def __init__(self, filters, levels, classes):
        super().__init__()
        widths = [filters << level for level in range(levels + 1)]
        self.down = nn.ModuleList(map(DoubleConv, [3] + widths[:-2], widths[:-1]))
        self.middle = DoubleConv(widths[-2], widths[-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[-2::-1])
        self.join = nn.ModuleList(DoubleConv(2 * w, w) for w in widths[-2::-1])
        self.head = nn.Conv2d(filters, classes, 1)

    def forward(self, x):
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.middle(x)
        for up, join in zip(self.up, self.join):
            x = join(torch.cat((up(x), skips.pop()), 1))
        return torch.sigmoid(self.head(x))


def unet(tiny):
    return (UNet(4, 2, 2), image(24)) if tiny else (UNet(32, 4, 1), image(256))


class Outputs(nn.Module):
    """A model of transformers with tensors for results, named inputs in the order given."""

    def __init__(self, model, names, results):
        super().__init__()
        self.model, self.names, self.results = model, names, results

    def forward(self, input_ids, attention_mask=None):
        given = dict(zip(self.names, (input_ids, attention_mask)))
        returned = self.model(**given, use_cache=False) if len(given) == 1 else self.model(**given)
        return tuple(returned[name] for name in self.results)


def bert_base(tiny):
    from transformers import BertConfig, BertModel

    sizes = dict(vocab_size=40, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                 intermediate_size=40, max_position_embeddings=16) if tiny else {}
    config = BertConfig(**sizes)
    ids, mask = words(config.vocab_size, 9 if tiny else 128), torch.ones(1, 9 if tiny else 128)
    mask[:, -len(mask[0]) // 4:] = 0  # padding
    model = Outputs(BertModel(config), ("input_ids", "attention_mask"),
                    ("last_hidden_state", "pooler_output"))
    return model, (ids, mask.long())


def gpt2(tiny):
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = dict(vocab_size=40, n_positions=16, n_embd=24, n_layer=2, n_head=3) if tiny else {}
    config = GPT2Config(**sizes)
    model = Outputs(GPT2LMHeadModel(config), ("input_ids",), ("logits",))
    return model, (words(config.vocab_size, 9 if tiny else 128),)


def llama(tiny):
    """Grouped heads and rotary embeddings; the sizes are those of SmolLM-135M."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = dict(vocab_size=40, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
                 num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=16)
    if not tiny:
        sizes = dict(vocab_size=49152, hidden_size=576, intermediate_size=1536,
                     num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                     max_position_embeddings=2048, tie_word_embeddings=True)
    config = LlamaConfig(**sizes)
    model = Outputs(LlamaForCausalLM(config), ("input_ids",), ("logits",))
    return model, (words(config.vocab_size, 9 if tiny else 128),)


class Tagger(nn.Module):
    """Words to the logarithms of the probabilities of their tags, by two bidirectional LSTMs."""

    def __init__(self, vocabulary, width, hidden, tags):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, hidden, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, tags)

    def forward(self, input_ids):
        return torch.log_softmax(self.head(self.lstm(self.embed(input_ids))[0]), -1)


def lstm_tagger(tiny):
    if tiny:
        return Tagger(40, 10, 12, 5), (words(40, 7),)
    return Tagger(20000, 100, 256, 45), (words(20000, 48),)


def image(size):
    return (torch.randn(1, 3, size, size),)


def words(vocabulary, count):
    return torch.randint(0, vocabulary, (1, count))


def enliven(model):
    """Initial values that are all alike (zero biases, unit scales) would hide what reads them."""
    with torch.no_grad():
        for value in model.parameters():
            if value.numel() > 1 and value.min() == value.max():
                value += 0.1 * torch.randn_like(value)


def settle(model, inputs):
    """Statistics of batch norms become those of random images; else results would vanish or grow
    from layer to layer as those of a trained net do not."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(4, *inputs[0].shape[1:]))
    for norm, momentum in zip(norms, kept):
        norm.momentum = momentum


MODELS = {f.__name__: f for f in (resnet50, mobilenet_v3, efficientnet_b0, convnext_t, vit_b_16,
                                  unet, bert_base, gpt2, llama, lstm_tagger)}


def input_names(model, inputs):
    return list(inspect.signature(model.forward).parameters)[:len(inputs)]


def make(name, tiny=False):
    torch.manual_seed(1)
    model, inputs = MODELS[name](tiny)
    enliven(model)
    settle(model, inputs)
    return model.eval(), inputs
