"""Our loop against diffusers' two GLIGEN pipelines: `python -m tests.benchmarks.bench_grounding --help`."""

import argparse
import copy
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from helpers.generation.denoising import Denoiser, noise
from helpers.generation.generate import generate
from helpers.generation.requests import Request
from helpers.models.loading import Gligen, load_gligen
from helpers.models.sets import model_set
from tests.benchmarks import cost, full_size
from tests.benchmarks.timing import interleaved, ratio, setting, spread, table
from tests.fakes import gligen as fakes

# times as many pictures a second: against scene by scene, and against the same batch of one layout
BARS = {
    ("cpu", "text"): (1.6, 1.0),
    ("cpu", "image"): (3.2, 1.9),
    ("cuda", "text"): (3.0, 1.0),
    ("cuda", "image"): (6.0, 2.5),
}
ROUNDING = 1e-4  # largest relative difference in float32, after CHECKED_STEPS steps
CHECKED_STEPS = 4


def scenes(count: int, grounding: str, same: bool = False) -> list[Request]:
    """Requests with layouts of one to six boxes each, or all of one layout, as diffusers' batches want."""
    made = []
    for number in range(count):
        random = np.random.default_rng(0 if same else number)
        boxes = 1 + (5 if same else number % 6)
        low, side = random.uniform(0, 0.6, (boxes, 2)), random.uniform(0.15, 0.4, (boxes, 2))
        pixels = random.integers(0, 256, (boxes, 64, 64, 3), dtype=np.uint8)
        request = Request(
            f"scene {number}",
            f"a worker with {boxes} cones in a street",
            boxes=np.concatenate([low, low + side], axis=1).astype(np.float32),
            phrases=("an orange cone", "a blue barrel", "a crate", "a truck", "a ladder", "a helmet")[:boxes],
            crops=tuple(map(Image.fromarray, pixels)) if grounding == "image" else (),
            grounding=grounding,
        )
        made.append(request)
    return made


def theirs(pipe, steps: int, requests: list[Request], output_type: str = "pil") -> object:
    """One call of diffusers' pipeline, which gives all requests the layout of the first."""
    first, unet = requests[0], pipe.unet
    cells, channels = unet.config.sample_size, pipe.vae.config.latent_channels
    start = torch.stack([noise(one.seed, one.scene, (channels, cells, cells)) for one in requests])
    more = {"gligen_images": list(first.crops)} if first.grounding == "image" else {}
    return pipe(
        [request.prompt for request in requests],
        num_inference_steps=steps,
        guidance_scale=first.guidance_scale,
        gligen_scheduled_sampling_beta=1.0,
        gligen_phrases=list(first.phrases),
        gligen_boxes=first.boxes.tolist(),
        latents=start.to(pipe.device, unet.dtype),
        output_type=output_type,
        **more,
    ).images


def load(size: str, grounding: str, device: torch.device) -> Gligen:
    """The model in float32."""
    if size == "demo":
        return load_gligen(model_set("demo").gligen[grounding], grounding, device, torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        make = fakes.components if size == "tiny" else full_size.components
        parts = make(Path(folder), grounding == "image")
    return cast(Gligen(**{name: parts.get(name) for name in fakes.PARTS}, device=device), torch.float32)


def cast(gligen: Gligen, dtype: torch.dtype) -> Gligen:
    """The same model, its weights in another dtype."""
    parts = {name: getattr(gligen, name) for name in fakes.PARTS}
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            parts[name] = copy.deepcopy(part).to(gligen.device, dtype).eval()
    return Gligen(**parts, device=gligen.device, dtype=dtype)


def pipeline(gligen: Gligen):
    parts = {name: getattr(gligen, name) for name in fakes.PARTS if getattr(gligen, name) is not None}
    return fakes.pipeline(parts | {"safety_checker": None, "feature_extractor": None})


def check(gligen: Gligen, request: Request) -> float:
    """Relative difference of both latents in float32; a benchmark of unequal pictures is worth nothing."""
    side = cost.side(gligen)
    own = Denoiser(gligen, CHECKED_STEPS, "pndm", (side, side)).latents([request])
    other = theirs(pipeline(gligen), CHECKED_STEPS, [request], "latent")
    found = float((own - other).abs().max() / other.abs().max())
    if not found <= ROUNDING:
        raise SystemExit(
            f"{request.grounding}: latents differ by {found:.2g}, over {ROUNDING}: nothing timed"
        )
    return found


def contestants(gligen: Gligen, options: argparse.Namespace, grounding: str) -> dict[str, Callable]:
    """What is timed, by name; each makes options.scenes pictures."""
    layouts, one_layout = (scenes(options.scenes, grounding, same) for same in (False, True))
    ours = partial(generate, steps=options.steps, batch_size=options.batch, progress=False)
    batches = [one_layout[n : n + options.batch] for n in range(0, len(one_layout), options.batch)]
    pipe = pipeline(gligen)
    made = {
        "ours": lambda: list(ours(gligen, layouts)),
        "diffusers, scene by scene": lambda: [theirs(pipe, options.steps, [one]) for one in layouts],
        "ours, one layout": lambda: list(ours(gligen, one_layout)),
        "diffusers, one layout": lambda: [theirs(pipe, options.steps, some) for some in batches],
    }
    if options.half:
        half = cast(gligen, torch.bfloat16)
        slow = pipeline(half)
        made["ours, bfloat16"] = lambda: list(ours(half, layouts))
        made["diffusers, scene by scene, bfloat16"] = lambda: [
            theirs(slow, options.steps, [one]) for one in layouts
        ]
    if options.compile:
        fast = pipeline(gligen)
        fast.unet = torch.compile(gligen.unet)
        made["diffusers, one layout, compiled"] = lambda: [
            theirs(fast, options.steps, some) for some in batches
        ]
    return made


def compare(options: argparse.Namespace, grounding: str) -> tuple[list[list[object]], list[str]]:
    """The rows of the table for one grounding, and what follows from them."""
    device = torch.device(options.device)
    gligen, (request, *_) = load(options.size, grounding, device), scenes(1, grounding)
    notes = [
        f"{grounding}: latents equal diffusers' to {check(gligen, request):.1g} (float32, checked first)"
    ]
    if device.type == "cuda":
        gligen = cast(gligen, torch.bfloat16)
        notes.append(f"{grounding}: ten more steps wait for the GPU {cost.waits(gligen, request)} times")
        batches = {batch: cost.peak_memory(gligen, scenes(batch, grounding)) for batch in (1, 4, 16, 64)}
        notes.append(
            f"{grounding}: peak GiB by batch size { ({n: round(g, 1) for n, g in batches.items()}) }"
        )
    work = cost.operations(gligen, request, options.steps)
    rate = cost.product_rate(device, gligen.unet.dtype)
    seconds = interleaved(contestants(gligen, options, grounding), options.repeats)
    rows = []
    for name, times in seconds.items():
        pace = options.scenes / statistics.median(times)
        share = f"{pace * work / rate:.2f}" if name.startswith("ours") and "bfloat16" not in name else ""
        rows.append([grounding, name, spread(times), f"{pace:.3g}", f"{pace * work / 1e12:.3g}", share])
    return rows, notes + verdicts(seconds, device.type, grounding)


def verdicts(seconds: dict[str, list[float]], device: str, grounding: str) -> list[str]:
    """How many times as many pictures a second as diffusers, and the bar."""
    single, batch = BARS[device, grounding]
    best = {
        who: min((times for name, times in seconds.items() if name.startswith(who)), key=statistics.median)
        for who in ("ours", "diffusers, scene by scene")
    }
    pairs = {
        f"scene by scene (bar {single})": (seconds["diffusers, scene by scene"], seconds["ours"]),
        f"same batch of one layout (bar {batch})": (
            seconds["diffusers, one layout"],
            seconds["ours, one layout"],
        ),
        "scene by scene, best against best": (best["diffusers, scene by scene"], best["ours"]),
    }
    return [
        f"{grounding}: {ratio(slow, fast):.2f} times diffusers {what}" for what, (slow, fast) in pairs.items()
    ]


def parse() -> argparse.Namespace:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--size", choices=("tiny", "demo", "full"), default="full" if gpu else "demo")
    parser.add_argument("--steps", type=int, default=50 if gpu else 20)
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    half = "on a CPU with bfloat16 units: both sides in it too"
    parser.add_argument("--half", action="store_true", help=half)
    compiled = "diffusers' batches compiled too"
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=gpu, help=compiled)
    return parser.parse_args()


def main() -> None:
    """Prints a markdown table and what follows from it."""
    options, rows, notes = parse(), [], []
    for grounding in ("text", "image"):
        more = compare(options, grounding)
        rows, notes = rows + more[0], notes + more[1]
    side = {"tiny": 128, "demo": 128, "full": 512}[options.size]
    said = {name: getattr(options, name) for name in ("size", "steps", "scenes", "batch", "repeats")}
    print(setting(torch.device(options.device), picture_size=f"{side} x {side}", **said))
    head = ["grounding", "who", f"{options.scenes} pictures", "pictures/s", "TFLOP/s", "share of a product"]
    print(table(head, rows))
    print("\n".join(f"- {note}" for note in notes))


if __name__ == "__main__":
    main()
