"""Edit sets: read, checked, and turned into prompts before and after."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from transformers import AutoTokenizer

from helpers.captioning import edits
from helpers.captioning.edits import Edit
from helpers.parameters import ParameterError
from helpers.scenes.scenes import Scene, read_scenes

CLIP = Path(__file__).parents[2] / "data" / "models" / "clip"


def scene(name, *phrases):
    boxes = np.tile(np.float32([0.1, 0.1, 0.5, 0.5]), (len(phrases), 1))
    return Scene(name, Path(f"{name}.png"), 128, 128, phrases, phrases, boxes, image=f"{name}.png")


SCENES = [scene("a", "a red barrel", "a blue cone"), scene("b", "a truck")]
ROW = {"image": "a.png", "box": 0, "source": "a red barrel", "target": "a green barrel"}
ROW |= {"instruction": "make the barrel green"}


def run(folder, scenes=SCENES[:1], **selection):
    protocol = {"dataset": str(folder), "selection": selection, "size": 64, "fit": "squash"}
    return SimpleNamespace(card={"protocol": protocol}, scenes=scenes)


def write(folder, *rows):
    (folder / "edits").mkdir()
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "edits" / "recolour.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(CLIP)


def test_edits_of_a_data_set_and_those_for_any_photos(tmp_path):
    write(tmp_path, ROW, "", ROW | {"image": "elsewhere.png"})
    assert edits.names(tmp_path) == ["recolour", "night", "snow"]
    found = edits.read(run(tmp_path), "recolour")
    assert found == {"a": Edit(0, "a red barrel", "a green barrel", "make the barrel green")}
    assert set(edits.read(run(tmp_path, SCENES), "night")) == {"a", "b"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"recolour.jsonl, line 1: not JSON"),
        ([1], r"line 1: \[1\]: an object with image, box, source, target, instruction is needed"),
        ({"image": "a.png"}, "an object with image, box"),
        (ROW | {"box": 2}, r"line 1: box 2: scene 'a' has 2 boxes, counted from 0"),
        (ROW | {"box": -1}, r"box -1: scene 'a' has 2 boxes"),
        (ROW | {"box": "0"}, r"box '0': the index of a box is needed, from 0, or null"),
        (ROW | {"target": " "}, r"target ' ': a text is needed"),
        (
            ROW | {"target": "a red barrel"},
            r"source and target are both 'a red barrel': nothing would change",
        ),
        (ROW | {"image": "c.png"}, r"1 of 1 photos have no row, such as 'a.png'"),
    ],
)
def test_a_bad_row_is_named_with_file_line_and_value(tmp_path, row, message):
    with pytest.raises(ParameterError, match=message):
        edits.read(run(write(tmp_path, row)), "recolour")


def test_two_edits_of_one_photo_are_refused(tmp_path):
    with pytest.raises(ParameterError, match=r"line 2: image 'a.png' has an edit already"):
        edits.read(run(write(tmp_path, ROW, ROW)), "recolour")


def test_an_unknown_edit_set_is_refused_with_those_that_are_there(tmp_path):
    with pytest.raises(
        ParameterError, match=r"edit set 'recolor'.*edit sets of this data set: recolour, night"
    ):
        edits.read(run(write(tmp_path, ROW)), "recolor")


def annotated(folder, *boxes, labels, edited):
    """A data set of one photo with an edit of one box."""
    Image.new("RGB", (100, 50)).save(folder / "a.png")
    entry = {"image": "a.png", "width": 100, "height": 50, "labels": labels, "bboxes": boxes}
    (folder / "annotations.json").write_text(json.dumps([entry]))
    return write(folder, ROW | {"box": edited})


def test_an_edit_finds_its_box_where_boxes_before_it_are_left_out(tmp_path):
    """Its index counts the boxes of the annotations: one stands twice, one is dropped by its label, and one
    lies outside of the square."""
    boxes = [(30, 5, 40, 15), (30, 5, 40, 15), (50, 5, 60, 15), (0, 5, 10, 15), (40, 20, 60, 40)]
    labels = ["cone", "cone", "truck", "crate", "barrel"]
    scenes = read_scenes(annotated(tmp_path, *boxes, labels=labels, edited=4), labels={"truck": None})
    assert scenes[0].labels == ("cone", "crate", "barrel") and scenes[0].numbers == (0, 3, 4)
    here = run(tmp_path, scenes)
    assert edits.read(here, "recolour")["a"].box == 2
    here.card["protocol"]["fit"] = "crop"
    assert edits.read(here, "recolour")["a"].box == 1


@pytest.mark.parametrize(("edited", "said"), [(2, "counted from 0"), (1, "in this run, numbers 0, 2")])
def test_an_edit_whose_box_is_left_out_is_an_error(tmp_path, edited, said):
    boxes, labels = [(30, 5, 40, 15), (50, 5, 60, 15), (40, 20, 60, 40)], ["cone", "crate", "truck"]
    folder = annotated(tmp_path, *boxes, labels=labels, edited=edited)
    scenes = read_scenes(folder, labels={labels[edited]: None})
    with pytest.raises(ParameterError, match=f"line 1: box {edited}: scene 'a' has 2 boxes, {said}"):
        edits.read(run(folder, scenes), "recolour")


def test_prompts_before_and_after(tokenizer):
    captions = {"a": "A red barrel on a street", "b": "a street"}
    both = {"a": Edit(0, "a red barrel", "a green barrel", "x"), "b": Edit(0, "a truck", "a bus", "y")}
    first, second = edits.make(SCENES, captions, both, tokenizer)
    assert (first["source_prompt"], first["prompt"]) == (captions["a"], "a green barrel on a street")
    assert not first["appended"] and first["box"] == 0 and first["target"] == "a green barrel"
    assert (second["source_prompt"], second["prompt"]) == ("a street, a truck", "a street, a bus")
    assert second["appended"] and not second["truncated"]


def test_an_edit_that_only_adds_keeps_the_caption(tokenizer):
    (row,) = edits.make(SCENES[:1], {"a": "a street"}, {"a": Edit(None, "", "at night", "z")}, tokenizer)
    assert (row["source_prompt"], row["prompt"]) == ("a street", "a street, at night")
