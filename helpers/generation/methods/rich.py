"""Rich Text (Ge et al. 2023, arXiv 2304.06720): each region of a picture has a text and a colour of its own.

A region is that of a phrase that has a target colour, or that the prompt does not hold (a footnote). Its
noise is predicted with the phrase, with the nearest colour word where it names none: e = sum_i M_i D(x, f_i),
with maps M that sum to 1 and the prompt for the rest of the picture (section 3.2). The mean colour of the
predicted clean picture under M_i is moved to the target at every step (section 3.3).

Regions are found by attention in a first pass with the prompt alone, as in the paper; or they are the boxes,
which the paper has not: GLIGEN places what Rich Text colours. As the target is measured of saturated pixels,
only these enter the mean. The step is not of the noisy latents but of the clean ones that the network
predicts, which every scheduler takes alike, and of Gauss-Newton's length: 1 reaches the target where the
colour is linear in the latents.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch

from helpers.generation.denoising import DECODED_AT_ONCE, Denoiser, Step, ignore
from helpers.generation.methods.colour_guidance import colour_step, decode, linear, linear_map
from helpers.generation.methods.token_maps import Recorder, token_maps
from helpers.generation.requests import Request, entries
from helpers.runs.methods import METHODS
from helpers.scenes.scenes import words
from helpers.scoring.alignment import COLOURS, named_colour
from helpers.scoring.colours import Colour, nearest_name

SMALL = {"a", "an", "the", "in", "on", "of", "with", "and", "one", "two", "three", "four", "five"}  # no map


class Region(NamedTuple):
    """A part of a picture. picture: its index in the batch; text: f of the equation; map: (h, w) in [0, 1];
    target: sRGB from 0 to 255, or why there is none."""

    picture: int
    text: str
    map: np.ndarray
    target: Colour


@dataclass(frozen=True, eq=False)
class Regions:
    """All regions of a batch: owners (k,), the pictures' indices; maps (k, 1, h, w); coloured (c,), indices
    of those with a target; targets (c, 3), RGB from 0 to 1. knobs: of the requests."""

    owners: torch.Tensor
    maps: torch.Tensor
    coloured: torch.Tensor
    targets: torch.Tensor
    knobs: dict[str, float]


class Sampler(Denoiser):
    """GLIGEN's UNet by regions: those of the boxes where the method reads boxes, else of attention."""

    found: Sequence[Region] = ()  # of the batch that is drawn

    def latents(self, requests: Sequence[Request], rows: int = 0, step: Step = ignore) -> torch.Tensor:
        """As of `Denoiser`, by the regions of each request. Raises ValueError where the words of a phrase are
        cut off the prompt."""
        spoken, self.found = [self._with_colour_words(request) for request in requests], []
        if "boxes" in METHODS[requests[0].grounding].reads:
            self.found = [region for i, one in enumerate(spoken) for region in self._of_boxes(i, one)]
            return super().latents(spoken, rows, step)
        pairs = [spans(before, after) for before, after in zip(requests, spoken, strict=True)]
        spoken = [replace(one, prompt=prompt) for one, (prompt, _) in zip(spoken, pairs, strict=True)]
        if any(own for _, own in pairs):
            with Recorder(self.unet, len(requests)) as recorder:
                super().latents(spoken, rows, recorder.step)
            maps = zip(spoken, pairs, *recorder.maps(), strict=True)
            self.found = [one for i, given in enumerate(maps) for one in self._of_attention(i, *given)]
        return super().latents(spoken, rows, step)

    def regions(self, requests: Sequence[Request]) -> list[tuple[int, str]]:
        """The picture and the text of each region."""
        return [(region.picture, region.text) for region in self.found]

    def photos(self, requests: Sequence[Request], noises: torch.Tensor) -> Regions:
        """The regions as tensors."""
        coloured = [k for k, one in enumerate(self.found) if not isinstance(one.target, str)]
        maps = np.array([one.map for one in self.found], np.float32).reshape(-1, 1, *self.shape[1:])
        targets = np.array([self.found[k].target for k in coloured], np.float32).reshape(-1, 3) / 255
        owners = np.array([one.picture for one in self.found], np.int64)
        arrays = owners, maps, np.array(coloured, np.int64), targets
        tensors = (torch.from_numpy(array).to(noises.device) for array in arrays)
        return Regions(*tensors, dict(requests[0].knobs))

    def merge(self, photos: Regions, noise_pred: torch.Tensor, of_regions: torch.Tensor) -> torch.Tensor:
        """The sum of what the regions predict, each times its map, and of the prompt's own elsewhere."""
        if not len(of_regions):
            return noise_pred
        rest = 1 - torch.zeros_like(noise_pred[:, :1]).index_add(0, photos.owners, photos.maps)
        return (rest * noise_pred).index_add(0, photos.owners, photos.maps * of_regions)

    def guide(
        self, photos: Regions, latents: torch.Tensor, noise_pred: torch.Tensor, signal: torch.Tensor
    ) -> torch.Tensor:
        """The noise with which the predicted clean latents have the targets' colours, as far as colour_weight
        says; as of classifier guidance (Dhariwal and Nichol 2021, equation 14)."""
        weight = photos.knobs["colour_weight"]
        if not (len(photos.coloured) and weight):
            return noise_pred
        sigma = (1 - signal**2) ** 0.5
        clean, owners = (latents - sigma * noise_pred) / signal, photos.owners[photos.coloured]
        decoded, vae = photos.knobs["decoded_colour"], self.gligen.vae
        to_rgb = partial(decode, vae) if decoded else partial(linear, self.rgb_map[0])
        groups = (
            part.split(DECODED_AT_ONCE)
            for part in (clean[owners], photos.maps[photos.coloured], photos.targets)
        )
        steps = torch.cat([colour_step(to_rgb, *some) for some in zip(*groups, strict=True)])
        return noise_pred.index_add(0, owners, -weight * signal / sigma * steps)

    @cached_property
    def rgb_map(self) -> tuple[torch.Tensor, float]:
        """See `linear_map`."""
        return linear_map(self.gligen.vae, self.size)

    def _with_colour_words(self, request: Request) -> Request:
        """The request with the nearest colour word, of those that the text encoder has a token for, in each
        phrase that has a target and names no colour."""
        tokenize = self.gligen.tokenizer.tokenize
        names = [name for name in COLOURS if len(tokenize(name)) == 1] or COLOURS
        phrases = [
            phrase
            if isinstance(target, str) or named_colour(phrase)
            else say(nearest_name(target, names), phrase)
            for phrase, target in zip(request.phrases, request.colours, strict=True)
        ]
        return replace(request, phrases=tuple(phrases))

    def _of_boxes(self, picture: int, request: Request) -> list[Region]:
        """A region per box with a target or a footnote, of those that GLIGEN reads."""
        own = [k for k in entries(request).kept if has_region(request, k)]
        maps = np.array([coverage(request.boxes[k], *self.shape[1:]) for k in own])
        shares = maps / np.maximum(maps.sum(0), 1) if own else ()
        return [
            Region(picture, request.phrases[k], m, request.colours[k])
            for k, m in zip(own, shares, strict=True)
        ]

    def _of_attention(
        self,
        picture: int,
        request: Request,
        named: tuple[str, dict[tuple[int, int], list[int]]],
        *attention: np.ndarray,
    ) -> list[Region]:
        """A region per span; its target is the mean of those of its phrases."""
        if not (own := named[1]):
            return []
        tokens = [self._tokens(request, span) for span in own]
        maps, (height, width) = token_maps(*attention, tokens, request.knobs["threshold"]), self.shape[1:]
        side = round((height * width / maps.shape[1]) ** 0.5)  # latents per place
        maps = maps.reshape(len(maps), height // side, width // side).repeat(side, 1).repeat(side, 2)
        targets = (
            [request.colours[k] for k in some if not isinstance(request.colours[k], str)]
            for some in own.values()
        )
        means = [tuple(np.mean(some, axis=0)) if some else "no colour" for some in targets]
        return [
            Region(picture, request.phrases[k[0]], *rest)
            for k, *rest in zip(own.values(), maps, means, strict=True)
        ]

    def _tokens(self, request: Request, span: tuple[int, int]) -> list[int]:
        """Indices of the prompt's tokens inside a span of letters, but those of small words."""
        tokenizer, prompt = self.gligen.tokenizer, request.prompt
        coded = tokenizer(prompt, return_offsets_mapping=True, truncation=True)["offset_mapping"]
        inside = [k for k, (a, b) in enumerate(coded) if span[0] <= a < b <= span[1]]
        if not inside:
            said = prompt[slice(*span)]
            raise ValueError(
                f"scene {request.scene!r}: {said!r} is cut off the prompt; take a shorter template"
            )
        return [k for k in inside if prompt[slice(*coded[k])].lower() not in SMALL] or inside


def has_region(request: Request, k: int) -> bool:
    """Whether phrase k has a target colour, or is a footnote: the prompt does not hold it."""
    return not isinstance(request.colours[k], str) or request.phrases[k] not in request.prompt


def say(colour: str, phrase: str) -> str:
    """The phrase with a colour word: "a truck" as "a green truck"."""
    article = re.match(r"(an?|the)\s+", phrase, re.IGNORECASE)
    return f"{article[0]}{colour} {phrase[article.end() :]}" if article else f"{colour} {phrase}"


def spans(before: Request, spoken: Request) -> tuple[str, dict[tuple[int, int], list[int]]]:
    """The prompt, and the span of letters that names each phrase with a region -> indices of these phrases.

    The span holds the phrase, perhaps in the plural, or else the label; what the prompt does not name is
    appended to it. before: the request without colour words in its phrases.
    """
    prompt, found = before.prompt, {}
    for k, (phrase, label) in enumerate(zip(before.phrases, before.labels, strict=True)):
        if not has_region(before, k):
            continue
        bare = re.sub(r"^(an?|the)\s+", "", phrase, flags=re.IGNORECASE)
        tries = (
            re.search(rf"\b{re.escape(one)}(s|es)?\b", prompt, re.IGNORECASE) for one in (bare, words(label))
        )
        where = next(filter(None, tries), None)
        if where is None:
            prompt = f"{prompt}, {spoken.phrases[k]}"
        span = where.span() if where else (len(prompt) - len(spoken.phrases[k]), len(prompt))
        found.setdefault(span, []).append(k)
    return prompt, found


def coverage(box: np.ndarray, height: int, width: int) -> np.ndarray:
    """Share (height, width) of each cell of the picture that a box of fractions covers."""
    x0, y0, x1, y1 = np.asarray(box, np.float64) * [width, height, width, height]
    rows, columns = (
        np.clip(np.minimum(high, np.arange(n) + 1) - np.maximum(low, np.arange(n)), 0, 1)
        for low, high, n in ((y0, y1, height), (x0, x1, width))
    )
    return np.outer(rows, columns)
