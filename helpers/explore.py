"""The interactive bench: one scene, its boxes and settings as widgets, and the pictures drawn with them."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from html import escape

import ipywidgets as widgets
import transformers
from PIL import Image

from helpers.captioning.prompts import TEMPLATES, fill, truncate
from helpers.generation.draw import request
from helpers.generation.generate import generate
from helpers.models.checkpoints import locate
from helpers.models.loading import Detector, Gligen, load_detector, load_gligen, release
from helpers.models.parts import read
from helpers.models.sets import model_set
from helpers.report.figures import Figure, detected
from helpers.report.tables import piece
from helpers.runs.arms import GROUNDINGS, Arm
from helpers.runs.protocol import at, knows_photos, protocol
from helpers.scenes import boxes
from helpers.scenes.editor import FITTING, BoxEditor, png
from helpers.scenes.scenes import Scene, fitted, read_scenes
from helpers.scoring import adherence, features

EXPECTED = (ValueError, OSError, MemoryError)  # what users can mend: shown without a traceback
WARNING = "The demo models know drawn worksites only: of such photos their pictures show nothing."
SIDE, KEPT = 448, 8  # pixels that a picture is wide; pictures in the strip
WIDE = {"width": "36rem"}
METHODS = (*GROUNDINGS, "inpaint")  # those that need no other checkpoints and no further knobs
UNSEEN = "without-own-boxes"  # class of what hides the detector's own boxes


class Bench:
    """`view` is what a notebook shows. In memory are one checkpoint that draws, and the detector."""

    def __init__(self, dataset: str, models: str) -> None:
        self.protocol, self.models = protocol(dataset, models), model_set(models)
        self.scenes = {scene.name: scene for scene in read_scenes(at(dataset))}
        self.colours = boxes.colours_of(label for one in self.scenes.values() for label in one.labels)
        self.colours = self.colours or {"object": boxes.PALETTE[0]}
        self.known = knows_photos(models, list(self.scenes.values()))
        self.loaded: dict[str, Gligen] = {}
        self.detector: Detector | None = None
        self.last: deque[tuple[str, bytes]] = deque(maxlen=KEPT)  # a figure and its small picture
        self.editor = BoxEditor(self.colours)
        self.view = widgets.VBox([*self._knobs(), *self._pictures()])
        self._turn()

    def _try(self, work: Callable[[], str]) -> None:
        """What a button is for, and below it what came of it, or what went wrong."""
        self.button.disabled = True
        with self.output:  # else Jupyter shows nothing of an error in a callback
            try:
                self.output.clear_output()
                self.status.value = work()
            except EXPECTED as error:
                self.status.value = f'<pre role="alert">{escape(f"{type(error).__name__}: {error}")}</pre>'
            finally:
                self.button.disabled, self.steps_done.layout.visibility = False, "hidden"

    def _saved(self) -> str:
        """Put photo and boxes into the data set whose folder is given; returns how to use it."""
        count, place = self.editor.save(at(self.folder.value)), escape(self.folder.value)
        return f"{count} scenes in {place}: <code>grounded report DATASET={place}</code>"

    def _drawn(self) -> str:
        """Draw, show and keep a picture. Returns why it has no marks, "" where it has them."""
        knobs = (self.template, self.grounding, self.guidance, self.fraction, self.seed)
        arm, scene = Arm(*(knob.value for knob in knobs)), self.editor.edited()
        wanted = request(scene, self.prompt.value, arm, self.protocol)
        crops = self.editor.crops(wanted.crops) if arm.grounding == "image" else wanted.crops
        wanted = replace(wanted, negative_prompt=self.negative.value, crops=crops)
        gligen = self._gligen("image" if arm.grounding == "image" else "text")
        side, steps = self.protocol["size"], self.steps.value
        self.status.value = f"drawing {arm.name}, {steps} steps …"
        self.steps_done.layout.visibility = "visible"
        options = {"height": side, "width": side, "scheduler": self.protocol["scheduler"]}
        image = next(generate(gligen, [wanted], steps, progress=False, step=self._step, **options)).image
        asked, why, judged = fitted(scene, self.protocol), "", {}
        try:
            judged = self._judged(image, asked) if self.known else {}  # else not judged, as in a report
        except EXPECTED as error:
            why = f"<p>no marks: {escape(str(error))}</p>"
        given = [mark for mark in judged.get("marks", ()) if mark in (boxes.FOUND, boxes.MISSED)]
        lines = [f"{given.count(boxes.FOUND)} of {len(given)} boxes found"] if judged else []
        lines += [f"{steps} steps, seed {arm.seed}", self.prompt.value]
        shades = boxes.colours_of(asked.labels) | self.colours
        figure = piece("figure", Figure(image, asked, arm.name, lines, colours=shades, **judged)).data
        self._keep(f'<div style="width:{SIDE}px;line-height:1.4">{figure}</div>', image)
        self.line.value = f"<code>{escape(self._as_sweep(arm))}</code>"
        return why

    def _gligen(self, kind: str) -> Gligen:
        if kind not in self.loaded:
            self.status.value = f"loading {self.models.gligen[kind].name} …"
            release(*self.loaded.values())
            self.loaded.clear()
            self.loaded[kind] = load_gligen(self.models.gligen[kind], kind)
        return self.loaded[kind]

    def _judged(self, image: Image.Image, asked: Scene) -> dict[str, list]:
        """Of a `Figure`: marks, "" where the detector knows no such label, and the detector's own boxes."""
        names = self.models.detector_labels
        if self.detector is None:
            self.status.value = f"loading {self.models.detector.name} …"
            self.detector = load_detector(self.models.detector, labels=names)
        (found,) = features.detect(self.detector, [image], asked.labels)
        ious, dropped = adherence.match(asked, found), set(boxes.largest(asked.boxes)[1].tolist())
        marks = [boxes.FOUND if one else boxes.MISSED for one in adherence.reaches(ious)]
        known = [names.get(label, label) is not None for label in asked.labels]
        marks = [mark if one else "" for mark, one in zip(marks, known, strict=True)]  # else not judged
        marks = [boxes.DROPPED if place in dropped else mark for place, mark in enumerate(marks)]
        return {"marks": marks, "found": detected(asked, found, ious)}

    def _keep(self, figure: str, image: Image.Image) -> None:
        """Show a picture and put it first in the strip, where each can be shown again or pinned."""
        small = image.copy()
        small.thumbnail((96, 96))
        self.result.value = figure
        self.last.appendleft((figure, png(small)))
        self.strip.children = [self._kept(*one) for one in self.last]

    def _kept(self, figure: str, small: bytes) -> widgets.VBox:
        show, pin = (widgets.Button(description=name, layout=FITTING) for name in ("show", "pin"))
        show.on_click(lambda _: setattr(self.result, "value", figure))
        pin.on_click(lambda _: setattr(self.pinned, "value", "" if self.pinned.value == figure else figure))
        return widgets.VBox([widgets.Image(value=small, width=96), widgets.HBox([show, pin])])

    def _as_sweep(self, arm: Arm) -> str:
        known = " ".join(f"{name.upper()}={self.protocol[name]}" for name in ("dataset", "models"))
        knobs = f"STEPS={self.steps.value} TEMPLATE={arm.template} GROUNDING={arm.grounding}"
        knobs += f" GUIDANCE={arm.guidance_scale:g} FRACTION={arm.grounded_fraction:g} SEED={arm.seed}"
        words = self.negative.value or self.prompt.value != self._filled()
        note = "  # without what is your own: boxes, prompt, negative prompt"
        return f"grounded sweep {known} {knobs}{note if words or self.editor.changed else ''}"

    def _step(self, done: int, total: int) -> None:
        self.steps_done.max, self.steps_done.value = total, done

    def _knobs(self) -> list[widgets.Widget]:
        warning = widgets.HTML("" if self.known else f'<b role="note">{WARNING}</b>')
        self.scene = widgets.Dropdown(options=list(self.scenes), description="scene")
        self.template = widgets.Dropdown(options=list(TEMPLATES), value="suffix", description="template")
        self.prompt = widgets.Textarea(description="prompt", layout=WIDE)
        self.negative = widgets.Text(description="negative", placeholder="what is not wanted", layout=WIDE)
        self.tokens = widgets.HTML()
        self.reset = widgets.Button(description="prompt of the template", icon="undo", layout=FITTING)
        self.grounding = widgets.ToggleButtons(options=METHODS, value="text", description="grounding")
        usual = self.models.guidance_scale
        self.guidance = widgets.FloatSlider(usual, min=0, max=15, step=0.5, description="guidance")
        self.fraction = widgets.FloatSlider(1.0, min=0, max=1, step=0.05, description="grounded")
        self.steps = widgets.IntSlider(self.protocol["steps"], min=2, max=100, description="steps")
        self.seed = widgets.BoundedIntText(0, min=0, max=2**31, description="seed")
        self.before = ""  # the prompt as it was filled in
        self.scene.observe(self._turn, "value")
        self.template.observe(self._fill, "value")
        self.prompt.observe(self._count, "value")
        self.reset.on_click(self._reset)
        knobs = [self.template, self.grounding, self.guidance, self.fraction, self.steps, self.seed]
        return [warning, self.scene, *knobs, self.prompt, self.tokens, self.reset, self.negative]

    def _pictures(self) -> list[widgets.Widget]:
        self.button = widgets.Button(description="draw", button_style="primary")
        self.steps_done = widgets.IntProgress(0, 0, self.steps.value, layout={"visibility": "hidden"})
        self.status, self.output = widgets.HTML(), widgets.Output()
        self.line = widgets.HTML(description="as a sweep")
        self.pinned, self.result, self.strip = widgets.HTML(), widgets.HTML(), widgets.HBox()
        self.own_boxes = widgets.Checkbox(description="boxes of the detector", indent=False)
        self.folder = widgets.Text("runs/bench-scenes", description="data set")
        self.keep = widgets.Button(description="save photo and boxes", icon="save", layout=FITTING)
        self.button.on_click(lambda _: self._try(self._drawn))
        self.keep.on_click(lambda _: self._try(self._saved))
        self.own_boxes.observe(self._hide, "value")
        self._hide()
        press = widgets.HBox([self.button, self.steps_done, self.own_boxes])
        shown = [self.editor.view, self.pinned, self.result]
        pictures = widgets.HBox(shown, layout={"flex_flow": "row wrap"})
        style = widgets.HTML(f"<style>.{UNSEEN} .detected {{ display: none }}</style>")
        saved = widgets.HBox([self.folder, self.keep])
        return [press, self.status, pictures, self.strip, saved, self.line, self.output, style]

    def _hide(self, _: object = None) -> None:
        for one in (self.pinned, self.result):
            one.remove_class(UNSEEN) if self.own_boxes.value else one.add_class(UNSEEN)

    def _turn(self, _: object = None) -> None:
        """Another scene: its photo and boxes at once, and the picture of the one before it faded."""
        self.editor.show(self.scenes[self.scene.value])
        self.result.value = f'<div style="opacity:.35">{self.result.value}</div>' if self.result.value else ""
        self._fill()

    def _filled(self) -> str:
        scene = self.scenes[self.scene.value]
        words = scene.generated_text or scene.caption or ", ".join(scene.phrases)
        return fill(TEMPLATES[self.template.value], words, scene.labels)

    def _fill(self, _: object = None) -> None:
        if self.prompt.value == self.before:  # one's own prompt is overwritten by the button alone
            self._reset()
        self._count()

    def _reset(self, _: object = None) -> None:
        self.before = self.prompt.value = self._filled()

    def _count(self, _: object = None) -> None:
        """Below the prompt: its tokens, what is cut, and whether it is one's own."""
        if (text := self.prompt.value).strip():
            tokens, kept, cut = truncate(text, self._tokenizer)
            told = f"{tokens} tokens" + (f"; cut after “…{escape(kept[-30:])}”" if cut else "")
        else:
            told = "an empty prompt: the picture follows its boxes alone"
        self.tokens.value = told + ("; your own prompt is kept" if text != self._filled() else "")

    @cached_property
    def _tokenizer(self) -> transformers.CLIPTokenizer:
        checkpoint = self.models.gligen["text"]
        return read(transformers.CLIPTokenizer, checkpoint, locate(checkpoint)[0], "tokenizer")
