"""The demo GLIGEN: a gated UNet that learns to put what the phrases say where the boxes are.

Li et al. 2023, "GLIGEN: Open-Set Grounded Text-to-Image Generation". The original freezes a trained Stable
Diffusion and trains only the gated layers; here everything is small and trained together, which needs three
departures: gates start open; captions are dropped often, because what the caption says the boxes need not;
and half of the heads of every gated layer have attention targets (attention_targets.py). Without the last one
following boxes takes some hundred thousand pictures more, for the denoising loss hardly shows it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from transformers import CLIPModel, CLIPTokenizer

from data.training import attention_targets
from data.training.attention_targets import coverage, fusers, mean_attention_loss
from data.training.autoencoder import LATENT_CHANNELS
from data.training.clip import WIDTH, crop_embeddings, photo_tensor
from data.training.drawn_scenes import Scenes
from data.training.training_loop import Recipe, train
from data.training.world import ALL_PHRASES, COLOURS, KINDS, MAX_OBJECTS

RECIPE = Recipe(steps=4200, batch_size=24, learning_rate=8e-4, warmup=30, decay=0.01, betas=(0.9, 0.99))
IMAGE_RECIPE = Recipe(steps=1000, batch_size=24, learning_rate=5e-4, warmup=50, decay=0.01, betas=(0.9, 0.99))
CHANNELS = (64, 128, 80)  # narrow where it is 4 x 4: most weights would stand there
TOKENS = 30  # boxes per picture, as in GLIGEN's training; absent ones carry the null feature
CROP_NORM = 28.7  # what the pipelines scale projected crops to
FUSERS_OFF = 0.1  # share of batches without the gated layers, as in the steps after grounded_fraction
BOXES_OFF = 0.08  # share of pictures without boxes, as in the unconditional half of guidance
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
ALL_TEXTS = (*ALL_PHRASES, *(f"a {kind}" for kind in KINDS), *KINDS)


def build(attention_type: str = "gated", channels: int = LATENT_CHANNELS) -> UNet2DConditionModel:
    """An untrained UNet on 16 x 16 latents with its gates open; "gated", "gated-text-image" or, without gated
    layers, "default". channels: that it reads."""
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=LATENT_CHANNELS,
        # attention at 8 x 8 and 4 x 4 only: on a CPU the 16 x 16 level would take half of the time
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,  # Stable Diffusion's name for the number of heads
        norm_num_groups=16,
        attention_type=attention_type,
    )
    for fuser in fusers(unet):
        fuser.alpha_attn.data.fill_(0.8)
        fuser.alpha_dense.data.fill_(0.8)
    return unet


@dataclass(frozen=True)
class Frozen:
    """Training data of GLIGEN and the frozen models that encode it.

    latents: (n, LATENT_CHANNELS, 16, 16) scaled to unit deviation. tokenizer, clip: for captions and crops.
    """

    scenes: Scenes
    latents: torch.Tensor
    clip: CLIPModel
    tokenizer: CLIPTokenizer

    def states(self, captions: list[str]) -> torch.Tensor:
        """(n, 77, WIDTH) text states, as the pipelines compute them."""
        tokens = self.tokenizer(
            captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        )
        with torch.no_grad():
            return self.clip.text_model(tokens.input_ids.to(self.clip.device)).last_hidden_state

    def pooled(self, texts: tuple[str, ...]) -> torch.Tensor:
        """(n, WIDTH) pooled text states of phrases."""
        tokens = self.tokenizer(list(texts), padding=True, return_tensors="pt").to(self.clip.device)
        with torch.no_grad():
            return self.clip.text_model(**tokens).pooler_output


def caption_kept(step: int, steps: int) -> float:
    """Share of pictures with their caption: from 0.1 to 0.5 over the first third of the training."""
    return 0.1 + 0.4 * min(3 * step / steps, 1)


def fit_gligen_text(
    frozen: Frozen, folder: Path, recipe: Recipe = RECIPE, unet: UNet2DConditionModel | None = None
) -> UNet2DConditionModel:
    """Train the text-grounded UNet; a given one is trained on, in place."""
    torch.manual_seed(recipe.seed)
    unet = (unet or build()).to(memory_format=torch.channels_last)
    processors = attention_targets.record_attention(unet, TOKENS)
    phrases = frozen.pooled(ALL_TEXTS)
    empty = frozen.states([""])

    def loss_of(rng: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        rows = rng.integers(len(frozen.scenes), size=recipe.batch_size)
        fused = rng.random() >= FUSERS_OFF
        boxes, things = grounding_of(rng, frozen.scenes, rows)
        keep = rng.random(len(rows)) < (caption_kept(step, recipe.steps) if fused else 0.85)
        states = captions_of(frozen, rows, keep, empty)
        given = {
            "boxes": boxes,
            "masks": (things >= 0).float(),
            "positive_embeddings": phrases[things.clamp(min=0)],
        }
        loss = denoising_loss(unet, frozen.latents[rows], states, boxes, {"gligen": given} if fused else None)
        return {"noise": loss} | (mean_attention_loss(processors, boxes) if fused else {})

    return attention_targets.restore_attention(train("gligen-text", unet, loss_of, recipe, folder))


def fit_gligen_image(
    frozen: Frozen,
    text: UNet2DConditionModel,
    project: torch.nn.Module,
    folder: Path,
    recipe: Recipe = IMAGE_RECIPE,
) -> UNet2DConditionModel:
    """Train the UNet grounded by text and image, from the text-grounded one.

    project: maps image embeddings of crops, (n, WIDTH), into the space of the pooled phrases. As in the
    original, either of a box's phrase and crop may be missing, and a phrase may leave out what only the crop
    shows: the colour.
    """
    torch.manual_seed(recipe.seed)
    phrases, empty = frozen.pooled(ALL_TEXTS), frozen.states([""])
    unet = from_text(text, phrases.norm(dim=1).mean().item()).to(memory_format=torch.channels_last)
    processors = attention_targets.record_attention(unet, 2 * TOKENS)

    def loss_of(rng: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        rows = rng.integers(len(frozen.scenes), size=recipe.batch_size)
        fused = rng.random() >= FUSERS_OFF
        boxes, things = grounding_of(rng, frozen.scenes, rows, bare=0.5)
        states = captions_of(frozen, rows, rng.random(len(rows)) < (0.4 if fused else 0.85), empty)
        present = (things >= 0).float()
        said, shown = torch.from_numpy(rng.random((2, *things.shape)) < [[[0.85]], [[0.9]]]).float()
        given = {
            "boxes": boxes,
            "masks": present,
            "phrases_masks": present * said,
            "image_masks": present * shown,
            "phrases_embeddings": phrases[things.clamp(min=0)],
            "image_embeddings": crop_features(frozen, project, rows, boxes),
        }
        loss = denoising_loss(unet, frozen.latents[rows], states, boxes, {"gligen": given} if fused else None)
        return {"noise": loss} | (mean_attention_loss(processors, boxes) if fused else {})

    return attention_targets.restore_attention(train("gligen-text-image", unet, loss_of, recipe, folder))


def from_text(text: UNet2DConditionModel, norm: float) -> UNet2DConditionModel:
    """A "gated-text-image" UNet with the weights of a "gated" one.

    norm: of the pooled phrases. The image half begins as the text half, reading CROP_NORM as that norm: a
    projected crop then says at once what its phrase says.
    """
    unet, known = build("gated-text-image"), text.state_dict()
    for half in ("text", "image"):
        for name in [name for name in known if name.startswith("position_net.linears.")]:
            known[name.replace("linears", f"linears_{half}")] = known[name].clone()
        known[f"position_net.null_{half}_feature"] = known["position_net.null_positive_feature"].clone()
    known["position_net.linears_image.0.weight"][:, :WIDTH] *= norm / CROP_NORM
    known["position_net.null_image_feature"] *= CROP_NORM / norm
    spare = ("position_net.linears.", "position_net.null_positive_feature")
    unet.load_state_dict({name: value for name, value in known.items() if not name.startswith(spare)})
    return unet


def crop_features(
    frozen: Frozen, project: torch.nn.Module, rows: np.ndarray, boxes: torch.Tensor
) -> torch.Tensor:
    """Projected embeddings of the crops, (b, TOKENS, WIDTH), of norm CROP_NORM; zeros without a box."""
    picture, slot = (boxes[:, :, 2] > boxes[:, :, 0]).nonzero(as_tuple=True)
    features = torch.zeros(*boxes.shape[:2], WIDTH)
    if len(picture):
        photos = photo_tensor(frozen.scenes, rows)
        with torch.no_grad():
            seen = crop_embeddings(frozen.clip, photos, picture, boxes[picture, slot])
            features[picture, slot] = CROP_NORM * F.normalize(project(seen), dim=-1)
    return features


def grounding_of(
    rng: np.random.Generator, scenes: Scenes, rows: np.ndarray, bare: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes (b, TOKENS, 4) and indices into ALL_TEXTS (b, TOKENS), -1 where there is no box.

    bare: share of phrases without their colour. BOXES_OFF of the pictures have no box.
    """
    boxes, things = np.zeros((len(rows), TOKENS, 4), np.float32), np.full((len(rows), TOKENS), -1)
    boxes[:, :MAX_OBJECTS], things[:, :MAX_OBJECTS] = scenes.boxes[rows], scenes.things[rows]
    colourless = len(ALL_PHRASES) + things // len(COLOURS) + len(KINDS) * rng.integers(2, size=things.shape)
    things = np.where((things >= 0) & (rng.random(things.shape) < bare), colourless, things)
    off = rng.random(len(rows)) < BOXES_OFF
    boxes[off], things[off] = 0, -1
    return torch.from_numpy(boxes), torch.from_numpy(things)


def captions_of(frozen: Frozen, rows: np.ndarray, keep: np.ndarray, empty: torch.Tensor) -> torch.Tensor:
    """Text states of the training captions, of the empty prompt where `keep` is False."""
    states = empty.repeat(len(rows), 1, 1)
    if keep.any():
        states[keep] = frozen.states([frozen.scenes.training_captions[row] for row in rows[keep]])
    return states


def denoising_loss(
    unet,
    latents: torch.Tensor,
    states: torch.Tensor,
    boxes: torch.Tensor,
    kwargs: dict | None,
    inside: float = 3.0,
) -> torch.Tensor:
    """Squared error of the predicted noise; noisy steps count more, places in boxes `inside` times as much.

    Weights over time follow min-SNR (Hang et al. 2023) with gamma 5, under a square root: the layout is
    decided while the picture is mostly noise, and there the plain error of the noise hardly shows it.
    """
    scheduler = DDPMScheduler(**SCHEDULE)
    noise, time = torch.randn_like(latents), torch.randint(1000, (len(latents),), device=latents.device)
    noisy = scheduler.add_noise(latents, noise, time)
    predicted = unet(noisy, time, states, cross_attention_kwargs=kwargs).sample.float()
    signal = scheduler.alphas_cumprod.to(latents.device)[time]
    ratio = signal / (1 - signal)
    over_time = ratio.clamp(max=5).sqrt() / ratio
    covered = coverage(boxes, latents.shape[-1]).amax(-1).unflatten(1, latents.shape[-2:])
    over_places = 1 + (inside - 1) * covered[:, None]
    error = (predicted - noise) ** 2 * over_places
    return (error.mean((1, 2, 3)) * over_time).mean() / over_places.mean()
