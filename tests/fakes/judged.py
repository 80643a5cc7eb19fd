"""A run whose pictures are noise, and small random judges: what scores and verdicts need."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from helpers.models.loading import load_clip, load_detector
from helpers.models.sets import Checkpoint
from helpers.runs.run import Run
from helpers.scenes import images
from tests.fakes.clip import write_clip
from tests.fakes.owlv2 import write_owlv2
from tests.fakes.study import write_scenes


def load_small_judges(folder: Path) -> SimpleNamespace:
    """A random CLIP and a random OWLv2, loaded as the demo set's are, and one layer for EfficientNet."""
    clip = load_clip(Checkpoint("demo clip", str(write_clip(folder / "clip"))), device="cpu")
    owlv2 = Checkpoint("demo owlv2", str(write_owlv2(folder / "owlv2")))
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 1280, 32, stride=32).requires_grad_(False)
    efficientnet = SimpleNamespace(model=SimpleNamespace(extract_features=layer), device=torch.device("cpu"))
    detector = load_detector(owlv2, device="cpu")
    return SimpleNamespace(clip=clip, detector=detector, inception=None, efficientnet=efficientnet)


def start(folder: Path, count: int = 6, fit: str = "squash") -> Run:
    """A run of `count` scenes with phrases, captions and prompts, and no pictures yet."""
    dataset = write_scenes(folder / "photos", count)
    entries = json.loads((dataset / "annotations.json").read_text())
    entries = [entry | {"phrases": ["an orange cone", "a crate"]} for entry in entries]
    (dataset / "annotations.json").write_text(json.dumps(entries))
    run = Run.open(folder / "run", dataset=str(dataset), models="demo", size=32, fit=fit)
    rows = [{"scene": scene.name, "text": f"a cone and {i} crates"} for i, scene in enumerate(run.scenes)]
    prompts = [
        {"scene": row["scene"], "prompt": row["text"], "truncated": i == 0} for i, row in enumerate(rows)
    ]
    run.write_jsonl("prompts/caption.jsonl", prompts)
    captions = [{"scene": row["scene"], "generated_text": row["text"], "flags": []} for row in rows]
    run.write_jsonl("captions/opt.jsonl", captions)
    return run


def draw(run: Run, arm: str, seed: int = 0, **text: str) -> None:
    """A picture of noise for every scene; text goes into the files."""
    rng = np.random.default_rng(seed)
    for scene in run.scenes:
        picture = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        images.save(picture, run.picture(arm, scene), text)
