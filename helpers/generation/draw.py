"""Drawing an arm: its requests, one per scene, and the pictures of a run that are not there yet."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from helpers.files import claimed
from helpers.generation.methods import loader
from helpers.generation.requests import SETTINGS, Crops, Request
from helpers.models.sets import model_set
from helpers.parameters import ParameterError
from helpers.runs.arms import Arm
from helpers.runs.layouts import arm_layouts
from helpers.runs.methods import EDIT, METHODS
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene, fitted
from helpers.scoring.colours import Colour, object_colour
from helpers.scoring.scores import ROUND_TRIP

if TYPE_CHECKING:
    from helpers.models.loading import Gligen

FAILURES = (OSError, ValueError, LookupError, RuntimeError, MemoryError)  # of one arm, not of the program


class ArmsFailed(RuntimeError):
    """Arms that could not be drawn: each error with the arms that it stopped.

    Not an ExceptionGroup, of which IPython keeps nothing in a notebook but printed text.
    """

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        arms: dict[str, list[str]] = {}
        for name, error in errors.items():
            arms.setdefault(f"{type(error).__name__}: {error}", []).append(name)
        super().__init__("\n".join(f"{', '.join(names)}: {reason}" for reason, names in arms.items()))
        self.errors = dict(errors)


def request(
    scene: Scene,
    prompt: str,
    arm: Arm,
    protocol: Mapping,
    layout: Scene | None = None,
    edit: Mapping | None = None,
) -> Request:
    """An arm's request for a scene, with what its method reads and nothing else.

    layout: the scene with the boxes of the arm; None for the photo's own, fitted as the protocol says.
    edit: the scene's row of an edit set: source_prompt, instruction, box.
    Raises ParameterError where the method reads a photo and there is none.
    """
    own, method = fitted(scene, protocol), METHODS[arm.grounding]
    layout, edit = layout or own, edit or {}
    if method.needs_photo and scene.path is None:
        problem = f"grounding = {arm.grounding!r}: scene {scene.name!r} has no photo; take none or text"
        raise ParameterError(problem)
    photo = partial(_photo, scene, protocol["fit"])
    inputs = {"prompt": prompt, "boxes": layout.boxes, "phrases": layout.phrases, "labels": layout.labels}
    inputs |= {"photo": photo, "crops": Crops(photo, layout.boxes), "source_phrases": own.phrases}
    if "colours" in method.reads:
        inputs["colours"] = _colours(photo(), own, protocol["size"], edit.get("box"))
    inputs |= {name: edit[name] for name in ("source_prompt", "instruction") if name in edit}
    if method.paints_boxes and edit:
        painted = [] if edit["box"] is None else [int(edit["box"])]
        inputs |= {"boxes": layout.boxes[painted], "phrases": tuple(layout.phrases[k] for k in painted)}
    return Request(
        scene.name,
        **{name: value for name, value in inputs.items() if name in method.reads},
        **{name: getattr(arm, name) for name in (*SETTINGS, "knobs")},
        crop_fit=protocol.get("crops", "squash"),
    )


def _photo(scene: Scene, fit: str) -> Image.Image:
    """What the boxes are fractions of, at full resolution."""
    photo = scene.photo()
    return images.fit(photo, min(photo.size), fit) if fit == "crop" else photo


def _colours(photo: Image.Image, layout: Scene, size: int, edited: int | None) -> list[Colour]:
    """The colour of the object in each box, measured in the photo at the size of pictures."""
    pixels = np.asarray(photo.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))
    return [
        "the edit changes it" if k == edited else object_colour(pixels, box)
        for k, box in enumerate(layout.boxes)
    ]


def draw(run: Run, names: Sequence[str], progress: bool = True, batch_size: int = 0) -> list[dict]:
    """Make the pictures that those arms lack, each checkpoint loaded once; returns the new ones' records.

    Prompts are the run's own (prompts/<template>.jsonl). A picture is on disk as soon as its batch is done.
    An arm that another process or machine is drawing is waited for; what is there then is not made again.
    batch_size: pictures at once, at most as many as the run has scenes; 0 for what free memory should hold.
    Arms that differ by guidance_scale alone share their batches. An arm that fails stops no other: when all
    have been tried, ArmsFailed is raised. Raises CheckpointMissing.
    """
    from helpers.models.checkpoints import CheckpointMissing
    from helpers.models.loading import release

    protocol, records, failed = run.card["protocol"], [], {}
    models, kinds = model_set(protocol["models"]), {}
    for name in names:
        key, load = loader(Arm.parse(name).grounding, models, models.safety if protocol["safety"] else None)
        kinds.setdefault(key, (cache(partial(_with_tokens, load, run)), []))[1].append(name)
    for loaded, mine in kinds.values():
        waiting = series(mine)
        while waiting:
            some = waiting.pop(0)
            try:
                records += _draw(run, some, loaded, progress, batch_size)
            except CheckpointMissing:
                raise  # which would be missing for every arm
            except FAILURES as error:
                if len(some) == 1:
                    failed[some[0]] = error
                else:  # of a series each arm by itself
                    waiting = [[name] for name in some] + waiting
        if loaded.cache_info().currsize:
            release(loaded())
    if failed:
        raise ArmsFailed(failed)
    return records


def _with_tokens(load: Callable[[], "Gligen"], run: Run) -> "Gligen":
    parts, folder = load(), run.folder / "tokens"
    if folder.is_dir():
        from helpers.generation.tokens import read_tokens  # here, because most runs have none

        read_tokens(parts, folder)
    return parts


def draw_round_trip(run: Run, batch_size: int = 8) -> int:
    """Make what is missing of the control arm ROUND_TRIP: the photos through the autoencoder, fitted as the
    protocol says. No checkpoint is loaded where nothing is missing. Returns how many pictures were made."""
    protocol = run.card["protocol"]
    if not run.has_photos:
        return 0
    with claimed(run.claim(ROUND_TRIP)):
        if missing := run.missing(ROUND_TRIP, run.scenes):
            from helpers.models.loading import load_gligen, release

            gligen = load_gligen(model_set(protocol["models"]).gligen["text"], "text")
            for start in range(0, len(missing), batch_size):
                part = missing[start : start + batch_size]
                photos = [images.fit(scene.photo(), protocol["size"], protocol["fit"]) for scene in part]
                pixels = images.to_tensor(images.to_array(photos)).to(gligen.device, gligen.dtype)
                latents = gligen.vae.encode(pixels).latent_dist.mode()
                pictures = images.to_images(gligen.vae.decode(latents).sample)
                for scene, picture in zip(part, pictures, strict=True):
                    images.save(picture, run.picture(ROUND_TRIP, scene), {"arm": ROUND_TRIP})
            release(gligen)
    return len(missing)


def series(names: Sequence[str]) -> list[list[str]]:
    """Arms that differ by guidance_scale alone; those without guidance apart, for they take half the work."""
    groups: dict[tuple, list[str]] = {}
    for name in names:
        arm = Arm.parse(name)
        groups.setdefault((replace(arm, guidance_scale=1), arm.guidance_scale > 1), []).append(name)
    return list(groups.values())


def _draw(
    run: Run, names: Sequence[str], loaded: Callable[[], "Gligen"], progress: bool, batch_size: int
) -> list[dict]:
    """Scene by scene what a series lacks, in shared batches; nobody else draws its arms meanwhile."""
    from helpers.generation.generate import fitting, generate, write

    with ExitStack() as stack:
        notes = [stack.enter_context(claimed(run.claim(name))) for name in sorted(set(names))]
        wanted = _wanted(run, names)
        if not wanted:
            return []
        protocol, parts, own = run.card["protocol"], loaded(), Arm.parse(names[0])  # a series shares all else
        side = int(next(iter(wanted)).knobs.get("size", protocol["size"]))
        # The scenes of the run, not the pictures that it lacks: a resumed run makes the same pictures.
        batch_size = min(batch_size or fitting(parts, (side, side)), len(run.scenes))
        for note in notes:
            note(batch_size=batch_size)
        options = {"height": side, "width": side, "batch_size": batch_size, "safety": protocol["safety"]}
        options["steps"] = own.steps or METHODS[own.grounding].steps or protocol["steps"]
        options["scheduler"] = own.scheduler or protocol["scheduler"]
        pictures = (
            replace(picture, record=picture.record | {"arm": wanted[picture.request]})
            for picture in generate(parts, list(wanted), fixed_shapes=True, progress=progress, **options)
        )
        return write(pictures, lambda request: run.picture(wanted[request], request.scene))


def _wanted(run: Run, names: Sequence[str]) -> dict[Request, str]:
    """Request -> arm for every picture that a series lacks, scene by scene; what a crash left goes first."""
    missing = {}
    for name in names:
        for partial_file in (run.folder / "pictures" / name).glob(".*.partial"):
            partial_file.unlink(missing_ok=True)
        missing[name] = {scene.name for scene in run.missing(name, run.scenes)}
    if not any(missing.values()):
        return {}
    arms, wanted = {name: Arm.parse(name) for name in names}, {}
    own = arms[names[0]]
    prompts, edits = run.prompts(own.template).set_index("scene").prompt, run.edits(own.template)
    if not edits and (absent := [name for name in EDIT if name in METHODS[own.grounding].reads]):
        raise ParameterError(
            f"template {own.template!r}: its scenes have no {absent[0]}, which {own.grounding!r} reads; "
            "name a template that is a set of edits"
        )
    for scene, layout in zip(run.scenes, arm_layouts(run, names[0], run.scenes), strict=True):
        lacking = [name for name in names if scene.name in missing[name]]
        if lacking:  # the photo is read and its crops are held once for all arms
            given = scene, prompts[scene.name], arms[lacking[0]], run.card["protocol"], layout
            first = request(*given, edits.get(scene.name))
            wanted |= {replace(first, guidance_scale=arms[name].guidance_scale): name for name in lacking}
    return wanted
