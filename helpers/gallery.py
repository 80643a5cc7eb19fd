"""Photos and pictures as HTML: boxes drawn over them, side by side, and under a slider."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from IPython.display import HTML
from PIL import Image

from helpers import images
from helpers.drawing import colour_of
from helpers.scenes import Scene

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
            f'height="{y_max - y_min:.2f}" rx="0.8" stroke="{colour}"/>'
            f'<text x="{x_min + 1:.2f}" y="{max(y_min - 1, 4.6):.2f}">{label}</text></g>'
        )
    told = escape(f"boxes: {', '.join(labels) or 'none'}", quote=True)
    return f'<svg viewBox="0 0 100 {height:.2f}" role="img" aria-label="{told}">{"".join(parts)}</svg>'


def figure(image: Image.Image, scene: Scene, name: str, note: str = "", attributes: str = "") -> str:
    """A picture of a scene under the scene's boxes. name: which picture it is; note: what is to say of it."""
    caption = f"<b>{escape(name)}</b>" + (f" {escape(note)}" if note else "")
    alt = escape(f"{name}, scene {scene.name}", quote=True)
    return (
        f'<figure {attributes}><div class="frame"><img src="{as_data(image)}" alt="{alt}" loading="lazy" '
        f'width="{image.width}" height="{image.height}">'
        f"{overlay(scene.boxes, scene.labels, image.height / image.width)}</div>"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def side_by_side(scene: Scene, pictures: Mapping[str, tuple[Path, str]], note: str = "") -> HTML:
    """The photo of a scene and its pictures in a row: name -> (file, note)."""
    row = [figure(scene.photo(), scene, "photo")]
    row += [figure(images.load(path), scene, name, told) for name, (path, told) in pictures.items()]
    title = f"<p><b>{escape(scene.name)}</b> <small>{escape(note)}</small></p>"
    return HTML(f'<section class="scene">{title}<div class="pictures">{"".join(row)}</div></section>')


def slider(
    scenes: Sequence[Scene], steps: Sequence[str], rows: Mapping[str, Sequence[Mapping[str, Path]]]
) -> HTML:
    """All pictures of some scenes with a slider over `steps` and a choice of scene, in plain JavaScript.

    rows: name of a row, such as "text" -> one mapping a step, from scene name to file.
    """
    shown = []
    for scene in scenes:
        here = f'data-scene="{escape(scene.name, quote=True)}"'
        shown.append(figure(scene.photo(), scene, "photo", attributes=f'{here} data-step=""'))
        shown += [
            figure(
                images.load(files[scene.name]),
                scene,
                name,
                f"guidance_scale {steps[index]}",
                f'{here} data-step="{index}"',
            )
            for name, row in rows.items()
            for index, files in enumerate(row)
        ]
    options = "".join(f"<option>{escape(scene.name)}</option>" for scene in scenes)
    return HTML(
        f'<div class="slider" data-steps="{escape(json.dumps(list(steps)), quote=True)}">'
        '<div class="controls" hidden><label>guidance_scale '
        f'<input type="range" min="0" max="{len(steps) - 1}" value="0"></label><output>{steps[0]}</output>'
        f"<label>scene <select>{options}</select></label></div>"
        f'<div class="pictures">{"".join(shown)}</div></div>'
    )
