"""Small GANs with random weights: generators of latents and of pixels, and official state dicts."""

from itertools import pairwise

import torch

from helpers.generation.methods.attngan import AttnGan
from helpers.generation.methods.gans import Text
from helpers.generation.methods.ssagan import SsaGan

WIDTH = 16  # of GLIGEN's fake text encoder


def shaken(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """In eval mode, with weights and statistics of norms far from their start."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator) * 0.3
            value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return model.eval().requires_grad_(False)


def attngan(**options) -> AttnGan:
    """Stages of 4 x 4 and 8 x 8."""
    usual = {"channels": (8, 6), "doublings": 0, "residual_blocks": 1, "width": WIDTH, "outputs": 4}
    return shaken(AttnGan(**usual | options))


def ssagan(**options) -> SsaGan:
    """Blocks of 4 x 4 and 8 x 8."""
    return shaken(SsaGan(**{"sides": (4, 8), "channels": (8, 8, 6), "width": WIDTH, "outputs": 4} | options))


def text(lengths: list[int], width: int = WIDTH, seed: int = 0) -> Text:
    """Text states of prompts of so many words; what stands at padding is far too large to be read unseen."""
    generator, longest = torch.Generator().manual_seed(seed), max(lengths)
    words = torch.randn(len(lengths), longest, width, generator=generator)
    real = torch.arange(longest) < torch.tensor(lengths)[:, None]
    words = torch.where(real[..., None], words, 1e4)
    return Text(words, real, torch.randn(len(lengths), width, generator=generator))


def official_attngan(width: int = 6, condition: int = 5, noise: int = 4, channels: int = 2) -> dict:
    """Random weights with the names and shapes of coco_AttnGAN2.pth, in small."""
    shapes, wide = {}, 16 * channels
    shapes |= {"ca_net.fc.weight": (4 * condition, width), "ca_net.fc.bias": (4 * condition,)}
    shapes["h_net1.fc.0.weight"] = (32 * wide, noise + condition)
    shapes |= norm("h_net1.fc.1", 32 * wide)
    for number in range(1, 5):
        inputs = wide // 2 ** (number - 1)
        shapes[f"h_net1.upsample{number}.1.weight"] = (inputs, inputs, 3, 3)
        shapes |= norm(f"h_net1.upsample{number}.2", inputs)
    for stage in (2, 3):
        shapes[f"h_net{stage}.att.conv_context.weight"] = (channels, width, 1, 1)
        both = 2 * channels
        for block in range(3):
            name = f"h_net{stage}.residual.{block}.block"
            shapes |= {f"{name}.0.weight": (2 * both, both, 3, 3), f"{name}.3.weight": (both, both, 3, 3)}
            shapes |= norm(f"{name}.1", 2 * both) | norm(f"{name}.4", both)
        shapes[f"h_net{stage}.upsample.1.weight"] = (2 * channels, both, 3, 3)
        shapes |= norm(f"h_net{stage}.upsample.2", 2 * channels)
    shapes |= {f"img_net{stage}.img.0.weight": (3, channels, 3, 3) for stage in (1, 2, 3)}
    return drawn(shapes)


def official_words(words: int = 7, embedding: int = 5, width: int = 6) -> dict:
    """Random weights with the names and shapes of text_encoder100.pth, in small."""
    shapes, half = {"encoder.weight": (words, embedding)}, width // 2
    for end in ("l0", "l0_reverse"):
        shapes |= {f"rnn.weight_ih_{end}": (4 * half, embedding), f"rnn.weight_hh_{end}": (4 * half, half)}
        shapes |= {f"rnn.bias_ih_{end}": (4 * half,), f"rnn.bias_hh_{end}": (4 * half,)}
    return drawn(shapes)


def official_ssagan(width: int = 6, noise: int = 4, channels: int = 2) -> dict:
    """Random weights with the names and shapes of netG_120.pth, in small."""
    wide = [channels * factor for factor in (8, 8, 8, 8, 8, 4, 2, 1)]
    shapes = {"fc.weight": (16 * wide[0], noise), "fc.bias": (16 * wide[0],)} | mask("conv_mask", wide[0])
    for block, (inputs, outputs) in enumerate(pairwise(wide)):
        name = f"block{block}"
        shapes |= layer(f"{name}.c1", outputs, inputs, 3) | layer(f"{name}.c2", outputs, outputs, 3)
        shapes[f"{name}.gamma"] = (1,)
        for number, many in ((0, inputs), (2, outputs)):
            shapes |= norm(f"{name}.affine{number}.batch_norm2d", many, affine=False)
            for half in ("gamma", "beta"):
                linear = f"{name}.affine{number}.fc_{half}.linear"
                shapes |= {f"{linear}1.weight": (width, width), f"{linear}1.bias": (width,)}
                shapes |= {f"{linear}2.weight": (many, width), f"{linear}2.bias": (many,)}
        shapes |= layer(f"{name}.c_sc", outputs, inputs, 1) if inputs != outputs else {}
        shapes |= mask(f"{name}.conv_mask", outputs) if block < 6 else {}
    shapes |= norm("conv_img.0", channels) | layer("conv_img.2", 3, channels, 3)
    return {f"module.{name}": value for name, value in drawn(shapes).items()}


def layer(name: str, outputs: int, inputs: int, side: int) -> dict:
    """Shapes of a convolution."""
    return {f"{name}.weight": (outputs, inputs, side, side), f"{name}.bias": (outputs,)}


def norm(name: str, channels: int, affine: bool = True) -> dict:
    """Shapes of a batch norm, of a PyTorch that did not count batches yet."""
    kinds = ("running_mean", "running_var", *(("weight", "bias") if affine else ()))
    return {f"{name}.{kind}": (channels,) for kind in kinds}


def mask(name: str, channels: int) -> dict:
    """Shapes of a predictor of masks."""
    return layer(f"{name}.0", 100, channels, 3) | norm(f"{name}.1", 100) | layer(f"{name}.3", 1, 100, 1)


def drawn(shapes: dict) -> dict:
    """Random tensors of these shapes, variances positive."""
    generator = torch.Generator().manual_seed(0)
    made = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {
        name: value.abs() + 0.5 if name.endswith("running_var") else value for name, value in made.items()
    }
