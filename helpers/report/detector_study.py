"""Detectors trained on photos, on made pictures and on both, at equal steps, tested on photos no arm saw."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from helpers.parameters import ParameterError
from helpers.report import comparisons, qualification, training_effect
from helpers.runs.arms import Arm, check
from helpers.runs.external import whole
from helpers.runs.layouts import asked
from helpers.runs.protocol import at, spelled
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene, checksum, fitted, read_scenes
from helpers.scoring.adherence import average_precision
from helpers.scoring.intervals import ratio_left_out

if TYPE_CHECKING:
    from helpers.scoring.training import Example

FEWEST = 3  # pictures to train with, and photos to test on
PART = 64  # test photos that are in memory at a time
CROPS = 0.5  # of the steps: what the classifier gets, which is sooner done


@dataclass(frozen=True, eq=False)
class Material:
    """What detectors are trained with and tested on. test: scenes, fitted as the pictures are."""

    photos: Sequence["Example"]
    pictures: Sequence["Example"]
    test: Sequence[Scene]
    labels: Sequence[str]
    protocol: Mapping[str, object]

    def test_parts(self) -> Iterator[list["Example"]]:
        """The test photos with their boxes, PART at a time."""
        for start in range(0, len(self.test), PART):
            yield [_photo(scene, self.protocol) for scene in self.test[start : start + PART]]


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
    _check(shares, seeds, steps, batch_size)
    arms = [*arms] or _text_arms(run)
    labels = sorted({label for scene in run.scenes for label in scene.labels})
    material = Material(
        photos=[_photo(fitted(scene, run.card["protocol"]), run.card["protocol"]) for scene in run.scenes],
        pictures=_pictures(run, arms, qualified),
        test=_unseen(run, test, labels),
        labels=labels,
        protocol=run.card["protocol"],
    )
    settings = {
        "arms": arms,
        "test": spelled(test),
        "test_checksum": checksum(material.test),
        "shares": list(shares),
    }
    settings |= {
        "seeds": list(range(seeds)),
        "steps": steps,
        "batch_size": batch_size,
        "checkpoint": checkpoint,
    }
    settings |= {"qualified": qualified, "photos": len(material.photos), "pictures": len(material.pictures)}
    settings |= {
        "test_photos": len(material.test),
        "dataset_checksum": run.card["protocol"].get("dataset_checksum"),
    }
    rows = _known(run, settings)
    done = {(row["share"], row["seed"]) for row in rows}
    for share, seed in progress([(share, seed) for seed in range(seeds) for share in shares]):
        if (share, seed) not in done:
            rows.append({"share": share, "seed": seed, **_train(material, settings, share, seed)})
            run.write_json(training_effect.FILE, {"settings": settings, "trainings": rows})
    return training_effect.table(run)


def _train(material: "Material", settings: dict, share: float, seed: int) -> dict:
    """AP, AP50 and CAS on the test photos, each with its values without photo i."""
    from helpers.scoring import finetuning, training

    steps, size, labels = settings["steps"], settings["batch_size"], material.labels
    batches = training.mixed(material.photos, material.pictures, share, size, steps, seed)
    if settings["checkpoint"]:
        detect = finetuning.finetune(settings["checkpoint"], batches, labels, steps, seed)
    else:
        detect = training.train_detector(batches, labels, steps, seed)
    fewer = max(int(steps * CROPS), 1)
    batches = training.mixed(material.photos, material.pictures, share, size, fewer, seed)
    judge = training.train_classifier(batches, labels, fewer, seed)
    found, right = [], []
    for part in material.test_parts():
        found += detect([one.image for one in part])
        right += judge(part)
    over = average_precision(material.test, found).over
    named = ratio_left_out([one.sum() for one in right], [len(one) for one in right])
    rows = {"AP": over["AP"], "AP50": over["AP50"], "CAS": named}
    values = {name: float(value) for name, (value, _) in rows.items()}
    return {**values, "left_out": {name: left_out for name, (_, left_out) in rows.items()}}


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


def _text_arms(run: Run) -> list[str]:
    template = Arm.parse(comparisons.main_arm(run)).template
    return [
        arm.name for arm in comparisons.own_arms(run) if (arm.template, arm.grounding) == (template, "text")
    ]


def _photo(asked: Scene, protocol: Mapping) -> "Example":
    """A photo, fitted as the pictures are, with its boxes. asked: the scene after `fitted`."""
    from helpers.scoring.training import Example

    picture, _, _ = images.fit(asked.photo(), asked.boxes, protocol["size"], protocol["fit"])
    return Example(picture, asked.boxes, asked.labels)


def _pictures(run: Run, arms: Sequence[str], qualified: bool) -> list["Example"]:
    from helpers.scoring.training import Example

    if absent := sorted(set(arms) - set(whole(run))):
        raise ParameterError(
            f"arms = {absent!r}: not whole in {run.folder}; there are {', '.join(whole(run))}"
        )
    table = qualification.qualifying(run, arms) if qualified else qualification.every(run, arms)
    layouts = {(arm, scene.name): scene for arm in arms for scene in asked(run, arm, run.scenes)}
    taken = [row for row in table[table.qualifies].itertuples() if len(layouts[row.arm, row.scene].boxes)]
    if len(taken) < FEWEST:
        raise ParameterError(
            f"arms = {list(arms)!r}: {len(taken)} pictures qualify, and {FEWEST} are needed; name more arms, "
            "draw more (make sweep), or set qualified = False to take all"
        )
    pairs = [(images.load(run.picture(row.arm, row.scene)), layouts[row.arm, row.scene]) for row in taken]
    return [Example(picture, scene.boxes, scene.labels) for picture, scene in pairs]


def _unseen(run: Run, test: str, labels: Sequence[str]) -> list[Scene]:
    """The test scenes, with the labels that the run knows. Raises ParameterError for a photo of the run."""
    if not test:
        raise ParameterError("test_dataset = '': name a folder with photos that no arm saw, and their boxes")
    scenes, known = read_scenes(at(test)), {scene.content: scene.name for scene in run.scenes}
    if seen := next((scene for scene in scenes if scene.content in known), None):
        said = f"photo {seen.name!r} is {known[seen.content]!r} of the run, which arms have seen"
        raise ParameterError(f"test_dataset = {test!r}: {said}; give other photos")
    new = [_known_labels(fitted(scene, run.card["protocol"]), labels) for scene in scenes]
    new = [scene for scene in new if len(scene.boxes)]
    if len(new) < FEWEST:
        said = f"{len(new)} photos with boxes of the run's labels ({', '.join(labels)}); {FEWEST} are needed"
        raise ParameterError(f"test_dataset = {test!r}: {said}")
    strange = sorted({label for scene in scenes for label in scene.labels} - set(labels))
    if strange:
        print(f"labels that the run's photos do not have, left out of the test: {', '.join(strange)}")
    return new


def _known_labels(scene: Scene, labels: Sequence[str]) -> Scene:
    kept = [index for index, label in enumerate(scene.labels) if label in labels]
    named = {name: tuple(getattr(scene, name)[index] for index in kept) for name in ("labels", "phrases")}
    return replace(scene, boxes=scene.boxes[kept], **named)


def _known(run: Run, settings: dict) -> list[dict]:
    """What was trained before with the same settings."""
    before = run.read_json(training_effect.FILE) if run.has(training_effect.FILE) else {}
    return before["trainings"] if before.get("settings") == settings else []
