"""Drawing an arm: its requests, one per scene, and the pictures of a run that are not there yet."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

from PIL import Image

from helpers.claims import claimed
from helpers.generation.requests import Request
from helpers.models.sets import model_set
from helpers.runs.arms import Arm
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene, fitted

if TYPE_CHECKING:
    from helpers.models.loading import Gligen


class Crops(Sequence):
    """The content of each box of a scene, cut from the photo at its full resolution whenever it is read, so
    that memory does not grow with the number of photos.

    boxes: (n, 4), as `fitted` to the square. fit: of the protocol, "squash" or "crop".
    """

    def __init__(self, scene: Scene, boxes, fit: str) -> None:
        self.scene, self.boxes, self.fit = scene, boxes, fit

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int) -> Image.Image:
        return images.crop(self._photo(), self.boxes[index])

    def __iter__(self) -> Iterator[Image.Image]:
        photo = self._photo() if len(self) else None
        return (images.crop(photo, box) for box in self.boxes)

    def _photo(self) -> Image.Image:
        """What the boxes are fractions of."""
        photo = self.scene.photo()
        return (
            images.fit(photo, self.scene.boxes, min(photo.size), "crop")[0] if self.fit == "crop" else photo
        )


def request(scene: Scene, prompt: str, arm: Arm, protocol: Mapping) -> Request:
    """An arm's request for a scene: boxes fitted as the protocol says, and, for "image", a crop per box."""
    asked = fitted(scene, protocol)
    return Request(
        scene=scene.name,
        prompt=prompt,
        boxes=asked.boxes,
        phrases=asked.phrases,
        crops=Crops(scene, asked.boxes, protocol["fit"]) if arm.grounding == "image" else (),
        grounding=arm.grounding,
        guidance_scale=arm.guidance_scale,
        grounded_fraction=arm.grounded_fraction,
        seed=arm.seed,
    )


def draw(
    run: Run,
    names: Sequence[str],
    progress: bool = True,
    batch_size: int = 0,
    together: bool = False,
    keep_models: bool = False,
) -> list[dict]:
    """Make the pictures that those arms lack, each checkpoint loaded once; returns the new ones' records.

    Prompts are the run's own (prompts/<template>.jsonl). A picture is on disk as soon as its batch is done.
    An arm that another process or machine is drawing is waited for; what is there then is not made again.
    batch_size: pictures at once, at most as many as the run has scenes; 0 for what free memory should hold.
    together: arms that differ by guidance_scale alone share their batches. keep_models: the last checkpoint
    stays in memory, for a next call in this process.
    """
    from helpers.models.loading import keep_gligen, load_gligen, release

    protocol, records = run.card["protocol"], []
    models = model_set(protocol["models"])
    safety = models.safety if protocol["safety"] else None
    load = keep_gligen if keep_models else load_gligen
    for kind in ("text", "image"):
        mine = [name for name in names if (Arm.parse(name).grounding == "image") == (kind == "image")]
        loaded = cache(partial(load, models.gligen[kind], kind, safety=safety))
        for some in series(mine) if together else [[name] for name in mine]:
            records += _draw(run, some, loaded, progress, batch_size)
        if loaded.cache_info().currsize and not keep_models:
            release(loaded())
    return records


def series(names: Sequence[str]) -> list[list[str]]:
    """Arms that differ by guidance_scale alone; those without guidance apart, for they take half the work."""
    groups: dict[tuple, list[str]] = {}
    for name in names:
        arm = Arm.parse(name)
        groups.setdefault((replace(arm, guidance_scale=0), arm.guidance_scale > 1), []).append(name)
    return list(groups.values())


def _draw(
    run: Run, names: Sequence[str], loaded: Callable[[], "Gligen"], progress: bool, batch_size: int
) -> list[dict]:
    """Scene by scene what those arms lack, in shared batches; nobody else draws them meanwhile."""
    from helpers.generation.generate import fitting, generate, write

    with ExitStack() as stack:
        tell = [stack.enter_context(claimed(run.claim(name))) for name in sorted(set(names))]
        wanted = _wanted(run, names)
        if not wanted:
            return []
        protocol, gligen, began = run.card["protocol"], loaded(), time.monotonic()
        sides = {"height": protocol["size"], "width": protocol["size"]}
        # The scenes of the run, not the pictures that it lacks: a resumed run makes the same bits.
        batch_size = min(batch_size or fitting(gligen, tuple(sides.values())), len(run.scenes))
        for one in tell:
            one(batch_size=batch_size)
        options = {key: protocol[key] for key in ("steps", "scheduler", "safety")} | sides
        options |= {"batch_size": batch_size, "fixed_shapes": True, "progress": progress}
        pictures = (
            replace(picture, record=picture.record | {"arm": wanted[picture.request]})
            for picture in generate(gligen, list(wanted), **options)
        )
        records = write(pictures, lambda request: run.picture(wanted[request], request.scene))
        each = (time.monotonic() - began) / len(records)
        made = Counter(wanted.values())
        run.drawn |= {name: (count, round(count * each, 2)) for name, count in made.items()}
    return records


def _wanted(run: Run, names: Sequence[str]) -> dict[Request, str]:
    """Request -> arm for every picture that is not there, scene by scene; what a crash left goes first."""
    missing = {}
    for name in names:
        for partial_file in (run.folder / "pictures" / name).glob(".*.partial"):
            partial_file.unlink(missing_ok=True)
        missing[name] = {scene.name for scene in run.missing(name, run.scenes)}
    templates = {Arm.parse(name).template for name, scenes in missing.items() if scenes}
    prompts = {template: run.prompts(template).set_index("scene").prompt for template in templates}
    return {
        request(scene, prompts[arm.template][scene.name], arm, run.card["protocol"]): name
        for scene in run.scenes
        for name, arm in zip(names, map(Arm.parse, names), strict=True)
        if scene.name in missing[name]
    }
