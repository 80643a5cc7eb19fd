"""`python -m data.training.photos`: draws the demo photos and their annotations into `data/demo`."""

import argparse
import json
from pathlib import Path

from data.training.edits import EDITS
from data.training.world import PLACES, SIZE, SPLITS, draw_scene

COUNT = 48
ROW = ("box", "source", "target", "instruction")  # of an edit, in the data set's files


def write_photos(folder: Path, count: int = COUNT, split: str = "demo") -> None:
    """The first `count` scenes of a split, crisp, as PNG files, and `annotations.json` in the report's
    format.

    `phrases` (one per box), `caption` (the reference), `place` and `drawn` stand beside the keys of the
    original: by `drawn` a report knows that the demo models know these photos.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries, digits = [], len(str(count))
    for number, seed in enumerate(SPLITS[split][:count], 1):
        scene = draw_scene(seed, crisp=True)
        name = f"worksite-{number:0{digits}d}.png"
        scene.image.save(folder / name, optimize=True)
        entries.append(
            {
                "image": name,
                "width": SIZE,
                "height": SIZE,
                "labels": list(scene.labels),
                "bboxes": (scene.boxes.astype(float) * SIZE).round(3).tolist(),
                "phrases": list(scene.phrases),
                "caption": scene.caption,
                "place": PLACES[scene.place],
                "drawn": True,
            }
        )
    (folder / "annotations.json").write_text(json.dumps(entries, indent=1) + "\n")


def write_edits(folder: Path, count: int = COUNT, split: str = "demo") -> None:
    """`edits/<name>.jsonl`, a row per photo of `write_photos`, and exact targets, `edits/<name>/<photo>`."""
    digits = len(str(count))
    for edit_set, edit_of in EDITS.items():
        targets = folder / "edits" / edit_set
        targets.mkdir(parents=True, exist_ok=True)
        rows = []
        for number, seed in enumerate(SPLITS[split][:count], 1):
            edit = edit_of(seed, crisp=True)
            name = f"worksite-{number:0{digits}d}.png"
            edit.after.image.save(targets / name, optimize=True)
            rows.append({"image": name} | {key: getattr(edit, key) for key in ROW})
        (targets.parent / f"{edit_set}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main(arguments: list[str] | None = None) -> None:
    """Draw them where they are not there yet: other folders take other splits and counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    demo = Path(__file__).resolve().parents[2] / "data" / "demo"
    parser.add_argument("--to", type=Path, default=demo, metavar="FOLDER", help="default data/demo")
    parser.add_argument("--split", choices=SPLITS, default="demo", help="which seeds; default demo")
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"default {COUNT}")
    options = parser.parse_args(arguments)
    if options.to == demo or not (options.to / "annotations.json").is_file():
        write_photos(options.to, options.count, options.split)


if __name__ == "__main__":
    main()
