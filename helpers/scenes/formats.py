"""Annotation formats of other tools, each a reader of documents that yields entries of the study's own form.

A reader takes the documents of a data set by path, and a Counter of what it leaves out. An entry is {image,
width, height, labels, bboxes}; a size that a tool does not say is left out. Classes have names, no numbers.
"""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import PurePath
from urllib.parse import unquote

import numpy as np

PHOTO_KEYS = ("image", "file_name", "image_path", "img_path")
TEXTS = ("id", "prompt", *PHOTO_KEYS)  # columns of a CSV that are no JSON values
Reader = Callable[[Mapping[str, object], Counter], Iterator[dict]]


def kind(value: object) -> str | None:
    """The tool that writes such JSON, of READERS, or "COCO results"; None for anything else."""
    if isinstance(value, dict):
        if isinstance(value.get("images"), list):
            return "COCO"
        if "shapes" in value and "imagePath" in value:
            return "LabelMe"
        files = value.get("_via_img_metadata", value)
        some = next(iter(files.values()), None) if isinstance(files, dict) else None
        return "VIA" if isinstance(some, dict) and {"filename", "regions"} <= some.keys() else None
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(first, dict) or "bboxes" in first:
        return None
    if isinstance(first.get("data"), dict):
        return "Label Studio"
    if "image_id" in first:
        return "COCO results"
    return "CreateML" if {"annotations", "annotation"} & first.keys() else None


def coco(documents: Mapping[str, dict], left_out: Counter) -> Iterator[dict]:
    """COCO files, of which several may speak of the same photos, as instances and captions do.

    A box that is missing is taken around the segmentation; of several captions the first is the caption, all
    stand under `captions`.
    """
    entries = {}
    for document in documents.values():
        names = {category["id"]: category["name"] for category in document.get("categories", [])}
        photos = {
            photo["id"]: entries.setdefault(photo["file_name"], _entry(photo["file_name"], (), photo))
            for photo in document["images"]
        }
        for annotation in document.get("annotations", []):
            entry = photos.get(annotation["image_id"])
            if entry is None:
                raise ValueError(f"an annotation is of image {annotation['image_id']!r}, which is not listed")
            if "caption" in annotation:
                entry.setdefault("captions", []).append(annotation["caption"])
                entry.setdefault("caption", annotation["caption"])
            elif annotation.get("iscrowd"):
                left_out["crowd regions left out, being no boxes of single things"] += 1
            elif annotation.get("bbox") or annotation.get("segmentation"):
                if annotation["category_id"] not in names:
                    raise ValueError(f"category {annotation['category_id']!r} of a box has no name")
                entry["labels"].append(names[annotation["category_id"]])
                entry["bboxes"].append(_coco_box(annotation))
    yield from entries.values()


def _coco_box(annotation: dict) -> list:
    box, outline = annotation.get("bbox"), annotation.get("segmentation")
    if box:
        return corners(*box) if len(box) == 4 else box
    if isinstance(outline, dict):
        from pycocotools import mask

        if isinstance(outline["counts"], list):
            outline = mask.frPyObjects(outline, *outline["size"])
        return corners(*mask.toBbox(outline).tolist())
    return around([*chain(*outline)])


def createml(documents: Mapping[str, list], left_out: Counter) -> Iterator[dict]:
    """CreateML lists; boxes are centre and size in pixels."""
    for photo in chain(*documents.values()):
        things = [
            (one["label"], centred(*(one["coordinates"][key] for key in ("x", "y", "width", "height"))))
            for one in photo.get("annotations", photo.get("annotation", []))
        ]
        yield _entry(photo.get("image") or photo.get("imagefilename"), things)


def labelme(documents: Mapping[str, dict], left_out: Counter) -> Iterator[dict]:
    """LabelMe files; outlines become boxes."""
    for path, document in documents.items():
        shapes = [s for s in document["shapes"] if s.get("shape_type") not in ("point", "line", "linestrip")]
        left_out["points and lines left out, being no boxes"] += len(document["shapes"]) - len(shapes)
        image = PurePath(path).parent / document["imagePath"].replace("\\", "/")
        sides = {"width": document.get("imageWidth"), "height": document.get("imageHeight")}
        yield _entry(image.as_posix(), [(shape["label"], _labelme_box(shape)) for shape in shapes], sides)


def _labelme_box(shape: dict) -> list:
    points = np.array(shape["points"], dtype=float)
    if shape.get("shape_type") == "circle":  # centre and a point of the rim
        radius = float(np.hypot(*(points[1] - points[0])))
        points = np.array([points[0] - radius, points[0] + radius])
    return around(points.ravel().tolist())


def label_studio(documents: Mapping[str, list], left_out: Counter) -> Iterator[dict]:
    """Label Studio exports: percentages of the photo; of several annotators the first."""
    for task in chain(*documents.values()):
        address, *_ = (text for text in task["data"].values() if isinstance(text, str))
        image = re.sub(r"^[0-9a-f]{8}-", "", unquote(address.split("?d=")[-1].split("/")[-1]))
        annotators, things, sides = task.get("annotations") or [{}], [], {}
        left_out["photos with several annotators, of whom the first is taken"] += len(annotators) > 1
        for result in annotators[0].get("result", []):
            place = result.get("value", {})
            if names := place.get("rectanglelabels"):
                width, height = result["original_width"], result["original_height"]
                x, y, across, down = (place[key] / 100 for key in ("x", "y", "width", "height"))
                things.append((names[0], corners(x * width, y * height, across * width, down * height)))
                sides = {"width": width, "height": height}
        yield _entry(image, things, sides)


def via(documents: Mapping[str, dict], left_out: Counter) -> Iterator[dict]:
    """VGG Image Annotator projects or exports; outlines become boxes."""
    for photo in chain(*(one.get("_via_img_metadata", one).values() for one in documents.values())):
        regions, things = photo["regions"], []
        for region in regions.values() if isinstance(regions, dict) else regions:
            shape, texts = region["shape_attributes"], region["region_attributes"]
            if "all_points_x" in shape:
                box = around([*chain(*zip(shape["all_points_x"], shape["all_points_y"], strict=True))])
            else:
                box = corners(*(shape[key] for key in ("x", "y", "width", "height")))
            things.append((next((text for text in texts.values() if isinstance(text, str)), ""), box))
        yield _entry(photo["filename"], things)


def rows(documents: Mapping[str, list], left_out: Counter) -> Iterator[dict]:
    """JSON lines: GLIGEN's (prompt, phrases, locations in fractions), those of the datasets library's image
    folders (file_name, objects with bbox and categories), or prompts with boxes and no photo, whose id, or
    else number, is the scene's name."""
    for number, row in enumerate(chain(*documents.values())):
        image = next((row[key] for key in PHOTO_KEYS if key in row), None)
        if image is None and not row.get("prompt"):
            raise ValueError(f"row {number} has neither a photo ({', '.join(PHOTO_KEYS)}) nor a prompt")
        things = row.get("objects")
        if things is None:
            labels = row["labels"] if "labels" in row else row["phrases"]
            boxes = row["locations"] if "locations" in row else row["bboxes"]
        else:
            labels = things["categories"] if "categories" in things else things["category"]
            boxes = [corners(*box) for box in things["bbox"]]
        if numbers := [label for label in labels if isinstance(label, int)]:
            raise ValueError(f"class {numbers[0]} of {image!r} is a number; give the names of classes")
        caption = next((row[key] for key in ("caption", "prompt", "text") if row.get(key)), None)
        entry = {"labels": labels, "bboxes": boxes, "caption": caption}
        if image is None:
            rest = {key: row[key] for key in row if key not in ("id", "prompt", "phrases", "locations")}
            yield rest | {"image": str(row.get("id", number))} | entry
        else:
            yield _entry(image, (), row) | entry


def columns(row: Mapping[str, str]) -> dict:
    """A row of a CSV as one of JSON lines. Boxes stand in bboxes (and labels), or, as in 7Bench and
    CoBench, one by one in bbox1, bbox2, ... (and obj1, obj2, ...)."""
    texts = {key: text for key, text in row.items() if key and text}
    things = [key for key in texts if re.fullmatch(r"(bbox|obj|label)\d+", key)]
    made = {key: texts[key] if key in TEXTS else _value(texts[key], texts[key]) for key in texts}
    if "bbox1" in row:
        boxes = [texts[key] for key in things if key.startswith("bbox")]
        made["bboxes"] = [_value(f"[{text.strip('[] ')}]", text) for text in boxes]
        made["labels"] = [texts[key] for key in things if not key.startswith("bbox")]
    return {key: value for key, value in made.items() if key not in things}


def _value(text: str, other: str) -> object:
    """The JSON value in a text, or the other where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return other


def voc(documents: Mapping[str, bytes], left_out: Counter) -> Iterator[dict]:
    """Pascal VOC files."""
    for path, text in documents.items():
        root, sides = ElementTree.fromstring(text), ("xmin", "ymin", "xmax", "ymax")
        things = [
            (one.findtext("name", ""), [float(one.findtext(f"bndbox/{key}")) for key in sides])
            for one in root.findall("object")
        ]
        size = {key: int(float(root.findtext(f"size/{key}") or 0)) for key in ("width", "height")}
        yield _entry(root.findtext("filename", "").strip() or PurePath(path).stem, things, size)


READERS: dict[str, Reader] = {"COCO": coco, "LabelMe": labelme, "CreateML": createml}  # of JSON documents
READERS |= {"Label Studio": label_studio, "VIA": via}


def corners(x: float, y: float, width: float, height: float) -> list[float]:
    """(x_min, y_min, width, height) as [x_min, y_min, x_max, y_max]."""
    return [x, y, x + width, y + height]


def centred(x: float, y: float, width: float, height: float) -> list[float]:
    """(x_centre, y_centre, width, height) as [x_min, y_min, x_max, y_max]."""
    return corners(x - width / 2, y - height / 2, width, height)


def around(numbers: Sequence[float]) -> list[float]:
    """The box around an outline x, y, x, y, ..."""
    return [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])]


def _entry(image: str, things: Sequence[tuple[str, list]], sides: Mapping | None = None) -> dict:
    """things: label and box of each. sides: where width and height stand, if they are known."""
    entry = {"image": image, "labels": [label for label, _ in things], "bboxes": [box for _, box in things]}
    return entry | {key: sides[key] for key in ("width", "height") if sides and sides.get(key)}
