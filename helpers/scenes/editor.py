"""A widget in which the boxes of a scene are drawn."""

import io
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from html import escape
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from jupyter_bbox_widget import BBoxWidget
from PIL import Image

from helpers.scenes import boxes, images
from helpers.scenes.annotations import write_annotations
from helpers.scenes.scenes import Scene, read_scenes, words

SIDE = 448  # pixels of the photo's longer side
FITTING = {"width": "max-content"}  # a button as wide as its words


class BoxEditor:
    """The boxes of a scene, drawn, moved, resized, renamed and deleted on its photo or on a blank canvas.

    `view` is what a notebook shows. colours: of all labels that a box can have; its text, if any, goes first.
    """

    def __init__(self, colours: dict[str, str]) -> None:
        labels, shades = zip(*sorted(colours.items()), strict=True)
        self.canvas = BBoxWidget(classes=list(labels), colors=list(shades), hide_buttons=True)
        self.canvas.layout.width = f"{SIDE + 20}px"
        self.text = widgets.Text(description="text", placeholder="of the box; empty: its label")
        self.canvas.attach(self.text, name="text", default_value="")
        self.references: dict[str, Image.Image] = {}
        self.reference = widgets.Dropdown(options=[("the photo there", "")], description="looks like")
        self.canvas.attach(self.reference, name="reference", default_value="")
        self.upload = widgets.FileUpload(accept="image/*", multiple=True, description="add pictures")
        self.upload.observe(self._add, "value")
        self.blank = widgets.Checkbox(description="blank canvas")
        self.reset = widgets.Button(description="boxes of the scene", icon="undo", layout=FITTING)
        self.blank.observe(self._paint, "value")
        self.reset.on_click(lambda _: self.show(self.scene))
        self.note, looks = widgets.HTML(), widgets.HBox([self.reference, self.upload])
        self.view = widgets.VBox(
            [self.canvas, self.text, looks, self.note, widgets.HBox([self.blank, self.reset])]
        )

    def show(self, scene: Scene) -> None:
        """Another scene, with its photo and its boxes."""
        self.scene = scene
        self._paint()
        x, y, x_max, y_max = boxes.to_pixels(scene.boxes, *self.size).T.tolist() or ((),) * 4
        rows = zip(x, y, x_max, y_max, scene.labels, scene.phrases, strict=True)
        self.canvas.selected_index = -1
        self.shown = [
            {"x": a, "y": b, "width": c - a, "height": d - b, "label": label}
            | {"text": "" if phrase in (label, words(label)) else phrase, "reference": ""}
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
        named = [(one["label"], text) for one, text in zip(rows, texts, strict=True)]
        # to be looked for is the label, unless the text names something else
        labels = tuple(text if text and label.lower() not in text.lower() else label for label, text in named)
        phrases = tuple(text or words(label) for label, text in named)
        fractions = boxes.to_fractions(np.array(corners).reshape(-1, 4), *self.size)
        return replace(self.scene, boxes=fractions, labels=labels, phrases=phrases, numbers=())

    def crops(self, own: Iterable[Image.Image]) -> list[Image.Image]:
        """What each box is to look like: a picture that was chosen for it, else its own crop of the photo."""
        chosen = [self.references.get(one.get("reference")) for one in self.canvas.bboxes]
        return [crop if one is None else one for one, crop in zip(chosen, own, strict=True)]

    def save(self, folder: Path) -> int:
        """Put photo and boxes into the data set in that folder, begun where there is none, in the place of a
        scene of the same photo. Returns how many scenes it has then."""
        scene, file = self.edited(), folder / "annotations.json"
        if self.blank.value:
            raise ValueError("blank canvas: a scene has a photo; untick it to save the boxes on the photo")
        if not file.is_file() and folder.is_dir() and any(folder.iterdir()):
            raise ValueError(f"{folder}: no data set that was saved here; name a new folder")
        before = [
            one for one in (read_scenes(folder) if file.is_file() else ()) if one.content != scene.content
        ]
        image = f"{scene.name}{scene.path.suffix}"
        if scene.path.parent.resolve() == folder.resolve() or any(one.name == scene.name for one in before):
            raise ValueError(f"{folder}: has a photo named {image} already; name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(scene.path, folder / image)
        write_annotations(file, [*before, replace(scene, image=image)])
        return len(before) + 1

    def _add(self, change: dict) -> None:
        """Uploaded pictures become what a box can look like."""
        chosen, self.note.value = self.reference.value, ""
        with tempfile.TemporaryDirectory() as folder:
            for one in change["new"]:
                file = Path(folder) / Path(one["name"]).name
                file.write_bytes(one["content"])
                try:
                    self.references[file.name] = images.load(file)
                except ValueError as error:
                    self.note.value = f'<pre role="alert">{escape(str(error))}</pre>'
        self.reference.options = [*self.reference.options[:1], *((name, name) for name in self.references)]
        self.reference.value = chosen

    def _paint(self, _: object = None) -> None:
        photo = self.scene.photo()
        photo = photo.resize([round(side * SIDE / max(photo.size)) for side in photo.size])
        self.size = photo.size
        self.canvas.image_bytes = png(Image.new("RGB", photo.size, "#d9d9d9") if self.blank.value else photo)


def png(image: Image.Image) -> bytes:
    """A picture as the file that a widget shows."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
