"""Photos and pictures as HTML: boxes drawn over them, side by side, and under a slider."""

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd
from IPython.display import HTML
from PIL import Image

from helpers.generation.draw import fitted
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.drawing import colour_of
from helpers.scenes.scenes import Scene

# What has to hold in a notebook, too, where the page's own style is not
ROW = "display:grid;grid-template-columns:repeat(auto-fill,minmax(min(46%,14rem),1fr));gap:.9rem"
FRAME = "position:relative;line-height:0"
OVER = "position:absolute;inset:0;width:100%;height:100%"
TEXT = 'font-size="4.4" fill="#fff" stroke="#000" stroke-opacity=".65" stroke-width=".9" paint-order="stroke"'
SHOWN = (256, 512)  # pictures are embedded with a longer side in this range, in pixels


def as_data(image: Image.Image) -> str:
    """A picture as a `data:` address: WebP, smaller ones enlarged smoothly, larger ones reduced."""
    longer = max(image.size)
    scale = min(max(longer, SHOWN[0]), SHOWN[1]) / longer
    size = tuple(max(1, round(side * scale)) for side in image.size)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "WEBP", quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def overlay(boxes: np.ndarray, labels: Sequence[str], aspect: float) -> str:
    """Boxes (n, 4) in fractions as SVG to lie over a picture; aspect is its height over its width.

    The large ones come first, so that the small ones lie on top and can be pointed at.
    """
    height = 100 * aspect
    parts = []
    for index in np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable"):
        x_min, y_min, x_max, y_max = boxes[index] * np.float32([100, height, 100, height])
        label, colour = escape(labels[index]), colour_of(labels[index])
        parts.append(
            f'<g><title>{label}</title><rect x="{x_min:.2f}" y="{y_min:.2f}" width="{x_max - x_min:.2f}" '
            f'height="{y_max - y_min:.2f}" rx="0.8" fill="none" stroke-width="1.1" stroke="{colour}"/>'
            f'<text {TEXT} x="{x_min + 1:.2f}" y="{max(y_min - 1, 4.6):.2f}">{label}</text></g>'
        )
    told = escape(f"boxes: {', '.join(labels) or 'none'}", quote=True)
    box = f'style="{OVER}" viewBox="0 0 100 {height:.2f}"'
    return f'<svg {box} role="img" aria-label="{told}">{"".join(parts)}</svg>'


def figure(image: Image.Image, scene: Scene, name: str, note: str = "", attributes: str = "") -> str:
    """A picture of a scene under the scene's boxes. name: which picture it is; note: HTML, more about it."""
    caption = f"<b>{escape(name)}</b> {note}"
    alt = escape(f"{name}, scene {scene.name}", quote=True)
    return (
        f'<figure {attributes}><div class="frame" style="{FRAME}"><img src="{as_data(image)}" alt="{alt}" '
        f'loading="lazy" style="width:100%;height:auto" width="{image.width}" height="{image.height}">'
        f"{overlay(scene.boxes, scene.labels, image.height / image.width)}</div>"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def row(scenes: Iterable[Scene]) -> HTML:
    """Photos with their boxes."""
    return HTML(_row(*(figure(one.photo(), one, one.name) for one in scenes)))


def captions(scenes: Iterable[Scene], tables: Mapping[str, pd.DataFrame]) -> HTML:
    """Photos, each with what every captioner says of it, the seconds it took and what is wrong with that.

    tables: captioner -> `Run.captions`, by scene.
    """
    shown = []
    for scene in scenes:
        told = {name: table.loc[scene.name] for name, table in tables.items()}
        lines = [
            f"<br><b>{escape(name)}</b> {escape(one.generated_text)} <i>{one.seconds:.2g} s"
            f"{escape(''.join(f', {flag}' for flag in one['flags']))}</i>"
            for name, one in told.items()
        ]
        shown.append(figure(scene.photo(), scene, scene.name, "".join(lines)))
    return HTML(f"{_row(*shown)}")


def compare(
    run: Run,
    scenes: Iterable[Scene],
    names: Mapping[str, str],
    notes: Mapping[tuple[str, str], str] | None = None,
) -> HTML:
    """For each scene its photo and, beside it, its picture in each arm.

    names: arm -> what it is called; notes: (arm, scene) -> what to say of that picture.
    """
    notes, rows = notes or {}, []
    for scene in scenes:
        shown = [figure(scene.photo(), scene, "photo")]
        for arm, name in names.items():
            note = f"<br>{escape(notes.get((arm, scene.name), ''))}"
            asked = fitted(scene, run.card["protocol"])
            shown.append(figure(images.load(run.picture(arm, scene)), asked, name, note))
        title = f"<h3>{escape(scene.name)}</h3>"
        rows.append(f'<section class="scene">{title}{_row(*shown)}</section>')
    return HTML("".join(rows))


def pair(scene: Scene, image: Image.Image, name: str) -> HTML:
    """The photo and one picture, side by side."""
    shown = figure(scene.photo(), scene, "photo") + figure(image, scene, name)
    return HTML(_row(shown))


def folded(scenes: HTML, summary: str) -> HTML:
    """Something that is there for whoever opens it."""
    return HTML(f"<details><summary>{escape(summary)}</summary>{scenes.data}</details>")


def slider(run: Run, scenes: Sequence[Scene], arms: Mapping[str, Sequence[Arm]], start: float = 0) -> HTML:
    """Pictures of some scenes under a slider over guidance_scale, in plain JavaScript: all are in the page.

    arms: name of a row, such as "text grounding" -> its arms. start: the guidance_scale shown first.
    """
    scales = sorted({arm.guidance_scale for row in arms.values() for arm in row})
    first, shown = scales.index(start) if start in scales else 0, []
    for scene in scenes:
        asked = fitted(scene, run.card["protocol"])
        here = f'data-scene="{escape(scene.name, quote=True)}"'
        shown.append(figure(scene.photo(), scene, "photo", attributes=f'{here} data-step=""'))
        for name, row in arms.items():
            for arm in row:
                step = f'{here} data-step="{scales.index(arm.guidance_scale)}"'
                picture = images.load(run.picture(arm.name, scene))
                shown.append(figure(picture, asked, name, f"guidance_scale {arm.guidance_scale:g}", step))
    options = "".join(f"<option>{escape(scene.name)}</option>" for scene in scenes)
    return HTML(
        f'<div class="slider" data-steps="{json.dumps(scales)}">'
        '<div class="controls" hidden><label>guidance_scale '
        f'<input type="range" min="0" max="{len(scales) - 1}" value="{first}"></label><output></output>'
        f"<label>scene <select>{options}</select></label></div>"
        f"{_row(*shown)}</div>"
    )


def _row(*figures: str) -> str:
    return f'<div class="pictures" style="{ROW}">{"".join(figures)}</div>'
