import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers.scenes.annotations import write_annotations
from helpers.scenes.problems import DatasetError
from helpers.scenes.scenes import Scene, checksum, checksums, fitted, read_scenes, words


def entry(image, boxes=((10, 10, 50, 40),), **changes):
    rows = [list(box) for box in boxes]
    labels = [f"thing {number}" for number in range(len(rows))]
    return {"image": image, "width": 100, "height": 80, "labels": labels, "bboxes": rows} | changes


@pytest.fixture
def folder(tmp_path):
    """A data set of three different photos, 100 x 80, and a way to annotate them."""
    draw = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "c.png"):
        Image.fromarray(draw.integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def annotate(folder, *entries):
    (folder / "annotations.json").write_text(json.dumps(entries))
    return folder


def problems(folder, *entries):
    with pytest.raises(DatasetError) as caught:
        read_scenes(annotate(folder, *entries))
    for problem in caught.value.problems:
        assert problem in str(caught.value) and problem.startswith("annotations.json, ")
    return caught.value.problems


def test_a_scene_has_what_its_entry_says(folder):
    texts = {"caption": "two things", "generated_text": "things", "prompt_w_label": "p", "prompt_w_mine": "q"}
    boxes = [(10, 20, 50, 40), (-0.000256, 0, 100.000256, 80)]
    (scene,) = read_scenes(annotate(folder, entry("a.png", boxes, phrases=["a thing", "all"], **texts, id=7)))
    assert (scene.name, scene.path, scene.width, scene.height) == ("a", folder / "a.png", 100, 80)
    assert scene.labels == ("thing 0", "thing 1") and scene.phrases == ("a thing", "all")
    assert scene.boxes.dtype == np.float32
    assert scene.boxes.tolist() == np.float32([[0.1, 0.25, 0.5, 0.5], [0, 0, 1, 1]]).tolist()
    assert (scene.caption, scene.generated_text) == ("two things", "things")
    assert scene.prompts == {"label": "p", "mine": "q"} and scene.extra == {"id": 7}
    assert scene.photo().size == (100, 80) and scene.photo().mode == "RGB"


def test_what_is_optional_may_be_missing_or_null(folder):
    first, second = read_scenes(
        annotate(
            folder, entry("a.png", generated_text=None, prompt_w_label=None, phrases=None), entry("b.jpg", [])
        )
    )
    assert first.phrases == first.labels and first.caption is None and first.generated_text is None
    assert first.prompts == {} and second.boxes.shape == (0, 4)


def test_boxes_that_leave_are_clipped_and_those_that_leave_by_a_pixel_counted(folder):
    boxes = [(-0.9, 5, 50, 40), (10, 10, 101, 40), (10, 10, 130, 40)]
    near = entry("b.jpg", boxes[:1])
    scene, _ = scenes = read_scenes(annotate(folder, entry("a.png", boxes), near))
    assert scene.boxes.min() == 0 and scene.boxes.max() == 1
    assert scenes.notes == ["photos whose boxes leave them and are clipped: 1, 'a.png'"]


def test_pictures_may_lie_in_images_or_deeper(folder):
    (folder / "images" / "deep").mkdir(parents=True)
    (folder / "a.png").rename(folder / "images" / "a.png")
    (folder / "c.png").rename(folder / "images" / "deep" / "a.png")
    scenes = read_scenes(annotate(folder, entry("a.png"), entry("deep/a.png")))
    assert [scene.name for scene in scenes] == ["a", "deep__a"]
    assert [scene.photo().size for scene in scenes] == [(100, 80)] * 2


def test_a_resized_copy_of_the_annotated_photo_will_do(folder):
    Image.new("RGB", (1000, 801)).save(folder / "big.png")
    (scene,) = read_scenes(annotate(folder, entry("big.png")))
    assert scene.width == 100 and scene.boxes[0, 2] == 0.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"bboxes": [[50, 10, 20, 40]]},
            "scene 'a.png', box 0: x_min 50 is right of x_max 20 in [50, 10, 20, 40]",
        ),
        ({"bboxes": [[50, 10, 50, 40]]}, "scene 'a.png', box 0: x_min 50 and x_max 50 leave"),
        (
            {"bboxes": [[float("nan"), 10, 50, 40]]},
            "scene 'a.png', box 0: [nan, 10, 50, 40] is not four finite",
        ),
        (
            {"bboxes": [[200, 10, 250, 40]]},
            "scene 'a.png', box 0: [200, 10, 250, 40] lies wholly outside the 100 x 80",
        ),
        ({"bboxes": [[0.1, 0.1, 0.5, 0.5]]}, "look like fractions (x_min, y_min, x_max, y_max), so multiply"),
        ({"bboxes": [[0.9, 0.5, 0.1, 0.2]]}, "look like YOLO's fractions"),
        (
            {"bboxes": [[60, 50, 30, 20]]},
            "look like COCO's (x_min, y_min, width, height), so x_max is x_min + width",
        ),
        ({"bboxes": 3}, "scene 'a.png': bboxes 3 is not a list"),
        ({"labels": []}, "scene 'a.png': 0 labels for 1 bboxes; give every box one"),
        ({"labels": ["x", "y"]}, "2 labels for 1 bboxes"),
        ({"phrases": []}, "0 phrases for 1 bboxes"),
        ({"labels": [" "]}, "scene 'a.png', box 0: label ' ' is not a text"),
        ({"labels": [4]}, "box 0: label 4 is not a text"),
        ({"labels": "x"}, "labels 'x' is not a list of texts"),
        ({"labels": None}, "labels None is not a list of texts"),
        ({"width": 0}, "width 0 is no whole number of pixels"),
        ({"height": "80"}, "height '80' is no whole number"),
        ({"width": 100.5}, "width 100.5 is no whole"),
        ({"width": True}, "width True is no whole"),
        (
            {"width": 512, "height": 512},
            "width and height say 512 x 512, but the picture is 100 x 80 when upright",
        ),
        (
            {"width": 80, "height": 100},
            "it lies on its side; give width, height and bboxes of the upright picture",
        ),
        ({"generated_text": 3}, "generated_text 3 is not a text"),
        ({"prompt_w_suffix": ["x"]}, "prompt_w_suffix ['x'] is not a text"),
        ({"caption": {}}, "caption {} is not a text"),
        ({"image": "gone.png"}, "scene 'gone.png': there is no such file; add it"),
        ({"image": "A.PNG"}, "is it 'a.png'?"),
        ({"image": "b.jpeg"}, "is it 'b.jpg'?"),
        ({"image": ""}, "image '' is not the name of a file"),
        ({"image": 5}, "entry 0: image 5 is not the name"),
        ({"image": "../a.png"}, "scene '../a.png': the path leaves the folder; copy the picture into"),
        ({"image": "images/../../a.png"}, "leaves the folder"),
        ({"image": "..\\a.png"}, "leaves the folder"),
        ({"image": "/etc/a.png"}, "leaves the folder"),
        ({"image": "C:\\a.png"}, "leaves the folder"),
        ({"image": "x\0.png"}, "there is no such file"),
        ({"image": "x" * 400}, "there is no such file"),
    ],
)
def test_a_problem_is_told_with_scene_value_and_what_to_do(folder, change, told):
    (problem,) = problems(folder, entry("a.png") | change)
    assert told in problem


def test_missing_keys_are_told_with_what_may_be_meant(folder):
    told = problems(folder, {"image": "a.png", "width": 100, "height": 80, "labels": ["x"], "boxes": []})
    assert told[0] == "annotations.json, scene 'a.png': has no 'bboxes'; is 'boxes' meant for it?"
    assert problems(folder, entry("a.png"), 7)[0].startswith("annotations.json, entry 1: 7 is not an object")


def test_all_problems_come_in_one_error_in_the_order_of_the_file(folder):
    bad = [(50, 10, 20, 40), (1, 2, 3), (1, 1, 60, 60)]
    told = problems(
        folder, entry("a.png", bad, labels=["x"]), entry("gone.png"), [], entry("b.jpg", width=-1)
    )
    places = [" ".join(problem.split(": ")[0].split(", ")[1:]) for problem in told]
    assert places == [
        "scene 'a.png'",
        "scene 'a.png' box 0",
        "scene 'a.png' box 1",
        "scene 'gone.png'",
        "entry 2",
        "scene 'b.jpg'",
    ]


def test_a_truncated_or_oversized_picture_is_told(folder):
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[:2000])
    Image.new("1", (10_000, 8_500)).save(folder / "wall.png")
    told = problems(folder, entry("a.png"), entry("wall.png", width=10_000, height=8_500))
    assert "scene 'a.png': cannot be read as a picture" in told[0] and "truncated" in told[0]
    assert "scene 'wall.png': " in told[1] and "10000 x 8500 pixels are more than" in told[1]


def test_a_photo_turned_by_exif_is_annotated_as_seen(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 80)).save(folder / "turned.jpg", exif=exif)
    (scene,) = read_scenes(annotate(folder, entry("turned.jpg", [(1, 1, 70, 90)], width=80, height=100)))
    assert scene.photo().size == (80, 100)
    (told,) = problems(folder, entry("turned.jpg"))
    assert (
        "100 x 80, but the picture is 80 x 100 when upright (EXIF orientation applied): it lies on its side"
        in told
    )


def test_a_duplicate_is_told_by_path_content_and_name(folder):
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    Image.new("RGB", (100, 80)).save(folder / "B.png")
    again = entry("./a.png", caption="one")
    told = problems(
        folder, entry("a.png", caption="two"), entry("b.jpg"), again, entry("copy.png"), entry("B.png")
    )
    assert len(told) == 3
    assert (
        "scene './a.png': is listed twice with other sizes or texts, here and as entry 0, 'a.png'; join"
        in told[0]
    )
    assert "scene 'copy.png': is byte for byte the picture of entry 0, 'a.png'" in told[1]
    assert "scene 'B.png': has, without suffix and case, the name of entry 1, 'b.jpg'" in told[2]


def test_all_duplicates_are_named_in_one_line_with_their_count(folder):
    for index in range(9):
        (folder / f"copy-{index}.png").write_bytes((folder / "a.png").read_bytes())
    (told,) = problems(folder, entry("a.png"), *(entry(f"copy-{index}.png") for index in range(9)))
    assert "8 more" in told and all(f"'copy-{index}.png' and 'a.png'" in told for index in range(1, 9))
    assert "keep one of the two, with all boxes" in told


def test_one_cause_is_one_line_with_its_count_and_three_examples(folder):
    for index in range(20):
        Image.effect_noise((100, 80), 50 + index).save(folder / f"n{index}.png")
    rows = [entry(f"n{index}.png", [(50 + index, 1, 9, 9), (60, 50, 99, 70)]) for index in range(20)]
    rows[7] |= {"generated_text": 3}
    (folder / "n9.png").write_text("version https://git-lfs.github.com/spec/v1")
    (folder / "n10.png").write_text("version https://git-lfs.github.com/spec/v1")
    told = problems(folder, *rows)
    assert len(told) == 3
    assert "scene 'n0.png', box 0: x_min 50 is right of x_max 9 in [50, 1, 9, 9]" in told[0]
    assert "(and 19 more, in 20 scenes together: scene 'n1.png' box 0, scene 'n2.png' box 0, ...)" in told[0]
    assert "generated_text 3" in told[1] and "more" not in told[1]
    assert "Git LFS" in told[2] and "(and 1 more, in 2 scenes together: scene 'n10.png')" in told[2]


def test_entries_of_one_photo_are_joined(folder):
    rows = [entry("a.png", [(x, 1, x + 9, 9)], labels=[f"thing {x}"]) for x in (0, 20, 40)]
    scenes = read_scenes(
        annotate(folder, rows[0], entry("b.jpg"), rows[1], rows[2] | {"phrases": ["a red one"]})
    )
    assert [scene.name for scene in scenes] == ["a", "b"] and len(scenes[0].boxes) == 3
    assert scenes[0].labels == ("thing 0", "thing 20", "thing 40")
    assert scenes[0].phrases == ("thing 0", "thing 20", "a red one")
    assert scenes.notes == ["photos that stand in several entries, whose boxes were joined: 1"]


def test_labels_that_differ_in_spelling_only_are_one(folder):
    boxes = [(0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9)]
    first = entry("a.png", boxes, labels=["worker", "Worker ", "hard_hat"])
    second = entry("b.jpg", boxes, labels=["worker", "Hard-hat", "hard_hat"])
    third = entry("c.png", boxes, labels=["Cafe\u0301", "Caf\u00e9", "Caf\u00e9"])
    scenes = read_scenes(annotate(folder, first, second, third))
    assert [scene.labels for scene in scenes] == [
        ("worker", "worker", "hard_hat"),
        ("worker", "hard_hat", "hard_hat"),
        ("Caf\u00e9",) * 3,
    ]
    assert scenes[0].phrases == ("worker", "worker", "hard hat")
    assert scenes.notes[:2] == [
        "labels read as 'worker', because nothing but case, blanks, _ or - differs: 'Worker ' (1)",
        "labels read as 'hard_hat', because nothing but case, blanks, _ or - differs: 'Hard-hat' (1)",
    ]


def test_a_box_that_stands_twice_is_used_once_and_counted(folder):
    boxes = [(10, 10, 50, 40), (10.2, 10, 50, 39.8), (10, 10, 50, 40), (10, 10, 50, 41)]
    labels = ["cone", "Cone", "barrel", "cone"]
    (scene,) = scenes = read_scenes(
        annotate(folder, entry("a.png", boxes, labels=labels, phrases=list("abcd")))
    )
    assert scene.labels == ("cone", "barrel", "cone") and scene.phrases == ("a", "c", "d")
    assert scenes.notes[-1] == "boxes that stood twice with one label, used once: 1, in 'a.png'"


@pytest.mark.parametrize(
    ("named", "there", "name"),
    [
        ("deep\\b.jpg", "deep/b.jpg", "deep__b"),
        ("Caf\u00e9.jpg", "Cafe\u0301.jpg", "Caf\u00e9"),
        ("Cafe\u0301.jpg", "Caf\u00e9.jpg", "Caf\u00e9"),
        ("train\\Caf\u00e9.jpg", "images/train/Cafe\u0301.jpg", "train__Caf\u00e9"),
        ("only.jpg", "some/where/only.jpg", "only"),
        ("b", "b", "b"),
    ],
)
def test_a_photo_is_found_in_whatever_way_its_path_is_spelled(folder, named, there, name):
    (folder / there).parent.mkdir(parents=True, exist_ok=True)
    (folder / "b.jpg").rename(folder / there)
    (scene,) = read_scenes(annotate(folder, entry(named)))
    assert scene.name == name and scene.photo().size == (100, 80)


def test_a_name_that_fits_several_photos_is_not_guessed(folder):
    for below in ("x", "y"):
        (folder / below).mkdir()
        Image.new("RGB", (100, 80), below and "red").save(folder / below / "d.png")
    (told,) = problems(folder, entry("d.png"))
    assert "2 files are called so: 'x/d.png', 'y/d.png'; give the folder too" in told


def test_a_name_too_long_for_the_pictures_is_told(folder):
    (folder / ("f" * 200)).mkdir()
    (folder / "b.jpg").rename(folder / ("f" * 200) / ("g" * 60 + ".jpg"))
    (told,) = problems(folder, entry("f" * 200 + "/" + "g" * 60 + ".jpg"))
    assert "the name is too long, 262 bytes with its folders; rename it to at most 251" in told


def test_photos_that_exif_turns_without_a_change_of_shape_are_to_be_looked_at(folder):
    for index, (orientation, size) in enumerate(
        [(3, (100, 80)), (2, (100, 80)), (6, (90, 90)), (6, (80, 100))]
    ):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.effect_noise(size, 50 + index).convert("RGB").save(folder / f"t{index}.jpg", exif=exif)
    rows = [
        entry(f"t{index}.jpg", width=w, height=h) for index, (w, h) in enumerate([(100, 80)] * 2 + [(90, 90)])
    ]
    (note,) = read_scenes(annotate(folder, entry("a.png"), *rows, entry("t3.jpg"))).notes
    assert note.startswith(
        "photos turned or mirrored by their EXIF orientation without a change of shape: 3, "
    )
    assert "'t0.jpg', 't1.jpg', 't2.jpg';" in note


def test_bad_scenes_are_left_out_on_demand_and_told(folder):
    annotate(folder, entry("a.png"), entry("gone.png"), entry("b.jpg", [(90, 1, 20, 79)]), entry("c.png"))
    scenes = read_scenes(folder, skip_bad=True)
    assert [scene.name for scene in scenes] == ["a", "c"] and scenes[1].path == folder / "c.png"
    assert scenes.notes[0] == "scenes left out: 2 of 4" and "gone.png" in scenes.notes[1]
    annotate(folder, entry("gone.png"))
    with pytest.raises(DatasetError):
        read_scenes(folder, skip_bad=True)


def test_scenes_in_another_format_are_all_left_out_also_where_it_does_not_show(folder):
    annotate(folder, entry("a.png", [(60, 50, 30, 20)]), entry("b.jpg", [(10, 10, 50, 40)]))
    with pytest.raises(DatasetError, match="in all 2 scenes"):
        read_scenes(folder, skip_bad=True)


def test_a_sample_is_the_same_for_the_same_seed(folder):
    annotate(folder, *(entry(name) for name in ("a.png", "b.jpg", "c.png")))
    names = [tuple(scene.name for scene in read_scenes(folder, limit=2, seed=seed)) for seed in range(9)]
    assert names[0] == tuple(scene.name for scene in read_scenes(folder, limit=2))
    assert (
        {len(one) for one in names} == {2}
        and len(set(names)) == 3
        and names == [tuple(sorted(n)) for n in names]
    )
    assert len(read_scenes(folder, limit=9)) == 3


def test_labels_are_renamed_and_dropped(folder):
    boxes = [(0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9)]
    annotate(
        folder, entry("a.png", boxes, labels=["Person", "Ear", "Foot"], phrases=list("abc")), entry("b.jpg")
    )
    scene = read_scenes(folder, labels={"Person": "worker", "Ear": None})[0]
    assert (scene.labels, scene.phrases, len(scene.boxes)) == (("worker", "Foot"), ("a", "c"), 2)
    with pytest.raises(
        ValueError, match=r"labels \['person'\] stand on no box; the labels are \['Ear', 'Foot'"
    ):
        read_scenes(folder, labels={"person": "worker"})


def test_the_checksum_is_that_of_annotations_and_named_photos(folder):
    def sums(*entries):
        return checksums(read_scenes(annotate(folder, *entries)))

    before = sums(entry("a.png"), entry("b.jpg"))
    (folder / ".DS_Store").write_bytes(b"x")
    assert sums(entry("a.png"), entry("b.jpg")) == before
    assert sums(entry("a.png", [(10, 10, 50, 41)]), entry("b.jpg"))["b"] == before["b"]
    assert sums(entry("a.png", [(10, 10, 50, 41)]), entry("b.jpg"))["a"] != before["a"]
    Image.new("RGB", (100, 80)).save(folder / "a.png")
    assert sums(entry("a.png"), entry("b.jpg"))["a"] != before["a"]
    both = [checksum(read_scenes(annotate(folder, *map(entry, names)))) for names in (["a.png"], ["b.jpg"])]
    assert len({*both, checksum([])}) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "annotations.json holds []; write a list of {image, width, height, labels, bboxes}"),
        ("{}", "holds {}"),
        ("null", "holds None"),
        ('{"images": [], "annotations": [], "categories": []}', "annotations.json: COCO without a photo"),
        (json.dumps([{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.9}]), "COCO results"),
        ('{"image": 1}\n{"image": 2}', "is not one JSON document"),
        ("", "is not one JSON document"),
        (b"\xff\xfe[", "is not one JSON document in UTF-8"),
    ],
)
def test_a_file_of_another_kind_is_told(folder, text, told):
    (folder / "annotations.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError) as caught:
        read_scenes(folder)
    assert told in caught.value.problems[0] and str(folder) in str(caught.value)


def test_no_folder_is_told(folder):
    with pytest.raises(DatasetError, match="there is no such folder"):
        read_scenes(folder / "none")


def test_a_byte_order_mark_does_not_matter(folder):
    text = "\N{ZERO WIDTH NO-BREAK SPACE}" + json.dumps([entry("a.png")])
    (folder / "annotations.json").write_text(text, encoding="utf-8")
    assert len(read_scenes(folder)) == 1


def test_the_format_is_written_back(folder):
    given_entries = [
        entry("a.png", [(10, 20, 50, 40.5)], generated_text="ä thing", prompt_w_mine="q", licence="CC0"),
        entry("b.jpg", phrases=["a red thing"], caption="one thing"),
    ]
    scenes = read_scenes(annotate(folder, *given_entries))
    write_annotations(folder / "annotations.json", scenes)
    assert json.loads((folder / "annotations.json").read_text(encoding="utf-8")) == given_entries
    assert len(read_scenes(folder)) == 2


def test_new_texts_replace_the_old_under_the_original_keys(folder):
    scenes = read_scenes(
        annotate(folder, entry("a.png", generated_text="old"), entry("b.jpg", generated_text="kept"))
    )
    first = replace(scenes[0], generated_text="new", prompts={"label": "l", "suffix": "s"})
    write_annotations(folder / "annotations.json", [first, replace(scenes[1], prompts={"mine": "o"})])
    first, second = json.loads((folder / "annotations.json").read_text())
    assert (first["generated_text"], first["prompt_w_label"], first["prompt_w_suffix"]) == ("new", "l", "s")
    assert (second["generated_text"], second["prompt_w_mine"]) == ("kept", "o")
    assert "prompt_w_suffix" not in second
    assert read_scenes(folder)[1].prompts == {"mine": "o"}


@given(
    st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=5),
    st.integers(1, 5000),
    st.integers(1, 5000),
)
def test_boxes_read_back_bit_for_bit(tmp_path_factory, boxes, width, height):
    path = tmp_path_factory.getbasetemp() / "boxes.json"
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    labels = ("x",) * len(boxes)
    write_annotations(path, [Scene("a", path, width, height, labels, labels, boxes)])
    pixels = np.array(json.loads(path.read_text())[0]["bboxes"]).reshape(-1, 4)
    assert np.array_equal((pixels / [width, height, width, height]).astype(np.float32), boxes)


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_a_scene_is_fitted_to_the_square_with_its_labels_and_phrases(folder, fit):
    boxes = [(10, 10, 50, 40), (0, 10, 9, 40), (60, 0, 90, 80)]  # the middle 80 x 80 leaves out the second
    scene = read_scenes(annotate(folder, entry("a.png", boxes, phrases=["p", "q", "r"])))[0]
    made = fitted(scene, {"size": 64, "fit": fit})
    kept = [0, 1, 2] if fit == "squash" else [0, 2]
    assert made.labels == tuple(scene.labels[index] for index in kept)
    assert made.phrases == tuple(scene.phrases[index] for index in kept)
    expected = scene.boxes if fit == "squash" else np.float32([[0, 0.125, 0.5, 0.5], [0.625, 0, 1, 1]])
    assert np.allclose(made.boxes, expected) and made.name == scene.name


@pytest.mark.parametrize("label", ["hard_hat", "Hard-Hat", "HardHat", "HARD HAT", "hard  hat", "_hard__hat_"])
def test_a_class_name_becomes_words(label):
    assert words(label) == "hard hat"


@pytest.mark.parametrize("label", ["cone", "hard hat", "café", "_"])
def test_a_label_of_words_stays(label):
    assert words(label) == label
