"""Photos and pictures as HTML: under their boxes, side by side, and under a slider."""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup
from PIL import Image

from helpers.generation.draw import fitted
from helpers.report import box_scores
from helpers.report.comparisons import GROUNDING, Comparison
from helpers.report.tables import piece
from helpers.runs import layouts
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import boxes, images
from helpers.scenes.scenes import Scene

SIDES = (256, 512)  # pixels: pictures are embedded with a longer side in this range
PHOTOS = "photos"  # the arm that is the photos themselves


@dataclass(frozen=True)
class Figure:
    """A picture of a scene under the scene's boxes.

    name: which picture it is; lines: what stands below the name; marks: as in `boxes.overlay`; colours: of
    all labels that are shown together; data: attributes that the page's script reads; most: pixels of the
    longer side at most.
    """

    image: Image.Image
    scene: Scene
    name: str
    lines: Sequence[str] = ()
    marks: Sequence[str] | None = None
    colours: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    most: int = SIDES[1]

    @property
    def address(self) -> str:
        return as_data(self.image, self.most)

    @property
    def alt(self) -> str:
        return f"{self.name}, scene {self.scene.name}"

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def height(self) -> int:
        return self.image.height

    @property
    def overlay(self) -> Markup:
        known = self.colours or boxes.colours_of(self.scene.labels)
        shades = [known[label] for label in self.scene.labels]
        aspect = self.height / self.width
        return Markup(boxes.overlay(self.scene.boxes, self.scene.labels, aspect, shades, self.marks))


def as_data(image: Image.Image, most: int = SIDES[1]) -> str:
    """A picture as a `data:` address: WebP, smaller ones enlarged smoothly, larger ones reduced."""
    longer = max(image.size)
    scale = min(max(longer, SIDES[0]), most) / longer
    size = tuple(max(1, round(side * scale)) for side in image.size)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "WEBP", quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def row(scenes: Sequence[Scene], number: int) -> HTML:
    """The first photos with their boxes. scenes: all, so that labels have the colours of the report."""
    known = _colours(scenes)
    return piece("row", [Figure(one.photo(), one, one.name, colours=known) for one in scenes[:number]])


def captions(run: Run, scenes: Iterable[Scene], captioners: Iterable[str]) -> HTML:
    """Photos, each with every captioner's caption, the seconds it took and what is wrong with it."""
    tables = {name: run.captions(name).set_index("scene") for name in captioners}
    known, figures = _colours(run.scenes), []
    for scene in scenes:
        lines = [_caption_line(name, table.loc[scene.name]) for name, table in tables.items()]
        figures.append(Figure(scene.photo(), scene, scene.name, lines, colours=known))
    return piece("row", figures)


def compare(
    run: Run, scenes: Sequence[Scene], names: Mapping[str, str], scored: bool = False, large: int = 48
) -> HTML:
    """Per scene its photo and, beside it, its picture in each arm.

    names: arm -> display name. scored: mark the boxes found and missed, in the photo, too, say how many, and
    show prompt and seed. large: above so many scenes, pictures are embedded at half of their side.
    """
    known, most = _colours(run.scenes), SIDES[1] if len(scenes) <= large else SIDES[0]
    tables = _Marks(run, [PHOTOS, *names]) if scored else None
    sections = []
    for scene in scenes:
        asked = fitted(scene, run.card["protocol"])
        pictures = {PHOTOS: scene.photo()} | {arm: images.load(run.picture(arm, scene)) for arm in names}
        if len(asked.boxes) < len(scene.boxes):  # a crop lost some: the photo is shown as the models see it
            pictures[PHOTOS] = images.fit(scene.photo(), scene.boxes, max(SIDES), "crop")[0]
        figures = []
        for arm, image in pictures.items():
            lines, marks = tables.of(arm, scene) if tables else ((), None)
            name = "photo" if arm == PHOTOS else names[arm]
            layout = layouts.asked(run, arm, [scene])[0]
            figures.append(Figure(image, layout, name, lines, marks, known, most=most))
        records = _records(run, scene, names) if scored else {}
        sections.append({"title": scene.name, "figures": figures, "records": records})
    return piece("scenes", sections)


def pair(scene: Scene, image: Image.Image, name: str, scenes: Iterable[Scene] = ()) -> HTML:
    """The photo and one picture, side by side. scenes: all of the data set, for the colours of the labels."""
    known = _colours([*scenes, scene])
    photo = Figure(scene.photo(), scene, "photo", colours=known)
    return piece("row", [photo, Figure(image, scene, name, colours=known)], "24rem")


def folded(content: HTML, summary: str) -> HTML:
    """Content that is shown when the summary is opened."""
    return piece("folded", Markup(content.data), summary)


def slider(run: Run, scenes: Sequence[Scene], sweep: Comparison) -> HTML:
    """Pictures of some scenes under a slider over guidance_scale, in plain JavaScript: all are in the page.

    The chosen arm's guidance_scale is shown first. A grounding with a single guidance_scale is left out,
    unless it is the chosen arm's.
    """
    arms, chosen = [Arm.parse(name) for name in sweep.names], Arm.parse(sweep.chosen)
    rows = Counter(arm.grounding for arm in arms)
    arms = [arm for arm in arms if rows[arm.grounding] > 1 or arm.grounding == chosen.grounding]
    scales = sorted({arm.guidance_scale for arm in arms})
    known, figures = _colours(run.scenes), []
    for scene in scenes:
        asked, data = fitted(scene, run.card["protocol"]), {"scene": scene.name, "step": ""}
        figures.append(Figure(scene.photo(), scene, "photo", colours=known, data=data))
        for arm in arms:
            data = {"scene": scene.name, "step": scales.index(arm.guidance_scale)}
            line, image = f"guidance_scale {arm.guidance_scale:g}", images.load(run.picture(arm.name, scene))
            figures.append(Figure(image, asked, GROUNDING[arm.grounding], [line], colours=known, data=data))
    first = scales.index(chosen.guidance_scale) if chosen in arms else 0
    return piece("slider", scales, first, [scene.name for scene in scenes], figures)


class _Marks:
    """Marks of the boxes and a line on how many were found, per arm and scene; every file is read once."""

    def __init__(self, run: Run, arms: Iterable[str]) -> None:
        self.counts, self.marks = {}, {}
        for arm in arms:
            self.counts[arm] = box_scores.by_scene(run, arm)
            rows = box_scores.by_box(run, arm).sort_values("box", kind="stable")
            self.marks[arm] = rows.groupby("scene").mark.agg(list)

    def of(self, arm: str, scene: Scene) -> tuple[list[str], list[str] | None]:
        if scene.name not in self.marks[arm].index:  # an external arm may lack it
            return [], None
        return [box_scores.count(self.counts[arm].loc[scene.name])], self.marks[arm][scene.name]


def _colours(scenes: Iterable[Scene]) -> dict[str, str]:
    return boxes.colours_of(label for scene in scenes for label in scene.labels)


def _caption_line(name: str, row: pd.Series) -> Markup:
    facts = ", ".join([f"{row.seconds:.2g} s", *row["flags"]])
    return Markup("<b>{}</b> {} <i>{}</i>").format(name, row.generated_text, facts)


def _records(run: Run, scene: Scene, names: Mapping[str, str]) -> dict[str, str]:
    """Display names -> prompt and seed, as the pictures' own records say; external pictures have none."""
    texts: dict[str, list[str]] = {}
    for arm, name in names.items():
        record = images.read_text(run.picture(arm, scene))
        if "prompt" in record:
            text = f"{record['prompt']} (seed {record['seed']}, {record['steps']} steps)"
            texts.setdefault(text, []).append(name)
    return {", ".join(shared): text for text, shared in texts.items()}
