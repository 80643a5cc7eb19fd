"""From the name of an arm to its pictures, as a notebook asks for them."""

from dataclasses import replace

import pytest

from helpers.generation import draw as generation
from helpers.models import loading as models
from helpers.models.sets import Checkpoint, model_set
from helpers.parameters import ParameterError
from helpers.runs.protocol import protocol
from helpers.runs.run import Run
from helpers.scoring.measurements import collect
from tests.fakes import gligen as fakes
from tests.fakes.study import write_scenes

ARM = "caption-text-g2"


@pytest.mark.parametrize("safety", [False, True])
def test_a_run_may_ask_for_the_safety_checker_and_counts_what_it_flags(tmp_path, monkeypatch, safety):
    asked = []

    def load(checkpoint, grounding, safety):
        asked.append(safety)
        gligen = fakes.gligen(fakes.components(tmp_path / "parts", safety=safety is not None))
        if safety:
            gligen.safety_checker.concept_embeds_weights.fill_(-1.0)  # whatever it sees
        return gligen

    checker = Checkpoint("checker", "somewhere")
    monkeypatch.setattr(models, "load_gligen", load)
    monkeypatch.setattr(generation, "model_set", lambda name: replace(model_set(name), safety=checker))
    monkeypatch.setattr(models, "release", lambda gligen: None)
    settings = {"dataset": str(write_scenes(tmp_path / "photos", 3)), "models": "demo", "fit": "squash"}
    run = Run.open(tmp_path / "run", **settings, size=64, steps=2, scheduler="ddim", safety=safety)
    run.write_jsonl("prompts/caption.jsonl", [{"scene": one.name, "prompt": "a cone"} for one in run.scenes])
    records = generation.draw(run, [ARM], progress=False)
    assert asked == [checker if safety else None] and [one["flagged"] for one in records] == [safety] * 3
    if safety:
        with pytest.raises(ValueError, match="'flagged pictures': 3"):
            collect(run, run.scenes, ARM)
    assert run.missing(ARM, run.scenes) == []
    assert generation.draw(run, [ARM], progress=False) == []


@pytest.mark.parametrize(
    "wrong", [{"scheduler": "pdnm"}, {"fit": "stretch"}, {"beams": 0}, {"safety": 3}, {"safety": True}]
)
def test_a_protocol_that_cannot_be_is_refused_before_a_run_begins(tmp_path, wrong):
    dataset = str(write_scenes(tmp_path / "photos", 1))
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        protocol(dataset, "demo", **wrong)


def test_the_published_models_have_a_safety_checker(tmp_path):
    dataset = str(write_scenes(tmp_path / "photos", 3))
    assert protocol(dataset, "published", safety=True)["safety"] is True
    assert protocol(dataset, "published")["safety"] is False
