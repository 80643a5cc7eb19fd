"""Drawing an arm: its requests, one per scene, and the pictures of a run that are not there yet."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

from PIL import Image

from helpers.files import claimed
from helpers.generation.requests import Request
from helpers.models.sets import model_set
from helpers.parameters import ParameterError
from helpers.runs.arms import Arm
from helpers.runs.layouts import arm_layouts
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import Scene, fitted
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


def request(scene: Scene, prompt: str, arm: Arm, protocol: Mapping, layout: Scene | None = None) -> Request:
    """An arm's request for a scene, and, for "image", a crop per box. layout: the scene with the boxes of the
    arm; None for the photo's own, fitted as the protocol says."""
    layout = layout or fitted(scene, protocol)
    if arm.grounding == "image" and scene.path is None:
        raise ParameterError(f"grounding = 'image': scene {scene.name!r} has no photo; take none or text")
    return Request(
        scene=scene.name,
        prompt=prompt,
        boxes=layout.boxes,
        phrases=layout.phrases,
        crops=Crops(scene, layout.boxes, protocol["fit"]) if arm.grounding == "image" else (),
        crop_fit=protocol.get("crops", "squash"),
        grounding=arm.grounding,
        guidance_scale=arm.guidance_scale,
        grounded_fraction=arm.grounded_fraction,
        guidance_share=arm.guidance_share,
        seed=arm.seed,
    )


def draw(run: Run, names: Sequence[str], progress: bool = True, batch_size: int = 0) -> list[dict]:
    """Make the pictures that those arms lack, each checkpoint loaded once; returns the new ones' records.

    Prompts are the run's own (prompts/<template>.jsonl). A picture is on disk as soon as its batch is done.
    An arm that another process or machine is drawing is waited for; what is there then is not made again.
    batch_size: pictures at once, at most as many as the run has scenes; 0 for what free memory should hold.
    Arms that differ by guidance_scale alone share their batches. An arm that fails stops no other: when all
    have been tried, ArmsFailed is raised. Raises CheckpointMissing.
    """
    from helpers.models.loading import load_gligen, release

    protocol, records, failed = run.card["protocol"], [], {}
    models = model_set(protocol["models"])
    safety = models.safety if protocol["safety"] else None
    for kind in ("text", "image"):
        mine = [name for name in names if (Arm.parse(name).grounding == "image") == (kind == "image")]
        loaded = cache(partial(load_gligen, models.gligen[kind], kind, safety=safety))
        for some in series(mine):
            records += _try(run, some, loaded, progress, batch_size, failed)
        if loaded.cache_info().currsize:
            release(loaded())
    if failed:
        raise ArmsFailed(failed)
    return records


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
                photos = [images.fit(s.photo(), s.boxes, protocol["size"], protocol["fit"])[0] for s in part]
                for scene, picture in zip(part, _round_trip(gligen, photos), strict=True):
                    images.save(picture, run.picture(ROUND_TRIP, scene), {"arm": ROUND_TRIP})
            release(gligen)
    return len(missing)


def _round_trip(gligen: "Gligen", photos: Sequence[Image.Image]) -> list[Image.Image]:
    import torch  # here, because whoever finds every picture made waits for no model

    pixels = images.to_tensor(images.to_array(photos)).to(gligen.device, gligen.dtype)
    with torch.inference_mode():
        latents = gligen.vae.encode(pixels).latent_dist.mode()
        return images.to_images(gligen.vae.decode(latents).sample.float().cpu())


def _try(
    run: Run,
    names: Sequence[str],
    loaded: Callable[[], "Gligen"],
    progress: bool,
    batch_size: int,
    failed: dict[str, Exception],
) -> list[dict]:
    """Draw arms together, or, where that fails, each by itself; notes whose error it is in `failed`."""
    from helpers.models.checkpoints import CheckpointMissing

    try:
        return _draw(run, names, loaded, progress, batch_size)
    except CheckpointMissing:
        raise  # which would be missing for every arm
    except FAILURES as error:
        if len(names) == 1:
            failed[names[0]] = error
            return []
    parts = [_try(run, [name], loaded, progress, batch_size, failed) for name in names]
    return [record for part in parts for record in part]


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
    """Scene by scene what a series lacks, in shared batches; nobody else draws its arms meanwhile."""
    from helpers.generation.generate import fitting, generate, write

    with ExitStack() as stack:
        notes = [stack.enter_context(claimed(run.claim(name))) for name in sorted(set(names))]
        wanted = _wanted(run, names)
        if not wanted:
            return []
        protocol, gligen = run.card["protocol"], loaded()
        sides = {"height": protocol["size"], "width": protocol["size"]}
        # The scenes of the run, not the pictures that it lacks: a resumed run makes the same bits.
        batch_size = min(batch_size or fitting(gligen, tuple(sides.values())), len(run.scenes))
        for note in notes:
            note(batch_size=batch_size)
        own = Arm.parse(names[0])  # a series shares all but guidance_scale
        options = {
            "steps": own.steps or protocol["steps"],
            "scheduler": own.scheduler or protocol["scheduler"],
        }
        options |= {"safety": protocol["safety"]} | sides
        options |= {"batch_size": batch_size, "fixed_shapes": True, "progress": progress}
        pictures = (
            replace(picture, record=picture.record | {"arm": wanted[picture.request]})
            for picture in generate(gligen, list(wanted), **options)
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
    prompts = run.prompts(arms[names[0]].template).set_index("scene").prompt
    for scene, layout in zip(run.scenes, arm_layouts(run, names[0], run.scenes), strict=True):
        lacking = [name for name in names if scene.name in missing[name]]
        if lacking:  # the photo is read and its crops are held once for all arms
            first = request(scene, prompts[scene.name], arms[lacking[0]], run.card["protocol"], layout)
            wanted |= {replace(first, guidance_scale=arms[name].guidance_scale): name for name in lacking}
    return wanted
