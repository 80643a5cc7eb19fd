"""The study's three groundings, none, text and image: GLIGEN (Li et al. 2023, arXiv 2301.07093)."""

from helpers.generation.denoising import Denoiser as Sampler

__all__ = ["Sampler"]
