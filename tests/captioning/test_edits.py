"""Edit sets: read, checked, and turned into prompts before and after."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoTokenizer

from helpers.captioning import edits
from helpers.captioning.edits import Edit
from helpers.parameters import ParameterError
from helpers.scenes.scenes import Scene

CLIP = Path(__file__).parents[2] / "data" / "models" / "clip"


def scene(name, *phrases):
    boxes = np.tile(np.float32([0.1, 0.1, 0.5, 0.5]), (len(phrases), 1))
    return Scene(name, Path(f"{name}.png"), 128, 128, phrases, phrases, boxes, image=f"{name}.png")


SCENES = [scene("a", "a red barrel", "a blue cone"), scene("b", "a truck")]
ROW = {"image": "a.png", "box": 0, "source": "a red barrel", "target": "a green barrel"}
ROW |= {"instruction": "make the barrel green"}


def run(folder, scenes=SCENES[:1], **selection):
    return SimpleNamespace(card={"protocol": {"dataset": str(folder), "selection": selection}}, scenes=scenes)


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


def test_a_run_that_leaves_boxes_out_has_no_edits_of_boxes(tmp_path):
    kept, dropped = ({"labels": {"truck": to}} for to in ("lorry", None))
    assert edits.read(run(write(tmp_path, ROW), **kept), "recolour")
    with pytest.raises(ParameterError, match="this run leaves out the boxes of truck"):
        edits.read(run(tmp_path, **dropped), "recolour")


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
