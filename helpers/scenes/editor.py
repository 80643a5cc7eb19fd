"""A widget in which the boxes of a scene are drawn."""

import io
from dataclasses import replace

import ipywidgets as widgets
import numpy as np
from jupyter_bbox_widget import BBoxWidget
from PIL import Image

from helpers.scenes import boxes
from helpers.scenes.scenes import Scene, words

SIDE = 448  # pixels of the photo's longer side
FITTING = {"width": "max-content"}  # a button as wide as its words


class BoxEditor:
    """The boxes of a scene, drawn, moved, resized, renamed and deleted on its photo or on a blank canvas.

    `view` is what a notebook shows. labels: what a box can be called; its text, if any, goes first.
    """

    def __init__(self, labels: list[str], colours: dict[str, str]) -> None:
        colours = [colours[label] for label in labels]
        self.canvas = BBoxWidget(classes=labels, colors=colours, hide_buttons=True)
        self.canvas.layout.width = f"{SIDE + 20}px"
        self.text = widgets.Text(description="text", placeholder="of the chosen box; empty: its label")
        self.canvas.attach(self.text, name="text", default_value="")
        self.blank = widgets.Checkbox(description="blank canvas")
        self.reset = widgets.Button(description="boxes of the scene", icon="undo", layout=FITTING)
        self.blank.observe(self._paint, "value")
        self.reset.on_click(lambda _: self.show(self.scene))
        self.view = widgets.VBox([self.canvas, self.text, widgets.HBox([self.blank, self.reset])])

    def show(self, scene: Scene) -> None:
        """Another scene, with its photo and its boxes."""
        self.scene = scene
        self._paint()
        x, y, x_max, y_max = boxes.to_pixels(scene.boxes, *self.size).T.tolist() or ((),) * 4
        rows = zip(x, y, x_max, y_max, scene.labels, scene.phrases, strict=True)
        self.canvas.selected_index = -1
        self.shown = [
            {"x": a, "y": b, "width": c - a, "height": d - b, "label": label}
            | {"text": "" if phrase in (label, words(label)) else phrase}
            for a, b, c, d, label, phrase in rows
        ]
        self.canvas.bboxes = self.shown

    @property
    def changed(self) -> bool:
        """Whether the boxes are others than the scene's."""
        return self.canvas.bboxes != self.shown

    def edited(self) -> Scene:
        """The scene with the boxes as they are now."""
        rows = self.canvas.bboxes
        corners = [[one["x"], one["y"], one["x"] + one["width"], one["y"] + one["height"]] for one in rows]
        texts = [one.get("text") or "" for one in rows]
        labels = tuple(_label(one["label"], text) for text, one in zip(texts, rows, strict=True))
        phrases = tuple(text or words(one["label"]) for text, one in zip(texts, rows, strict=True))
        fractions = boxes.to_fractions(np.array(corners).reshape(-1, 4), *self.size)
        return replace(self.scene, boxes=fractions, labels=labels, phrases=phrases)

    def _paint(self, _: object = None) -> None:
        photo = self.scene.photo()
        photo = photo.resize([round(side * SIDE / max(photo.size)) for side in photo.size])
        self.size = photo.size
        self.canvas.image_bytes = png(Image.new("RGB", photo.size, "#d9d9d9") if self.blank.value else photo)


def _label(label: str, text: str) -> str:
    """What to look for in the box: its label, unless the text names something else."""
    return text if text and label.lower() not in text.lower() else label


def png(image: Image.Image) -> bytes:
    """A picture as the file that a widget shows."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
