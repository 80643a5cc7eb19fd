"""What an edit changed, scene by scene: the edited box, what lies outside, the direction in CLIP space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.scenes import boxes as rectangles
from helpers.scoring import alignment
from helpers.scoring.extraction import Pictures, cached, text_embeds

MARGIN = 0.06  # of its sides, by which an edited box is grown before what lies outside is compared
ROUNDING = 1 / 12  # mean squared error of rounding to 8 bits: less is not told apart from nothing (59 dB)
STILL = 1e-3  # length of a change of CLIP features under which it has no direction


@dataclass(frozen=True, eq=False)
class Edited:
    """What the measures of an edit need beside the pictures, of n scenes.

    boxes: the edited box of each, None for the whole picture. psnr: (n,) of `kept`, NaN for whole pictures.
    photos: CLIP features (n, d) of the photos; source, target: of the prompts before and after.
    """

    boxes: tuple[int | None, ...]
    psnr: np.ndarray
    photos: np.ndarray
    source: np.ndarray
    target: np.ndarray


def collect_edited(
    edits: Sequence[Mapping], pictures: Pictures, photos: Pictures, photo_embeds: np.ndarray
) -> Edited:
    """Edited of an arm. edits: per picture its row of the edit set; photo_embeds: (n, d) CLIP features."""
    boxes = tuple(None if edit["box"] is None else int(edit["box"]) for edit in edits)
    parts = zip(pictures.digests, photos.digests, boxes, pictures.layouts, strict=True)
    contents = [f"{a} {b} {'' if k is None else own.boxes[k].tolist()}" for a, b, k, own in parts]

    def compare(missing: list[int]) -> np.ndarray:
        values = np.full((len(missing), 1, 1), np.nan)
        for row, i in zip(values, missing, strict=True):
            if boxes[i] is not None:
                shown = (np.asarray(some.load(i)) for some in (pictures, photos))
                row[:] = kept(*shown, pictures.layouts[i].boxes[boxes[i]])
        return values

    run, arm = pictures.run, pictures.arm
    psnr = cached(run.folder / "features" / "kept" / f"{arm}.npz", pictures.names, contents, compare)
    source, target = (
        text_embeds(run, [edit[key] for edit in edits], "edits", arm, pictures.judges)
        for key in ("source_prompt", "prompt")
    )
    return Edited(boxes, np.concatenate(psnr)[:, 0], photo_embeds, source, target)


def kept(picture: np.ndarray, photo: np.ndarray, box: Sequence[float]) -> float:
    """PSNR in dB of the picture against the photo outside an edited box, which is grown by MARGIN.

    picture, photo: (h, w, 3) uint8; box: fractions. NaN where nothing lies outside.
    """
    box = np.asarray(box, np.float64)
    sides = np.tile(box[2:] - box[:2], 2) * MARGIN * np.array([-1, -1, 1, 1])
    height, width = photo.shape[:2]
    left, top, right, bottom = rectangles.to_pixels(rectangles.clip((box + sides)[None]), width, height)[0]
    outside = np.ones((height, width), bool)
    outside[top:bottom, left:right] = False
    if not outside.any():
        return float("nan")
    error = np.mean((picture[outside].astype(np.float64) - photo[outside]) ** 2)
    return float(10 * np.log10(255**2 / max(error, ROUNDING)))


def direction(edited: Edited, pictures: np.ndarray) -> np.ndarray:
    """CLIP direction (n,): cosine of picture - photo with target - source. pictures: (n, d) features.

    0 where the picture or the prompt does not change: an edit that does nothing goes nowhere.
    Brooks et al. 2023 (arXiv 2211.09800), as in their clip_similarity.
    """
    pairs = (pictures, edited.photos), (edited.target, edited.source)
    changes = [np.asarray(after, np.float64) - before for after, before in pairs]
    first, second = (np.linalg.norm(change, axis=1) for change in changes)
    still = np.minimum(first, second) < STILL
    return np.where(still, 0.0, (changes[0] * changes[1]).sum(1) / np.where(still, 1.0, first * second))


def done(edited: Edited, correct: Sequence[np.ndarray], pictures: np.ndarray) -> np.ndarray:
    """Whether each edit is done (n,), as 0 and 1.

    An edit of a box: whether its inside is nearest to the target among all phrases; correct: that of every
    box, n arrays (k,). An edit of the whole picture: whether CLIP finds it nearer to the prompt after the
    edit than to the one before; pictures: (n, d) features.
    """
    near = (alignment.similarity(pictures, text) for text in (edited.target, edited.source))
    nearer = np.greater(*near).astype(float)
    pairs = enumerate(zip(edited.boxes, correct, strict=True))
    return np.array([nearer[i] if box is None else own[box] for i, (box, own) in pairs])


def spared(edited: Edited, correct: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Whether each box that is not edited is nearest to its own phrase: n arrays (k,), NaN for the edited."""
    pairs = zip(edited.boxes, correct, strict=True)
    return tuple(
        np.where(np.arange(len(own)) == (-1 if box is None else box), np.nan, own) for box, own in pairs
    )
