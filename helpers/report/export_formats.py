"""Pictures and their boxes as the files of a training set: COCO, YOLO and Pascal VOC."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import yaml

SPLITS = ("train", "val")


@dataclass(frozen=True, eq=False)
class Example:
    """A picture of a training set.

    file: its name there; source: what writes it to a path. split: of SPLITS. boxes: (n, 4) float64 pixels of
    the picture, (x_min, y_min, x_max, y_max), origin top left; labels: n class names, as in the data set.
    """

    file: str
    source: Callable[[Path], object]
    arm: str
    scene: str
    split: str
    width: int
    height: int
    boxes: np.ndarray
    labels: tuple[str, ...]


Files = Iterator[tuple[str, str | Callable[[Path], object]]]  # name below the folder, its text or its writer


def coco(examples: Sequence[Example], names: Sequence[str]) -> Files:
    """images/SPLIT/*.png and annotations/instances_SPLIT.json; ids count from 1 in the order of names."""
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    for split in SPLITS:
        pictures, annotations = [], []
        for example in (one for one in examples if one.split == split):
            yield f"images/{split}/{example.file}", example.source
            facts = {"file_name": example.file, "width": example.width, "height": example.height}
            pictures.append({"id": len(pictures) + 1, **facts, "arm": example.arm, "scene": example.scene})
            for box, label in zip(example.boxes, example.labels, strict=True):
                x, y, width, height = (round(float(v), 3) for v in (*box[:2], *(box[2:] - box[:2])))
                row = {"id": len(annotations) + 1, "image_id": len(pictures), "iscrowd": 0}
                row |= {"category_id": names.index(label) + 1, "bbox": [x, y, width, height]}
                annotations.append(row | {"area": round(width * height, 3)})
        document = {"info": {}, "licenses": [], "images": pictures, "annotations": annotations}
        text = json.dumps(document | {"categories": categories}, ensure_ascii=False, indent=1)
        yield f"annotations/instances_{split}.json", text


def yolo(examples: Sequence[Example], names: Sequence[str]) -> Files:
    """images/SPLIT/*.png, labels/SPLIT/*.txt (class, centre and size as fractions) and data.yaml, which names
    no folder of its own, so that the set can be moved."""
    places = {split: f"images/{split}" for split in SPLITS}
    yield "data.yaml", yaml.safe_dump(places | {"names": dict(enumerate(names))}, allow_unicode=True)
    for example in examples:
        yield f"{places[example.split]}/{example.file}", example.source
        boxes = example.boxes / [example.width, example.height, example.width, example.height]
        rows = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
        lines = [
            " ".join([str(names.index(label)), *(f"{value:.6f}" for value in row)])
            for label, row in zip(example.labels, rows, strict=True)
        ]
        yield f"labels/{example.split}/{Path(example.file).stem}.txt", "".join(f"{line}\n" for line in lines)


def voc(examples: Sequence[Example], names: Sequence[str]) -> Files:
    """JPEGImages/*.png, Annotations/*.xml and ImageSets/Main/SPLIT.txt. Whole pixels, the first of a picture
    being 1 and the last its width or height, as in Pascal VOC."""
    for split in SPLITS:
        stems = [Path(one.file).stem for one in examples if one.split == split]
        yield f"ImageSets/Main/{split}.txt", "".join(f"{stem}\n" for stem in stems)
    for example in examples:
        yield f"JPEGImages/{example.file}", example.source
        root = ElementTree.Element("annotation")
        _add(root, folder="JPEGImages", filename=example.file)
        sides = {"width": example.width, "height": example.height, "depth": 3}
        _add(ElementTree.SubElement(root, "size"), **sides)
        _add(root, segmented=0)
        for box, label in zip(example.boxes, example.labels, strict=True):
            low = np.minimum(np.rint(box[:2]), [example.width - 1, example.height - 1])
            high = np.maximum(np.rint(box[2:]), low + 1)
            part = ElementTree.SubElement(root, "object")
            _add(part, name=label, pose="Unspecified", truncated=0, difficult=0)
            corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), [*low + 1, *high], strict=True))
            _add(ElementTree.SubElement(part, "bndbox"), **{key: int(v) for key, v in corners.items()})
        ElementTree.indent(root)
        text = ElementTree.tostring(root, encoding="unicode")
        yield f"Annotations/{Path(example.file).stem}.xml", f"{text}\n"


def _add(parent: ElementTree.Element, **texts: object) -> None:
    for key, text in texts.items():
        ElementTree.SubElement(parent, key).text = str(text)


FORMATS: dict[str, Callable[[Sequence[Example], Sequence[str]], Files]] = {
    "coco": coco,
    "yolo": yolo,
    "voc": voc,
}
