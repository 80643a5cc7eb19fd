"""The files of a checkpoint's folder: which are absent and which are cut off, without reading any weights."""

import json
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from helpers.models.sets import SAFETY, Checkpoint

PROCESSOR = ("preprocessor_config.json", "processor_config.json")
CONFIGURATIONS = {  # part of a pipeline without weights -> its file, by the names of all versions
    "tokenizer": ("tokenizer_config.json",),
    "scheduler": ("scheduler_config.json",),
    "processor": PROCESSOR,
    "feature_extractor": PROCESSOR,
}


def examine(folder: Path, checkpoint: Checkpoint) -> tuple[list[str], list[str]]:
    """Files that the folder of a checkpoint lacks, and those that end too early, as paths in it."""
    parts = checkpoint.parts
    if (folder / "model_index.json").is_file():
        if (listed := _json(folder / "model_index.json")) is None:
            return [], ["model_index.json"]
        known = [name for name, kind in listed.items() if isinstance(kind, list) and kind[0]]
        parts = parts or tuple(name for name in known if name not in SAFETY)
    elif not parts and not (folder / "config.json").is_file():
        return ["config.json or model_index.json"], []
    found = [_examine_part(folder, part, checkpoint.variant) for part in parts or ("",)]
    return [name for absent, _ in found for name in absent], [name for _, cut in found for name in cut]


def _examine_part(folder: Path, part: str, variant: str | None) -> tuple[list[str], list[str]]:
    place, at = folder / part, f"{part}/" if part else ""
    names = CONFIGURATIONS.get(part, ("config.json",))
    if not place.is_dir():
        return [at], []
    absent = [] if any((place / name).is_file() for name in names) else [at + names[0]]
    weights = [path for path in place.iterdir() if path.suffix in (".safetensors", ".bin") and path.is_file()]
    weights = [path for path in weights if (".fp16" in path.name) == (variant == "fp16")]
    cut = [at + path.name for path in weights if _is_cut(path)]
    cut += [at + name for name in names if (place / name).is_file() and _json(place / name) is None]
    if part not in CONFIGURATIONS and not weights:
        absent.append(f"the weights of {part or 'the model'}")
    here = {path.name for path in weights}
    for index in place.glob("*.index*.json"):
        if (listed := _json(index)) is None:
            cut.append(at + index.name)
        # An index of a format that was not downloaded shares no file with those that are here.
        elif here & (shards := set(listed["weight_map"].values())):
            absent += sorted(at + shard for shard in shards - here)
    return absent, cut


def _is_cut(file: Path) -> bool:
    """Whether a file of weights ends before its own table of contents says."""
    if file.suffix == ".bin":  # a zip file since 2020; of those from before nothing can be said
        with file.open("rb") as stream:
            start = stream.read(2)
        return not start or (start == b"PK" and not zipfile.is_zipfile(file))
    try:
        with safe_open(file, framework="np"):
            return False
    except SafetensorError:
        return True


def _json(file: Path) -> dict | None:
    """The content of a configuration; None where it is no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
