"""The demo InstructPix2Pix: a UNet that reads a photo and an instruction, and draws the edited photo.

Brooks et al. 2023, "InstructPix2Pix: Learning to Follow Image Editing Instructions" (arXiv 2211.09800).
Theirs learns from pairs that Prompt-to-Prompt made; here both pictures of a pair are drawn, exact outside of
the edit. It begins as the demo GLIGEN without its gated layers. Instructions hold words that CLIP never saw,
so the text encoder is a copy that is trained along.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from data.training import edits
from data.training.autoencoder import LATENT_CHANNELS, encode
from data.training.gligen import build, denoising_loss
from data.training.training_loop import Recipe, train
from data.training.world import SPLITS
from helpers.files import beside

RECIPE = Recipe(steps=3000, batch_size=24, learning_rate=5e-4, warmup=50, decay=0.01, betas=(0.9, 0.99))
INSIDE = 4.0  # how much more the edited region counts than the rest
CHUNK = 250


@dataclass(frozen=True)
class Pairs:
    """Exact edits, one per row.

    before, after: (n, LATENT_CHANNELS, 16, 16) latents, not scaled. regions: (n, 4) fractions. instructions:
    their wordings.
    """

    before: torch.Tensor
    after: torch.Tensor
    regions: torch.Tensor
    instructions: list[tuple[str, ...]]


def load_pairs(count: int, vae: AutoencoderKL, file: Path) -> Pairs:
    """The edits of the first `count` training scenes, drawn on all cores and encoded where `file` is not."""
    if not file.exists():
        seeds = SPLITS["train"][:count]
        parts = [seeds[start : start + CHUNK] for start in range(0, count, CHUNK)]
        latents, regions, said = [], [], []
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            for pictures, where, instructions in pool.map(edits.draw_pairs, parts):
                latents.append(encode(vae, pictures).unflatten(0, (2, -1)))
                regions.append(where)
                said.extend(instructions)
        table = {"latents": torch.cat(latents, 1).half().numpy(), "regions": np.concatenate(regions)}
        with beside(file) as partial, partial.open("wb") as stream:
            np.savez(stream, **table, instructions=np.array(["\n".join(one) for one in said]))
    table = np.load(file)
    latents = torch.from_numpy(table["latents"]).float()
    said = [tuple(one.split("\n")) for one in table["instructions"]]
    return Pairs(*latents, torch.from_numpy(table["regions"]), said)


def widened(text: UNet2DConditionModel) -> UNet2DConditionModel:
    """A UNet without gated layers and with channels for a photo, whose weights are 0; else as `text`."""
    unet, known = build("default", 2 * LATENT_CHANNELS), text.state_dict()
    added = torch.zeros_like(known["conv_in.weight"])
    known["conv_in.weight"] = torch.cat([known["conv_in.weight"], added], 1)
    unet.load_state_dict({name: known[name] for name in unet.state_dict()})
    return unet


def fit_instruct_pix2pix(
    pairs: Pairs,
    scaling_factor: float,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    folder: Path,
    recipe: Recipe = RECIPE,
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train both in place. As in the original, 5 % of the examples lose their instruction, 5 % their photo,
    5 % both; the photo's latents are not scaled."""
    torch.manual_seed(recipe.seed)
    unet = unet.requires_grad_(True).to(memory_format=torch.channels_last)
    model = torch.nn.ModuleDict({"unet": unet, "text_encoder": text_encoder.requires_grad_(True)})
    words = partial(tokenizer, padding="max_length", truncation=True, max_length=77, return_tensors="pt")

    def loss_of(rng: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        rows, lost = rng.integers(len(pairs.regions), size=recipe.batch_size), rng.random(recipe.batch_size)
        said = [pairs.instructions[row][rng.integers(len(pairs.instructions[row]))] for row in rows]
        said = ["" if one < 0.10 else text for text, one in zip(said, lost, strict=True)]
        device = next(model.parameters()).device
        states = model["text_encoder"](words(said).input_ids.to(device)).last_hidden_state
        photo = pairs.before[rows] * torch.from_numpy((lost < 0.05) | (lost >= 0.15))[:, None, None, None]

        def predict(noisy: torch.Tensor, time: torch.Tensor, states: torch.Tensor, **_):
            return model["unet"](torch.cat([noisy, photo.to(device)], 1), time, states)

        latents, regions = pairs.after[rows].to(device) * scaling_factor, pairs.regions[rows][:, None]
        return {"noise": denoising_loss(predict, latents, states, regions.to(device), None, INSIDE)}

    trained = train("instruct-pix2pix", model, loss_of, recipe, folder)
    return trained["unet"], trained["text_encoder"]
