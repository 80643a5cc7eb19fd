"""Prompts and boxes to pictures: the grounded denoising loop."""
