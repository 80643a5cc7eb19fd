"""Edits: their arms, controls, table and chart, and the answer to which method does what was asked."""

from collections.abc import Mapping, Sequence

import matplotlib
from IPython.display import HTML, display
from matplotlib.figure import Figure

from helpers.captioning import edits
from helpers.parameters import ParameterError
from helpers.report import charts, claims, gallery, tables
from helpers.report.comparisons import HIGHER, Comparison, given
from helpers.runs.arms import Arm
from helpers.runs.external import is_own, whole
from helpers.runs.methods import METHODS
from helpers.runs.protocol import at
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring import scores, trade_offs
from helpers.scoring.intervals import TooFew
from helpers.scoring.metrics import EDITS

DONE, KEPT, ALIKE = "edit done", "kept outside (dB)", "CLIP image"
CONTROLS = {  # part of a control's name -> its display name
    "untouched": "the photo as it is",
    "exact": "the exact target",
    "coded": "the photo through the autoencoder",
}
SHOWN = 3  # scenes in the report
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "o^sXvP"  # the second sign


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
    made = [Arm(name, "turboedit")]
    made += [Arm(name, "turboedit_text", knobs={"pseudo_guidance": value}) for value in pseudo_guidances]
    made += [Arm(name, "ip2p", guidance_scale, knobs={"image_guidance": value}) for value in image_guidances]
    made += [Arm(name, "sdedit", guidance_scale, knobs={"strength": value}) for value in strengths]
    rows = edits.read(run, name).values()
    made += [Arm(name, "inpaint", guidance_scale)] * all(row.box is not None for row in rows)
    return [arm.name for arm in (*made, Arm(name, "text", guidance_scale))]


def controls(run: Run, name: str) -> list[str]:
    """Arms that show what an edit set can be worth, their pictures written where they are not there yet.

    Untouched photos, those through the autoencoder, and exact targets where the data set has them for every
    photo (edits/<name>/<image>). Returns their names. Raises ParameterError where some photos have no target.
    """
    made, protocol = [], run.card["protocol"]
    folder = at(protocol["dataset"]) / "edits" / name
    sources = {
        "untouched": {scene.name: scene.path for scene in run.scenes},
        "exact": {scene.name: folder / scene.image for scene in run.scenes},
        "coded": {scene.name: run.picture(scores.ROUND_TRIP, scene) for scene in run.scenes},
    }
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
    metrics = {metric: HIGHER for metric, one in scores.metrics_of(run).items() if one.group == EDITS}
    there, names = set(run.arms()), {arm.name: arm.title for arm in own}
    beside = {arm: said for part, said in CONTROLS.items() if (arm := f"{name}-{part}") in there}
    costs = {arm: cost for arm in names if (cost := run.costs(arm))}
    return Comparison(names, metrics, f"Edit set “{name}”.{given(own)}", controls=beside, costs=costs)


def show(run: Run) -> HTML | None:
    """Answer, table and chart of every edit set of the run; how to make one where there is none."""
    sets = {
        name: compare(run, name) for name in sorted(path.stem for path in run.folder.glob("edits/*.jsonl"))
    }
    sets = {name: comparison for name, comparison in sets.items() if comparison.names}
    for name, comparison in sets.items():
        chart = charts.as_svg(done_over_kept(run, comparison), f"Edits “{name}”: done over kept, per method")
        names = {**comparison.names, **comparison.controls}
        table = tables.score_table(run.scores(names), comparison)
        names.pop(f"{name}-untouched", None)  # the photo stands first in each row
        display(answers(run, name), gallery.compare(run, run.scenes[:SHOWN], names), table, chart)
    line = "No edits were made in this run: make edit RUN=… draws those of the data set, or EDITS=night."
    return None if sets else HTML(f"<p>{line}</p>")


def answers(run: Run, name: str) -> HTML:
    """Which method does what was asked most often, and what each pair differs in, done and kept."""
    names = compare(run, name).names
    judged = _judged(run, names)
    told = [metric for metric in (DONE, KEPT, ALIKE) if metric in judged]
    grounds = [line for metric in told for line in claims.differences(run, metric, names)]
    grounds += at_equal_kept(run, names)
    question = "Which edit changes what was asked and nothing else?"
    short, found = claims.best(run, DONE, names)
    return tables.piece("answers", [tables.Answer(question, short, tuple(grounds), "", *found)])


def at_equal_kept(run: Run, names: Mapping[str, str]) -> list[str]:
    """Who does more edits where both keep equally much: a sentence per pair of editors that overlap."""
    judged, curves = _judged(run, names), {}
    for method, arm in ((METHODS[Arm.parse(arm).grounding], arm) for arm in names):
        if method.is_edit:
            curves.setdefault(method.title, []).append(arm)
    kept = _kept(judged)
    if not {kept, DONE} <= judged:
        return []
    try:
        rows = trade_offs.compare(run, DONE, kept, curves).to_dict("records")
    except TooFew:  # said of the comparisons of single arms already
        return []
    unit = "dB kept outside" if kept == KEPT else kept
    if len(curves) > 1 and not rows:
        return [
            f"No two editors keep equally much ({unit}) at these settings, so none compare there; "
            "make sweep TEMPLATE=… GROUNDING=… KNOB=… draws more."
        ]
    shown = {title: title for title in curves}
    return [f"At {row['at']:.3g} {unit}: {claims.worded(run, row, shown)}" for row in rows]


def done_over_kept(run: Run, comparison: Comparison) -> Figure:
    """What is done over what is kept: a line per method over its knob, the controls as marks.

    Methods compare where they keep equally much: doing nothing keeps everything. Where edits have no box,
    CLIP image, how near the picture is to the photo, stands for what is kept.
    """
    kept = _kept(_judged(run, comparison.names))
    values = run.scores([*comparison.names, *comparison.controls]).dropna(subset="value")
    done, there = (values[values.metric == metric].set_index("arm") for metric in (DONE, kept))
    points = done.merge(there, left_index=True, right_index=True, suffixes=("", "_kept"))
    with matplotlib.rc_context(charts.STYLE):
        page = Figure(figsize=(7.4, 4.9), layout="constrained")
        axes = page.subplots()
        own = points[points.index.isin(comparison.names)]
        for place, (method, rows) in enumerate(own.groupby("grounding", sort=False)):
            rows = rows.sort_values("value_kept")
            reach = [
                charts.reach(rows[f"value{x}"], rows[f"low{x}"], rows[f"high{x}"]) for x in ("", "_kept")
            ]
            style = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place % len(MARKERS)]}
            style |= {"linestyle": ":", "linewidth": 0.8, "label": METHODS[method].title}
            axes.errorbar(rows.value_kept, rows.value, *reach, **style)
        for arm, said in comparison.controls.items():
            if arm in points.index:
                point = points.value_kept[arm], points.value[arm]
                axes.plot(*point, "D", color=charts.INK, markerfacecolor="none")
                axes.annotate(said, point, (7, -3), textcoords="offset points", fontsize=9)
        axes.set(xlabel=f"{kept}, {HIGHER}", ylabel=f"{DONE}, {HIGHER}")
        page.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    return page


def _judged(run: Run, names: Mapping[str, str]) -> set[str]:
    """The metrics of which one of those arms has a value."""
    return set(run.scores(names).dropna(subset="value").metric)


def _kept(judged: set[str]) -> str:
    """What stands for keeping the photo: PSNR outside the edited boxes, or, of edits of whole pictures, CLIP
    image."""
    return KEPT if KEPT in judged else ALIKE
