"""Training sets: which pictures, which side of the split, and whether the libraries can open them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection

from helpers.parameters import ParameterError
from helpers.report import export as exports
from helpers.report import qualification, tables
from helpers.report.export import export, split
from helpers.report.export_formats import FORMATS
from helpers.runs.arms import Arm
from helpers.runs.layouts import arm_layouts
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scenes.scenes import fitted, read_scenes
from helpers.scoring import scores
from tests.fakes.judged import draw, load_small_judges, start
from tests.fakes.study import EVIL

A, B = Arm("suffix", "text", 2).name, Arm("suffix", "image", 2).name
COUNT = 12


def judge(run, arm, wrong=None, value=0.6):
    """Box rows as the scores write them: all hold what was asked for, but for {(scene, box): changes}."""
    rows = []
    for scene in run.scenes:
        for k, label in enumerate(scene.labels):
            row = {"scene": scene.name, "box": k, "label": label, "found": True, "iou": 0.6}
            rows.append(row | {"crop_correct": True} | (wrong or {}).get((scene.name, k), {}))
    run.write_jsonl(f"boxes/{arm}.jsonl", rows)
    scores = [{"metric": name, "value": value, "n": COUNT} for name in ("found at IoU 0.5", "crop accuracy")]
    if value is None:
        scores = [score | {"reason": "the detector does not know these labels"} for score in scores]
    run.write_json(f"scores/{arm}.json", scores)


@pytest.fixture
def run(tmp_path):
    """Two arms of noise over twelve photos: photo-1 misses a crate, photo-2 is named wrongly once."""
    run = start(tmp_path, COUNT)
    run.card |= {"started": "today", "device": "toaster", "versions": {"torch": "9"}}
    for seed, arm in enumerate((A, B)):
        draw(run, arm, seed)
        judge(run, arm)
    missed, misnamed = {"found": False, "iou": 0.31}, {"crop_correct": False}
    judge(run, A, {("photo-1", 1): missed, ("photo-2", 0): misnamed})
    return run


def rejected(folder):
    return pd.read_csv(folder / "rejected.csv").set_index(["arm", "scene"]).reason.to_dict()


def test_pictures_are_taken_whose_every_box_is_found_and_named_rightly(run, tmp_path):
    said = export(run, [A], tmp_path / "set")
    assert said[0].startswith("10 of 12 pictures (8 train, 2 val)")
    assert said[1:] == ["not taken: 1 boxes not found at IoU 0.5", "not taken: 1 crops not named rightly"]
    assert rejected(tmp_path / "set") == {
        (A, "photo-1"): "boxes not found at IoU 0.5: crate (0.31)",
        (A, "photo-2"): "crops not named rightly: cone",
    }
    table = qualification.qualifying(run, [A])
    assert run.read_json("qualifying.json")["arms"] == {A: table[table.qualifies].scene.tolist()}
    assert pd.read_csv(run.folder / "qualifying.csv").qualifies.sum() == 10


@pytest.mark.parametrize(
    ("iou", "crops", "count"), [(0.3, 1, 11), (0.5, 0.5, 11), (0.3, 0.5, 12), (0.6, 1, 10)]
)
def test_thresholds_decide(run, iou, crops, count):
    assert qualification.qualifying(run, [A], iou, crops).qualifies.sum() == count


def test_a_picture_with_a_box_that_was_not_judged_does_not_qualify(run):
    judge(run, A, {("photo-3", 0): {"found": None, "iou": None}, ("photo-4", 1): {"crop_correct": None}})
    reasons = qualification.qualifying(run, [A]).set_index("scene").reason
    assert reasons["photo-3"] == "boxes that were not judged: cone"
    assert reasons["photo-4"] == "boxes that were not judged: crate" and (reasons == "").sum() == 10


def test_what_has_no_picture_no_box_or_was_withheld_is_listed(run, tmp_path):
    names = [scene.name for scene in run.scenes]
    run.picture(A, names[3]).unlink()
    run.picture(A, names[4]).write_bytes(run.picture(A, names[4]).read_bytes()[:-20])
    picture = images.load(run.picture(A, names[5]))
    images.save(picture, run.picture(A, names[5]), {"flagged": "true"})
    run.write_jsonl(
        f"boxes/{A}.jsonl", [row for row in run.read_jsonl(f"boxes/{A}.jsonl") if row["scene"] != names[6]]
    )
    reasons = qualification.qualifying(run, [A]).set_index("scene").reason
    assert reasons[names[3:6]].tolist() == ["no picture", "damaged picture", "withheld by the safety checker"]
    assert reasons[names[6]].startswith("not measured")
    assert qualification.every(run, [A]).qualifies.sum() == COUNT - 3


def test_all_pictures_of_a_photo_are_on_one_side_in_every_export(run, tmp_path):
    export(run, [A, B], tmp_path / "both")
    export(run, [B], tmp_path / "one", format="voc")
    both, one = (pd.read_csv(tmp_path / name / "pictures.csv") for name in ("both", "one"))
    assert (both.groupby("scene").split.nunique() == 1).all() and set(both.arm) == {A, B}
    sides = dict(zip(both.scene, both.split, strict=True))
    assert all(sides.get(scene, side) == side for scene, side in zip(one.scene, one.split, strict=True))
    assert Counter(split(run.scenes, 0.25, 0).values()) == {"train": 9, "val": 3}
    assert split(run.scenes, 0.25, 0) != split(run.scenes, 0.25, 1)
    assert split(run.scenes, 0.25, 0) == split(run.scenes[::-1], 0.25, 0)


def expected(run, name):
    """Pixel boxes and labels of a picture, by its file's name."""
    scene = next(scene for scene in run.scenes if scene.name == name.split("@")[0])
    asked = fitted(scene, run.card["protocol"])
    return asked.boxes.astype(float) * 32, list(asked.labels)


def test_pycocotools_and_torchvision_open_coco(run, tmp_path, capsys):
    export(run, [A, B], tmp_path / "set")
    seen = 0
    for side in ("train", "val"):
        file = str(tmp_path / "set" / "annotations" / f"instances_{side}.json")
        names = {row["id"]: row["name"] for row in COCO(file).dataset["categories"]}
        assert list(names.values()) == sorted({"cone", "crate", EVIL})
        photos = CocoDetection(str(tmp_path / "set" / "images" / side), file)
        for index in range(len(photos)):
            picture, boxes = photos[index]
            wanted, labels = expected(run, photos.coco.loadImgs(photos.ids[index])[0]["file_name"])
            found = np.array([row["bbox"] for row in boxes])
            found[:, 2:] += found[:, :2]
            assert picture.size == (32, 32) and np.abs(found - wanted).max() < 0.01
            assert [names[row["category_id"]] for row in boxes] == labels
            seen += 1
    assert seen == 22


@pytest.mark.parametrize("format", FORMATS)
def test_this_project_reads_its_own_sets(run, tmp_path, format):
    export(run, [A], tmp_path / "set", format=format)
    taken = pd.read_csv(tmp_path / "set" / "pictures.csv")
    found = 0
    for side in ("train", "val"):
        for scene in read_scenes(tmp_path / "set", split=side):
            wanted, labels = expected(run, Path(scene.image).name)
            assert list(scene.labels) == labels and np.abs(scene.boxes * 32 - wanted).max() <= 1.01
            assert taken.set_index("file").split[Path(scene.image).name] == side
            found += 1
    assert found == len(taken) == 10


def test_a_box_that_the_record_calls_dropped_has_no_label(run, tmp_path):
    """Such as one whose phrase names no class of the model: nobody asked the picture to show it."""
    scene = arm_layouts(run, A, run.scenes)[0]
    dropped = {"dropped_boxes": scene.boxes[:1].tolist(), "dropped_phrases": scene.phrases[:1]}
    draw(run, A, 1, **{name: json.dumps(value) for name, value in dropped.items()})
    export(run, [A], tmp_path / "set", every=True)
    sides = (tmp_path / "set" / "annotations").glob("*.json")
    found = [json.loads(side.read_text()) for side in sides]
    ids = {
        (i, one["id"])
        for i, side in enumerate(found)
        for one in side["images"]
        if scene.name in one["file_name"]
    }
    labelled = [
        one for i, side in enumerate(found) for one in side["annotations"] if (i, one["image_id"]) in ids
    ]
    assert len(ids) == 1 and len(labelled) == len(scene.boxes) - 1


@pytest.mark.parametrize("format", FORMATS)
def test_supervision_opens_every_format(run, tmp_path, format):
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    export(run, [A], tmp_path / "set", format=format)
    at = lambda name: str(tmp_path / "set" / name)  # noqa: E731
    if format == "coco":
        data = supervision.DetectionDataset.from_coco(
            at("images/train"), at("annotations/instances_train.json")
        )
    elif format == "yolo":
        data = supervision.DetectionDataset.from_yolo(at("images/train"), at("labels/train"), at("data.yaml"))
    else:
        data = supervision.DetectionDataset.from_pascal_voc(at("JPEGImages"), at("Annotations"))
    assert len(data) == (10 if format == "voc" else 8)
    for path, _, boxes in data:
        wanted, labels = expected(run, Path(path).name)
        assert np.abs(boxes.xyxy - wanted).max() <= 1.01
        assert [data.classes[index] for index in boxes.class_id] == labels


def test_yolo_has_the_layout_that_ultralytics_asks_for(run, tmp_path):
    export(run, [A, B], tmp_path / "set", format="yolo")
    settings = yaml.safe_load((tmp_path / "set" / "data.yaml").read_text())
    assert settings["train"] == "images/train" and settings["val"] == "images/val" and "path" not in settings
    assert list(settings["names"]) == list(range(3)) and EVIL in settings["names"].values()
    for side in ("train", "val"):
        pictures = sorted((tmp_path / "set" / "images" / side).iterdir())
        labels = [Path(str(path).replace("/images/", "/labels/")).with_suffix(".txt") for path in pictures]
        assert labels == sorted((tmp_path / "set" / "labels" / side).iterdir()) and labels
        for path in labels:
            rows = np.loadtxt(path, ndmin=2)
            assert rows.shape[1] == 5 and set(rows[:, 0]) <= {0, 1, 2} and (rows[:, 1:] <= 1).all()
            assert (rows[:, 1:3] >= rows[:, 3:] / 2 - 1e-6).all() and len(np.unique(rows, axis=0)) == len(
                rows
            )


def test_the_card_says_where_it_comes_from_and_how_it_was_made(run, tmp_path):
    export(run, [A], tmp_path / "set", iou=0.3)
    card = (tmp_path / "set" / "README.md").read_text()
    command = f"grounded dataset --run {run.folder} --arm {A} --to {tmp_path / 'set'} --format coco"
    assert f"{command} --val 0.2 --seed 0 --iou 0.3 --crop-accuracy 1.0" in card
    assert "an IoU of at least 0.3" in card and "toaster" in card and "this project's own" in card
    assert "| train | 9 | 18 | 9 |" in card and "11 of 12 pictures" in card


def test_licences_of_photos_and_checkpoints_stand_in_the_card(run, tmp_path):
    run.scenes[0].extra["license"] = "CC0"
    run.card["protocol"] |= {"models": "published", "checkpoints": {"owlv2-base-patch16-ensemble": "abc123"}}
    export(run, [A], tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    assert "licences CC0" in card and "abc123 | Apache 2.0" in card and "OpenRAIL" in card
    assert "see the model card of anhnct/Gligen_Text_Image |" in card  # whose page states no licence
    draw(run, "suffix-ssagan")
    export(run, ["suffix-ssagan"], tmp_path / "converted", every=True)
    card = (tmp_path / "converted" / "README.md").read_text()
    assert "| SSA-GAN | its authors' files, converted | not noted by the run | no licence file" in card


def test_pictures_under_a_licence_say_what_to_read_before_training(run, tmp_path):
    arm = Arm("suffix", "flux3", knobs={"size": 1024}).name
    run.card["protocol"] |= {"models": "published"}
    draw(run, arm, 3)
    judge(run, arm)
    said = export(run, [A, arm], tmp_path / "set")
    sentence = "pictures of FLUX 3 Image Klein are under FLUX Kommunity License 1.0: non-commercial"
    assert any(line.startswith(f"read before you train: {sentence}") for line in said)
    card = (tmp_path / "set" / "README.md").read_text()
    assert "**Read before you train.** Pictures of FLUX 3" in card and "LICENSE.md" in card
    assert "| black-forest-labs/flux-3-image-klein | not noted by the run | FLUX Kommunity" in card
    for file in (tmp_path / "set" / "dataset.json", run.folder / "qualifying.json"):
        (licence,) = json.loads(file.read_text())["licences"].values()
        assert "what it says of training on pictures was not read here" in licence
    export(run, [A], tmp_path / "other")
    assert "Read before" not in (tmp_path / "other" / "README.md").read_text()
    assert "licences of pictures" in (shown := tables.protocol(run).data) and "Kommunity" in shown
    assert "flux-3-image-klein" in shown  # among the checkpoints, for an arm was drawn with it


def test_the_photos_are_an_arm_of_the_same_size_and_split(run, tmp_path):
    export(run, [A, B], tmp_path / "made", format="coco")
    assert export(run, ["photos"], tmp_path / "control", format="coco")[0].startswith("12 of 12 pictures (10")
    made, photos = (pd.read_csv(tmp_path / name / "pictures.csv") for name in ("made", "control"))
    sides = photos.set_index("scene").split
    assert all(sides[row.scene] == row.split for row in made.itertuples())
    for scene in read_scenes(tmp_path / "control", split="val"):
        assert scene.photo().size == (32, 32)
        wanted, labels = expected(run, Path(scene.image).name)
        assert list(scene.labels) == labels and np.abs(scene.boxes * 32 - wanted).max() < 0.01
    card = (tmp_path / "control" / "README.md").read_text()
    assert "12 photos, fitted to the size" in card and "drawn by GLIGEN" not in card
    assert json.loads((run.folder / "qualifying.json").read_text())["arms"].keys() == {A, B}
    export(run, [A, "photos"], tmp_path / "both", format="yolo")
    assert "Those of the arm photos are the" in (tmp_path / "both" / "README.md").read_text()


def test_an_arm_that_was_not_judged_gives_nothing_unless_all_is_said(run, tmp_path):
    judge(run, A, value=None)
    with pytest.raises(ParameterError, match=r"nothing can qualify.*does not know these labels.*--all 1"):
        export(run, [A], tmp_path / "set")
    assert not (tmp_path / "set").exists() and not run.has("qualifying.json")
    assert export(run, [A], tmp_path / "set", every=True)[0].startswith("12 of 12")
    assert "No thresholds" in (tmp_path / "set" / "README.md").read_text()


def test_the_demo_judges_pass_no_picture_of_photos_that_they_do_not_know(run, tmp_path):
    file = Path(run.card["protocol"]["dataset"]) / "annotations.json"
    entries = json.loads(file.read_text())
    file.write_text(json.dumps([{k: v for k, v in entry.items() if k != "drawn"} for entry in entries]))
    other = Run(run.folder)
    scores.score(other, other.scenes, [A], load_small_judges(tmp_path / "judges"))
    with pytest.raises(ParameterError, match=r"nothing can qualify.*drawn worksites only.*--all 1"):
        qualification.qualifying(other, [A])
    assert export(other, [A], tmp_path / "set", every=True)[0].startswith("12 of 12")


def test_a_detector_that_finds_nothing_in_the_photos_judges_no_picture(run, tmp_path):
    judge(run, "photos", value=0)
    with pytest.raises(ParameterError, match="in the photos either"):
        export(run, [A], tmp_path / "set")


def test_an_export_is_replaced_and_anything_else_is_refused(run, tmp_path):
    export(run, [A, B], tmp_path / "set")
    export(run, [A], tmp_path / "set", format="yolo")
    assert not (tmp_path / "set" / "annotations").exists()
    (tmp_path / "set" / "labels" / "train.cache").write_text("of ultralytics")
    export(run, [A], tmp_path / "set")
    (tmp_path / "set" / "notes.txt").write_text("mine")
    with pytest.raises(ParameterError, match=r"notes\.txt, which is not of an export; name another folder"):
        export(run, [A], tmp_path / "set")
    assert (tmp_path / "set" / "notes.txt").is_file()
    with pytest.raises(ParameterError, match="this is a file"):
        export(run, [A], tmp_path / "set" / "notes.txt")


def test_what_fails_leaves_what_was_there(run, tmp_path, monkeypatch):
    export(run, [A, B], tmp_path / "set")
    before = sorted(path.name for path in tmp_path.rglob("*"))

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exports.shutil, "copyfile", full)
    for name in ("set", "other"):
        with pytest.raises(OSError, match="No space"):
            export(run, [A, B], tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_every_mistake_is_named_before_anything_is_written(run, tmp_path):
    with pytest.raises(ParameterError) as error:
        export(run, ["suffix-text-g3"], tmp_path / "set", format="yolov5", iou=2)
    said = str(error.value)
    assert "iou = 2" in said and "did you mean 'yolo'" in said and "did you mean 'suffix-text-g2'" in said
    judge(run, A, {(scene.name, 0): {"found": False, "iou": 0.1} for scene in run.scenes})
    with pytest.raises(ParameterError, match="none of 12 pictures qualifies"):
        export(run, [A], tmp_path / "set")
    (run.folder / "boxes" / f"{B}.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=f"run 04_fid, or take one of: {A}"):
        export(run, [B], tmp_path / "set")
    assert json.loads((run.folder / "qualifying.json").read_text())["arms"] == {A: []}
