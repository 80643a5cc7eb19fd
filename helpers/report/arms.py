"""The arms of a run: which ones its questions compare, and those that came from elsewhere."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from helpers.parameters import ParameterError
from helpers.runs.arms import GROUNDINGS, Arm
from helpers.runs.protocol import at
from helpers.runs.run import Run
from helpers.scenes import images


def join(run: Run, name: str, folder: str) -> list[dict]:
    """Take another generator's pictures into the run as an arm: for each scene the file of its name.

    Returns scene and problem for every picture that is missing, cannot be decoded, or belongs to no scene.
    Raises ParameterError for a name that one of our own arms could have, or a folder that is not there.
    """
    if is_ours(name) or not re.fullmatch(r"[\w.-]+", name) or not at(folder).is_dir():
        raise ParameterError(f"external = {name}={folder}: give NAME=FOLDER, a name and a folder of pictures")
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
    known = [Arm.parse(name) for name in whole(run) if is_ours(name)]
    plain = [arm for arm in known if arm == Arm(template, grounding, arm.guidance_scale)]
    return sorted(plain, key=lambda arm: arm.guidance_scale)


def whole(run: Run) -> list[str]:
    """The arms that may be compared: with a picture of every scene, and those that came from outside."""
    lacking = unfinished(run)
    return [name for name in run.arms() if name not in lacking]


def unfinished(run: Run) -> dict[str, int]:
    """Our own arms that lack pictures, because they are being drawn or failed: how many they have."""
    ours = {name: run.count_pictures(name) for name in run.arms() if is_ours(name)}
    return {name: count for name, count in ours.items() if count < len(run.scenes)}


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
