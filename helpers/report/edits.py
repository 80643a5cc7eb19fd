"""Edits: their arms, controls and table, and the answer to which method does what was asked."""

from collections.abc import Sequence

from IPython.display import HTML, display

from helpers.captioning import edits
from helpers.parameters import ParameterError
from helpers.report import charts, claims, edit_curves, gallery, tables
from helpers.report.comparisons import HIGHER, Comparison, given
from helpers.report.edit_curves import ALIKE, DONE, KEPT
from helpers.runs.arms import Arm
from helpers.runs.external import is_own, whole
from helpers.runs.protocol import at
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring import scores
from helpers.scoring.metrics import EDITS

CONTROLS = {  # part of a control's name -> its display name
    "untouched": "the photo as it is",
    "exact": "the exact target",
    "coded": "the photo through the autoencoder",
}
SHOWN = 3  # scenes in the report


def arms(
    run: Run,
    name: str,
    guidance_scale: float,
    pseudo_guidances: Sequence[float] = (1.0,),
    image_guidances: Sequence[float] = (1.5, 2.2),
    strengths: Sequence[float] = (0.6,),
) -> list[str]:
    """Every editor, and GLIGEN with text, on an edit set. GLIGEN inpainting where each edit has a box.

    pseudo_guidances: of TurboEdit with boxes; image_guidances: of InstructPix2Pix; strengths: of SDEdit.
    """
    with_boxes = ({"pseudo_guidance": value} for value in pseudo_guidances)
    made = [Arm(name, "turboedit"), *(Arm(name, "turboedit_text", knobs=knobs) for knobs in with_boxes)]
    by_photo = ({"image_guidance": value} for value in image_guidances)
    made += [Arm(name, "ip2p", guidance_scale, knobs=knobs) for knobs in by_photo]
    made += [Arm(name, "sdedit", guidance_scale, knobs={"strength": value}) for value in strengths]
    rows = edits.read(run, name).values()
    made += [Arm(name, "inpaint", guidance_scale)] * all(row.box is not None for row in rows)
    return [arm.name for arm in (*made, Arm(name, "text", guidance_scale))]


def controls(run: Run, name: str) -> list[str]:
    """Arms that show what an edit set can be worth, their pictures written where they are not there yet.

    Untouched photos, those through the autoencoder, and exact targets where the data set has them for every
    photo (edits/<name>/<image>). Returns their names. Raises ParameterError where some photos have no target.
    """
    folder = at(run.card["protocol"]["dataset"]) / "edits" / name
    sources = {
        "untouched": {scene.name: scene.path for scene in run.scenes},
        "exact": {scene.name: folder / scene.image for scene in run.scenes},
        "coded": {scene.name: run.picture(scores.ROUND_TRIP, scene) for scene in run.scenes},
    }
    made, protocol = [], run.card["protocol"]
    for part, paths in sources.items():
        absent = [path for path in paths.values() if not path.is_file()]
        if part == "exact" and absent and folder.is_dir():
            raise ParameterError(f"{absent[0]}: no exact target; give one for each photo, or none")
        if absent:
            continue
        made.append(f"{name}-{part}")
        how = "squash" if part == "coded" else protocol["fit"]
        for scene in run.missing(made[-1], run.scenes):
            picture = images.fit(images.load(paths[scene.name]), protocol["size"], how)
            images.save(picture, run.picture(made[-1], scene), {"arm": made[-1]})
    return made


def compare(run: Run, name: str) -> Comparison:
    """The whole arms of an edit set, beside its controls, by what changed and what did not."""
    own = [Arm.parse(arm) for arm in whole(run) if is_own(arm) and Arm.parse(arm).template == name]
    known = scores.metrics_of(run)
    metrics = {metric: HIGHER for metric, one in known.items() if one.group == EDITS}
    there = set(run.arms())
    beside_them = {f"{name}-{part}": said for part, said in CONTROLS.items() if f"{name}-{part}" in there}
    caption = f"Edit set “{name}”.{given(own)}"
    names = {arm.name: arm.title for arm in own}
    costs = {arm: cost for arm in names if (cost := run.costs(arm))}
    return Comparison(names, metrics, caption, controls=beside_them, costs=costs)


def there(run: Run) -> list[str]:
    """The edit sets of which the run has scores."""
    sets = sorted(path.stem for path in run.folder.glob("edits/*.jsonl"))
    return [name for name in sets if compare(run, name).names]


def show(run: Run) -> HTML | None:
    """Answer, table and chart of every edit set of the run; how to make one where there is none."""
    for name in (sets := there(run)):
        comparison = compare(run, name)
        chart = charts.as_svg(
            edit_curves.done_over_kept(run, comparison), f"Edits “{name}”: done over kept, per method"
        )
        everything = run.scores([*comparison.names, *comparison.controls])
        names = {**comparison.names, **comparison.controls}
        names.pop(f"{name}-untouched", None)  # the photo stands first in each row
        pictures = gallery.compare(run, run.scenes[:SHOWN], names)
        display(answers(run, name), pictures, tables.score_table(everything, comparison), chart)
    line = "No edits were made in this run: make edit RUN=… draws those of the data set, or EDITS=night."
    return None if sets else HTML(f"<p>{line}</p>")


def answers(run: Run, name: str) -> HTML:
    """Which method does what was asked most often, and what each pair differs in, done and kept."""
    names = compare(run, name).names
    judged = set(run.scores(names).dropna(subset="value").metric)
    told = [metric for metric in (DONE, KEPT, ALIKE) if metric in judged]
    grounds = [line for metric in told for line in claims.differences(run, metric, names)]
    grounds += edit_curves.at_equal_kept(run, names)
    question, short = "Which edit changes what was asked and nothing else?", claims.best(run, DONE, names)
    carried = claims.carried(run, DONE, names)
    return tables.piece("answers", [tables.Answer(question, short, tuple(grounds), "", *carried)])
