"""The cheapest setting that is not worse than a run's own: scheduler, steps and interval of guidance."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from inspect import signature

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.generation.draw import draw, request
from helpers.generation.methods import loader
from helpers.models.sets import model_set
from helpers.report import charts
from helpers.report.comparisons import FOUND, HIGHER, LOWER, grounding_arms, main_arm, realism
from helpers.runs.arms import SCHEDULERS, Arm
from helpers.runs.protocol import protocol
from helpers.runs.run import Run
from helpers.scoring import scores, verdicts
from helpers.scoring.judges import Judges

STEPS = (0.75, 0.5, 0.4, 0.3, 0.2)  # of the run's own number, the costliest first
SHARES = (0.8, 0.6, 0.4, 0.2)  # of the steps that have guidance
MARKS = dict(zip(SCHEDULERS, ("o", "s", "^", "D"), strict=True))


def subset(run: Run, scenes: int) -> Run:
    """A run of so many scenes of a run, in a folder of its own there: same protocol, prompts and choices."""
    known = run.card["protocol"]
    selection = known.get("selection", {})
    if "limit" not in selection and scenes < len(run.scenes):
        selection = selection | {"limit": scenes}
    settings = {name: known[name] for name in signature(protocol).parameters if name in known}
    part = Run.open(run.folder / "09_cost" / str(scenes), **protocol(**settings | {"selection": selection}))
    names = {scene.name for scene in part.scenes}
    for name in [f"prompts/{path.name}" for path in run.folder.glob("prompts/*.jsonl")]:
        part.write_jsonl(name, [row for row in run.read_jsonl(name) if row["scene"] in names])
    for name in [f"choices/{path.name}" for path in run.folder.glob("choices/*.json")]:
        part.write_json(name, run.read_json(name))
    return part


def search(run: Run, judges: Judges, progress: bool = True) -> list[str]:
    """Draw and score settings, and return the names of their arms, the reference first.

    Each scheduler with fewer and fewer steps until one is not shown to be not worse, which ends that series;
    then the cheapest setting that held, with guidance in fewer and fewer steps. In such a fixed order no
    correction is needed within a series.
    """
    reference = Arm.parse(main_arm(run))
    tried, holding = [reference.name], list(SCHEDULERS)
    _make(run, [reference.name, grounding_arms(run)[0]], judges, progress)
    most = run.card["protocol"]["steps"]
    counts = dict.fromkeys(max(1, round(share * most)) for share in STEPS)
    for steps in (count for count in counts if count < most):
        due = {one: replace(reference, steps=steps, scheduler=one).name for one in holding}
        _make(run, due.values(), judges, progress)
        tried += due.values()
        holding = [one for one, name in due.items() if holds(run, name)]
        if not holding:
            break
    best = Arm.parse(cheapest(run, tried))
    calls = guided = round(run.costs(best.name)[0] / 2)
    for share in SHARES if best.guidance_scale > 1 else ():
        if not 0 < round(share * calls) < guided:  # of few calls two shares may be the same
            continue
        guided, name = round(share * calls), replace(best, guidance_share=share).name
        _make(run, [name], judges, progress)
        tried.append(name)
        if not holds(run, name):
            break
    return tried


def _make(run: Run, names: Iterable[str], judges: Judges, progress: bool) -> None:
    draw(run, list(names), progress)
    scores.score(run, run.scenes, list(names), judges)


def holds(run: Run, name: str) -> bool:
    """Whether an arm is not worse than the run's own setting in realism nor in boxes found."""
    return all(not_worse(run, metric, name)["holds"] for metric in _metrics(run))


def not_worse(run: Run, metric: str, name: str) -> dict:
    """`verdicts.not_worse` of an arm against the run's own setting; by a margin of a tenth of what grounding
    changes. Where there can be no verdict it does not hold, and `reason` says why."""
    try:
        return verdicts.not_worse(run, metric, name, main_arm(run))
    except ValueError as error:  # too few photos, or nothing that grounding changes
        return {"holds": False, "bound": math.nan, "reason": str(error)}


def cheapest(run: Run, tried: Sequence[str]) -> str:
    """The arm with the fewest UNet rows per picture among the reference and those that hold; of several the
    one nearest to the photos."""
    kept, distance = [tried[0], *(name for name in tried[1:] if holds(run, name))], realism(run)
    return min(kept, key=lambda x: (run.costs(x)[0], scores.arm_scores(run, x).metrics[distance].value))


def table(run: Run, tried: Sequence[str]) -> pd.DataFrame:
    """One row per setting: setting, UNet rows, seconds, then per metric its value and by how much it is worse
    than the reference at most (one-sided 95 %), and whether it is not worse in both."""
    known, rows = run.scores(tried).set_index(["arm", "metric"]).value, []
    for name in tried:
        row = {"setting": setting(run, name)} | dict(
            zip(("UNet rows", "seconds"), run.costs(name), strict=True)
        )
        for metric in _metrics(run):
            bound = None if name == tried[0] else not_worse(run, metric, name)["bound"]
            row |= {metric: known.get((name, metric)), f"{metric}: at most worse by": bound}
        verdict = "yes" if holds(run, name) else "not shown"
        rows.append(row | {"not worse": "reference" if name == tried[0] else verdict})
    return pd.DataFrame(rows).sort_values("UNet rows", ascending=False, ignore_index=True)


def setting(run: Run, name: str) -> str:
    """Scheduler, steps and interval of guidance in words."""
    arm, own = Arm.parse(name), run.card["protocol"]
    part = "" if arm.guidance_share == 1 else f", guidance in {arm.guidance_share:.0%} of them"
    return f"{arm.scheduler or own['scheduler']}, {arm.steps or own['steps']} steps{part}"


def chart(run: Run, tried: Sequence[str]) -> Figure:
    """Realism and boxes found over UNet rows per picture, with intervals; hollow: guidance in a part only."""
    long = run.scores(tried).set_index(["metric", "arm"])
    with matplotlib.rc_context(charts.STYLE):
        page = Figure(figsize=(10.8, 3.9), layout="constrained")
        for axes, (metric, good) in zip(page.subplots(1, 2), _metrics(run).items(), strict=True):
            for name in tried:
                arm, row = Arm.parse(name), long.loc[(metric, name)]
                scheduler = arm.scheduler or run.card["protocol"]["scheduler"]
                style = {"color": f"C{SCHEDULERS.index(scheduler)}", "marker": MARKS[scheduler]}
                style |= {"markerfacecolor": "none"} if arm.guidance_share < 1 else {}
                reach = np.clip([[row.value - row.low], [row.high - row.value]], 0, None)
                axes.errorbar(run.costs(name)[0], row.value, reach, elinewidth=1.2, label=scheduler, **style)
            axes.axhline(long.loc[(metric, tried[0])].value, color=charts.INK, linestyle=":", linewidth=0.9)
            axes.set(title=metric, xlabel="UNet rows per picture", ylabel=good)
        handles = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        page.legend(handles.values(), handles.keys(), frameon=False, loc="outside lower center", ncols=4)
    return page


def batches(run: Run, name: str) -> pd.DataFrame:
    """Seconds per picture of an arm by batch size, measured on up to as many of its scenes as memory holds.

    A picture is the same in every batch, so that nothing is scored, and none is kept.
    """
    from helpers.generation.generate import fitting, generate  # here: reading the others needs no torch
    from helpers.models.loading import release

    arm, own = Arm.parse(name), run.card["protocol"]
    prompts = run.prompts(arm.template).set_index("scene").prompt
    requests = [request(scene, prompts[scene.name], arm, own) for scene in run.scenes]
    parts, side = loader(arm.grounding, model_set(own["models"]), None)[1](), own["size"]
    options = {"scheduler": arm.scheduler or own["scheduler"], "height": side, "width": side}
    options |= {"progress": False}
    list(generate(parts, requests[:1], 1, **options))  # the first call is slower, and not timed
    most, rows = min(fitting(parts, (side, side)), len(requests)), []
    for size in sorted({min(2**power, most) for power in range(most.bit_length() + 1)}):
        began, some = time.perf_counter(), requests[: max(size, 4)]
        list(generate(parts, some, arm.steps or own["steps"], batch_size=size, **options))
        rows.append({"batch size": size, "seconds": (time.perf_counter() - began) / len(some)})
    release(parts)
    return pd.DataFrame(rows)


def conclusion(run: Run, tried: Sequence[str], run_folder: str, sizes: pd.DataFrame) -> dict:
    """What was found: arm, steps, scheduler, guidance_share and rows, a sentence, and the lines to paste.
    sizes: `batches` of the cheapest setting."""
    best, own, n = cheapest(run, tried), run.card["protocol"], len(run.scenes)
    arm, rows, most = Arm.parse(best), run.costs(best)[0], run.costs(tried[0])[0]
    found = {"arm": best, "scheduler": arm.scheduler or own["scheduler"], "steps": arm.steps or own["steps"]}
    found |= {"guidance_share": arm.guidance_share, "unet_rows": rows, "reference_rows": most}
    quick = sizes.loc[sizes.seconds.idxmin()]
    found["batch_size"] = int(quick["batch size"])
    fast = (
        f" Batches change seconds alone: {quick.seconds:.2g} per picture in batches of "
        f"{found['batch_size']}, {sizes.seconds[0]:.2g} one by one."
    )
    if best == tried[0]:
        last = [not_worse(run, metric, tried[-1]) for metric in _metrics(run)]
        why = sorted({one["reason"] for one in last if "reason" in one})
        more = "; ".join(why) or f"more of them may show it: --scenes {2 * n}"
        said = (
            f"No cheaper setting was shown to be not worse than {setting(run, best)}, N = {n} photos; {more}."
        )
        return found | {"sentence": said + fast, "lines": []}
    worse = " and in ".join(
        f"{metric} (by {one['bound']:.3g} at most, where {one['margin']:.3g} would count)"
        for metric in _metrics(run)
        for one in [not_worse(run, metric, best)]
    )
    sentence = (
        f"{setting(run, best)}, is not worse than {setting(run, tried[0])}, in {worse}, with {rows:.0f} UNet "
        f"rows per picture instead of {most:.0f}: {most / rows:.1f} times fewer. N = {n} photos.{fast}"
    )
    target = f"{run_folder}-{found['scheduler']}-{found['steps']}"
    line = f"grounded report --dataset {own['dataset']} --models {own['models']} --run {target}"
    lines = [f"{line} --scheduler {found['scheduler']} --steps {found['steps']}"]
    if arm.guidance_share < 1:
        lines.append(f"grounded sweep --run {target} --guidance-share {arm.guidance_share:g}")
    return found | {"sentence": sentence[:1].upper() + sentence[1:], "lines": lines}


def _metrics(run: Run) -> Mapping[str, str]:
    return {realism(run): LOWER, FOUND: HIGHER}
