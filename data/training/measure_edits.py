"""`python -m data.training.measure_edits`: editors of the demo against their bars, on validation scenes.

Knobs were chosen on the 48 photos of the demo. Prompts are the reference captions; pictures and scores are
made by the code that notebook 07 uses.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from data.training.measure import DEMO, Row, of, start
from data.training.photos import write_edits
from data.training.world import KINDS
from helpers.captioning import edits, prompts
from helpers.generation import draw as generation
from helpers.report.edits import controls
from helpers.runs.arms import Arm, own_arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene
from helpers.scoring import intervals, scores
from helpers.scoring.judges import Judges

DONE, KEPT, SPARED = "edit done", "kept outside (dB)", "others spared"
GUIDANCE = 2.0  # of InstructPix2Pix
KNOBS = (1.0, 1.5, 2.2)  # image_guidance


def editor(name: str, image_guidance: float = 1.5, guidance: float = GUIDANCE) -> str:
    """The arm of InstructPix2Pix on an edit set."""
    return Arm(name, "ip2p", guidance, knobs={"image_guidance": image_guidance}).name


def prepare(run: Run, name: str, judges: Judges, rows: Mapping[str, edits.Edit] | None = None) -> None:
    """The prompts of an edit set; rows: those of another one under that name."""
    captions = {scene.name: scene.caption for scene in run.scenes}
    made = edits.make(run.scenes, captions, rows or edits.read(run, name), judges.clip.processor.tokenizer)
    prompts.keep(run, name, made, "edits")


def scored(run: Run, names: list[str], judges: Judges) -> pd.DataFrame:
    """The scores of arms, drawn where they are not there yet."""
    generation.draw(run, [name for name in names if own_arm(name)])
    return scores.score(run, run.scenes, names, judges)


def of_editor(table: pd.DataFrame, title: str, arm: str, bars: Mapping[str, float]) -> Iterator[Row]:
    """What an arm does, keeps and spares."""
    for metric, bar in bars.items():
        yield Row(title, metric, of(table, arm, metric), bar)


def of_instructions(run: Run, judges: Judges) -> Iterator[Row]:
    """InstructPix2Pix without guidance by the instruction, and with one about a thing that is not there."""
    true = edits.read(run, "recolour")
    absent = {scene.name: next(kind for kind in KINDS if kind not in scene.labels) for scene in run.scenes}
    wrong = {name: wrong_instruction(edit, absent[name]) for name, edit in true.items()}
    prepare(run, "wrong", judges, wrong)
    arms = editor("recolour"), editor("wrong"), editor("recolour", guidance=0)
    generation.draw(run, arms)
    changes = {arm: np.array([changed(run, arm, scene) for scene in run.scenes]) for arm in arms}
    share = intervals.jackknife(*intervals.ratio_left_out(changes[arms[1]], changes[arms[0]]))
    yield Row("InstructPix2Pix", "change by a wrong instruction / by the right one", share, 0.5, at_most=True)
    back = [psnr(run, arms[2], scene) for scene in run.scenes]
    back = intervals.mean(np.array(back))
    yield Row("InstructPix2Pix", "guidance_scale 0 gives the photo back, dB", back, 26)


def wrong_instruction(edit: edits.Edit, kind: str) -> edits.Edit:
    """The edit, but told of a kind that is not there."""
    part = "vest" if kind == "worker" else kind
    colour = edit.instruction.split()[-1]
    return edits.Edit(edit.box, edit.source, edit.target, f"make the {part} {colour}")


def changed(run: Run, arm: str, scene: Scene) -> float:
    """Mean absolute difference of a picture to the photo through the autoencoder, in levels of 255."""
    pair = images.load(run.picture(arm, scene)), images.load(run.picture(scores.ROUND_TRIP, scene))
    return float(np.abs(np.subtract(*images.to_array(pair).astype(float))).mean())


def psnr(run: Run, arm: str, scene: Scene) -> float:
    """Of a picture to the photo, in dB."""
    pair = images.to_array((images.load(run.picture(arm, scene)), scene.photo())).astype(float)
    return 10 * np.log10(255**2 / np.square(pair[0] - pair[1]).mean())


def rows(run: Run, judges: Judges) -> Iterator[Row]:
    """Every bar of every editor."""
    for name in ("recolour", "place"):
        prepare(run, name, judges)
    generation.draw_round_trip(run)
    knobs = {value: editor("recolour", value) for value in KNOBS}
    turbo = Arm("recolour", "turboedit_text", knobs={"pseudo_guidance": 1.0}).name
    plain = Arm("recolour", "turboedit").name
    table = scored(run, [*controls(run, "recolour"), turbo, plain, *knobs.values()], judges)
    untouched = of(table, "recolour-untouched", DONE)
    yield Row("control", "edit done, untouched photo", untouched, 0.05, at_most=True)
    yield Row("control", "edit done, exact target", of(table, "recolour-exact", DONE))
    yield from of_editor(table, "TurboEdit with boxes", turbo, {DONE: 0.7, KEPT: 22, SPARED: 0.85})
    yield from of_editor(table, "TurboEdit", plain, {DONE: 0.4})
    yield from of_editor(table, "InstructPix2Pix", knobs[1.5], {DONE: 0.8, KEPT: 24, SPARED: 0.9})
    for value, arm in knobs.items():
        yield Row("InstructPix2Pix", f"kept outside (dB), image_guidance {value:g}", of(table, arm, KEPT))
    place = editor("place")
    table = scored(run, [*controls(run, "place"), place], judges)
    yield Row("InstructPix2Pix", "place edit recognised", of(table, place, DONE), 0.9)
    yield from of_instructions(run, judges)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=256, help="validation scenes")
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), help="photos and run")
    given = parser.parse_args(arguments)
    judges = scores.Judges(DEMO)
    run = start(given.work, given.scenes, judges)
    write_edits(given.work / f"photos-{given.scenes}", given.scenes, "validation")
    print("| part | measure | bar | value | 95 % | n | held |\n|---|---|---|---|---|---|---|")
    for row in rows(run, judges):
        print(row, flush=True)


if __name__ == "__main__":
    main()
