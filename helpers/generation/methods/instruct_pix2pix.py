"""InstructPix2Pix (Brooks et al. 2023, arXiv 2211.09800): a photo edited by an instruction.

Knobs: guidance_scale, how far the instruction is followed, and image_guidance, how far the photo is kept. As
in diffusers' pipeline, but the noise is the scene's, pictures of a batch may have any guidance, and below 1
guidance is not switched off. A call has three rows per picture: photo and instruction, photo alone, neither.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from helpers.generation.denoising import Denoiser, Step, ignore, noises
from helpers.generation.requests import Request
from helpers.parameters import ParameterError

if TYPE_CHECKING:
    from helpers.models.loading import Gligen


class Sampler(Denoiser):
    """Edits of photos with a UNet that reads their latents beside the noisy ones."""

    def __init__(self, parts: "Gligen", steps: int, scheduler: str, size: tuple[int, int]) -> None:
        super().__init__(parts, steps, scheduler, size)
        reads, draws = parts.unet.config.in_channels, self.shape[0]
        if reads != 2 * draws:
            name = parts.checkpoint and parts.checkpoint.name
            raise ParameterError(
                f"checkpoint {name!r}: its UNet reads {reads} channels, not {2 * draws}, a photo's {draws} "
                "beside its own; take a checkpoint in the layout of timbrooks/instruct-pix2pix"
            )

    def rows(self, request: Request) -> int:
        """UNet rows of a picture."""
        return 3 * self.calls

    @torch.inference_mode()
    def latents(self, requests: Sequence[Request], rows: int = 0, step: Step = ignore) -> torch.Tensor:
        """Latents (n, c, h, w) float32 of the edited photos; see `Denoiser.latents`."""
        places = self.filled(requests, rows)
        filled, photo = [requests[place] for place in places], self.encode(requests)[places]
        photo = photo / self.parts.vae.config.scaling_factor  # it was trained with latents as they are
        scheduler, unet = self.new_scheduler(), self.parts.unet
        timesteps, latents = self.begin(scheduler, filled, noises(filled, self.shape).to(photo.device))
        embeds = self.conditions.prompt_embeds([one.instruction for one in filled] + [""] * 2 * len(filled))
        scales = [[one.guidance_scale, one.knobs["image_guidance"]] for one in filled]
        text_scale, image_scale = torch.tensor(scales, device=photo.device).T[:, :, None, None, None]
        photos = torch.cat([photo, photo, torch.zeros_like(photo)])
        for done, (t, t_there) in enumerate(zip(timesteps, timesteps.to(photo.device), strict=True), 1):
            x = torch.cat([scheduler.scale_model_input(latents, t).repeat(3, 1, 1, 1), photos], 1)
            noise_pred = unet(x.to(unet.dtype), t_there, embeds, return_dict=False)[0].float()
            text, image, neither = noise_pred.chunk(3)
            noise_pred = neither + text_scale * (text - image) + image_scale * (image - neither)
            latents = scheduler.step(noise_pred, t, latents).prev_sample
            step(done, len(timesteps))
        return latents[: len(requests)]
