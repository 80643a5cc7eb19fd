"""The table of the data card, made in small: every bar of the demo checkpoints has its row."""

from dataclasses import replace
from functools import partial

import pytest

from data.training import measure, measure_layoutdiffusion


@pytest.mark.slow
def test_every_part_is_measured_against_its_bar(tmp_path, capsys, monkeypatch):
    draw = partial(measure.generate, scheduler=measure.DEMO.scheduler)
    monkeypatch.setattr(measure, "DEMO", replace(measure.DEMO, steps=2))
    monkeypatch.setattr(measure, "protocol", partial(measure.protocol, steps=2))
    monkeypatch.setattr(measure, "generate", lambda *given, **_: draw(*given[:2], steps=2))
    measure.main(["--scenes", "3", "--guidance", "1", "2", "--work", str(tmp_path)])
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    table = {(cells[0].removeprefix("| "), cells[1].split(",")[0]): cells for cells in lines}
    parts = {part for part, _ in table}
    assert {"autoencoder", "CLIP", "detector", "captioner opt", "captioner t5", "GLIGEN text"} <= parts
    assert {"GLIGEN image", "templates", "realism", "size", "time"} <= parts
    psnr = float(table["autoencoder", "PSNR in dB"][3])
    assert 20 < psnr < 40 and table["size", "all checkpoints in MB"][-1].startswith("yes")
    curve = [cells for cells in lines if cells[0] in ("| 1", "| 2")]
    assert len(curve) == 2 and all("(" in cell for cells in curve for cell in cells[1:4])


@pytest.mark.slow
def test_layoutdiffusion_is_measured_beside_gligen(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure_layoutdiffusion, "DEMO", replace(measure.DEMO, steps=2))
    monkeypatch.setattr(measure, "protocol", partial(measure.protocol, steps=2))
    measure_layoutdiffusion.main(["--scenes", "3", "--guidance", "1", "--work", str(tmp_path)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| LayoutDiffusion")]
    assert [line.split(" | ")[1] for line in lines][::3] == ["AP50", "found at IoU 0.5, null layout"]
    assert all(line.endswith(("yes |", "no |")) for line in lines) and len(lines) == 6
