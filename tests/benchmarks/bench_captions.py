"""Captions in batches against one by one: `python -m tests.benchmarks.bench_captions --help`."""

import argparse
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from helpers.captioning import captions
from helpers.models.devices import best_device
from helpers.models.loading import load_captioner
from helpers.models.sets import Checkpoint, model_set
from tests.benchmarks.timing import interleaved, ratio, setting, spread, table
from tests.fakes.blip2 import write_blip2


def compare(options: argparse.Namespace, language: str, device: torch.device) -> list[list[object]]:
    """Rows of the table for one captioner; its captions are the same either way, which is checked first."""
    with tempfile.TemporaryDirectory() as folder:
        if options.models == "tiny":
            checkpoint = Checkpoint("tiny", str(write_blip2(Path(folder) / language, language)))
        else:
            checkpoint = model_set(options.models).captioners[language]
        captioner = load_captioner(checkpoint, device=device)
    pixels = np.random.default_rng(0).integers(0, 256, (options.photos, 128, 128, 3), dtype=np.uint8)
    photos = [Image.fromarray(photo) for photo in pixels]

    def texts(batch_size: int) -> list[str]:
        held = {"load_captioner": lambda *_, **__: captioner, "release": lambda *_: None, "fits": bool}
        with mock.patch.multiple(captions, **held):  # loading is not what is measured
            made = captions.caption_all(captioner.checkpoint, photos, batch_size=batch_size)
        return [one.generated_text for one in made]

    equal = sum(one == other for one, other in zip(texts(1), texts(options.batch), strict=True))
    runs = {"one by one": lambda: texts(1), f"batches of {options.batch}": lambda: texts(options.batch)}
    seconds = interleaved(runs, options.repeats)
    alone = seconds["one by one"]
    return [
        [
            language,
            name,
            spread(times),
            f"{len(photos) / np.median(times):.3g}",
            f"{ratio(alone, times):.2f}",
            f"{equal} of {len(photos)}",
        ]
        for name, times in seconds.items()
    ]


def main() -> None:
    """Prints a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", choices=("tiny", "demo", "published"), default="demo")
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options, device = parser.parse_args(), best_device()
    rows = [row for language in ("opt", "t5") for row in compare(options, language, device)]
    print(setting(device, picture_size="128 x 128", **vars(options)))
    head = [
        "captioner",
        "how",
        f"{options.photos} photos",
        "captions/s",
        "times one by one",
        "equal captions",
    ]
    print(table(head, rows))


if __name__ == "__main__":
    main()
