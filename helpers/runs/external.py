"""Pictures of another generator as an arm of a run, and which arms are complete enough to be compared."""

import hashlib
import re
import unicodedata
from pathlib import Path

from helpers.parameters import ParameterError
from helpers.runs.arms import own_arm
from helpers.runs.protocol import at
from helpers.runs.run import Run
from helpers.scenes import images

# names of controls and captions
RESERVED = re.compile("photos|chance|round-trip|shuffled-.*|captioner-.*", re.IGNORECASE)


def check(name: str, folder: str) -> None:
    """Refuse what cannot be an external arm, before anything is drawn.

    Raises ParameterError for a name that a control, a captioner or one of the run's own arms has or could
    have, and for a folder that is not there.
    """
    problem = ""
    if not (folder and re.fullmatch(r"[\w.-]+", name)):
        problem = "give NAME=FOLDER, the name of letters, digits, '.', '_' and '-'"
    elif RESERVED.fullmatch(name) or is_own(name):
        problem = f"{name!r} is the name of a control or of an own arm; choose another name"
    elif not at(folder).is_dir():
        problem = "no such folder; give one with a picture per scene, named like the scene"
    elif not _files(folder):
        problem = "no pictures in this folder; there should be one per scene, of its name"
    if problem:
        raise ParameterError(f"external = {name}={folder}: {problem}")


def join(run: Run, name: str, folder: str) -> list[dict]:
    """Copy another generator's pictures into the run as an arm: per scene the file of its name.

    Returns scene and problem for every picture that is missing, cannot be decoded, or belongs to no scene.
    Raises ParameterError as `check`.
    """
    check(name, folder)
    files, scenes = _files(folder), [scene.name for scene in run.scenes]
    problems = [{"scene": stem, "problem": "no scene has this name"} for stem in files.keys() - set(scenes)]
    problems += [{"scene": scene, "problem": "no picture"} for scene in scenes if scene not in files]
    for scene in files.keys() & set(scenes):
        try:
            _copy(files[scene], run.picture(name, scene), name)
        except ValueError as error:
            problems.append({"scene": scene, "problem": str(error)})
    return sorted(problems, key=lambda row: row["scene"])


def is_own(name: str) -> bool:
    """Whether it is the name of an arm whose pictures were drawn here, such as suffix-text-g2."""
    return own_arm(name) is not None


def is_external(name: str) -> bool:
    """Whether it is the name of an arm that `join` made."""
    return not (is_own(name) or RESERVED.fullmatch(name))


def unfinished(run: Run) -> dict[str, int]:
    """Own arm -> number of its pictures, for the arms that lack some: they are being drawn, or failed."""
    counts = {name: run.count_pictures(name) for name in run.arms() if is_own(name)}
    return {name: count for name, count in counts.items() if count < len(run.scenes)}


def whole(run: Run) -> list[str]:
    """Names of the arms that may be compared: own ones with a picture of every scene, and all others."""
    lacking = unfinished(run)
    return [name for name in run.arms() if name not in lacking]


def _files(folder: str) -> dict[str, Path]:
    """Pictures in a folder by their names without suffix, in composed Unicode."""
    pictures = [path for path in sorted(at(folder).iterdir()) if path.suffix.lower() in images.SUFFIXES]
    return {unicodedata.normalize("NFC", path.stem): path for path in pictures}


def _copy(source: Path, picture: Path, arm: str) -> None:
    content = hashlib.sha256(source.read_bytes()).hexdigest()
    if not (images.is_whole(picture) and images.read_text(picture).get("sha256") == content):
        images.save(images.load(source), picture, {"arm": arm, "file": source.name, "sha256": content})
