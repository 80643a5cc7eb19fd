"""The search for the cheapest setting: its order, where it stops, and what it says."""

from types import SimpleNamespace

import pandas as pd
import pytest

from helpers.models import loading
from helpers.report import cost
from helpers.runs.arms import SCHEDULERS, Arm
from tests.fakes import gligen as fakes
from tests.generation.test_draw import start

REFERENCE = "suffix-text-g2"
SIZES = pd.DataFrame({"batch size": [1, 2, 4], "seconds": [0.4, 0.2, 0.3]})


@pytest.fixture
def run(monkeypatch):
    """A run of 20 steps in which a setting holds that has at least `run.least` calls and rows."""
    drawn: list[list[str]] = []
    made = SimpleNamespace(card={"protocol": {"steps": 20, "scheduler": "pndm"}}, scenes=range(24))
    made.card["protocol"] |= {"dataset": "data/demo", "models": "demo"}
    made.drawn, made.least = drawn, dict.fromkeys(SCHEDULERS, 1)

    def rows(name: str) -> tuple[float, float]:
        arm = Arm.parse(name)
        return (arm.steps or 20) * (1 + arm.guidance_share), 0.1

    def worse(_, metric: str, name: str) -> dict:
        holds = rows(name)[0] >= made.least[Arm.parse(name).scheduler or "pndm"]
        return {"holds": holds, "bound": 0.01, "margin": 0.05}

    monkeypatch.setattr(cost, "main_arm", lambda _: REFERENCE)
    monkeypatch.setattr(cost, "realism", lambda _: "KID")
    monkeypatch.setattr(cost, "grounding_arms", lambda _: ["suffix-none-g2"])
    made.costs = rows
    monkeypatch.setattr(cost, "not_worse", worse)
    monkeypatch.setattr(cost, "_make", lambda _, names, *rest: drawn.append(list(names)))
    values = {"KID": SimpleNamespace(value=1.0)}
    monkeypatch.setattr(cost.scores, "arm_scores", lambda *_: SimpleNamespace(metrics=values))
    return made


def test_each_scheduler_loses_steps_until_one_setting_does_not_hold(run):
    run.least = {"pndm": 25, "ddim": 60, "dpm++2m": 10, "unipc": 14}
    tried = cost.search(run, None)
    assert run.drawn[0] == [REFERENCE, "suffix-none-g2"]
    assert [[Arm.parse(name).steps for name in names] for names in run.drawn[1:6]] == [
        [15] * 4,
        [10] * 3,
        [8] * 2,
        [6] * 2,
        [4],
    ]
    assert [Arm.parse(name).scheduler for name in run.drawn[2]] == ["pndm", "dpm++2m", "unipc"]
    assert tried == [REFERENCE, *(name for names in run.drawn[1:] for name in names)]


def test_then_the_cheapest_that_held_loses_guidance(run):
    run.least |= {"pndm": 40, "ddim": 40, "unipc": 40, "dpm++2m": 11}
    tried = cost.search(run, None)
    assert run.drawn[-1] == ["suffix-text-g2-n6-dpm++2m-i0.8"]
    found = cost.conclusion(run, tried, "runs/demo", SIZES)
    assert found["arm"] == "suffix-text-g2-n6-dpm++2m" and found["unet_rows"] == 12
    assert found["sentence"].startswith("Dpm++2m, 6 steps, is not worse than pndm, 20 steps, in KID")
    assert "12 UNet rows per picture instead of 40: 3.3 times fewer. N = 24 photos" in found["sentence"]
    [line] = found["lines"]
    assert line.endswith("--run runs/demo-dpm++2m-6 --scheduler dpm++2m --steps 6")


def test_an_interval_of_guidance_comes_with_a_line_of_its_own(run):
    run.least = dict.fromkeys(SCHEDULERS, 40) | {"dpm++2m": 10}
    found = cost.conclusion(run, cost.search(run, None), "runs/demo", SIZES)
    assert found["guidance_share"] == pytest.approx(0.8) and "guidance in 80% of them" in found["sentence"]
    assert found["lines"][1] == "grounded sweep --run runs/demo-dpm++2m-6 --guidance-share 0.8"


def test_where_nothing_is_shown_the_search_is_over_at_once_and_asks_for_more_scenes(run):
    run.least = dict.fromkeys(SCHEDULERS, 1000)
    tried = cost.search(run, None)
    assert len(run.drawn) == 3 and len(tried) == 1 + len(SCHEDULERS) + 1
    found = cost.conclusion(run, tried, "runs/demo", SIZES)
    assert found["lines"] == [] and "--scenes 48" in found["sentence"]


def test_batches_cost_seconds_alone(tmp_path, monkeypatch, run):
    gligen = fakes.gligen(fakes.components(tmp_path / "parts"))
    monkeypatch.setattr(loading, "load_gligen", lambda *_, **__: gligen)
    monkeypatch.setattr(loading, "release", lambda parts: None)
    own = start(tmp_path, 5)
    sizes = cost.batches(own, "caption-text-g2-n3")
    assert sizes["batch size"].tolist() == [1, 2, 4, 5] and (sizes.seconds > 0).all()
    assert own.arms() == []
    found = cost.conclusion(run, [REFERENCE, "suffix-text-g2-n8-dpm++2m"], "runs/demo", SIZES)
    assert found["batch_size"] == 2
    assert found["sentence"].endswith("0.2 per picture in batches of 2, 0.4 one by one.")
