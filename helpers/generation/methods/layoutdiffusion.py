"""LayoutDiffusion (Zheng et al. 2023, arXiv 2303.17189): a picture from classes and boxes, without a prompt.

The class of a box is found in its phrase, by its words; a box of another kind is left out, and the picture's
record says so. Guidance is against the null layout, of which nothing is left but the whole picture:
guidance_scale g is the paper's scale g - 1.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from diffusers import AutoencoderKL, PNDMScheduler, SchedulerMixin, UNet2DModel
from PIL import Image

from helpers.generation.denoising import Denoiser, factor
from helpers.generation.requests import Entries, Request, entries
from helpers.models.checkpoints import locate
from helpers.models.devices import CPU, placed
from helpers.models.layout_unet import IMAGE, NULL, WHOLE, Layout, LayoutDiffusionModel
from helpers.models.parts import network, read
from helpers.models.sets import Checkpoint, ModelSet
from helpers.runs.protocol import digest
from helpers.scenes import images

FILLERS = ("other", "stuff")  # in names of classes of COCO-stuff: "building-other", "desk-stuff"


@dataclass
class LayoutDiffusion:
    """What the method draws with. vae: None for a model of pixels. model: the UNet with its encoder."""

    model: LayoutDiffusionModel
    unet: UNet2DModel
    vae: AutoencoderKL | None
    scheduler: SchedulerMixin
    device: torch.device = CPU
    checkpoint: Checkpoint | None = None
    commit: str | None = None


def load(models: ModelSet, safety: Checkpoint | None = None) -> LayoutDiffusion:
    """The parts of a model set's LayoutDiffusion. commit: the checksum of its folder.

    safety: not read, it draws without a safety checker. Raises CheckpointMissing.
    """
    checkpoint, (device, dtype) = models.methods["layoutdiffusion"], placed(None, None, "gligen")
    folder = locate(checkpoint)[0]
    given = checkpoint, folder, device, dtype
    model, vae = network(LayoutDiffusionModel, *given, "unet"), None
    if (folder / "vae").is_dir():
        vae = network(AutoencoderKL, *given, "vae")
    scheduler = read(PNDMScheduler, checkpoint, folder, "scheduler")
    return LayoutDiffusion(model, model.unet, vae, scheduler, device, checkpoint, digest(folder))


def class_of(phrase: str, classes: Sequence[str]) -> int | None:
    """The index of the class whose words all stand in a phrase; of several that with most words, then that
    which is said first; None where there is none. "other" and a plural's s do not count."""
    said, found = _words(phrase), []
    for index, name in enumerate(classes):
        if name not in (IMAGE, NULL) and (words := _words(name)) and set(words) <= set(said):
            found.append((-len(words), min(map(said.index, words)), index))
    return min(found)[2] if found else None


@cache
def _words(text: str) -> tuple[str, ...]:
    words = (word.rstrip("s") for word in re.findall(r"[^\W\d_]+", text.casefold()))
    return tuple(word for word in words if word not in FILLERS)


class Sampler(Denoiser):
    """Pictures from classes and boxes. Unconditional rows have the null layout.

    A model of pixels draws at the size that it was trained at, and its pictures are enlarged.
    """

    def __init__(self, parts: LayoutDiffusion, steps: int, scheduler: str, size: tuple[int, int]) -> None:
        self.parts, self.steps, self.scheduler, self.size = parts, steps, scheduler, size
        sides = [side // factor(parts) for side in size] if parts.vae else [parts.unet.config.sample_size] * 2
        self.shape = (parts.unet.config.in_channels, *sides)
        self.calls = len(self.new_scheduler().timesteps)
        self.classes = parts.model.config.classes

    def unet(self, x: torch.Tensor, timestep: torch.Tensor, layout: Layout, **_) -> tuple[torch.Tensor]:
        """The noise, without the variance that published models predict beside it."""
        return (self.parts.model(x, timestep, layout).sample[:, : self.shape[0]],)

    def entries(self, request: Request) -> Entries:
        """The largest boxes that fit, of those whose phrase names a class."""
        named = [k for k, phrase in enumerate(request.phrases) if class_of(phrase, self.classes) is not None]
        return entries(request, named, self.parts.model.config.length - 1)

    def facts(self, request: Request) -> dict[str, list]:
        """For the record: the boxes that it takes and those that it does not."""
        return self.entries(request).facts

    def decode(self, latents: torch.Tensor, multiple: int = 1) -> list[Image.Image]:
        """Pictures of latents, or of pixels in [-1, 1]."""
        if self.parts.vae:
            return super().decode(latents, multiple)
        return [
            picture.resize(self.size[::-1], Image.Resampling.LANCZOS) for picture in images.to_images(latents)
        ]

    def _conditions(
        self, requests: Sequence[Request], guided: list[int], regions: list
    ) -> tuple[Layout, Layout]:
        """The layouts of the conditional rows, then null layouts: as embeddings and as tokens."""
        rows = len(requests) + len(guided)
        classes = torch.full((rows, self.parts.model.config.length), len(self.classes) - 1)
        boxes = torch.zeros(*classes.shape, 4)
        classes[:, 0], boxes[:, 0] = 0, torch.tensor(WHOLE)
        for row, request in enumerate(requests):
            used = self.entries(request)
            objects = slice(1, 1 + len(used.phrases))
            classes[row, objects] = torch.tensor([class_of(one, self.classes) for one in used.phrases])
            boxes[row, objects] = torch.from_numpy(used.boxes)
        layout = self.parts.model.encode(classes.to(self.parts.device), boxes.to(self.parts.device))
        return layout, layout
