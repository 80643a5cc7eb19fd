"""Detectors trained on photos, on made pictures and on both, at equal steps, tested on photos no arm saw."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from helpers.parameters import ParameterError
from helpers.report import comparisons, qualification, training_effect
from helpers.runs.arms import Arm, check
from helpers.runs.external import whole
from helpers.runs.layouts import arm_layouts
from helpers.runs.protocol import at, spelling
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene, checksum, fitted, read_scenes
from helpers.scoring.adherence import average_precision
from helpers.scoring.intervals import ratio_left_out

if TYPE_CHECKING:
    from helpers.scoring.training import Example

FEWEST = 3  # pictures to train with, and photos to test on
PART = 64  # test photos that are in memory at a time
CLASSIFIER = 0.5  # of the steps: what the classifier gets, which is sooner done


@dataclass(frozen=True, eq=False)
class Material:
    """What detectors are trained with and tested on. test: scenes, fitted as the pictures are."""

    photos: Sequence["Example"]
    pictures: Sequence["Example"]
    test: Sequence[Scene]
    labels: Sequence[str]
    protocol: Mapping[str, object]


def study(
    run: Run,
    arms: Sequence[str],
    test: str,
    shares: Sequence[float],
    seeds: int,
    steps: int,
    batch_size: int = 16,
    checkpoint: str = "",
    qualified: bool = True,
    progress: Callable[[list], object] = list,
) -> pd.DataFrame:
    """Train for every share of made pictures and every seed, score on the test photos, write training.json.

    arms: which give pictures; none for all with text grounding of the chosen template. test: another data
    set's folder. qualified: take only pictures whose boxes hold what was asked for. checkpoint: a detector of
    transformers to fine-tune, or "" for a small one from nothing. What a stopped study has trained is kept.
    Returns `training_effect.table`. Raises ParameterError for what cannot be right.
    """
    run.require_photos("a study of detectors")
    _check(shares, seeds, steps, batch_size)
    protocol, template = run.card["protocol"], Arm.parse(comparisons.main_arm(run)).template
    text = [one for one in comparisons.own_arms(run) if (one.template, one.grounding) == (template, "text")]
    arms = [*arms] or [arm.name for arm in text]
    labels = sorted({label for scene in run.scenes for label in scene.labels})
    photos = [_photo(fitted(scene, protocol), protocol) for scene in run.scenes]
    pictures, unseen = _pictures(run, arms, qualified), _unseen(run, test, labels)
    material = Material(photos, pictures, unseen, labels, protocol)
    settings = {
        "arms": arms,
        "test": spelling(test),
        "test_checksum": checksum(unseen),
        "shares": list(shares),
        "seeds": list(range(seeds)),
        "steps": steps,
        "batch_size": batch_size,
        "checkpoint": checkpoint,
        "qualified": qualified,
        "dataset_checksum": protocol.get("dataset_checksum"),
    }
    settings |= {"test_photos": len(unseen), "photos": len(photos), "pictures": len(pictures)}
    before = run.read_json(training_effect.FILE) if run.has(training_effect.FILE) else {}
    rows = before["trainings"] if before.get("settings") == settings else []
    done = {(row["share"], row["seed"]) for row in rows}
    for share, seed in progress([(share, seed) for seed in range(seeds) for share in shares]):
        if (share, seed) not in done:
            rows.append({"share": share, "seed": seed, **_train(material, settings, share, seed)})
            run.write_json(training_effect.FILE, {"settings": settings, "trainings": rows})
    return training_effect.table(run)


def _train(material: Material, settings: dict, share: float, seed: int) -> dict:
    """AP, AP50 and CAS on the test photos, each with its values without photo i."""
    from helpers.scoring import finetuning, training

    def batches(steps: int) -> tuple:
        both = material.photos, material.pictures
        mixed = training.mixed_batches(*both, share, settings["batch_size"], steps, seed)
        return mixed, material.labels, steps, seed

    finetune = partial(finetuning.finetune, settings["checkpoint"])
    train = finetune if settings["checkpoint"] else training.train_detector
    detect = train(*batches(settings["steps"]))
    judge = training.train_classifier(*batches(max(int(settings["steps"] * CLASSIFIER), 1)))
    found, right = [], []
    for start in range(0, len(material.test), PART):
        part = [_photo(scene, material.protocol) for scene in material.test[start : start + PART]]
        found += detect([one.image for one in part])
        right += judge(part)
    over = average_precision(material.test, found).over
    named = ratio_left_out([one.sum() for one in right], [len(one) for one in right])
    found = {"AP": over["AP"], "AP50": over["AP50"], "CAS": named}
    values = {name: float(value) for name, (value, _) in found.items()}
    return {**values, "left_out": {name: left_out for name, (_, left_out) in found.items()}}


def _check(shares: Sequence[float], seeds: int, steps: int, batch_size: int) -> None:
    check(batch_size=batch_size)
    problems = []
    if 0.0 not in shares or len(set(shares)) < 2 or not all(0 <= share <= 1 for share in shares):
        problems.append(f"shares = {list(shares)!r}: give shares from 0 to 1, 0 and another at least")
    if seeds < 2:
        problems.append(f"seeds = {seeds!r}: give 2 at least; one says nothing about how much they differ")
    if steps < 1:
        problems.append(f"steps = {steps!r}: give a whole number from 1")
    if problems:
        raise ParameterError("\n".join(problems))


def _photo(scene: Scene, protocol: Mapping) -> "Example":
    """A photo, fitted as the pictures are, with its boxes. scene: after `fitted`."""
    from helpers.scoring.training import Example

    picture = images.fit(scene.photo(), protocol["size"], protocol["fit"])
    return Example(picture, scene.boxes, scene.labels)


def _pictures(run: Run, arms: Sequence[str], qualified: bool) -> list["Example"]:
    from helpers.scoring.training import Example

    there = whole(run)
    if absent := sorted(set(arms) - set(there)):
        raise ParameterError(f"arms = {absent!r}: not whole in {run.folder}; there are {', '.join(there)}")
    table = qualification.qualifying(run, arms) if qualified else qualification.every(run, arms)
    layouts = {(arm, scene.name): scene for arm in arms for scene in arm_layouts(run, arm, run.scenes)}
    named = zip(table.arm[table.qualifies], table.scene[table.qualifies], strict=True)
    chosen = [one for one in named if len(layouts[one].boxes)]
    if len(chosen) < FEWEST:
        raise ParameterError(
            f"arms = {list(arms)!r}: {len(chosen)} pictures qualify, and {FEWEST} are needed; name more "
            "arms, draw more (make sweep), or set qualified = False to take all"
        )
    return [
        Example(images.load(run.picture(*one)), layouts[one].boxes, layouts[one].labels) for one in chosen
    ]


def _unseen(run: Run, test: str, labels: Sequence[str]) -> list[Scene]:
    """The test scenes, with the labels that the run knows. Raises ParameterError for a photo of the run."""
    if not test:
        raise ParameterError("test_dataset = '': name a folder with photos that no arm saw, and their boxes")
    scenes, known = read_scenes(at(test)), {scene.content: scene.name for scene in run.scenes}
    if seen := next((scene for scene in scenes if scene.content in known), None):
        text = f"photo {seen.name!r} is {known[seen.content]!r} of the run, which arms have seen"
        raise ParameterError(f"test_dataset = {test!r}: {text}; give other photos")
    new = [_with_labels(fitted(scene, run.card["protocol"]), labels) for scene in scenes]
    new = [scene for scene in new if len(scene.boxes)]
    if len(new) < FEWEST:
        text = f"{len(new)} photos with boxes of the run's labels ({', '.join(labels)}); {FEWEST} are needed"
        raise ParameterError(f"test_dataset = {test!r}: {text}")
    if strange := sorted({label for scene in scenes for label in scene.labels} - set(labels)):
        print(f"labels that the run's photos do not have, left out of the test: {', '.join(strange)}")
    return new


def _with_labels(scene: Scene, labels: Sequence[str]) -> Scene:
    kept = [index for index, label in enumerate(scene.labels) if label in labels]
    texts = {name: tuple(getattr(scene, name)[index] for index in kept) for name in ("labels", "phrases")}
    return replace(scene, boxes=scene.boxes[kept], numbers=(), **texts)
