"""Annotation formats of other tools as entries {image, width, height, labels, bboxes}, the study's own.

What a tool does not say (a photo's size) is left out of an entry. Names of classes are carried, no numbers.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
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
        photos = {}
        for photo in document["images"]:
            entry = {"image": photo["file_name"], "labels": [], "bboxes": []}
            entry |= {key: photo[key] for key in ("width", "height") if photo.get(key)}
            photos[photo["id"]] = entries.setdefault(photo["file_name"], entry)
        for annotation in document.get("annotations", []):
            entry = photos.get(annotation["image_id"])
            if entry is None:
                raise ValueError(f"an annotation is of image {annotation['image_id']!r}, which is not listed")
            if "caption" in annotation:
                entry.setdefault("captions", []).append(annotation["caption"])
            elif annotation.get("iscrowd"):
                crowds += 1
            elif annotation.get("bbox") or annotation.get("segmentation"):
                if annotation["category_id"] not in names:
                    raise ValueError(f"category {annotation['category_id']!r} of a box has no name")
                entry["labels"].append(names[annotation["category_id"]])
                entry["bboxes"].append(_coco_box(annotation))
    for entry in entries.values():
        if "captions" in entry:
            entry["caption"] = entry["captions"][0]
    said = [f"crowd regions left out, being no boxes of single things: {crowds:,}"] if crowds else []
    return list(entries.values()), said


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


def createml(value: Sequence[dict]) -> Entries:
    """Entries of a CreateML list; its boxes are centre and size in pixels."""
    entries = []
    for photo in value:
        found = photo.get("annotations", photo.get("annotation", []))
        places = [one["coordinates"] for one in found]
        boxes = [
            corners(p["x"] - p["width"] / 2, p["y"] - p["height"] / 2, p["width"], p["height"])
            for p in places
        ]
        image = photo.get("image") or photo.get("imagefilename")
        entries.append({"image": image, "labels": [one["label"] for one in found], "bboxes": boxes})
    return entries, []


def labelme(documents: Mapping[str, dict]) -> Entries:
    """Entries of LabelMe files, by their paths from the data set's folder; outlines become boxes."""
    entries = []
    for path, document in documents.items():
        folder = PurePath(path).parent
        shapes = [s for s in document["shapes"] if s.get("shape_type") not in ("point", "line", "linestrip")]
        image = document["imagePath"].replace("\\", "/")
        entry = {"image": (folder / image).as_posix(), "labels": [shape["label"] for shape in shapes]}
        entry["bboxes"] = [_labelme_box(shape) for shape in shapes]
        sides = (("width", "imageWidth"), ("height", "imageHeight"))
        entries.append(entry | {key: document[theirs] for key, theirs in sides if document.get(theirs)})
    dropped = sum(len(d["shapes"]) for d in documents.values()) - sum(len(e["labels"]) for e in entries)
    return entries, [f"points and lines left out, being no boxes: {dropped:,}"] if dropped else []


def _labelme_box(shape: dict) -> list:
    points = np.array(shape["points"], dtype=float)
    if shape.get("shape_type") == "circle":  # centre and a point of the rim
        radius = float(np.hypot(*(points[1] - points[0])))
        points = np.array([points[0] - radius, points[0] + radius])
    return around(points.ravel().tolist())


def label_studio(value: Sequence[dict]) -> Entries:
    """Entries of a Label Studio export: percentages of the photo; of several annotators the first."""
    entries, several = [], 0
    for task in value:
        address = next(text for text in task["data"].values() if isinstance(text, str))
        image = re.sub(r"^[0-9a-f]{8}-", "", unquote(address.split("?d=")[-1].split("/")[-1]))
        entry = {"image": image, "labels": [], "bboxes": []}
        several += len(task.get("annotations", [])) > 1
        for result in (task.get("annotations") or [{}])[0].get("result", []):
            place = result.get("value", {})
            if names := place.get("rectanglelabels"):
                entry["width"], entry["height"] = result["original_width"], result["original_height"]
                sides = (entry["width"] / 100, entry["height"] / 100) * 2
                box = [place[key] for key in ("x", "y", "width", "height")]
                entry["labels"].append(names[0])
                entry["bboxes"].append(corners(*(a * b for a, b in zip(box, sides, strict=True))))
        entries.append(entry)
    said = f"photos with several annotators, of whom the first is taken: {several:,}"
    return entries, [said] if several else []


def via(value: dict) -> Entries:
    """Entries of a VGG Image Annotator project or export; outlines become boxes."""
    entries = []
    for photo in value.get("_via_img_metadata", value).values():
        regions = photo["regions"]
        entry = {"image": photo["filename"], "labels": [], "bboxes": []}
        for region in regions.values() if isinstance(regions, dict) else regions:
            shape, texts = region["shape_attributes"], region["region_attributes"]
            if "all_points_x" in shape:
                points = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
                box = around([number for point in points for number in point])
            else:
                box = corners(shape["x"], shape["y"], shape["width"], shape["height"])
            entry["bboxes"].append(box)
            entry["labels"].append(next((text for text in texts.values() if isinstance(text, str)), ""))
        entries.append(entry)
    return entries, []


def voc(documents: Mapping[str, str]) -> Entries:
    """Entries of Pascal VOC files. documents: XML by its path."""
    entries = []
    for path, text in documents.items():
        root = ElementTree.fromstring(text)
        objects = root.findall("object")
        entry = {"image": root.findtext("filename", "").strip() or PurePath(path).stem}
        entry["labels"] = [one.findtext("name", "") for one in objects]
        corner = ("xmin", "ymin", "xmax", "ymax")
        entry["bboxes"] = [[float(one.findtext(f"bndbox/{key}")) for key in corner] for one in objects]
        sides = {key: int(float(root.findtext(f"size/{key}") or 0)) for key in ("width", "height")}
        entries.append(entry | ({} if 0 in sides.values() else sides))
    return entries, []


def yolo(text: str, names: Mapping[int, str], keypoints: bool = False) -> tuple[list[str], list[list[float]]]:
    """Labels and boxes of one YOLO file, as fractions (x_min, y_min, x_max, y_max); outlines become boxes.

    keypoints: the numbers after a box are points. Raises ValueError naming the line that cannot be read.
    """
    labels, boxes = [], []
    for number, line in enumerate(text.split("\n"), start=1):
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
        x, y, width, height = numbers[:4]
        outline = len(numbers) > 5 and not keypoints
        boxes.append(around(numbers) if outline else corners(x - width / 2, y - height / 2, width, height))
        labels.append(names[int(which)])
    return labels, boxes


def corners(x: float, y: float, width: float, height: float) -> list[float]:
    """(x_min, y_min, width, height) as [x_min, y_min, x_max, y_max]."""
    return [x, y, x + width, y + height]


def around(numbers: Sequence[float]) -> list[float]:
    """The box around an outline x, y, x, y, ..."""
    return [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])]


def words(entries: Sequence[dict]) -> str:
    """How many photos, boxes and classes entries have."""
    labels = Counter(label for entry in entries for label in entry.get("labels", []))
    return f"{len(entries):,} photos, {labels.total():,} boxes, {len(labels):,} labels"
