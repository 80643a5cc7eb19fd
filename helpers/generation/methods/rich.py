"""Rich Text (Ge et al. 2023, arXiv 2304.06720): each region of a picture has a text and a colour of its own.

A region is that of a phrase that has a target colour, or that the prompt does not hold (a footnote). Its
noise is predicted with the phrase, with the nearest colour word where it names none: e = sum_i M_i D(x, f_i),
with maps M that sum to 1 and the prompt for the rest of the picture (section 3.2). The mean colour of the
predicted clean picture under M_i is moved to the target at every step (section 3.3).

Regions are found by attention in a first pass with the prompt alone, as in the paper; or they are the boxes,
which the paper has not: GLIGEN places what Rich Text colours. As the target is measured of saturated pixels,
only these enter the mean. The step is not of the noisy latents but of the clean ones that the network
predicts, which every scheduler takes alike, and of Gauss-Newton's length: colour_weight 1 reaches the target
where colour is linear in the latents, as `linear_map` takes it.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from helpers.generation.denoising import Denoiser, Step, ignore
from helpers.generation.methods.colour_guidance import colour_step, linear_map
from helpers.generation.methods.token_maps import Recorder, token_maps
from helpers.generation.requests import Request, entries
from helpers.runs.methods import METHODS
from helpers.scenes.scenes import words
from helpers.scoring.alignment import COLOURS, named_colour
from helpers.scoring.colours import Colour, nearest_name

NO_THING = {"a", "an", "the", "in", "on", "of", "with", "and", *COLOURS}  # words that name no thing
NO_THING |= {"one", "two", "three", "four", "five"}


class Region(NamedTuple):
    """A part of a picture. picture: its index in the batch; text: f of the equation; map: (h, w) in [0, 1];
    target: sRGB from 0 to 255, or why there is none."""

    picture: int
    text: str
    map: np.ndarray
    target: Colour


class Named(NamedTuple):
    """A request with colour words, its prompt naming every phrase with a region. regions: the tokens that
    name it, and the indices of its phrases; cut: indices of those whose tokens the text encoder cuts off."""

    request: Request
    regions: list[tuple[list[int], list[int]]]
    cut: list[int]


class Sampler(Denoiser):
    """GLIGEN's UNet by regions: those of the boxes where the method reads boxes, else of attention."""

    found: Sequence[Region] = ()  # of the batch that is drawn

    def latents(self, requests: Sequence[Request], rows: int = 0, step: Step = ignore) -> torch.Tensor:
        """As of `Denoiser`, by the regions of each request."""
        if "boxes" in METHODS[requests[0].grounding].reads:
            spoken = [self._with_colour_words(request) for request in requests]
            self.found = [region for i, one in enumerate(spoken) for region in self._of_boxes(i, one)]
            return super().latents(spoken, rows, step)
        named, self.found = [self._named(request) for request in requests], []
        spoken = [one.request for one in named]
        if with_regions := [i for i, one in enumerate(named) if one.regions]:
            with Recorder(self.unet, len(with_regions)) as recorder:
                super().latents([spoken[i] for i in with_regions], rows, recorder.step)
            for i, *both in zip(with_regions, *recorder.maps(), strict=True):
                self.found += self._of_attention(i, named[i], *both)
        return super().latents(spoken, rows, step)

    def rows(self, request: Request) -> int:
        """UNet rows of a picture: those of the plain one, of its regions, and of the first pass."""
        if "boxes" in METHODS[request.grounding].reads:
            many = sum(has_region(request, k) for k in entries(request).kept)
            return super().rows(request) + many * self.calls
        many = len(self._named(request).regions)
        return super().rows(request) * (1 + bool(many)) + many * self.calls

    def facts(self, request: Request) -> dict[str, list[str]]:
        """For the record: the phrases without a region, for their words are cut off the prompt."""
        if "boxes" in METHODS[request.grounding].reads:
            return {}
        return {"dropped_phrases": [request.phrases[k] for k in self._named(request).cut]}

    def regions(self, requests: Sequence[Request]) -> list[tuple[int, str]]:
        """The picture and the text of each region. Holds the pictures' indices (k,) and maps (k, 1, h, w); of
        those with a target the same, and the targets (c, 3), RGB from 0 to 1."""
        coloured = [k for k, one in enumerate(self.found) if not isinstance(one.target, str)]
        maps = np.array([one.map for one in self.found], np.float32).reshape(-1, 1, *self.shape[1:])
        targets = np.array([self.found[k].target for k in coloured], np.float32).reshape(-1, 3) / 255
        owners = np.array([one.picture for one in self.found], np.int64)
        arrays = owners, maps, owners[coloured], maps[coloured], targets
        owners, maps, *targets = (torch.from_numpy(array).to(self.parts.device) for array in arrays)
        self.all, self.coloured, self.weight = (owners, maps), targets, requests[0].knobs["colour_weight"]
        return [(region.picture, region.text) for region in self.found]

    def merge(self, noise_pred: torch.Tensor, of_regions: torch.Tensor) -> torch.Tensor:
        """The sum of what the regions predict, each times its map, and of the prompt's own elsewhere."""
        if not len(of_regions):
            return noise_pred
        owners, maps = self.all
        rest = 1 - torch.zeros_like(noise_pred[:, :1]).index_add(0, owners, maps)
        return (rest * noise_pred).index_add(0, owners, maps * of_regions)

    def guide(self, latents: torch.Tensor, noise_pred: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
        """The noise with which the predicted clean latents have the targets' colours, as far as colour_weight
        says; as of classifier guidance (Dhariwal and Nichol 2021, equation 14)."""
        owners, maps, targets = self.coloured
        if not len(owners):
            return noise_pred
        sigma = (1 - signal**2) ** 0.5
        clean = (latents - sigma * noise_pred) / signal
        steps = colour_step(self.rgb_map, clean[owners], maps, targets)
        shift = self.weight * torch.zeros_like(clean).index_add(0, owners, steps)
        return noise_pred - signal / sigma * shift

    @cached_property
    def rgb_map(self) -> torch.Tensor:
        """See `linear_map`."""
        return linear_map(self.parts.vae, self.size)

    def _with_colour_words(self, request: Request) -> Request:
        """The request with the nearest colour word, of those that the text encoder has a token for, in each
        phrase that has a target and names no colour."""
        tokenize = self.parts.tokenizer.tokenize
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

    def _of_attention(self, picture: int, named: Named, *attention: np.ndarray) -> list[Region]:
        """A region per span; its target is the mean of those of its phrases."""
        request, tokens = named.request, [some for some, _ in named.regions]
        maps, (height, width) = token_maps(*attention, tokens, request.knobs["threshold"]), self.shape[1:]
        side = round((height * width / maps.shape[1]) ** 0.5)  # latents per place
        maps = maps.reshape(-1, height // side, width // side).repeat(side, 1).repeat(side, 2)
        found = []
        for (_, phrases), map in zip(named.regions, maps, strict=True):
            targets = [c for k in phrases if not isinstance(c := request.colours[k], str)]
            target = tuple(np.mean(targets, axis=0)) if targets else request.colours[phrases[0]]
            found.append(Region(picture, request.phrases[phrases[0]], map, target))
        return found

    def _named(self, request: Request) -> Named:
        """Which tokens of the prompt name phrases with a region; words that name no thing do not count."""
        spoken = self._with_colour_words(request)
        prompt, own = spans(request, spoken)
        coded = self.parts.tokenizer(prompt, return_offsets_mapping=True, truncation=True)["offset_mapping"]
        regions, cut = [], []
        for (start, end), phrases in own.items():
            inside = [k for k, (a, b) in enumerate(coded) if start <= a < b <= end]
            things = [k for k in inside if prompt[slice(*coded[k])].lower() not in NO_THING]
            if inside:
                regions.append((things or inside, phrases))
            else:
                cut += phrases
        return Named(replace(spoken, prompt=prompt), regions, cut)


def has_region(request: Request, k: int) -> bool:
    """Whether phrase k has a target colour, or is a footnote: the prompt does not hold it."""
    return not isinstance(request.colours[k], str) or request.phrases[k] not in request.prompt


def say(colour: str, phrase: str) -> str:
    """The phrase with a colour word: "a truck" as "a green truck"."""
    found = re.match(r"((an?|the)\s+)?(.*)", phrase, re.IGNORECASE | re.DOTALL)
    article = re.sub("^an?", "an" if colour[0] in "aeio" else "a", found[1] or "", flags=re.IGNORECASE)
    return f"{article}{colour} {found[3]}"


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
