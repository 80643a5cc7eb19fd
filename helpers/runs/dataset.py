"""The data set of a run: enough to measure something, and the one that the run was begun with."""

import json
from collections.abc import Mapping
from pathlib import Path

from helpers.files import beside
from helpers.runs.protocol import at, scenes_of
from helpers.scenes.entries import examples
from helpers.scenes.scenes import checksums

SCENES = "scenes.json"  # name -> checksum of every scene that the run was begun with
OTHER = "give that value or start another run (RUN=runs/another)"
PRODUCTS = ("captions", "prompts", "pictures", "features", "scores")  # folders that depend on the scenes


def reconcile(folder: Path, known: Mapping, given: Mapping) -> tuple[dict, str | None]:
    """The protocol of a run that is opened again with a data set, and what speaks against going on.

    The same photos in another place, or the same place in another spelling, are the same data set. One that
    was changed is taken as it is while nothing was made of it.
    known, given: protocols with `dataset` and perhaps `dataset_checksum` and `selection`.
    """
    sums = [one.get("dataset_checksum") for one in (known, given)]
    before, other = at(known.get("dataset", "")), "{} = {!r}: {} was made with {!r}; " + OTHER
    here = before.resolve() == at(given["dataset"]).resolve()
    taken = {**known, **{name: given[name] for name in ("dataset", "dataset_checksum") if name in given}}
    if not all(sums):  # of one of them nothing is known yet
        problem = None if here else other.format("dataset", given["dataset"], folder, str(before))
        return taken if here and sums[1] and "dataset_checksum" in known else dict(known), problem
    chosen = [one.get("selection", {}) for one in (known, given)]
    if chosen[0] != chosen[1]:
        return dict(known), other.format("selection", chosen[1], folder, chosen[0])
    if sums[0] == sums[1]:
        return dict(known) if here or before.is_dir() else taken, None
    if not any((folder / name).is_dir() for name in PRODUCTS):
        return taken, None
    other = "" if here else f" the run was made with {str(before)!r};"
    return dict(known), (
        f"dataset = {given['dataset']!r}:{other} {_changes(folder, given)}; captions or pictures of {folder} "
        "depend on it: undo the change or start another run (RUN=runs/another)"
    )


def remember(folder: Path, protocol: Mapping) -> None:
    """Write down what the scenes are that a run is about to be made with."""
    text = json.dumps(checksums(scenes_of(protocol)), indent=0, ensure_ascii=False)
    with beside(folder / SCENES) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def _changes(folder: Path, given: Mapping) -> str:
    """How the scenes of a data set differ from those that the run was begun with."""
    if not (folder / SCENES).is_file():
        return "its photos or annotations are others than the run's"
    then = json.loads((folder / SCENES).read_text(encoding="utf-8"))
    now = checksums(scenes_of(given))
    differences = {
        "changed": [name for name in now if name in then and now[name] != then[name]],
        "new": [name for name in now if name not in then],
        "gone": [name for name in then if name not in now],
    }
    parts = [
        f"scenes {how}: {len(names):,} ({examples(names)})" for how, names in differences.items() if names
    ]
    return "since the run was begun: " + (", ".join(parts) or "scenes in another order")
