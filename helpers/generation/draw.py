"""From an arm's name to its pictures: what it asks for in each scene, and drawing what is not there."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from helpers.scenes.scenes import Scene
from helpers.scoring.scores import ROUND_TRIP

if TYPE_CHECKING:
    from helpers.models.loading import Gligen


def fitted(scene: Scene, protocol: dict) -> Scene:
    """The scene with the boxes that its pictures are asked for: those of the photo, fitted to a square."""
    canvas = Image.new("L", (scene.width, scene.height))
    _, boxes, kept = images.fit(canvas, scene.boxes, protocol["size"], protocol["fit"])
    phrases, labels = (tuple(texts[index] for index in kept) for texts in (scene.phrases, scene.labels))
    return replace(scene, boxes=boxes, phrases=phrases, labels=labels)


def request(scene: Scene, prompt: str, arm: Arm, protocol: dict) -> Request:
    """What the arm asks for in a scene: boxes fitted as the protocol says, and, for "image", a crop a box."""
    asked = fitted(scene, protocol)
    return Request(
        scene=scene.name,
        prompt=prompt,
        boxes=asked.boxes,
        phrases=asked.phrases,
        crops=_crops(scene, asked, protocol) if arm.grounding == "image" else (),
        grounding=arm.grounding,
        guidance_scale=arm.guidance_scale,
        grounded_fraction=arm.grounded_fraction,
        seed=arm.seed,
    )


def _crops(scene: Scene, asked: Scene, protocol: dict) -> tuple[Image.Image, ...]:
    photo = scene.photo()
    if protocol["fit"] == "crop":  # crops are cut at full resolution, from what the boxes are fractions of
        photo = images.fit(photo, scene.boxes, min(photo.size), "crop")[0]
    return tuple(images.crop(photo, box) for box in asked.boxes)


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
    batch_size: pictures at once; 0 for as many as free memory should hold. together: arms that differ by
    guidance_scale alone share their batches. keep_models: the last checkpoint stays in memory, for a next
    call in this process.
    """
    from helpers.models.loading import keep_gligen, load_gligen, release

    protocol, records = run.card["protocol"], []
    checkpoints = model_set(protocol["models"]).gligen
    load = keep_gligen if keep_models else load_gligen
    for kind in ("text", "image"):
        mine = [name for name in names if (Arm.parse(name).grounding == "image") == (kind == "image")]
        loaded = cache(partial(load, checkpoints[kind], kind, safety=protocol["safety"]))
        for some in series(mine) if together else [[name] for name in mine]:
            records += _draw(run, some, loaded, progress, batch_size)
        if loaded.cache_info().currsize and not keep_models:
            release(loaded())
    return records


def draw_round_trip(run: Run, batch_size: int = 8) -> int:
    """Make what is missing of the control arm ROUND_TRIP: the photos through the autoencoder, fitted as the
    protocol says. No checkpoint is loaded where nothing is missing. Returns how many pictures were made."""
    protocol = run.card["protocol"]
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
        batch_size = batch_size or fitting(gligen, tuple(sides.values()))
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
    prompts = {template: run.prompts(template).set_index("scene").prompt for template in _templates(missing)}
    return {
        request(scene, prompts[arm.template][scene.name], arm, run.card["protocol"]): name
        for scene in run.scenes
        for name, arm in zip(names, map(Arm.parse, names), strict=True)
        if scene.name in missing[name]
    }


def _templates(missing: Mapping[str, set]) -> set[str]:
    return {Arm.parse(name).template for name, scenes in missing.items() if scenes}
