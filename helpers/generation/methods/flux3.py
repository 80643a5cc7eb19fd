"""FLUX 3 Image Klein, step-distilled (Black Forest Labs 2026): boxes written into the prompt, 16 steps.

Its text encoder makes prompt embeddings first and is freed for the transformer. Each prompt is encoded alone
in a window of whole 80 tokens, padding and all, for the transformer was trained to attend to it; so pictures
share a batch where their windows are equal, and no call is filled up. There is no guidance. diffusers' prompt
upsampler is left out. Knob size: side of the pictures in pixels; they are judged at the size of the run.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count
from pathlib import Path
from typing import ClassVar

import diffusers
import torch
import transformers
from diffusers import Flux3DistilledAutoBlocks
from PIL import Image

from helpers.captioning import layout_prompts
from helpers.generation.denoising import Step, ignore, noises
from helpers.generation.requests import Request, RequestError, entries
from helpers.models.checkpoints import locate
from helpers.models.devices import Device, placed
from helpers.models.loading import Loaded, release
from helpers.models.parts import network, read
from helpers.models.sets import Checkpoint, ModelSet, with_own
from helpers.parameters import ParameterError
from helpers.scenes import images

KINDS = {
    "text_encoder": transformers.Qwen3VLForConditionalGeneration,
    "transformer": diffusers.Flux3Transformer2DModel,
    "vae": diffusers.AutoencoderKLFlux2,
}
LONGEST = 8192  # tokens of a prompt; diffusers cuts longer ones, and the boxes stand at their end
LAYERS = (4, 8, 12, 16, 20, 24, 28, 32)  # of the text encoder, whose hidden states are the embeddings
HELD = 100_000  # tokens whose embeddings are held at once, 4 GB in half precision


@dataclass
class Flux3:
    """The parts of a checkpoint folder, in memory only while they are needed.

    embeds: prompt -> its embeddings (1, window, width) on the CPU.
    """

    most_at_once: ClassVar[int] = 8  # pictures of a batch

    folder: Path
    processor: transformers.ProcessorMixin
    device: torch.device
    dtype: torch.dtype
    checkpoint: Checkpoint
    commit: str | None = None
    text_encoder: torch.nn.Module | None = None
    transformer: torch.nn.Module | None = None
    vae: torch.nn.Module | None = None
    embeds: dict[str, torch.Tensor] = field(default_factory=dict)

    def hold(self, *names: str) -> None:
        """Load these networks, after all others are freed."""
        others = {name: getattr(self, name) for name in KINDS if name not in names}
        if any(others.values()):
            release(*map(Loaded, others.values()))
            vars(self).update(dict.fromkeys(others))
        for name in names:
            if getattr(self, name) is None:
                given = self.checkpoint, self.folder, self.device, self.dtype, name
                setattr(self, name, network(KINDS[name], *given))

    def tokens(self, prompt: str) -> int:
        """Tokens of a prompt in the chat that the text encoder reads."""
        chat = [{"role": "user", "content": prompt}]
        text = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return len(self.processor.tokenizer(text).input_ids)


def load(models: ModelSet, safety: Checkpoint | None = None, device: Device = None) -> Flux3:
    """Its tokenizer; networks are read when they are due. It comes without a safety checker.

    Raises CheckpointMissing, and ParameterError for a model set that does not have it.
    """
    checkpoint = with_own(models, ["flux3"]).own["flux3"]
    folder, commit = locate(checkpoint)
    processor = read(transformers.AutoProcessor, checkpoint, folder, "tokenizer")
    return Flux3(folder, processor, *placed(device, None, "flux3"), checkpoint, commit)


def prompt_of(request: Request) -> str:
    """The text that the model reads of a request. Raises RequestError for an upsampled prompt without a table
    of boxes, and for any other one that has a table already."""
    used, upsampled = entries(request), request.grounding == "flux3_up"
    if upsampled and not len(used.boxes):
        return request.prompt
    if (layout_prompts.table(request.prompt) is not None) != upsampled:
        has = f"prompt: it has {'no' if upsampled else 'a'} table of boxes"
        advice = "flux3_up draws upsampled prompts (grounded prompts --upsampled FILE), and it alone"
        raise RequestError(f"scene {request.scene!r}, {has}; {advice}")
    return request.prompt if upsampled else layout_prompts.flux3(request.prompt, used.boxes, used.phrases)


class Sampler:
    """Pictures of FLUX 3 with noise of their own, (channels, height / 16, width / 16) per seed and scene."""

    def __init__(self, parts: Flux3, steps: int, scheduler: str, size: tuple[int, int]) -> None:
        if any(side % 16 for side in size):
            raise ParameterError(f"size = {size}: FLUX 3 draws sides of a multiple of 16 pixels")
        self.parts, self.steps, self.size = parts, steps, size
        blocks = Flux3DistilledAutoBlocks()
        blocks.sub_blocks.pop("prompt_upsampler")
        self.encode = blocks.sub_blocks.pop("text_encoder")
        loop = blocks.sub_blocks["denoise"].sub_blocks["text2image"].sub_blocks["denoise"]
        loop.set_progress_bar_config(disable=True)
        self.pipe = blocks.init_pipeline()

    def rows(self, request: Request) -> int:
        """Transformer rows of a picture."""
        return self.steps

    def facts(self, request: Request) -> dict[str, object]:
        """For the record of a picture: what the model read."""
        text = prompt_of(request)
        scheduler = {"scheduler": "FlowMatchEulerDiscreteScheduler"}
        return scheduler | {"layout_prompt": text, "prompt_tokens": self.parts.tokens(text)}

    @torch.inference_mode()
    def prepare(self, requests: Sequence[Request]) -> int:
        """Embeddings of the prompts of the first requests, as many as are held at once. Raises RequestError
        for every scene whose prompt is too long, before a network is loaded."""
        parts, texts = self.parts, [prompt_of(request) for request in requests]
        lengths = [parts.tokens(text) for text in texts]
        most = f"of {LONGEST:,} at most; leave boxes out (LABELS=)"
        if long := [
            f"scene {request.scene!r}, prompt: {length:,} tokens {most}"
            for request, length in zip(requests, lengths, strict=True)
            if length > LONGEST
        ]:
            raise RequestError("\n".join(long))
        ready = max(1, sum(total <= HELD for total in accumulate(lengths)))
        wanted = dict.fromkeys(texts[:ready])
        parts.embeds = {text: one for text, one in parts.embeds.items() if text in wanted}
        if new := [text for text in wanted if text not in parts.embeds]:
            parts.hold("text_encoder")
            encoder = self.encode.init_pipeline()
            encoder.update_components(text_encoder=parts.text_encoder, tokenizer=parts.processor)
            options = {"text_encoder_out_layers": LAYERS, "output": "prompt_embeds"}
            for text in new:
                parts.embeds[text] = _quietly(encoder, prompt=text, **options).cpu()
        parts.hold("transformer", "vae")
        self.pipe.update_components(transformer=parts.transformer, vae=parts.vae)
        return ready

    @torch.inference_mode()
    def draw(self, requests: Sequence[Request], least: int = 0, step: Step = ignore) -> list[Image.Image]:
        """Pictures of requests that are prepared, in their order."""
        embeds, windows = [self.parts.embeds[prompt_of(one)] for one in requests], defaultdict(list)
        for row, one in enumerate(embeds):
            windows[one.shape[1]].append(row)
        (height, width), done, total, made = self.size, count(1), self.steps * len(windows), {}
        shape = self.parts.transformer.config.in_channels, height // 16, width // 16
        options = {"height": height, "width": width, "num_inference_steps": self.steps, "output": "images"}
        hook = self.parts.transformer.register_forward_hook(lambda *_: step(next(done), total))
        try:
            for rows in windows.values():
                inputs = {"latents": noises([requests[row] for row in rows], shape)}
                inputs["prompt_embeds"] = torch.cat([embeds[row] for row in rows]).to(self.parts.device)
                pixels = _quietly(self.pipe, output_type="pt", **options, **inputs)
                made |= zip(rows, images.to_images(2 * pixels - 1), strict=True)
        finally:
            hook.remove()
        return [made[row] for row in range(len(requests))]


def _quietly(pipe: diffusers.ModularPipeline, **inputs: object) -> object:
    """Call a pipeline without the tracebacks that its blocks log of an error that is raised anyway."""
    level = diffusers.utils.logging.get_verbosity()
    diffusers.utils.logging.set_verbosity(logging.CRITICAL)
    try:
        return pipe(**inputs)
    finally:
        diffusers.utils.logging.set_verbosity(level)
