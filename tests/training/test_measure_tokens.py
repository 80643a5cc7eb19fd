"""The table of inclusive tokens, made in small: their reference photos, and a row per bar."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from data.training import measure, measure_tokens
from helpers.generation import tokens
from helpers.scenes import images


def test_spoilt_photos_are_dark_or_noisy_and_the_others_crisp(tmp_path):
    measure_tokens.write_faults(tmp_path, 4)
    crisp, spoilt = (sorted((tmp_path / kind).iterdir()) for kind in ("crisp", "dark_or_noisy"))
    assert len(crisp) == len(spoilt) == 4
    light = [np.asarray(images.load(path)).mean() for path in spoilt]
    assert sum(value < 70 for value in light) == 2  # every other one
    assert all(np.asarray(images.load(path)).mean() > 70 for path in crisp)


@pytest.mark.slow
def test_every_bar_of_tokens_has_its_row(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure_tokens, "DEMO", replace(measure_tokens.DEMO, guidance_scale=1.0))
    monkeypatch.setattr(measure, "protocol", partial(measure.protocol, steps=2))
    monkeypatch.setattr(tokens, "STEPS", 3)
    measure_tokens.main(["--scenes", "4", "--work", str(tmp_path)])
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = {(cells[0].removeprefix("| "), cells[1].split(",")[0]): cells for cells in lines}
    bars = {key: cells[2] for key, cells in rows.items() if cells[2]}
    assert bars["tokens", "attribute KL"] == "≤ 0.05" and bars["tokens", "hit rate"] == "≥ 0.85"
    assert bars["tokens", "processor seconds of learning"] == "≤ 60"
    assert bars["tokens less bare", "crop accuracy"] == "≥ -0.05"
    assert float(rows["tokens", "CLIP right on 48 reference photos"][3]) > 0.9
    assert ("words", "hit rate") in rows and ("bare", "hit rate") not in rows
