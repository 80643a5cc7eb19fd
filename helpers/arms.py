"""The arms of a run: which ones its questions compare, and from an arm's name to its pictures."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from helpers import images
from helpers.protocols import at
from helpers.requests import Request
from helpers.runs import Run
from helpers.scenes import Scene
from helpers.settings import GROUNDINGS, Arm, ParameterError, model_set


def fitted(scene: Scene, protocol: dict) -> Scene:
    """The scene with the boxes that its pictures are asked for: those of the photo, fitted to a square."""
    canvas = Image.new("L", (scene.width, scene.height))
    _, boxes, kept = images.fit(canvas, scene.boxes, protocol["size"], protocol["fit"])
    phrases, labels = (tuple(texts[index] for index in kept) for texts in (scene.phrases, scene.labels))
    return replace(scene, boxes=boxes, phrases=phrases, labels=labels)


def request(scene: Scene, prompt: str, arm: Arm, protocol: dict) -> Request:
    """What the arm asks for in a scene: boxes fitted as the protocol says, and, for "image", a crop a box."""
    photo, asked = scene.photo(), fitted(scene, protocol)
    if protocol["fit"] == "crop":  # crops are cut at full resolution, from what the boxes are fractions of
        photo = images.fit(photo, scene.boxes, min(photo.size), "crop")[0]
    return Request(
        scene=scene.name,
        prompt=prompt,
        boxes=asked.boxes,
        phrases=asked.phrases,
        crops=tuple(images.crop(photo, box) for box in asked.boxes) if arm.grounding == "image" else (),
        grounding=arm.grounding,
        guidance_scale=arm.guidance_scale,
        grounded_fraction=arm.grounded_fraction,
        seed=arm.seed,
    )


def draw(run: Run, names: Sequence[str], progress: bool = True) -> list[dict]:
    """Make the pictures that those arms lack, each checkpoint loaded once; returns the new ones' records.

    Prompts are the run's own (prompts/<template>.jsonl). A picture is on disk as soon as its batch is done.
    """
    from helpers.grounding import generate, write  # here, because whoever only reads a run waits for no model
    from helpers.models import load_gligen, release

    protocol, records = run.card["protocol"], []
    checkpoints = model_set(protocol["models"]).gligen
    missing = {name: scenes for name in names if (scenes := run.missing(name, run.scenes))}
    for kind in ("text", "image"):
        mine = [name for name in missing if (Arm.parse(name).grounding == "image") == (kind == "image")]
        if not mine:
            continue
        gligen = load_gligen(checkpoints[kind], kind, safety=protocol["safety"])
        for name in mine:
            arm = Arm.parse(name)
            prompts = run.prompts(arm.template).set_index("scene").prompt
            wanted = [request(scene, prompts[scene.name], arm, protocol) for scene in missing[name]]
            options = {key: protocol[key] for key in ("steps", "scheduler", "safety")}
            sides = {"height": protocol["size"], "width": protocol["size"]}
            pictures = generate(gligen, wanted, fixed_shapes=True, progress=progress, **options, **sides)
            records += write(pictures, partial(_path, run, name), arm=name)
        release(gligen)
    return records


def join(run: Run, name: str, folder: str) -> list[dict]:
    """Take another generator's pictures into the run as an arm: for each scene the file of its name.

    Returns scene and problem for every picture that is missing, cannot be decoded, or belongs to no scene.
    Raises ParameterError for a name that one of our own arms could have, or a folder that is not there.
    """
    if is_ours(name) or not re.fullmatch(r"[\w.-]+", name) or not at(folder).is_dir():
        raise ParameterError(f"external = {name}={folder}: give NAME=FOLDER, a name and a folder of pictures")
    run.uses.add((folder, "*"))
    found = sorted(at(folder).iterdir())
    files = {path.stem: path for path in found if path.suffix.lower() in images.SUFFIXES}
    scenes = [scene.name for scene in run.scenes]
    problems = [{"scene": stem, "problem": "no scene has this name"} for stem in files.keys() - set(scenes)]
    problems += [{"scene": scene, "problem": "no picture"} for scene in scenes if scene not in files]
    for scene in files.keys() & set(scenes):
        try:
            _copy(files[scene], run.picture(name, scene), name)
        except ValueError as error:
            problems.append({"scene": scene, "problem": str(error)})
    return sorted(problems, key=lambda row: row["scene"])


def _copy(source: Path, picture: Path, arm: str) -> None:
    content = hashlib.sha256(source.read_bytes()).hexdigest()
    if not (images.is_whole(picture) and images.read_text(picture).get("sha256") == content):
        images.save(images.load(source), picture, {"arm": arm, "file": source.name, "sha256": content})


def template_arms(run: Run) -> list[str]:
    """Text grounding with every template that was compared."""
    choice = run.read_json("choices/template.json")
    return [Arm(template, "text", choice["guidance_scale"]).name for template in choice["compared"]]


def grounding_arms(run: Run) -> list[str]:
    """The chosen template without grounding, with text, and with text and image."""
    choice = run.read_json("choices/template.json")
    return [Arm(choice["template"], grounding, choice["guidance_scale"]).name for grounding in GROUNDINGS]


def siblings(run: Run) -> list[str]:
    """The grounding arms with another seed: two pictures of one layout show how much it leaves open."""
    return [replace(Arm.parse(name), seed=Arm.parse(name).seed + 1).name for name in grounding_arms(run)]


def guidance_arms(run: Run, grounding: str, template: str = "") -> list[Arm]:
    """What the run has of that grounding, fully grounded, by guidance_scale. template: "" for the chosen."""
    template = template or run.read_json("choices/template.json")["template"]
    known = [Arm.parse(name) for name in run.arms() if is_ours(name)]
    plain = [arm for arm in known if arm == Arm(template, grounding, arm.guidance_scale)]
    return sorted(plain, key=lambda arm: arm.guidance_scale)


def is_ours(name: str) -> bool:
    """Whether an arm's pictures were made here; the others came from outside, in a folder with their name."""
    try:
        Arm.parse(name)
    except ParameterError:
        return False
    return True


def dropped(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """One row for each scene in which boxes were left out or texts cut, as its pictures say themselves."""
    rows = {}
    for name in names:
        for scene in run.scenes:
            told = images.read_text(run.picture(name, scene))
            phrases, cut = json.loads(told["dropped_phrases"]), json.loads(told["cut_texts"])
            if phrases or cut:
                rows[scene.name] = {"boxes": len(phrases), "what stands in them": ", ".join(phrases)}
                rows[scene.name] |= {"texts cut": len(cut)}
    columns = ["scene", "boxes", "what stands in them", "texts cut"]
    return pd.DataFrame([{"scene": scene, **row} for scene, row in rows.items()], columns=columns)


def _path(run: Run, name: str, wanted: Request) -> Path:
    return run.picture(name, wanted.scene)
