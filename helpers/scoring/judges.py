"""The models that pictures and texts are measured with, and which of them know the photos of a run."""

from functools import cached_property
from typing import TYPE_CHECKING

from helpers.models.sets import ModelSet
from helpers.runs.protocol import knows_photos
from helpers.runs.run import Run

if TYPE_CHECKING:  # reading what was measured waits for no model
    from helpers.models.extractors import EfficientNet, Inception
    from helpers.models.loading import Clip, Detector


class Judges:
    """The models of a set, each loaded when it is first asked for something.

    clip, detector, efficientnet, and inception (None where the model set has none). Raise CheckpointMissing.
    """

    def __init__(self, models: ModelSet) -> None:
        self._models = models

    @cached_property
    def clip(self) -> "Clip":
        from helpers.models.loading import load_clip

        return load_clip(self._models.clip)

    @cached_property
    def detector(self) -> "Detector":
        from helpers.models.loading import load_detector

        return load_detector(self._models.detector, labels=self._models.detector_labels)

    @cached_property
    def efficientnet(self) -> "EfficientNet":
        from helpers.models.extractors import load_efficientnet

        return load_efficientnet()

    @cached_property
    def inception(self) -> "Inception | None":
        from helpers.models.extractors import load_inception

        return load_inception() if self._models.inception else None


def reasons_to_withhold(run: Run) -> dict[str, str]:
    """Judge ("clip", "detector") -> reason, for the judges that do not know the photos of the run."""
    protocol = run.card["protocol"]
    if knows_photos(protocol["models"], run.scenes):
        return {}
    judges = {"clip": "CLIP"} | ({} if protocol.get("detector") else {"detector": "detector"})
    return {name: f"not judged: the demo {said} knows drawn worksites only" for name, said in judges.items()}
