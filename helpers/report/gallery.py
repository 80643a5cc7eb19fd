"""Photos and pictures under their boxes: side by side, scene by scene, and under a slider."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from IPython.display import HTML
from markupsafe import Markup

from helpers.generation.draw import fitted
from helpers.report import box_scores, charts, comparisons, qualification
from helpers.report.comparisons import GROUNDING, Comparison
from helpers.report.figures import SIDES, Figure, detected, encode, sheet
from helpers.report.page import Visual
from helpers.report.tables import piece
from helpers.runs import layouts
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import boxes, images
from helpers.scenes.scenes import Scene
from helpers.scoring import adherence
from helpers.scoring.extraction import PHOTOS, Pictures

MOST_ROWS = 12  # scenes that a notebook shows as one picture; the page shows all


def row(scenes: Sequence[Scene], number: int) -> Visual:
    """The first photos with their boxes. scenes: all, so that labels have the colours of the report."""
    known = _colours(scenes)
    return _row([Figure(one.photo(), one, one.name, colours=known) for one in scenes[:number]])


def captions(run: Run, scenes: Iterable[Scene], captioners: Iterable[str]) -> Visual:
    """Photos, each with every captioner's caption, the seconds it took and what is wrong with it."""
    tables = {name: run.captions(name).set_index("scene") for name in captioners}
    known, figures = _colours(run.scenes), []
    line = Markup('<b>{}</b> <span translate="no">{}</span> <i>{:.2g} s{}</i>')
    for scene in scenes:
        rows = [(name, table.loc[scene.name]) for name, table in tables.items()]
        lines = [
            line.format(name, row.generated_text, row.seconds, "".join(f", {flag}" for flag in row["flags"]))
            for name, row in rows
        ]
        figures.append(Figure(scene.photo(), scene, scene.name, lines, colours=known))
    return _row(figures)


def compare(
    run: Run,
    scenes: Sequence[Scene],
    names: Mapping[str, str],
    scored: bool = False,
    large: int = 48,
    sortable: bool = False,
) -> Visual:
    """Per scene its photo and, beside it, its picture in each arm.

    names: arm -> display name. scored: mark the boxes found and missed, in the photo, too, say how many, and
    show prompt and seed. large: above so many scenes, pictures are embedded at half of their side.
    sortable: with knobs to sort and filter the scenes by what was found, which needs scored.
    """
    known, most = _colours(run.scenes), SIDES[1] if len(scenes) <= large else SIDES[0]
    photos = {PHOTOS: "photo" if run.has_photos else "layout"}
    protocol, shown, sections = run.card["protocol"], photos | dict(names), []
    scored_arms = [arm for arm in shown if run.has_photos or arm != PHOTOS] if scored else []
    judged = {arm: _Judged(run, arm) for arm in scored_arms}
    for place, scene in enumerate(scenes):
        figures = []
        for arm, name in shown.items():
            image = scene.photo() if arm == PHOTOS else images.load(run.picture(arm, scene))
            if arm == PHOTOS and protocol["fit"] == "crop":  # shown as the models see it
                image = images.fit(image, max(SIDES), "crop")
            (asked,) = layouts.arm_layouts(run, arm, [scene])
            options = judged[arm].of(scene) if arm in judged else {}
            figures.append(Figure(image, asked, name, colours=known, most=most, **options))
        records = _records(run, scene, names) if scored else {}
        by_name = {name: judged[arm] for arm, name in names.items() if sortable}
        facts = _facts(scene, by_name) | {"order": place} if sortable else {}
        sections.append({"title": scene.name, "figures": figures, "records": records, "facts": facts})
    encode(figure for section in sections for figure in section["figures"])
    html = piece("scenes", sections, sorted(known) if sortable else (), list(names.values()))
    rows = [(section["title"], section["figures"]) for section in sections]
    if len(rows) > MOST_ROWS:
        return Visual(html.data, f"{len(rows)} scenes, shown in the report's page")
    return Visual(html.data, ", ".join(title for title, _ in rows), lambda: sheet(rows))


def folded(content: HTML | Visual, summary: str) -> HTML | Visual:
    """Content that is shown when the summary is opened; of a Visual, in the page alone."""
    html = piece("folded", Markup(content.data), summary)
    return Visual(html.data, f"{summary}: in the report's page") if isinstance(content, Visual) else html


def slider(run: Run, scenes: Sequence[Scene], sweep: Comparison) -> Visual:
    """Pictures of some scenes under a slider over guidance_scale, in plain JavaScript: all are in the page.

    The chosen arm's guidance_scale is shown first. A grounding with a single guidance_scale is left out,
    unless it is the chosen arm's.
    """
    arms, chosen = [Arm.parse(name) for name in sweep.names], Arm.parse(sweep.chosen)
    number = Counter(arm.grounding for arm in arms)
    arms = [arm for arm in arms if number[arm.grounding] > 1 or arm.grounding == chosen.grounding]
    scales = sorted({arm.guidance_scale for arm in arms})
    known, figures, rows = _colours(run.scenes), [], {}
    for scene in scenes:
        asked, data = fitted(scene, run.card["protocol"]), {"scene": scene.name, "step": ""}
        photo = Figure(scene.photo(), scene, "photo", colours=known, data=data)
        figures.append(photo)
        for arm in arms:
            data = {"scene": scene.name, "step": scales.index(arm.guidance_scale)}
            line, image = f"guidance_scale {arm.guidance_scale:g}", images.load(run.picture(arm.name, scene))
            figures.append(Figure(image, asked, GROUNDING[arm.grounding], [line], colours=known, data=data))
            if scene in scenes[:2]:  # of all of them the picture would be many screens tall
                rows.setdefault(f"{scene.name}, {figures[-1].name}", [photo]).append(figures[-1])
    encode(figures)
    first = scales.index(chosen.guidance_scale) if chosen in arms else 0
    html = piece("slider", scales, first, [scene.name for scene in scenes], figures)
    return Visual(html.data, f"{', '.join(rows)}; all in the page", lambda: sheet([*rows.items()]))


def qualifying(run: Run) -> HTML:
    """Which pictures qualify as training data, per arm that is judged, as links to their scenes; kept in
    qualifying.json where there is none by another rule."""
    names = comparisons.main(run).names
    judged = [arm for arm in names if not qualification.unjudged(run, arm)]
    table = qualification.qualifying(run, judged)
    if not run.has(qualification.FILE):
        qualification.remember(run, table, adherence.FOUND, 1.0)
    lists = {names[arm]: table[(table.arm == arm) & table.qualifies].scene.tolist() for arm in judged}
    return piece("qualifying", lists)


class _Judged:
    """What is known of an arm's boxes: per scene counts, marks, and the boxes that the detector found."""

    def __init__(self, run: Run, arm: str) -> None:
        rows = box_scores.by_box(run, arm).sort_values("box", kind="stable")
        self.counts, self.rows = box_scores.by_scene(run, arm), dict([*rows.groupby("scene")])
        self.ink = charts.STYLES[charts.style_of(arm)]["color"]
        pictures = Pictures(run, [scene for scene in run.scenes if scene.name in self.rows], arm, None)
        try:
            found = zip(pictures.names, pictures.layouts, pictures.detections(), strict=True)
            self.found = {name: detected(*pair, self.rows[name].iou) for name, *pair in found}
        except LookupError:  # no detector was asked
            self.found = {}

    def of(self, scene: Scene) -> dict[str, object]:
        """What a `Figure` says of that scene; nothing where the arm lacks it."""
        if scene.name not in self.rows:
            return {}
        lines, marks = [box_scores.count(self.counts.loc[scene.name])], self.rows[scene.name].mark.tolist()
        return {"lines": lines, "marks": marks, "found": self.found.get(scene.name, ()), "ink": self.ink}


def _facts(scene: Scene, judged: Mapping[str, _Judged]) -> dict[str, object]:
    """What the page sorts and filters a scene by: how far arms disagree, its labels, arms that fail."""
    counts = {name: one.counts.loc[scene.name] for name, one in judged.items() if scene.name in one.rows}
    shares = [row.found / row.judged for row in counts.values() if row.judged]
    spread = max(shares, default=0) - min(shares, default=0)
    fails = [name for name, row in counts.items() if row.found < row.judged]
    return {"spread": f"{spread:.4f}", "labels": sorted(set(scene.labels)), "fails": fails}


def _row(figures: Sequence[Figure]) -> Visual:
    encode(figures)
    text = ", ".join(figure.name for figure in figures)
    return Visual(piece("row", figures).data, text, lambda: sheet([("", figures)]))


def _colours(scenes: Iterable[Scene]) -> dict[str, str]:
    return boxes.colours_of(label for scene in scenes for label in scene.labels)


def _records(run: Run, scene: Scene, names: Mapping[str, str]) -> dict[str, str]:
    """Display names -> prompt and seed, as the pictures' own records say; external pictures have none."""
    texts: dict[str, list[str]] = {}
    for arm, name in names.items():
        record = images.read_text(run.picture(arm, scene))
        if "prompt" in record:
            steps = f", {record['steps']} steps" if "steps" in record else ""  # not all methods have them
            text = f"{record['prompt']} (seed {record['seed']}{steps})"
            texts.setdefault(text, []).append(name)
    return {", ".join(shared): text for text, shared in texts.items()}
