"""Other methods in the report: each stands beside those that are given the same, and beside no others."""

from dataclasses import replace

import pytest
from bs4 import BeautifulSoup

from helpers.models import checkpoints
from helpers.models.checkpoints import Missing
from helpers.models.sets import Checkpoint, model_set
from helpers.report import comparisons, methods
from helpers.runs.arms import Arm
from helpers.runs.methods import GROUPS, METHODS, Method
from helpers.scoring import scores
from tests.fakes.judged import draw, load_small_judges, start

GAN = Method("a GAN", ("prompt",), (), checkpoint="", own="gan")
NEW = {"gan": GAN, "layouts": Method("a layout model", ("boxes", "phrases"))}
NEW |= {name: replace(GAN, title=f"an {name} GAN", own=name) for name in ("absent", "unknown")}
OTHERS = ["suffix-gan", "suffix-layouts-g2"]


@pytest.fixture(scope="module", autouse=True)
def registry():
    """A GAN without guidance, a layout model, and two GANs whose weights are not here."""
    own = {name: Checkpoint(name, f"models/{name}") for name in ("gan", "absent")}
    missing = Missing(own["absent"], "models", "no such folder")
    with pytest.MonkeyPatch.context() as patch:
        for name, one in NEW.items():
            patch.setitem(METHODS, name, one)
        patch.setattr(methods, "model_set", lambda name: replace(model_set(name), methods=own))
        found = {own["absent"]: (None, missing), own["gan"]: (None, None)}
        patch.setattr(checkpoints, "find", lambda one, find=checkpoints.find: found.get(one) or find(one))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The study's groundings, one of them with another seed, and two other methods; all of noise."""
    run = start(tmp_path_factory.mktemp("study"))
    run.write_jsonl("prompts/suffix.jsonl", run.read_jsonl("prompts/caption.jsonl"))
    choice = {"template": "suffix", "guidance_scale": 2, "compared": ["caption", "suffix"]}
    run.write_json("choices/template.json", choice)
    study = comparisons.grounding_arms(run)
    arms = [*study, *OTHERS, f"{study[1]}-s1", "suffix-gan-s1", "caption-none-g2", f"{study[1]}-mirrored"]
    for seed, arm in enumerate(arms):
        draw(run, arm, seed, unet_rows="3", seconds="0.5")
    judges = load_small_judges(tmp_path_factory.mktemp("judges"))
    scores.score(run, run.scenes, arms, judges)
    scores.score_controls(run, run.scenes, study[1], judges)
    return run


def texts(html):
    return BeautifulSoup(html.data, "html.parser")


def test_a_group_follows_from_what_a_method_reads():
    groups = {name: method.group for name, method in METHODS.items() if name not in NEW}
    assert set(groups.values()) <= set(GROUPS)
    assert groups["none"] == "caption only" and groups["text"] == groups["image"] == "layout"
    assert {name for name, group in groups.items() if group == "edit"} == {
        name for name, method in METHODS.items() if method.is_edit
    }


def test_every_method_that_can_draw_has_an_arm_at_the_settings_of_the_run(run, monkeypatch):
    names = methods.arms(run)
    assert set(names) >= {*OTHERS, *comparisons.grounding_arms(run)}
    assert not any("absent" in name or "unknown" in name or "sdedit" in name for name in names)
    monkeypatch.setitem(METHODS, "gan", replace(GAN, quick=False))
    assert OTHERS[0] in names and OTHERS[0] not in methods.arms(run, quick=True)
    why = methods.lacking(run)
    assert why["absent"] == "no such folder: models/absent"
    assert why["unknown"] == "no weights of it in the demo models" and why["gan"] == ""


def test_without_photos_no_method_that_is_given_their_crops_draws(run, monkeypatch):
    monkeypatch.setattr(type(run), "has_photos", False)
    assert methods.lacking(run)["image"] == "needs photos" and methods.lacking(run)["text"] == ""


def test_methods_stand_beside_those_that_are_given_the_same(run):
    caption, layout = methods.compare(run).values()
    assert caption.names == {"suffix-none-g2": "no grounding", "suffix-gan": "a GAN"}
    assert list(layout.names.values()) == ["text grounding", "text + image grounding", "a layout model"]
    assert next(iter(caption.metrics)) == "R-precision" and {"CAS (linear)", "variety"} <= set(layout.metrics)
    assert "hit rate" not in caption.metrics  # no arm has it
    assert caption.costs["suffix-gan"] == (3, 0.5)


def test_an_arm_with_another_seed_gives_the_variety_of_its_method(run):
    table = texts(methods.score_tables(run))
    heads = [head.text.split("higher")[0].strip() for head in table.find("thead").find_all("th")]
    rows = {row.th.text: [cell.text for cell in row.find_all("td")] for row in table.find_all("tr")[1:]}
    place = heads.index("variety") - 1
    assert rows["a GAN"][place][0].isdigit() and rows["no grounding"][place] == "–"
    assert "photos, against other photos" in rows


def test_no_sentence_compares_methods_of_two_groups(run):
    caption, layout = (one.text for one in texts(methods.answers(run)).ol.find_all("li", recursive=False))
    assert "GAN" in caption and "layout model" not in caption
    assert "layout model" in layout and "GAN" not in layout


def test_a_method_that_stands_alone_is_compared_with_nothing(run, monkeypatch):
    one = methods.compare(run)["caption only"]
    alone = replace(one, names={"suffix-gan": "a GAN"})
    assert methods._answer(run, "caption only", alone).short.startswith("There is nothing to compare")


def test_the_report_says_what_each_is_given_and_how_to_draw_others(run, monkeypatch):
    shown = []
    monkeypatch.setattr(methods, "display", lambda *parts: shown.extend(parts))
    assert methods.show(run) is None and len(shown) == 4
    rows = {row.td.text: row.text for row in texts(shown[-1]).find_all("tr")[1:]}
    assert "boxes, phrases" in rows["a layout model"] and "see the edits" in rows["SDEdit"]
    for arm in OTHERS:
        monkeypatch.delitem(METHODS, Arm.parse(arm).grounding)
    assert "make methods" in methods.show(run).data and len(shown) == 4
