"""FLUX 3 Image Klein beside GLIGEN, time and memory alone: `python -m tests.benchmarks.bench_flux3 --help`.

Shapes are the published ones, weights are random: the pictures are noise at the real price.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLFlux2, Flux3Transformer2DModel
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from helpers.generation.generate import generate
from helpers.generation.methods import flux3
from helpers.models.sets import model_set
from tests.benchmarks.bench_grounding import cast, load, scenes
from tests.benchmarks.timing import setting, spread, table
from tests.fakes import flux3 as fakes

STEPS = 16
TEXT = {"vocab_size": 151_936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36}
TEXT |= {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True}
TEXT = Qwen3VLConfig(text_config=TEXT, tie_word_embeddings=True)
FULL = {
    "text_encoder": lambda: Qwen3VLForConditionalGeneration(TEXT),
    "transformer": lambda: Flux3Transformer2DModel(flow_map=True),
    "vae": AutoencoderKLFlux2,
}
TINY = {"text_encoder": fakes.text_encoder, "transformer": fakes.transformer, "vae": fakes.autoencoder}


class RandomFlux3(flux3.Flux3):
    """Its networks with random weights, in the dtypes that published ones are read in."""

    networks = FULL

    def read(self, name: str) -> torch.nn.Module:
        torch.set_default_dtype(self.dtype)  # made in it, for twice the memory may not be there
        try:
            with torch.device(self.device):
                made = self.networks[name]().eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(torch.float32)
        for part, module in made.named_modules():
            if part.endswith(("norm_q", "norm_k")) and name == "transformer":
                module.float()
        return made


def measure(parts: flux3.Flux3, side: int, batch: int, repeats: int) -> tuple[list[float], float]:
    """Seconds of each picture, its prompt encoded before, and the peak of GPU memory in GiB."""
    some = scenes(batch, "text", same=True)  # of one window
    asked = [replace(one, grounding="flux3", guidance_scale=1, knobs={}) for one in some]
    sampler = flux3.Sampler(parts, STEPS, "", (side, side))
    sampler.prepare(asked)
    sampler.draw(asked)
    if parts.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        sampler.draw(asked)  # ends with pixels on the CPU
        seconds.append((time.perf_counter() - start) / batch)
    peak = torch.cuda.max_memory_allocated() if parts.device.type == "cuda" else float("nan")
    return seconds, peak / 2**30


def gligen(options: argparse.Namespace, batch: int) -> tuple[list[float], float]:
    """The same of GLIGEN, 50 steps with guidance, at its own size."""
    model = cast(load(options.size, "text", options.device), options.dtype)
    asked, seconds = scenes(batch, "text", same=True), []
    for turn in range(options.repeats + 1):
        start = time.perf_counter()
        list(generate(model, asked, 50, batch_size=batch, progress=False))
        seconds += [(time.perf_counter() - start) / batch] * bool(turn)
        if not turn and options.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
    peak = torch.cuda.max_memory_allocated() if options.device.type == "cuda" else float("nan")
    return seconds, peak / 2**30


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    options.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options.dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return options


def main() -> None:
    """Prints a markdown table."""
    options = parse()
    if options.size == "full" and options.device.type == "cpu":
        return print("FLUX 3 at full size takes a GPU: nothing timed")
    RandomFlux3.networks = FULL if options.size == "full" else TINY
    flux3.LAYERS = flux3.LAYERS if options.size == "full" else fakes.LAYERS
    place = fakes.processor(), options.device, options.dtype, model_set("published").methods["flux3"]
    parts, rows = RandomFlux3(Path(tempfile.gettempdir()), *place), []
    for side in options.sides:
        for batch in options.batches:
            seconds, peak = measure(parts, side, batch, options.repeats)
            rows.append([f"FLUX 3, {STEPS} steps", side, batch, spread(seconds), f"{peak:.1f}"])
    windows = {one.shape[1] for one in parts.embeds.values()}
    parts.hold()
    for batch in options.batches:
        seconds, peak = gligen(options, batch)
        rows.append(["GLIGEN, 50 steps, two rows", "its own", batch, spread(seconds), f"{peak:.1f}"])
    print(setting(options.device, weights="random, time only", size=options.size, tokens=windows))
    print(table(["who", "side", "batch", "a picture", "peak GiB"], rows))


if __name__ == "__main__":
    main()
