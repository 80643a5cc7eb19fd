"""Inclusive tokens (ITI-GEN, Zhang et al. 2023, arXiv 2309.05569): token embeddings learnt from reference
photos, one token per category of an attribute, which every method reads through the prompt.

Written as textual-inversion files, tokens/<attribute>-<k>.safetensors of the run folder, which diffusers'
`load_textual_inversion` reads. CLIP and the generator stay as they are. As in the paper, and not in its code,
the end token stays the text's last and tokens have positions.
"""

import time
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.loaders import TextualInversionLoaderMixin
from safetensors.torch import save_file
from torch.func import functional_call

from helpers.captioning import attributes, prompts
from helpers.captioning.attributes import TEXT, VECTORS, Attribute
from helpers.files import beside
from helpers.models.loading import Clip, load_clip, release
from helpers.models.parts import quiet
from helpers.parameters import ParameterError
from helpers.runs.protocol import at, digest, models_of
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring import features
from helpers.scoring.attributes import classify, record_name

if TYPE_CHECKING:
    from helpers.models.loading import Gligen

STEPS, BATCH, RATE = 60, 16, 0.01  # of Adam; the rate is halved after a third and two thirds
NEAR = 0.8  # cosine with the text without tokens from which a text counts as consistent (eq. 7)
TEXTS = 64  # prompts per category, at most, whose mean stands for the category when photos are classified
EMBEDDING = "embeddings.token_embedding.weight"


def direction_loss(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Sum over pairs of categories of 1 - cosine of the differences of their photos and texts (eq. 4-6).

    images, texts: (k, d), the mean features of each category in the same order. 0 where all agree.
    """
    i, j = map(list, zip(*combinations(range(len(images)), 2), strict=True))
    return (1 - F.cosine_similarity(images[i] - images[j], texts[i] - texts[j], dim=1)).sum()


def consistency_loss(texts: torch.Tensor, bare: torch.Tensor) -> torch.Tensor:
    """Sum over all pairs of categories of their texts' mean max(0, NEAR - cosine with the text without
    tokens) (eq. 7). texts: (k, n, d) features of n prompts with the tokens of each category; bare: (n, d)."""
    hinges = F.relu(NEAR - F.cosine_similarity(texts, bare[None], dim=-1)).mean(1)
    return hinges.sum() * (len(texts) - 1)  # each category is in so many pairs


def learn(run: Run, name: str, folder: str | Path = "", text: str = TEXT) -> dict:
    """Learn the tokens of an attribute for a run, unless they are there, and write the prompts of its three
    templates. Returns the record: its categories, how many photos show each, the seconds of the training, and
    `right`, the share of the reference photos whose category CLIP names.

    folder, text: see `attributes.read` and `attributes.make`. Raises ParameterError for what cannot be right,
    also where the run has tokens of that name of other photos or another text.
    """
    attribute = attributes.read(run, name, folder)
    about = {"attribute": name, "categories": [*attribute.photos], "tokens": [*attribute.tokens.values()]}
    about |= {"text": text, "checksum": digest(at(folder)) if folder else ""}
    about["photos"] = {category: len(files) for category, files in attribute.photos.items()}
    if run.has(record_name(name)):
        known = run.read_json(record_name(name))
        if changed := [f"{key} {known[key]!r}" for key in about if known[key] != about[key]]:
            advice = "name the attribute anew, or start another run"
            raise ParameterError(f"tokens of {name!r} were learnt with {', '.join(changed)}: {advice}")
        return known
    clip = load_clip(models_of(run.card["protocol"]).clip)
    templates = attributes.make(run, attribute, clip.processor.tokenizer, text)
    rows, _, bare = templates.values()
    photos = [
        np.concatenate([features.image_features(clip, [images.load(path)]) for path in paths])
        for paths in attribute.photos.values()
    ]
    said = [attributes.rephrased(rows, attribute, category)[:TEXTS] for category in attribute.photos]
    about["texts"] = dict(zip(attribute.photos, said, strict=True))
    texts = np.stack([features.text_features(clip, some) for some in said])
    right = [classify(some, texts) == k for k, some in enumerate(photos)]
    about["right"] = float(np.concatenate(right).mean())
    began = time.monotonic()
    embeddings = _optimise(clip, attribute, rows, [row["prompt"] for row in bare], photos)
    about["seconds"] = round(time.monotonic() - began, 1)
    release(clip)
    for token, embedding in zip(attribute.tokens.values(), embeddings, strict=True):
        with beside(run.folder / "tokens" / f"{token[1:-1]}.safetensors") as partial:
            save_file({token: embedding.contiguous()}, partial)
    for template, some in templates.items():
        prompts.keep(run, template, some)
    run.write_json(record_name(name), about)
    return about


def _optimise(
    clip: Clip, attribute: Attribute, rows: list[dict], bare: list[str], photos: list[np.ndarray]
) -> torch.Tensor:
    """Token embeddings (k, VECTORS, width) float32 on the CPU, from zero.

    rows: prompts with tokens; bare: the same prompts without; photos: k arrays (m, d), CLIP features.
    """
    tokenizer, network = attributes.extended(clip.processor.tokenizer, attribute), clip.model.text_model
    known = network.get_input_embeddings().weight[: len(clip.processor.tokenizer)]
    learnt = torch.zeros(len(photos) * VECTORS, known.shape[1], device=clip.device, requires_grad=True)

    def encode(texts: list[str]) -> torch.Tensor:
        """Text features at the end token, whose place CLIP's own pooling misses beside tokens with higher
        ids where its configuration is an old one."""
        ids = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").input_ids.to(clip.device)
        states = functional_call(network, {EMBEDDING: torch.cat([known, learnt])}, ids).last_hidden_state
        ends = (ids == tokenizer.eos_token_id).int().argmax(1)
        return F.normalize(clip.model.text_projection(states[torch.arange(len(ids)), ends]), dim=-1)

    with_tokens = [attributes.rephrased(rows, attribute, said) for said in attribute.placeholders.values()]
    rng = np.random.default_rng(0)
    optimiser = torch.optim.Adam([learnt], RATE)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, STEPS // 3, 0.5)
    for _ in range(STEPS):
        chosen = rng.choice(len(bare), min(BATCH, len(bare)), replace=False)
        texts = [some[i] for some in (*with_tokens, bare) for i in chosen]
        *own, plain = encode(texts).split(len(chosen))
        own = torch.stack(own)
        shown = [rng.choice(some, min(2 * BATCH, len(some)), replace=False).mean(0) for some in photos]
        shown = torch.from_numpy(np.stack(shown)).to(clip.device)
        loss = direction_loss(shown, own.mean(1)) + consistency_loss(own, plain)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return learnt.detach().cpu().unflatten(0, (len(photos), VECTORS))


def read_tokens(parts: "Gligen", folder: Path) -> "Gligen":
    """Add the tokens of a run, the files in its folder, to a tokenizer and a text encoder; returns the parts.

    What has no text encoder stays as it is.
    """
    if (paths := sorted(folder.glob("*.safetensors"))) and hasattr(parts, "text_encoder"):
        with quiet():
            _Reader().load_textual_inversion(
                [str(path) for path in paths], tokenizer=parts.tokenizer, text_encoder=parts.text_encoder
            )
    return parts


class _Reader(TextualInversionLoaderMixin):
    """diffusers' loader without a pipeline around it."""

    hf_device_map, components = None, {}
