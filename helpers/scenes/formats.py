"""Annotation formats of other tools as entries {image, width, height, labels, bboxes}, the study's own.

What a tool does not say (a photo's size) is left out of an entry. Names of classes are carried, no numbers.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import PurePath
from types import MappingProxyType
from urllib.parse import unquote

import numpy as np

Entries = tuple[list[dict], list[str]]  # and what to say of them


def kind(value: object) -> str | None:
    """The tool that writes such JSON: "COCO", "COCO results", "LabelMe", "VIA", "CreateML", "Label Studio";
    None for the study's own list and for anything else."""
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


def coco(documents: Sequence[dict]) -> Entries:
    """Entries of COCO files, of which several may speak of the same photos, as instances and captions do.

    A box that is missing is taken around the segmentation. Crowd regions are left out and counted; of several
    captions the first is the caption, all stand under `captions`.
    """
    entries, crowds = {}, 0
    for document in documents:
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
                crowds += 1
            elif annotation.get("bbox") or annotation.get("segmentation"):
                if annotation["category_id"] not in names:
                    raise ValueError(f"category {annotation['category_id']!r} of a box has no name")
                entry["labels"].append(names[annotation["category_id"]])
                entry["bboxes"].append(_coco_box(annotation))
    return list(entries.values()), _count("crowd regions left out, being no boxes of single things", crowds)


def _coco_box(annotation: dict) -> list:
    box, outline = annotation.get("bbox"), annotation.get("segmentation")
    if box:
        return corners(*box) if len(box) == 4 else box
    if isinstance(outline, dict):
        from pycocotools import mask

        if isinstance(outline["counts"], list):
            outline = mask.frPyObjects(outline, *outline["size"])
        return corners(*mask.toBbox(outline).tolist())
    return around([number for part in outline for number in part])


def createml(photos: Sequence[dict]) -> Entries:
    """Entries of a CreateML list; its boxes are centre and size in pixels."""
    entries = []
    for photo in photos:
        things = [
            (one["label"], centred(*(one["coordinates"][key] for key in ("x", "y", "width", "height"))))
            for one in photo.get("annotations", photo.get("annotation", []))
        ]
        entries.append(_entry(photo.get("image") or photo.get("imagefilename"), things))
    return entries, []


def labelme(documents: Mapping[str, dict]) -> Entries:
    """Entries of LabelMe files, by their paths from the data set's folder; outlines become boxes."""
    entries, dropped = [], 0
    for path, document in documents.items():
        shapes = [s for s in document["shapes"] if s.get("shape_type") not in ("point", "line", "linestrip")]
        dropped += len(document["shapes"]) - len(shapes)
        image = PurePath(path).parent / document["imagePath"].replace("\\", "/")
        sides = {"width": document.get("imageWidth"), "height": document.get("imageHeight")}
        things = [(shape["label"], _labelme_box(shape)) for shape in shapes]
        entries.append(_entry(image.as_posix(), things, sides))
    return entries, _count("points and lines left out, being no boxes", dropped)


def _labelme_box(shape: dict) -> list:
    points = np.array(shape["points"], dtype=float)
    if shape.get("shape_type") == "circle":  # centre and a point of the rim
        radius = float(np.hypot(*(points[1] - points[0])))
        points = np.array([points[0] - radius, points[0] + radius])
    return around(points.ravel().tolist())


def label_studio(tasks: Sequence[dict]) -> Entries:
    """Entries of a Label Studio export: percentages of the photo; of several annotators the first."""
    entries, several = [], 0
    for task in tasks:
        address = next(text for text in task["data"].values() if isinstance(text, str))
        image = re.sub(r"^[0-9a-f]{8}-", "", unquote(address.split("?d=")[-1].split("/")[-1]))
        several += len(task.get("annotations", [])) > 1
        things, sides = [], {}
        for result in (task.get("annotations") or [{}])[0].get("result", []):
            place = result.get("value", {})
            if names := place.get("rectanglelabels"):
                width, height = result["original_width"], result["original_height"]
                x, y, across, down = (place[key] / 100 for key in ("x", "y", "width", "height"))
                things.append((names[0], corners(x * width, y * height, across * width, down * height)))
                sides = {"width": width, "height": height}
        entries.append(_entry(image, things, sides))
    return entries, _count("photos with several annotators, of whom the first is taken", several)


def via(value: dict) -> Entries:
    """Entries of a VGG Image Annotator project or export; outlines become boxes."""
    entries = []
    for photo in value.get("_via_img_metadata", value).values():
        regions, things = photo["regions"], []
        for region in regions.values() if isinstance(regions, dict) else regions:
            shape, texts = region["shape_attributes"], region["region_attributes"]
            if "all_points_x" in shape:
                box = around([*chain(*zip(shape["all_points_x"], shape["all_points_y"], strict=True))])
            else:
                box = corners(shape["x"], shape["y"], shape["width"], shape["height"])
            things.append((next((text for text in texts.values() if isinstance(text, str)), ""), box))
        entries.append(_entry(photo["filename"], things))
    return entries, []


def rows(values: Sequence[dict]) -> Entries:
    """Entries of JSON lines: GLIGEN's (prompt, phrases, locations in fractions), or those of the datasets
    library's image folders (file_name, objects with bbox and categories)."""
    entries = []
    for row in values:
        image = next(row[key] for key in ("image", "file_name", "image_path", "img_path") if key in row)
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
        entries.append(_entry(image, (), row) | {"labels": labels, "bboxes": boxes, "caption": caption})
    return entries, []


def voc(documents: Mapping[str, str]) -> Entries:
    """Entries of Pascal VOC files. documents: XML by its path."""
    entries, corner = [], ("xmin", "ymin", "xmax", "ymax")
    for path, text in documents.items():
        root = ElementTree.fromstring(text)
        things = [
            (one.findtext("name", ""), [float(one.findtext(f"bndbox/{key}")) for key in corner])
            for one in root.findall("object")
        ]
        sides = {key: int(float(root.findtext(f"size/{key}") or 0)) for key in ("width", "height")}
        entries.append(_entry(root.findtext("filename", "").strip() or PurePath(path).stem, things, sides))
    return entries, []


def yolo(
    lines: Sequence[str], names: Mapping[int, str], keypoints: bool = False
) -> tuple[list[str], list[list[float]]]:
    """Labels and boxes of one YOLO file, as fractions (x_min, y_min, x_max, y_max); outlines become boxes.

    keypoints: the numbers after a box are points. Raises ValueError naming the line that cannot be read.
    """
    labels, boxes = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            which, *numbers = (float(part) for part in line.split())
            if int(which) not in names:
                raise ValueError(f"class {int(which)} has no name; the names are {dict(names)!r:.200}")
            if len(numbers) < 4 or (len(numbers) > 5 and len(numbers) % 2 and not keypoints):
                raise ValueError("neither class, x, y, width, height nor class and the points of an outline")
        except ValueError as error:
            raise ValueError(f"line {number}, {line.strip()!r:.80}: {error}") from error
        outline = len(numbers) > 5 and not keypoints
        boxes.append(around(numbers) if outline else centred(*numbers[:4]))
        labels.append(names[int(which)])
    return labels, boxes


def corners(x: float, y: float, width: float, height: float) -> list[float]:
    """(x_min, y_min, width, height) as [x_min, y_min, x_max, y_max]."""
    return [x, y, x + width, y + height]


def centred(x: float, y: float, width: float, height: float) -> list[float]:
    """(x_centre, y_centre, width, height) as [x_min, y_min, x_max, y_max]."""
    return corners(x - width / 2, y - height / 2, width, height)


def around(numbers: Sequence[float]) -> list[float]:
    """The box around an outline x, y, x, y, ..."""
    return [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])]


def words(entries: Sequence[dict]) -> str:
    """How many photos, boxes and classes entries have."""
    labels = Counter(label for entry in entries for label in entry.get("labels", []))
    return f"{len(entries):,} photos, {labels.total():,} boxes, {len(labels):,} labels"


def _entry(image: str, things: Sequence[tuple[str, list]], sides: Mapping = MappingProxyType({})) -> dict:
    """things: label and box of each. sides: where width and height stand, if they are known."""
    entry = {"image": image, "labels": [label for label, _ in things], "bboxes": [box for _, box in things]}
    return entry | {key: sides[key] for key in ("width", "height") if sides.get(key)}


def _count(what: str, number: int) -> list[str]:
    return [f"{what}: {number:,}"] if number else []
