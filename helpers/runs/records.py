"""What the files of an arm say of it, each read again only where it changed: a report asks many times."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from helpers.runs.arms import own_arm
from helpers.scenes import images


@lru_cache(maxsize=256)
def costs(folder: Path, version: int) -> tuple[float, float] | None:
    """Mean UNet rows and seconds per picture, from the records of the pictures in a folder. version: its time
    of change, which every picture that is written or goes sets anew."""
    records = [images.read_text(path) for path in folder.glob("*.png")]
    if not records or not all({"unet_rows", "seconds"} <= record.keys() for record in records):
        return None
    return tuple(float(np.mean([float(one[key]) for one in records])) for key in ("unet_rows", "seconds"))


@lru_cache(maxsize=1024)
def score_rows(path: Path, version: tuple) -> list[dict]:
    """The rows of one arm in `Run.scores`, from its file of scores. version: the file's stamp."""
    parts = {"kind": "ours", **vars(arm)} if (arm := own_arm(path.stem)) else {"kind": "external"}
    parts["arm"] = path.stem
    return [parts | score for score in json.loads(path.read_text(encoding="utf-8"))]
