"""Exact edits of drawn scenes."""

import json

import numpy as np
import pytest

from data.training.edits import recolour, relocate
from data.training.photos import write_edits
from data.training.world import COLOURS, PLACES, SIZE, SPLITS, draw_scene

SEEDS = SPLITS["demo"][:40]


@pytest.mark.parametrize("crisp", [True, False])
def test_recolouring_changes_its_box_and_nothing_else(crisp):
    for seed in SEEDS:
        edit = recolour(seed, crisp)
        before, after = (np.asarray(scene.image, int) for scene in (edit.before, edit.after))
        reach = 0 if crisp else 8  # a blur carries colour over the edge
        x0, y0, x1, y1 = (edit.before.boxes[edit.box] * SIZE).astype(int)
        inside = np.zeros((SIZE, SIZE), bool)
        inside[max(y0 - reach, 0) : y1 + reach, max(x0 - reach, 0) : x1 + reach] = True
        changed = (before != after).any(-1)
        assert changed[inside].any() and not changed[~inside].any()
        alone = [kind for kind in edit.before.labels if edit.before.labels.count(kind) == 1]
        assert not alone or edit.before.labels[edit.box] in alone
        assert edit.after.phrases[edit.box] == edit.target != edit.source
        assert edit.source in edit.before.caption and edit.target in edit.after.caption


def test_where_no_kind_stands_once_the_largest_object_is_recoloured():
    twins = next(s for s in range(10**4) if set(map(draw_scene(s).labels.count, draw_scene(s).labels)) == {2})
    edit = recolour(twins)
    boxes = edit.before.boxes
    assert edit.box == (boxes[:, 2:] - boxes[:, :2]).prod(1).argmax()


def test_another_place_keeps_the_objects():
    for seed in SEEDS:
        edit = relocate(seed, crisp=True)
        assert edit.after.place != edit.before.place and edit.target == PLACES[edit.after.place]
        assert edit.before.phrases == edit.after.phrases
        assert np.array_equal(edit.before.boxes, edit.after.boxes)
        assert np.mean(np.asarray(edit.before.image) != np.asarray(edit.after.image)) > 0.3


def test_no_edit_leaves_a_scene_as_it_is():
    for seed in SEEDS[:8]:
        scene = draw_scene(seed)
        same = draw_scene(seed, recolour={0: scene.colours[0]}, new_place=scene.place)
        assert np.array_equal(np.asarray(scene.image), np.asarray(same.image))


def test_new_colours_are_drawn_from_all():
    edits = [recolour(seed, True) for seed in range(60)]
    assert {edit.after.colours[edit.box] for edit in edits} == set(COLOURS)


def test_written_edits_have_a_row_and_a_target_per_photo(tmp_path):
    write_edits(tmp_path, count=3)
    for name in ("recolour", "place"):
        rows = [json.loads(line) for line in (tmp_path / "edits" / f"{name}.jsonl").read_text().splitlines()]
        assert rows and all((tmp_path / "edits" / name / row["image"]).is_file() for row in rows)
        assert set(rows[0]) == {"image", "box", "source", "target", "instruction"}
