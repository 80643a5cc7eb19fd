"""The interactive bench: one scene, its settings as widgets, photo and picture side by side."""

from html import escape

import ipywidgets as widgets
from IPython.display import HTML, display

from helpers.captioning.prompts import TEMPLATES, fill
from helpers.generation.draw import request
from helpers.generation.generate import generate
from helpers.models.loading import Gligen, load_gligen, release
from helpers.models.sets import model_set
from helpers.report import comparisons, gallery
from helpers.runs.arms import GROUNDINGS, Arm
from helpers.runs.protocol import at, protocol
from helpers.scenes.scenes import Scene, read_scenes

EXPECTED = (ValueError, OSError, MemoryError)  # what users can mend: shown without a traceback
WARNING = "The demo models know drawn worksites only: of such photos their pictures show nothing."


class Bench:
    """`view` is what a notebook shows. One checkpoint is in memory at a time, and stays there."""

    def __init__(self, dataset: str, models: str) -> None:
        self.protocol, self.models = protocol(dataset, models), model_set(models)
        self.scenes = {scene.name: scene for scene in read_scenes(at(dataset))}
        self.loaded: dict[str, Gligen] = {}
        self.scene = widgets.Dropdown(options=list(self.scenes), description="scene")
        self.template = widgets.Dropdown(options=list(TEMPLATES), value="suffix", description="template")
        self.prompt = widgets.Textarea(description="prompt", layout={"width": "36rem"})
        self.grounding = widgets.ToggleButtons(options=GROUNDINGS, value="text", description="grounding")
        usual = self.models.guidance_scale
        self.guidance = widgets.FloatSlider(usual, min=0, max=15, step=0.5, description="guidance")
        self.fraction = widgets.FloatSlider(1.0, min=0, max=1, step=0.05, description="grounded")
        self.steps = widgets.IntSlider(self.protocol["steps"], min=2, max=100, description="steps")
        self.seed = widgets.BoundedIntText(0, min=0, max=2**31, description="seed")
        self.button = widgets.Button(description="draw", button_style="primary")
        self.status, self.output = widgets.HTML(), widgets.Output()
        for knob in (self.scene, self.template):
            knob.observe(self._fill, "value")
        self.button.on_click(self.draw)
        self._fill()
        known = comparisons.knows_photos(models, list(self.scenes.values()))
        warning = widgets.HTML("" if known else f'<b role="note">{WARNING}</b>')
        knobs = [
            self.scene,
            self.template,
            self.grounding,
            self.guidance,
            self.fraction,
            self.steps,
            self.seed,
        ]
        self.view = widgets.VBox([warning, *knobs, self.prompt, self.button, self.status, self.output])

    def draw(self, _: widgets.Button | None = None) -> None:
        """Draw the scene with the widgets' values: photo and picture, or the error, below the button."""
        self.button.disabled = True
        self.output.clear_output(wait=True)
        with self.output:  # else Jupyter shows nothing of an error in a callback
            try:
                display(self._drawn())
                self.status.value = ""
            except EXPECTED as error:
                self.status.value = f'<pre role="alert">{escape(f"{type(error).__name__}: {error}")}</pre>'
            finally:
                self.button.disabled = False

    def _drawn(self) -> HTML:
        scene, kind = self.scenes[self.scene.value], "image" if self.grounding.value == "image" else "text"
        knobs = (self.template, self.grounding, self.guidance, self.fraction, self.seed)
        arm = Arm(*(knob.value for knob in knobs))
        if kind not in self.loaded:
            self.status.value = f"loading {self.models.gligen[kind].name} …"
            release(*self.loaded.values())
            self.loaded = {}
            self.loaded = {kind: load_gligen(self.models.gligen[kind], kind)}
        self.status.value = f"drawing {arm.name}, {self.steps.value} steps …"
        wanted = request(scene, self.prompt.value, arm, self.protocol)
        side, steps = self.protocol["size"], self.steps.value
        made = next(generate(self.loaded[kind], [wanted], steps, height=side, width=side, progress=False))
        return gallery.pair(scene, made.image, arm.name, list(self.scenes.values()))

    def _fill(self, _: object = None) -> None:
        scene = self.scenes[self.scene.value]
        self.prompt.value = fill(TEMPLATES[self.template.value], _words(scene), scene.labels)


def _words(scene: Scene) -> str:
    """The scene's own caption in the data set, else the phrases of its boxes."""
    return scene.generated_text or scene.caption or ", ".join(scene.phrases)
