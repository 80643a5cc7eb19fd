"""The figures of README and data card: drawn from what measuring and training left."""

import json

from matplotlib.figure import Figure
from PIL import Image

from data.training import figures
from helpers.models.sets import model_set
from helpers.runs.arms import Arm
from helpers.scoring import scores
from helpers.scoring.scores import ROUND_TRIP
from tests.fakes.judged import draw, start

REALISM = scores.realism(model_set("demo"))


def test_the_sheet_has_a_row_of_photos_one_of_round_trips_and_one_a_guidance_scale(tmp_path):
    run = start(tmp_path, count=4)
    arms = [Arm("suffix", "text", scale).name for scale in (1, 2, 11)]
    for arm in (ROUND_TRIP, *arms, Arm("caption", "text", 2).name, Arm("suffix", "none", 2).name):
        draw(run, arm)
    columns, rows = 3, 5
    sheet = figures.samples(run, columns)
    assert sheet.width == columns * (figures.SIDE + 4) + 4
    assert rows * (figures.SIDE + 4) < sheet.height < (rows + 1) * (figures.SIDE + 4)


def test_curves_are_drawn_over_pictures_seen_and_a_resumed_step_counts_once(tmp_path):
    steps = [50, 100, 100, 150]
    lines = [json.dumps({"step": n, "seconds": n, "minutes_left": 0, "noise": 1 / n}) for n in steps]
    (tmp_path / "gligen-text.jsonl").write_text("\n".join(lines))
    (tmp_path / "gligen-text.json").write_text(json.dumps({"batch_size": 20}))
    (tmp_path / "half-done.jsonl").write_text(lines[0])
    (axes,) = figures.curves(tmp_path).axes
    (line,) = axes.lines
    assert axes.get_title() == "gligen-text" and line.get_label() == "noise"
    assert line.get_xdata().tolist() == [1, 2, 3]


def test_both_curves_run_over_every_guidance_scale_of_text_grounding(tmp_path):
    run = start(tmp_path)
    for scale in (1, 2, 11):
        arm = Arm("suffix", "text", scale).name
        draw(run, arm)
        rows = [
            {
                "metric": metric,
                "value": scale,
                "standard_error": 1,
                "low": scale - 1,
                "high": scale + 1,
                "n": 6,
            }
            for metric in ("crop accuracy", REALISM, "AP50")
        ]
        run.write_json(f"scores/{arm}.json", rows)
    draw(run, Arm("suffix", "none", 2).name)
    crops, distance = figures.guidance(run).axes
    assert (crops.get_title(), distance.get_title()) == ("crop accuracy", REALISM)
    for axes in (crops, distance):
        (line,) = axes.lines
        assert line.get_xdata().tolist() == line.get_ydata().tolist() == [1, 2, 11]


def test_all_figures_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "samples", lambda run: Image.new("RGB", (9, 9)))
    monkeypatch.setattr(figures, "guidance", lambda run: Figure())
    (tmp_path / "a.jsonl").write_text(json.dumps({"step": 50, "seconds": 1, "minutes_left": 0, "loss": 1}))
    (tmp_path / "a.json").write_text(json.dumps({"batch_size": 20}))
    run = start(tmp_path)
    where = ["--run", str(run.folder), "--work", str(tmp_path), "--figures", str(tmp_path / "figures")]
    figures.main(where)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "samples.png",
        "guidance.png",
        "training.png",
    }
