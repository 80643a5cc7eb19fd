"""Data sets as other tools write them: each form is written here, small, and read as scenes."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask

from helpers.parameters import ParameterError
from helpers.runs.protocol import protocol
from helpers.scenes.problems import DatasetError
from helpers.scenes.scenes import read_scenes

SIZE = (160, 120)
BOXES = {
    "a": [("cone", [10, 20, 50, 60]), ("hard hat", [80, 40, 150, 110])],
    "b": [("cone", [30, 30, 60, 90])],
    "c": [],
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, len(path.as_posix())]).integers(
        0, 255, (*SIZE[::-1], 3), dtype=np.uint8
    )
    Image.fromarray(pixels).save(path)


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def photos(folder, below=""):
    for seed, name in enumerate(BOXES):
        photo(folder / below / f"{name}.jpg", seed)


def pixels(scene):
    return (scene.boxes * (SIZE * 2)).round(3).tolist()


def as_written(scenes, names=("a", "b", "c")):
    """Whether scenes are those of BOXES; returns what was recognised."""
    found = {
        scene.name.split("__")[-1]: list(zip(scene.labels, pixels(scene), strict=True)) for scene in scenes
    }
    assert found == {name: BOXES[name] for name in names}
    assert all((scene.width, scene.height) == SIZE for scene in scenes)
    return scenes.format


def coco(names="abc", below="", first=1):
    """Categories with gaps, boxes as x, y, width, height."""
    images = [
        {"id": 100 + i, "file_name": f"{below}{name}.jpg", "width": SIZE[0], "height": SIZE[1]}
        for i, name in enumerate(names)
    ]
    numbers = {"cone": 3, "hard hat": 90}
    annotations = [
        {"id": first + k, "image_id": 100 + i, "category_id": numbers[label], "bbox": [x, y, r - x, b - y]}
        for i, name in enumerate(names)
        for k, (label, (x, y, r, b)) in enumerate(BOXES[name])
    ]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.mark.parametrize(
    ("file", "below"),
    [
        ("annotations.json", ""),
        ("annotations.json", "images"),
        ("_annotations.coco.json", ""),
        ("annotations/instances_train2017.json", "train2017"),
        ("train/_annotations.coco.json", "train"),
    ],
)
def test_coco_where_its_tools_put_it(folder, file, below):
    photos(folder, below)
    write(folder / file, coco())
    assert as_written(read_scenes(folder)) == f"{file}: COCO, 3 photos, 3 boxes, 2 labels"


def test_coco_with_crowds_outlines_captions_and_splits(folder):
    photos(folder, "train2017")
    photo(folder / "val2017" / "d.jpg", 9)
    value = coco()
    outline = {
        "image_id": 102,
        "category_id": 3,
        "segmentation": [[10, 20, 50, 20, 50, 60], [11, 20, 12, 25, 13, 30]],
    }
    cells = np.zeros(SIZE[::-1], np.uint8, order="F")
    cells[40:110, 80:150] = 1
    packed = mask.encode(cells)
    packed["counts"] = packed["counts"].decode()
    crowd = {"image_id": 102, "category_id": 3, "bbox": [0, 0, 160, 120], "iscrowd": 1}
    value["annotations"] += [outline, {"image_id": 102, "category_id": 90, "segmentation": packed}, crowd]
    captions = {
        "images": value["images"],
        "annotations": [{"image_id": 100, "caption": "one"}, {"image_id": 100, "caption": "two"}],
    }
    write(folder / "annotations" / "instances_train2017.json", value)
    write(folder / "annotations" / "captions_train2017.json", captions)
    only = {"id": 5, "file_name": "d.jpg", "width": 160, "height": 120}
    write(
        folder / "annotations" / "instances_val2017.json",
        {"images": [only], "annotations": [], "categories": []},
    )
    scenes = read_scenes(folder, split="train")
    by_name = {scene.name: scene for scene in scenes}
    assert set(by_name) == {"a", "b", "c"} and by_name["a"].caption == "one"
    assert by_name["a"].extra["captions"] == ["one", "two"]
    assert list(zip(by_name["c"].labels, pixels(by_name["c"]), strict=True)) == BOXES["a"]
    assert scenes.notes == ["crowd regions left out, being no boxes of single things: 1"]
    assert {scene.name for scene in read_scenes(folder)} == {"a", "b", "c", "d"}


def yolo_lines(name):
    numbers = {"cone": 0, "hard hat": 2}
    rows = [
        (numbers[label], (x + r) / 320, (y + b) / 240, (r - x) / 160, (b - y) / 120)
        for label, (x, y, r, b) in BOXES[name]
    ]
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


YAML = "train: ../train/images\nval: ../valid/images\nnc: 3\nnames: ['cone', 'x', 'hard hat']\n"
PLACES = [
    ("data.yaml", "images", "labels"),
    ("data.yaml", "images/train", "labels/train"),
    ("data.yaml", "train/images", "train/labels"),
    ("classes.txt", "images", "labels"),
    ("labels/classes.txt", "images", "labels"),
]


@pytest.mark.parametrize(("names", "images", "labels"), PLACES)
def test_yolo_where_its_tools_put_it(folder, names, images, labels):
    photos(folder, images)
    write(folder / names, YAML if names == "data.yaml" else "cone\nx\nhard hat\n")
    for name in "ab":  # c has no boxes and no file
        write(folder / labels / f"{name}.txt", yolo_lines(name))
    scenes = read_scenes(folder)
    assert as_written(scenes) == f"{names}: YOLO, 3 photos, 3 boxes, 2 labels"
    assert scenes.notes == ["photos without a label file, taken for photos without boxes: 1"]


def test_yolo_outlines_names_by_number_and_splits(folder):
    photo(folder / "images" / "train" / "a.jpg", 1)
    photo(folder / "images" / "val" / "b.jpg", 2)
    write(
        folder / "set.yaml",
        {"names": {"0": "cone", "7": "hard hat"}, "train": "images/train", "val": "images/val"},
    )
    corners = [(80, 40), (150, 40), (150, 110), (80, 110), (100, 50)]
    outline = " ".join(f"{x / 160} {y / 120}" for x, y in corners)
    write(folder / "labels" / "train" / "a.txt", f"{yolo_lines('b')}7 {outline}\n")
    write(folder / "labels" / "val" / "b.txt", "")
    (scene,) = read_scenes(folder, split="train")
    assert list(zip(scene.labels, pixels(scene), strict=True)) == [BOXES["b"][0], BOXES["a"][1]]
    assert [scene.name for scene in read_scenes(folder)] == ["images__train__a", "images__val__b"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("9 0.5 0.5 0.1 0.1", "class 9 has no name; the names are {0: 'cone'"),
        ("0 0.5 0.5 0.1", "neither class, x, y, width, height nor"),
        ("cone 0.5 0.5 0.1 0.1", "could not convert string to float: 'cone'"),
        ("0 50 50 10 10", "wholly outside"),
        ("0 0.5 0.5 0 0.1", "empty"),
        ("0 nan 0.5 0.1 0.1", "is not four finite numbers"),
    ],
)
def test_what_is_wrong_with_a_yolo_line_is_told(folder, line, told):
    photos(folder, "images")
    write(folder / "data.yaml", YAML)
    write(folder / "labels" / "a.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(DatasetError) as caught:
        read_scenes(folder)
    assert told in str(caught.value) and (
        "a.txt, line 2" in str(caught.value) or "a.jpg" in str(caught.value)
    )


def test_yolo_without_names_says_where_they_belong(folder):
    photos(folder, "images")
    write(folder / "labels" / "a.txt", yolo_lines("a"))
    with pytest.raises(
        DatasetError, match=r"without the names of classes; add data\.yaml with names, or classes\.txt"
    ):
        read_scenes(folder)


def voc(name, size=SIZE):
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{r}</xmax><ymax>{b}.0</ymax>"
        "</bndbox></object>"
        for label, (x, y, r, b) in BOXES[name]
    )
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><folder>x</folder><filename>{name}.jpg</filename>{sides}{objects}</annotation>"


@pytest.mark.parametrize(("images", "labels"), [("", ""), ("JPEGImages", "Annotations"), ("train", "train")])
@pytest.mark.parametrize("size", [SIZE, (0, 0)])
def test_pascal_voc_where_its_tools_put_it(folder, images, labels, size):
    photos(folder, images)
    for name in BOXES:
        write(folder / labels / f"{name}.xml", voc(name, size))
    assert "Pascal VOC, 3 photos, 3 boxes, 2 labels" in as_written(read_scenes(folder))


def test_pascal_voc_in_splits(folder):
    photos(folder, "VOC2012/JPEGImages")
    for name in BOXES:
        write(folder / "VOC2012" / "Annotations" / f"{name}.xml", voc(name))
    write(folder / "VOC2012" / "ImageSets" / "Main" / "train.txt", "a\nc 1\n")
    assert [scene.name for scene in read_scenes(folder / "VOC2012", split="train")] == ["a", "c"]
    assert "3 photos" in as_written(read_scenes(folder))


@pytest.mark.parametrize("file", ["layouts.jsonl", "train/metadata.jsonl"])
def test_json_lines_of_gligen_and_of_image_folders(folder, file):
    photos(folder, "train")
    rows = []
    for name, boxes in BOXES.items():
        labels, pixels = [label for label, _ in boxes], [box for _, box in boxes]
        if file.startswith("train"):
            objects = {"bbox": [[x, y, r - x, b - y] for x, y, r, b in pixels], "categories": labels}
            rows.append({"file_name": f"{name}.jpg", "objects": objects, "text": "it\u2028all"})
        else:
            locations = [[x / 160, y / 120, r / 160, b / 120] for x, y, r, b in pixels]
            rows.append(
                {"image": f"{name}.jpg", "prompt": "it\u2028all", "phrases": labels, "locations": locations}
            )
    write(folder / file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    scenes = read_scenes(folder)
    assert (
        as_written(scenes).startswith(f"{file}: JSON lines, 3 photos") and scenes[0].caption == "it\u2028all"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"image": "a.jpg"\n', 'set.jsonl, line 1, \'{"image": "a.jpg"\': not one JSON value'),
        (
            '{"image": "a.jpg", "phrases": ["x"]}',
            "looks like JSON lines, but cannot be followed: 'bboxes' is missing",
        ),
        ('{"phrases": ["x"], "bboxes": []}', "cannot be followed"),
        (
            '{"image": "a.jpg", "labels": [3], "bboxes": [[1, 2, 3, 4]]}',
            "class 3 of 'a.jpg' is a number; give the",
        ),
        ('{"image": "a.jpg", "labels": ["x"], "bboxes": [[9, 2, 3, 4]]}', "x_min 9 is right of x_max 3"),
    ],
)
def test_what_is_wrong_with_json_lines_is_told(folder, text, told):
    photos(folder)
    write(folder / "set.jsonl", text)
    with pytest.raises(DatasetError) as caught:
        read_scenes(folder)
    assert len(caught.value.problems) == 1 and told in caught.value.problems[0]


@pytest.mark.parametrize("text", ["<annotation>", "<annotation><object/></annotation>", "\x00"])
def test_what_is_wrong_with_a_voc_file_is_told(folder, text):
    photos(folder)
    write(folder / "a.xml", text)
    with pytest.raises(
        DatasetError, match=r"a\.xml: looks like Pascal VOC, but cannot be followed: .*; mend it"
    ):
        read_scenes(folder)


def test_labelme_files(folder):
    photos(folder, "images")
    for name, boxes in BOXES.items():
        shapes = [
            {"label": label, "points": [[r, b], [x, y]], "shape_type": "rectangle"}
            for label, (x, y, r, b) in boxes
        ]
        shapes += [{"label": "tip", "points": [[3, 4]], "shape_type": "point"}] if name == "c" else []
        value = {"version": "5", "shapes": shapes, "imagePath": f"..\\images\\{name}.jpg", "imageData": None}
        write(folder / "labels" / f"{name}.json", value | {"imageWidth": SIZE[0], "imageHeight": SIZE[1]})
    scenes = read_scenes(folder)
    assert "LabelMe, 3 photos" in as_written(scenes)
    assert scenes.notes == ["points and lines left out, being no boxes: 1"]


def test_createml(folder):
    photos(folder)
    value = [
        {
            "image": f"{name}.jpg",
            "annotations": [
                {
                    "label": label,
                    "coordinates": {"x": (x + r) / 2, "y": (y + b) / 2, "width": r - x, "height": b - y},
                }
                for label, (x, y, r, b) in boxes
            ],
        }
        for name, boxes in BOXES.items()
    ]
    write(folder / "_annotations.createml.json", value)
    assert as_written(read_scenes(folder)).startswith("_annotations.createml.json: CreateML")


def test_label_studio(folder):
    photos(folder)
    value = []
    for name, boxes in BOXES.items():
        results = [
            {
                "type": "rectanglelabels",
                "original_width": SIZE[0],
                "original_height": SIZE[1],
                "value": {
                    **{"x": x / 1.6, "y": y / 1.2, "width": (r - x) / 1.6, "height": (b - y) / 1.2},
                    "rectanglelabels": [label],
                },
            }
            for label, (x, y, r, b) in boxes
        ]
        data = {"image": f"/data/upload/1/0123abcd-{name}.jpg"}
        value.append({"id": len(value), "data": data, "annotations": [{"result": results}, {"result": []}]})
    write(folder / "annotations.json", value)
    scenes = read_scenes(folder)
    assert "Label Studio" in as_written(scenes)
    assert scenes.notes == ["photos with several annotators, of whom the first is taken: 3"]


def test_via(folder):
    photos(folder)
    value = {}
    for name, boxes in BOXES.items():
        regions = [
            {
                "shape_attributes": {"name": "rect", "x": x, "y": y, "width": r - x, "height": b - y},
                "region_attributes": {"label": label},
            }
            for label, (x, y, r, b) in boxes
        ]
        value[f"{name}.jpg123"] = {"filename": f"{name}.jpg", "size": 123, "regions": regions}
    write(folder / "via_region_data.json", value)
    assert "VIA" in as_written(read_scenes(folder))
    write(folder / "via_region_data.json", {"_via_settings": {}, "_via_img_metadata": value})
    assert "VIA" in as_written(read_scenes(folder))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"images": [], "annotations": []}, "COCO without a photo"),
        (
            {"categories": []},
            "looks like COCO, but cannot be followed: category 3 of a box has no name; mend it, or write a",
        ),
        (
            {"images": [{"id": 1}]},
            "looks like COCO, but cannot be followed: 'file_name' is missing somewhere;",
        ),
        (
            {"images": [{"id": 100, "file_name": "gone.jpg"}]},
            "cannot be followed: an annotation is of image 101, which is not listed",
        ),
        ({"annotations": 7}, "cannot be followed: "),
    ],
)
def test_what_is_wrong_with_a_coco_file_is_told_in_one_line(folder, change, told):
    photos(folder)
    write(folder / "annotations.json", coco() | change)
    with pytest.raises(DatasetError) as caught:
        read_scenes(folder)
    assert len(caught.value.problems) == 1 and told in caught.value.problems[0]


def test_a_photo_that_coco_names_and_that_is_not_there_is_told_by_name(folder):
    photos(folder)
    (folder / "b.jpg").unlink()
    write(folder / "set.json", coco())
    with pytest.raises(DatasetError, match=r"set\.json, scene 'b\.jpg': there is no such file; add it"):
        read_scenes(folder)
    assert [scene.name for scene in read_scenes(folder, skip_bad=True)] == ["a", "c"]


def test_a_split_that_is_not_there_is_told(folder):
    photos(folder, "train")
    write(folder / "train" / "set.json", coco())
    with pytest.raises(DatasetError, match="split 'test' of annotations"):
        read_scenes(folder, split="test")


def test_photos_without_annotations_are_scenes_without_boxes(folder):
    """Files of other kinds are not taken for annotations."""
    photos(folder, "deep")
    write(folder / "package.json", {"name": "x"})
    write(folder / "notes.txt", "hello")
    write(folder / "sub" / "list.json", [1, 2])
    scenes = read_scenes(folder)
    assert [scene.name for scene in scenes] == ["deep__a", "deep__b", "deep__c"]
    assert all(scene.boxes.shape == (0, 4) and scene.width == SIZE[0] for scene in scenes)
    assert scenes.format == "photos without annotations, 3 photos, 0 boxes, 0 labels"
    (note,) = scenes.notes
    assert note.startswith("annotations.json is missing beside 3 photos, and no annotations of COCO")
    assert "they can be captioned and drawn without grounding; for a study, write a list" in note
    with pytest.raises(
        ParameterError, match=r"no photo has a box \(3 photos\).*annotations\.json is missing"
    ):
        protocol(str(folder), "demo")


def test_a_folder_without_photos_and_annotations_is_told(folder):
    with pytest.raises(
        DatasetError, match=r"annotations\.json is missing beside no photos, and no annotations"
    ):
        read_scenes(folder)


ONE = {  # one photo in each format
    "LabelMe": {
        "imagePath": "a.jpg",
        "imageWidth": 160,
        "imageHeight": 120,
        "shapes": [{"label": "cone", "points": [[1, 2], [30, 40]], "shape_type": "rectangle"}],
    },
    "CreateML": [
        {
            "image": "a.jpg",
            "annotations": [{"label": "cone", "coordinates": {"x": 40, "y": 40, "width": 20, "height": 30}}],
        }
    ],
    "Label Studio": [
        {
            "data": {"image": "a.jpg"},
            "annotations": [
                {
                    "result": [
                        {
                            "original_width": 160,
                            "original_height": 120,
                            "value": {
                                "x": 10,
                                "y": 10,
                                "width": 20,
                                "height": 20,
                                "rectanglelabels": ["cone"],
                            },
                        }
                    ]
                }
            ],
        }
    ],
    "VIA": {
        "a.jpg1": {
            "filename": "a.jpg",
            "regions": [
                {
                    "shape_attributes": {"x": 1, "y": 2, "width": 30, "height": 40},
                    "region_attributes": {"label": "cone"},
                }
            ],
        }
    },
    "COCO": {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 160, "height": 120}],
        "categories": [{"id": 3, "name": "cone"}],
        "annotations": [{"image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40]}],
    },
    "lines": [{"image": "a.jpg", "phrases": ["cone"], "locations": [[0.1, 0.1, 0.5, 0.5]]}],
}


def changed(value, junk):
    """Copies of a JSON value in which one part, at any depth, is junk or, for keys, missing."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        for other in (*junk, *changed(part, junk)):
            copy = value.copy()
            copy[key] = other
            yield copy
        if isinstance(value, dict):
            yield {name: one for name, one in value.items() if name != key}


@pytest.mark.parametrize("tool", ONE)
def test_whatever_is_broken_is_told_with_its_file(folder, tool):
    """Read, or one error that names the file: never an error of the reader's own."""
    photo(folder / "a.jpg")
    told = []
    for value in changed(ONE[tool], (None, 7, "x", [], {}, [[1, "x"]])):
        below, lines = folder / "set", tool == "lines"
        text = "".join(json.dumps(row) + "\n" for row in value) if lines else json.dumps(value)
        write(below / f"set.json{'l' * lines}", text)
        try:
            read_scenes(folder)
        except DatasetError as error:
            assert all("set/set.json" in problem for problem in error.problems), error
            told += error.problems
    assert len(set(told)) > 5


@pytest.mark.parametrize(
    ("tool", "change", "said"),
    [
        ("LabelMe", {"imagePath": None}, "looks like LabelMe, but cannot be followed: "),
        (
            "LabelMe",
            {"shapes": [{"points": [[1, 2], [3, 4]]}]},
            "cannot be followed: 'label' is missing somewhere",
        ),
        (
            "LabelMe",
            {"shapes": [{"label": "", "points": [[1, 2], [30, 40]]}]},
            "box 0: label '' is not a text",
        ),
        ("LabelMe", {"imagePath": "gone.jpg"}, "scene 'set/gone.jpg': there is no such file"),
        ("LabelMe", {"imageWidth": 999}, "width and height say 999 x 120, but the picture is 160 x 120"),
        ("COCO", {"categories": [{"id": 3, "name": 7}]}, "box 0: label 7 is not a text"),
        ("COCO", {"images": [{"id": 1}]}, "looks like COCO, but cannot be followed: 'file_name' is missing"),
    ],
)
def test_what_is_wrong_with_a_file_of_another_tool_is_told(folder, tool, change, said):
    photo(folder / "set" / "a.jpg")
    write(folder / "set" / "one.json", ONE[tool] | change)
    with pytest.raises(DatasetError) as caught:
        read_scenes(folder)
    (problem,) = caught.value.problems
    assert problem.startswith("set/one.json") and said in problem


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("data.yaml", "names: [cone", "data.yaml is not YAML: "),
        ("data.yaml", "names: {x: cone}", "data.yaml: names {'x': 'cone'} are neither a list nor by number"),
        ("data.yaml", b"names: [caf\xe9]", "data.yaml cannot be read as UTF-8: "),
        ("classes.txt", b"caf\xe9", "classes.txt cannot be read as UTF-8: "),
        ("labels/a.txt", b"0 \xe9", "labels/a.txt cannot be read as UTF-8: "),
    ],
)
def test_what_is_wrong_with_yolo_files_is_told(folder, file, text, said):
    photos(folder, "images")
    write(folder / "labels" / "a.txt", yolo_lines("a"))
    if file.startswith("labels"):
        write(folder / "data.yaml", YAML)
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError) as caught:
        read_scenes(folder)
    assert said in caught.value.problems[0]


def test_json_lines_in_another_encoding_are_told(folder):
    photos(folder)
    (folder / "set.jsonl").write_bytes(b'{"image": "caf\xe9"}')
    with pytest.raises(DatasetError, match=r"set\.jsonl cannot be read as UTF-8: .*; save it so"):
        read_scenes(folder)


def test_a_split_of_a_list_without_parts_is_refused(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    entry = {"image": "a.png", "width": 60, "height": 40, "labels": ["cone"], "bboxes": [[5, 5, 30, 30]]}
    (tmp_path / "annotations.json").write_text(json.dumps([entry]), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"split 'train': annotations\.json is one list without parts"):
        read_scenes(tmp_path, split="train")


SEVEN = """id,category,prompt,obj1,bbox1,obj2,bbox2
000,object_binding,A rose,rose,"175,108,347,430",,
008,object_binding,"A spider, a clock",spider,"314,382,442,471",clock,"63,45,214,215"
"""


def test_a_csv_of_prompts_and_boxes_is_layouts_without_photos(folder):
    write(folder / "7bench.csv", SEVEN)
    write(folder / "results.csv", "arm,score\na,3\n")
    scenes = read_scenes(folder)
    assert scenes.format == "7bench.csv: CSV, prompts and boxes without photos, 2 prompts, 3 boxes, 3 labels"
    assert scenes.notes == ["layouts without width and height, taken for 512 x 512: 2"]
    first, second = scenes
    assert (first.name, first.path, first.caption) == ("000", None, "A rose")
    assert second.labels == ("spider", "clock") and second.extra == {"category": "object_binding"}
    assert (second.boxes * 512).round().tolist() == [[314, 382, 442, 471], [63, 45, 214, 215]]
    assert second.photo().size == (512, 512)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_layouts_say_their_size_and_whatever_else_they_know(folder, form):
    row = {"prompt": "a cone", "labels": ["cone"], "bboxes": [[10, 20, 30, 60]], "width": 80, "height": 64}
    row |= {"drawn": True}
    texts = [
        value if isinstance(value, str) else json.dumps(value).replace('"', '""') for value in row.values()
    ]
    table = ",".join(row) + "\n" + ",".join(f'"{text}"' for text in texts) + "\n"
    write(folder / f"set.{form}", table if form == "csv" else json.dumps(row))
    (scene,) = scenes = read_scenes(folder)
    assert (scene.name, scene.width, scene.height) == ("0", 80, 64) and scene.extra == {"drawn": True}
    assert scene.boxes.tolist() == np.float32([[0.125, 0.3125, 0.375, 0.9375]]).tolist() and not scenes.notes


def test_fractions_of_a_layout_are_of_its_size(folder):
    row = {"prompt": "a cone", "phrases": ["cone"], "locations": [[0.1, 0.2, 0.3, 0.5]], "id": "one"}
    write(folder / "set.jsonl", json.dumps(row))
    (scene,) = read_scenes(folder)
    assert scene.name == "one" and np.allclose(scene.boxes, [[0.1, 0.2, 0.3, 0.5]])


def test_a_csv_that_names_photos_is_a_data_set_with_photos(folder):
    photos(folder)
    write(folder / "boxes.csv", 'image,obj1,bbox1\na.jpg,cone,"10,20,50,60"\n')
    (scene,) = scenes = read_scenes(folder)
    assert scenes.format == "boxes.csv: CSV, 1 photos, 1 boxes, 1 labels"
    assert scene.path == folder / "a.jpg" and pixels(scene) == [[10, 20, 50, 60]]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('x,a table,table,"485,474,485,474",,', "scene 'x', box 0: x_min 485 and x_max 485 leave"),
        ('x,a table,table,"1,2,x,4",,', "scene 'x', box 0: '1,2,x,4' is not four finite numbers"),
        ('x,a table,table,"1,2,2000,400",,', "mostly outside the 512 x 512 picture"),
        ('x,a table,table,"1,2,30,40",chair,', "scene 'x': 2 labels for 1 bboxes"),
        ('x,,table,"1,2,30,40",,', "row 0 has neither a photo (image, file_name"),
        ('../x,a table,table,"1,2,30,40",,', "the path leaves the folder"),
        ('y,a,table,"1,2,30,40",,\ny,b,chair,"1,2,30,40",,', "is listed twice with other sizes or texts"),
    ],
)
def test_what_is_wrong_with_a_layout_is_told(folder, row, told):
    write(folder / "set.csv", f"id,prompt,obj1,bbox1,obj2,bbox2\n{row}\n")
    with pytest.raises(DatasetError) as caught:
        read_scenes(folder)
    assert len(caught.value.problems) == 1 and told in caught.value.problems[0]


def test_rows_of_which_some_name_a_photo_are_refused(folder):
    photos(folder)
    rows = [
        {"prompt": "a", "labels": ["x"], "bboxes": [[1, 2, 30, 40]]} | more
        for more in ({}, {"image": "a.jpg"})
    ]
    write(folder / "set.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(DatasetError, match=r"1 of 2 rows name a photo; give all of them one, or none"):
        read_scenes(folder)
