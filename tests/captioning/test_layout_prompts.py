"""Layout prompts: what a model reads of caption, boxes and phrases says just these, whatever they are."""

import json
import re

import numpy as np
import pytest
from diffusers.modular_pipelines.flux3.prompt_upsampler import split_caption, valid_canvas_box
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.captioning.layout_prompts import FORMATS, flux3, gligen, moss, table
from helpers.scenes import readers
from helpers.scenes.boxes import largest

HELMETS = "a red helmet", 'sign "Vorsicht" [3]', "grüner Schutzhelm", "hard_hat", "<b>vest</b>", "帽子", "ß"
CAPTIONS = "", "a worker in a street.", "helmets [1, 2] <x>, 3 signs", "two\nlines"
WIDE = np.array([[0.1, 0.2, 0.9, 0.4]], np.float32)  # wide and low: swapped axes show


def layout(count: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    low, side = random.uniform(0, 0.6, (count, 2)), random.uniform(0.02, 0.4, (count, 2))
    return np.hstack([low, low + side]).astype(np.float32), [HELMETS[k % len(HELMETS)] for k in range(count)]


def check(prompt: str, boxes: np.ndarray, phrases: list[str]) -> None:
    """A prompt of FLUX 3 has each box once, under an id of its own that its caption cites once."""
    caption, rows = split_caption(prompt)
    rows = rows or []
    ids = [row["id"] for row in rows]
    assert rows == (table(prompt) or [])
    assert len(set(ids)) == len(rows) == len(boxes)
    assert sorted(re.findall(r"<(.*?)>", caption)) == sorted(ids)
    assert all(re.fullmatch("[A-Za-z][A-Za-z0-9_]*", one) for one in ids)
    assert all(list(row) == ["id", "bbox", "desc"] and valid_canvas_box(row["bbox"]) for row in rows)
    assert sorted(row["desc"] for row in rows) == sorted(phrases)
    order = np.lexsort((boxes[:, 1], boxes[:, 0]))
    parsed = np.array([row["bbox"] for row in rows]).reshape(-1, 4)[:, [1, 0, 3, 2]] / 1000
    assert (np.abs(parsed - boxes[order]) <= 0.0005 + 1e-6).all()
    assert "\n" not in prompt


@pytest.mark.parametrize("count", [0, 1, 7, 69])
@pytest.mark.parametrize("caption", CAPTIONS)
def test_the_table_is_the_boxes_and_the_caption_cites_each_once(count, caption):
    boxes, phrases = layout(count)
    check(flux3(caption, boxes, phrases), boxes, phrases)


def test_axes_are_those_of_the_model():
    (row,) = table(flux3("", WIDE, ["a helmet"]))
    assert row["bbox"] == [200, 100, 400, 900]
    (item,) = json.loads(moss("x", WIDE, ["a helmet"], (1000, 500)))["items"]
    assert item["bbox"] == [-150, -400, -50, 400] and item["caption"] == "a helmet"
    assert json.loads(gligen("x", WIDE, ["a helmet"]))["locations"] == [pytest.approx(WIDE[0], abs=1e-5)]


def test_what_the_caption_names_is_cited_there_and_the_rest_is_appended():
    boxes = np.array([[0.6, 0, 0.7, 1], [0.1, 0, 0.2, 1], [0.3, 0, 0.4, 1], [0.8, 0, 0.9, 1]])
    phrases = ["a red cone", "a blue cone", "a worker with a vest", "helmet"]
    prompt = flux3("a worker between a red cone and other cones, hatless.", boxes, phrases)
    caption, _, rest = prompt.partition(" [")
    assert (
        caption
        == (
            "a worker <worker_1> between a red cone <cone_1> <cone_2> and other cones, hatless, "
            "with a helmet <helmet_1>"
        )
        and rest
    )
    same = flux3("a red cone and a blue cone", boxes[:2], phrases[:2]).partition(" [")[0]
    assert same == "a red cone <cone_2> and a blue cone <cone_1>"


def test_without_boxes_a_prompt_is_its_caption():
    none = np.empty((0, 4))
    assert flux3("a street", none, []) == moss("a street", none, [], (512, 512)) == "a street"
    assert table("a street [1, 2]") is None and table("a [{broken [1]") is None
    assert json.loads(gligen("a street", none, [])) == {"prompt": "a street", "phrases": [], "locations": []}


def test_a_prompt_for_gligen_is_read_as_a_data_set_its_largest_boxes_first(tmp_path):
    boxes, phrases = layout(40)
    made = gligen("a street", boxes, phrases)
    (tmp_path / "layouts.jsonl").write_text(made + "\n", encoding="utf-8")
    (entry,) = readers.read(tmp_path, None).entries
    assert entry["caption"] == "a street" and len(entry["bboxes"]) == 40
    first = np.array(json.loads(made)["locations"][:30])
    assert np.allclose(sorted(first.tolist()), sorted(boxes[largest(boxes)[0]].tolist()), atol=1e-5)


side = st.floats(0, 1, width=32)


@settings(max_examples=30, deadline=None)
@given(st.text(), st.lists(st.tuples(side, side, side, side, st.text(min_size=1)), max_size=5))
def test_any_text_and_any_box_make_a_prompt_that_the_model_takes(caption, rows):
    rows = [row for row in rows if row[4].strip()]
    boxes = np.array([row[:4] for row in rows], np.float64).reshape(-1, 4)
    boxes = np.hstack([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])])
    phrases = [row[4] for row in rows]
    for name, form in FORMATS.items():
        if name != "moss" or (boxes[:, 2:] > boxes[:, :2]).all():  # in pixels a box without area is an error
            form(caption, boxes, phrases, (512, 512))
    made = table(flux3(caption, boxes, phrases)) or []
    assert len(made) == len(rows) and all(valid_canvas_box(row["bbox"]) for row in made)
    assert sorted(row["desc"] for row in made) == sorted(phrases)
