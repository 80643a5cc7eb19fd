"""Drawn scenes as arrays, drawn once and kept on disk: training reads them thousands of times."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from data.training.world import (
    ALL_PHRASES,
    COLOURS,
    KINDS,
    MAX_OBJECTS,
    PLACES,
    SIZE,
    SPLITS,
    Drawn,
    describe,
    draw_scene,
)

CHUNK = 250


@dataclass(frozen=True)
class Scenes:
    """Drawn scenes, one per row of every array.

    photos: (n, SIZE, SIZE, 3) uint8, a memory map. boxes: (n, MAX_OBJECTS, 4) float32 fractions, zeros where
    absent.
    things: (n, MAX_OBJECTS) int64, index into ALL_PHRASES, -1 where absent. captions, training_captions: n
    strings.
    crisp: (n,) bool. places: (n,) int64, index into PLACES.
    """

    photos: np.ndarray
    boxes: np.ndarray
    things: np.ndarray
    crisp: np.ndarray
    places: np.ndarray
    captions: list[str]
    training_captions: list[str]

    def __len__(self) -> int:
        return len(self.boxes)


def load_scenes(split: str, count: int, folder: Path, crisp: bool | None = None) -> Scenes:
    """The first `count` scenes of a split, drawn on all cores where `folder` does not hold them yet."""
    name = f"{split}-{count}" + ("" if crisp is None else f"-crisp-{crisp}")
    photos, rows = folder / f"{name}.npy", folder / f"{name}.npz"
    if not rows.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _draw_to(photos, rows, SPLITS[split][:count], crisp)
    table = np.load(rows)
    captions = [
        _caption(things, place) for things, place in zip(table["things"], table["places"], strict=True)
    ]
    return Scenes(
        np.load(photos, mmap_mode="r"),
        table["boxes"],
        table["things"],
        table["crisp"],
        table["places"],
        captions,
        list(table["training_captions"]),
    )


def _draw_to(photos: Path, rows: Path, seeds: range, crisp: bool | None) -> None:
    array = np.lib.format.open_memmap(photos, "w+", np.uint8, (len(seeds), SIZE, SIZE, 3))
    starts = range(0, len(seeds), CHUNK)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        chunks = pool.map(_draw_chunk, [seeds[i : i + CHUNK] for i in starts], [crisp] * len(starts))
        tables = []
        for start, (images, table) in zip(starts, chunks, strict=True):
            array[start : start + len(images)] = images
            tables.append(table)
    array.flush()
    np.savez(rows, **{key: np.concatenate([table[key] for table in tables]) for key in tables[0]})


def _draw_chunk(seeds: range, crisp: bool | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    scenes = [draw_scene(seed, crisp) for seed in seeds]
    table = {
        "boxes": np.stack([_padded(scene.boxes, 0) for scene in scenes]).astype(np.float32),
        "things": np.stack([_padded(np.array(things_of(scene)), -1) for scene in scenes]),
        "crisp": np.array([scene.crisp for scene in scenes]),
        "places": np.array([tuple(PLACES).index(scene.place) for scene in scenes]),
        "training_captions": np.array([scene.training_caption for scene in scenes], dtype="U200"),
    }
    return np.stack([np.asarray(scene.image) for scene in scenes]), table


def things_of(scene: Drawn) -> list[int]:
    """The index of each box's phrase in ALL_PHRASES."""
    return [ALL_PHRASES.index(phrase) for phrase in scene.phrases]


def _padded(rows: np.ndarray, value: float) -> np.ndarray:
    missing = MAX_OBJECTS - len(rows)
    return np.concatenate([rows, np.full((missing, *rows.shape[1:]), value, rows.dtype)])


def _caption(things: np.ndarray, place: int) -> str:
    kinds, colours = zip(*(divmod(int(thing), len(COLOURS)) for thing in things if thing >= 0), strict=True)
    names = tuple(COLOURS)
    return describe(tuple(KINDS[k] for k in kinds), tuple(names[c] for c in colours), tuple(PLACES)[place])
