"""What the files of an arm say of it, each read again only where it changed: a report asks many times."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from helpers.files import stamp
from helpers.runs.arms import own_arm
from helpers.scenes import images


def costs(folder: Path) -> tuple[float, float] | None:
    """Mean UNet rows and seconds per picture, from the records of the pictures in a folder."""
    return _costs(folder, folder.stat().st_mtime_ns) if folder.is_dir() else None


def score_rows(path: Path) -> list[dict]:
    """The rows of one arm in `Run.scores`, from its file of scores."""
    return _rows(path, stamp(path))


@lru_cache(maxsize=256)
def _costs(folder: Path, version: int) -> tuple[float, float] | None:
    """version: time of change of the folder, which every picture that is written or goes sets anew."""
    records = [images.read_text(path) for path in folder.glob("*.png")]
    if not records or not all({"unet_rows", "seconds"} <= record.keys() for record in records):
        return None
    return tuple(float(np.mean([float(one[key]) for one in records])) for key in ("unet_rows", "seconds"))


@lru_cache(maxsize=1024)
def _rows(path: Path, version: tuple) -> list[dict]:
    parts = {"kind": "ours", **vars(arm)} if (arm := own_arm(path.stem)) else {"kind": "external"}
    return [{"arm": path.stem} | parts | score for score in json.loads(path.read_text(encoding="utf-8"))]
