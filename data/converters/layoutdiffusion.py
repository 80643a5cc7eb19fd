"""`python -m data.converters.layoutdiffusion FILE.pt`: published LayoutDiffusion weights for diffusers.

The weights (MIT licence, see data/README.md) are a state dict with names of guided-diffusion. What it does
not hold is the same in all published configurations: LAYERS, HEADS, GROUPS, the noise schedule.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, PNDMScheduler, SchedulerMixin

from helpers.models.layout_unet import LayoutDiffusionModel
from helpers.models.sets import model_set

COCO_STUFF = Path(__file__).with_name("coco_stuff.txt")  # a class per line; __null__ where none was trained
LAYERS, HEADS, GROUPS = 2, 8, 32  # residual blocks per level; of the transformer; of the norms
SCHEDULE = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "timestep_spacing": "linspace"}
OUTER = {
    "time_embed.0": "unet.time_embedding.linear_1",
    "time_embed.2": "unet.time_embedding.linear_2",
    "input_blocks.0.0": "unet.conv_in",
    "out.0": "unet.conv_norm_out",
    "out.2": "unet.conv_out",
    "layout_encoder.obj_class_embedding": "embed_classes",
    "layout_encoder.obj_bbox_embedding": "embed_boxes.linear",
    "layout_encoder.transformer_proj": "projection",
    "layout_encoder.final_ln": "fusion.norm",
}
RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ATTENTION = {
    "norm_for_qkv": "group_norm",
    "layout_content_embedding_projector": "processor.content",
    "layout_position_embedding_projector": "processor.position",
    "norm_for_obj_class_embedding": "processor.norm_classes",
    "norm_for_layout_positional_embedding": "processor.norm_objects",
    "norm_for_image_patch_positional_embedding": "processor.norm_places",
    "proj_out": "to_out.0",
}
FUSION = {
    "attn.c_proj": "self_attn.out_proj",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "mlp.c_fc": "linear1",
    "mlp.c_proj": "linear2",
}


class LayoutDiffusionPipeline(DiffusionPipeline):
    """The parts of a checkpoint's folder. vae: None for a model of pixels."""

    _optional_components: ClassVar[list[str]] = ["vae"]

    def __init__(
        self, unet: LayoutDiffusionModel, scheduler: SchedulerMixin, vae: AutoencoderKL | None = None
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, vae=vae)


def convert(state: Mapping[str, torch.Tensor], classes: Sequence[str], length: int) -> LayoutDiffusionModel:
    """The model of an official state dict. classes: their names, in its order; length: of its layouts.

    Raises ValueError for a state dict of anything else."""
    try:
        width = state["layout_encoder.obj_class_embedding.weight"].shape[1]
        if (known := len(state["layout_encoder.obj_class_embedding.weight"])) != len(classes):
            raise ValueError(
                f"{known} classes in the weights, {len(classes)} names; give the right --classes"
            )
        layers = len({name.split(".")[3] for name in state if name.startswith("layout_encoder.transform.")})
        options = {"length": length, "width": width, "layers": layers, "heads": HEADS}
        model = LayoutDiffusionModel(list(classes), _unet(state), **options)
        model.load_state_dict(dict(pair for one in state.items() for pair in _renamed(*one)))
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"these are not the weights of a published LayoutDiffusion: {error}") from error
    return model.eval()


def _unet(state: Mapping[str, torch.Tensor]) -> dict:
    """The configuration of the UNet, as far as its weights' shapes tell it."""
    levels = (1 + max(int(name.split(".")[1]) for name in state if name.startswith("input_blocks."))) // 3
    firsts = [f"input_blocks.{level * (LAYERS + 1) + 1}" for level in range(levels)]
    channels = [state[f"{one}.0.in_layers.2.weight"].shape[0] for one in firsts]
    down = ["Attn" if f"{one}.1.proj_out.weight" in state else "Resnet" for one in firsts]
    kinds = {"Attn": ("AttnDownBlock2D", "AttnUpBlock2D")}
    kinds["Resnet"] = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
    return {
        "sample_size": 8 * 2 ** (levels - 1),  # attention reaches down to 8 x 8
        "in_channels": state["input_blocks.0.0.weight"].shape[1],
        "out_channels": state["out.2.weight"].shape[0],
        "block_out_channels": channels,
        "down_block_types": [kinds[one][0] for one in down],
        "up_block_types": [kinds[one][1] for one in reversed(down)],
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift",
        "layers_per_block": LAYERS,
        "attention_head_dim": channels[0] // 4,
        "norm_num_groups": GROUPS,
        "attn_norm_num_groups": GROUPS,
    }


def _renamed(name: str, value: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """Weights with our names, of one with an official name. Raises KeyError for a name that is none."""
    place, _, kind = name.rpartition(".")
    if place in OUTER:
        return [(f"{OUTER[place]}.{kind}", value)]
    if found := re.fullmatch(r"layout_encoder\.transform\.resblocks\.(\d+)\.(.+)", place):
        ours = f"fusion.layers.{found[1]}."
        if found[2] == "attn.c_qkv":  # theirs: query, key and value of one head after the other
            value = value.unflatten(0, (HEADS, 3, -1)).transpose(0, 1).flatten(0, 2)
            return [(f"{ours}self_attn.in_proj_{kind}", value)]
        return [(f"{ours}{FUSION[found[2]]}.{kind}", value)]
    if (found := re.fullmatch(r"(input|middle|output)_blocks?\.(?:(\d+)\.)?(\d+)\.(.+)", place)) is None:
        raise KeyError(name)
    block, number, index, inner = found.groups()
    level, layer = divmod(int(number or 0) - (block == "input"), LAYERS + 1)
    ours = {"input": f"unet.down_blocks.{level}", "output": f"unet.up_blocks.{level}"}
    ours = ours.get(block, "unet.mid_block")
    if inner in RESNET:
        layer = int(index) // 2 if block == "middle" else layer
        sampler = {"input": layer == LAYERS, "output": index != "0"}.get(block, False)
        part = {"input": "downsamplers.0", "output": "upsamplers.0"}[block] if sampler else f"resnets.{layer}"
        return [(f"{ours}.{part}.{RESNET[inner]}.{kind}", value)]
    ours, value = f"{ours}.attentions.{0 if block == 'middle' else layer}", value.squeeze(-1)
    if inner == "qkv_projector":
        return [(f"{ours}.to_{one}.{kind}", part) for one, part in zip("qkv", value.chunk(3), strict=True)]
    return [(f"{ours}.{ATTENTION[inner]}.{kind}", value)]


def main(arguments: list[str] | None = None) -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "file", type=Path, help="the official .pt, such as COCO-stuff_256x256_..._ema_1150000.pt"
    )
    place = model_set("published").methods["layoutdiffusion"].source
    parser.add_argument("--folder", type=Path, default=Path(place), help="where MODELS=published finds it")
    parser.add_argument("--classes", type=Path, default=COCO_STUFF, help="names of the classes, one per line")
    parser.add_argument("--length", type=int, default=10, help="of a layout; 12 for Visual Genome")
    given = parser.parse_args(arguments)
    state = torch.load(given.file, map_location="cpu", weights_only=True)
    model = convert(state, given.classes.read_text(encoding="utf-8").splitlines(), given.length)
    scheduler = PNDMScheduler(**SCHEDULE, skip_prk_steps=True)
    LayoutDiffusionPipeline(model, scheduler).save_pretrained(given.folder)
    print(f"saved under {given.folder}")


if __name__ == "__main__":
    main()
