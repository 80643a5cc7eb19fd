"""The interactive bench: one scene, a few knobs, photo and picture side by side."""

import ipywidgets as widgets
from IPython.display import display

from helpers.captioning.prompts import TEMPLATES, fill
from helpers.generation.draw import request
from helpers.generation.generate import generate
from helpers.models.loading import Gligen, load_gligen, release
from helpers.models.sets import model_set
from helpers.report import gallery
from helpers.runs.arms import GROUNDINGS, Arm
from helpers.runs.protocol import at, protocol
from helpers.scenes.scenes import Scene, read_scenes


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
        self.output = widgets.Output()
        for knob in (self.scene, self.template):
            knob.observe(self._fill, "value")
        self.button.on_click(self.draw)
        self._fill()
        left = [
            self.scene,
            self.template,
            self.grounding,
            self.guidance,
            self.fraction,
            self.steps,
            self.seed,
        ]
        self.view = widgets.VBox([*left, self.prompt, self.button, self.output])

    def draw(self, _: widgets.Button | None = None) -> None:
        """Draw the scene with the knobs as they stand, and show photo and picture under the boxes."""
        scene, kind = self.scenes[self.scene.value], "image" if self.grounding.value == "image" else "text"
        arm = Arm(
            self.template.value,
            self.grounding.value,
            self.guidance.value,
            self.fraction.value,
            self.seed.value,
        )
        self.button.disabled = True
        try:
            if kind not in self.loaded:
                release(*self.loaded.values())
                self.loaded = {kind: load_gligen(self.models.gligen[kind], kind)}
            wanted = request(scene, self.prompt.value, arm, self.protocol)
            side, steps = self.protocol["size"], self.steps.value
            made = next(generate(self.loaded[kind], [wanted], steps, height=side, width=side, progress=False))
        finally:
            self.button.disabled = False
        self.output.clear_output(wait=True)
        with self.output:
            display(gallery.pair(scene, made.image, arm.name))

    def _fill(self, _: object = None) -> None:
        scene = self.scenes[self.scene.value]
        self.prompt.value = fill(TEMPLATES[self.template.value], _words(scene), scene.labels)


def _words(scene: Scene) -> str:
    """What the data set itself says of the photo, else what stands in its boxes."""
    return scene.generated_text or scene.caption or ", ".join(scene.phrases)
